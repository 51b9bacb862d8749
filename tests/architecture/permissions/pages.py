"""Who gets which page. A service account has no session: to the pages it is a stranger."""

from __future__ import annotations

from frontend.forms.rollouts import REASONS
from tests import make
from tests.architecture.permission_table import Row, World, answers

W = "w/<slug:workspace_key>/"
# Strangers to the product are led to the sign-in page; members see the frame and their own lists.
MEMBERS = answers(200, anonymous=302, ci=302, foreign_admin=404)
SEES = {**MEMBERS, "stranger": 404}
NOWHERE = answers(404, anonymous=302, ci=302)
LEADS_ON = answers(302)


def _closed(refusal: int, **open_to: int) -> dict[str, int]:
    """Return what an act answers that only those named may take."""
    return {
        **answers(refusal, anonymous=302, ci=302, stranger=404, foreign_admin=404),
        **open_to,
    }


def _version(world: World) -> dict[str, object]:
    return {"name": world.model.name, "number": world.version.number, "label": "9.9.9"}


def _waiting(world: World) -> dict[str, object]:
    return {"number": world.waiting.number, "name": "reject"}


def _rollout(world: World) -> dict[str, object]:
    return {"pk": world.rollout.pk, "name": "roll_back"}


def _job(world: World) -> dict[str, object]:
    return {"job_id": world.job.pk}


def _event(world: World) -> dict[str, object]:
    return {"event_id": world.event.id, "number": 10**9}


def _because(world: World) -> dict[str, str]:
    return {"reason": "because the table asks"}


ROWS = [
    Row("", "GET", LEADS_ON),
    Row("login/", "GET", answers(200)),
    Row(
        "login/",
        "POST",
        answers(422),
        body=lambda world: {"username": make.a_name("nobody"), "password": "wrong"},
    ),
    Row("logout/", "POST", LEADS_ON),
    Row("theme/", "POST", LEADS_ON),
    Row(
        "^(?P<rest>(?:models|datasets|promotions|rollouts|queue|runs|jobs|audit|me|search|find)"
        "(?:/.*)?)$",
        "GET",
        LEADS_ON,
        address="models/",
    ),
    Row(W, "GET", MEMBERS),
    Row(f"{W}search", "GET", MEMBERS),
    Row(f"{W}find/", "GET", MEMBERS),
    Row(f"{W}models/", "GET", MEMBERS),
    Row(f"{W}models/<str:name>/", "GET", SEES, fill=_version),
    Row(f"{W}models/<str:name>/versions/<int:number>/", "GET", SEES, fill=_version),
    Row(f"{W}models/<str:name>/versions/<int:number>/retire/", "GET", SEES, fill=_version),
    Row(
        f"{W}models/<str:name>/versions/<int:number>/retire/",
        "POST",
        # Nobody here answers for the model: the form comes back with the refusal.
        {**SEES, **{role: 422 for role, status in SEES.items() if status == 200}},
        fill=_version,
        body=_because,
    ),
    Row(f"{W}models/<str:name>/versions/<str:label>/", "GET", NOWHERE, fill=_version),
    Row(f"{W}datasets/", "GET", MEMBERS),
    Row(f"{W}datasets/<str:name>/", "GET", SEES, fill=lambda world: {"name": "rows"}),
    Row(
        rf"{W}^datasets/(?P<name>[^/@]+)@(?P<number>\d{{1,9}})/$",
        "GET",
        SEES,
        address="w/{space}/datasets/rows@1/",
    ),
    Row(f"{W}promotions/", "GET", MEMBERS),
    Row(f"{W}promotions/new/", "GET", MEMBERS),
    Row(
        f"{W}promotions/new/",
        "POST",
        # An empty form comes back, whoever sent it.
        {**MEMBERS, **{role: 422 for role, status in MEMBERS.items() if status == 200}},
        body=_because,
    ),
    Row(f"{W}promotions/<int:number>/", "GET", SEES, fill=_waiting),
    Row(f"{W}promotions/<int:number>/sign/", "GET", _closed(302, reviewer=200), fill=_waiting),
    Row(
        f"{W}promotions/<int:number>/sign/",
        "POST",
        _closed(403, reviewer=302),
        fill=_waiting,
        body=lambda world: {
            "digest": world.waiting.subject_digest,
            "password": make.PASSWORD,
        },
    ),
    Row(
        f"{W}promotions/<int:number>/comment/",
        "POST",
        {**SEES, **{role: 302 for role, status in SEES.items() if status == 200}},
        fill=_waiting,
        body=lambda world: {"text": "A word."},
    ),
    Row(
        f"{W}promotions/<int:number>/<slug:name>/",
        "GET",
        _closed(404, reviewer=200),
        fill=_waiting,
    ),
    Row(
        f"{W}promotions/<int:number>/<slug:name>/",
        "POST",
        _closed(403, reviewer=302),
        fill=_waiting,
        body=lambda world: {
            "digest": world.waiting.subject_digest,
            "text": "The table asks who may decide on this promotion.",
        },
    ),
    Row(f"{W}rollouts/", "GET", MEMBERS),
    Row(f"{W}rollouts/<int:pk>/", "GET", SEES, fill=_rollout),
    Row(f"{W}rollouts/<int:pk>/<slug:name>/", "GET", _closed(404, operator=200), fill=_rollout),
    Row(
        f"{W}rollouts/<int:pk>/<slug:name>/",
        "POST",
        _closed(403, operator=302),
        fill=_rollout,
        body=lambda world: {"reason": REASONS[0][0]},
    ),
    Row(f"{W}queue/", "GET", MEMBERS),
    Row(f"{W}runs/", "GET", SEES),
    Row(f"{W}runs/<str:run_id>/", "GET", SEES, fill=lambda world: {"run_id": world.run_id}),
    Row(f"{W}jobs/<uuid:job_id>/", "GET", SEES, fill=_job),
    Row(f"{W}jobs/<uuid:job_id>/board/", "GET", SEES, fill=_job),
    Row(
        f"{W}jobs/<uuid:job_id>/log/",
        "GET",
        {**SEES, **{role: 204 for role, status in SEES.items() if status == 200}},
        fill=_job,
    ),
    # The job has not run, so it has no log file.
    Row(f"{W}jobs/<uuid:job_id>/log.txt", "GET", NOWHERE, fill=_job),
    Row(f"{W}jobs/<uuid:job_id>/stop/", "GET", _closed(404, operator=200), fill=_job),
    Row(
        f"{W}jobs/<uuid:job_id>/stop/",
        "POST",
        _closed(403, operator=302),
        fill=_job,
        body=_because,
    ),
    Row(f"{W}audit/", "GET", MEMBERS),
    Row(
        f"{W}audit/verify/",
        "POST",
        _closed(403, reviewer=302, operator=302, workspace_admin=302, auditor=302),
    ),
    Row(
        f"{W}audit/<uuid:event_id>/",
        "GET",
        _closed(404, reviewer=200, operator=200, workspace_admin=200, auditor=200),
        fill=_event,
    ),
    Row(f"{W}audit/<int:number>/", "GET", NOWHERE, fill=_event),
    Row(f"{W}me/", "GET", MEMBERS),
    Row(f"{W}me/", "POST", MEMBERS, body=lambda world: {"name": "mine", "days": "7"}),
    Row(
        f"{W}me/tokens/<uuid:token_id>/revoke/",
        "POST",
        _closed(404, viewer=302, workspace_admin=302),
        fill=lambda world: {"token_id": world.people["viewer"].tokens.get().pk},
        body=_because,
    ),
]
