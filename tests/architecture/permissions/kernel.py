"""Who may what at the kernel's REST addresses: accounts, tokens, grants, the ledger, jobs."""

from __future__ import annotations

from tests import make
from tests.architecture.permission_table import Row, World, answers

LISTS = answers(200, anonymous=401)
IN_A_ROLE = answers(200, anonymous=401, stranger=404)
SEES = answers(200, anonymous=401, stranger=404, foreign_admin=404)
# An act of administrators on something of this workspace.
ADMINISTERS = answers(403, anonymous=401, stranger=404, foreign_admin=404, workspace_admin=200)
READS_LEDGER = answers(
    404, anonymous=401, reviewer=200, operator=200, workspace_admin=200, auditor=200
)
V1 = "api/v1/"
BECAUSE = {"reason": "because the table asks"}


def _viewer(world: World) -> dict[str, int]:
    return {"user_id": world.people["viewer"].pk}


def _robot(world: World) -> dict[str, int]:
    return {"user_id": world.people["ci"].pk}


def _job(world: World) -> dict[str, object]:
    return {"job_id": world.job.pk}


ROWS = [
    Row(f"{V1}schema/", "GET", answers(200)),
    Row(f"{V1}me/", "GET", LISTS),
    Row(f"{V1}tokens/", "GET", LISTS),
    Row(
        f"{V1}tokens/",
        "POST",
        # A service account's tokens are issued by administrators, not by itself.
        answers(201, anonymous=401, stranger=404, ci=403),
        body=lambda world: {"name": "mine"},
    ),
    Row(
        f"{V1}tokens/<uuid:token_id>/revoke/",
        "POST",
        answers(404, anonymous=401, viewer=200, workspace_admin=200),
        fill=lambda world: {"token_id": world.people["viewer"].tokens.get().pk},
        body=lambda world: BECAUSE,
    ),
    Row(f"{V1}people/", "GET", IN_A_ROLE),
    Row(
        f"{V1}people/",
        "POST",
        answers(403, anonymous=401, stranger=404, workspace_admin=201, foreign_admin=201),
        body=lambda world: {
            "username": make.a_name("new"),
            "display_name": "New",
            "password": make.PASSWORD,
        },
    ),
    Row(
        f"{V1}people/<int:user_id>/deactivate/",
        "POST",
        ADMINISTERS,
        fill=_viewer,
        body=lambda world: BECAUSE,
    ),
    Row(f"{V1}service-accounts/", "GET", IN_A_ROLE),
    Row(
        f"{V1}service-accounts/",
        "POST",
        answers(403, anonymous=401, stranger=404, foreign_admin=404, workspace_admin=201),
        body=lambda world: {
            "username": make.a_name("bot"),
            "display_name": "Bot",
            "owner": world.people["viewer"].pk,
        },
    ),
    Row(
        f"{V1}service-accounts/<int:user_id>/hand-over/",
        "POST",
        ADMINISTERS,
        fill=_robot,
        body=lambda world: {**BECAUSE, "owner": world.people["viewer"].pk},
    ),
    Row(f"{V1}roles/", "GET", LISTS),
    Row(f"{V1}grants/", "GET", LISTS),
    Row(
        f"{V1}grants/",
        "POST",
        answers(403, anonymous=401, stranger=404, foreign_admin=404, workspace_admin=201),
        body=lambda world: {**BECAUSE, "user": world.people["viewer"].pk, "role": "operator"},
    ),
    Row(
        f"{V1}grants/<uuid:grant_id>/revoke/",
        "POST",
        answers(403, anonymous=401, stranger=404, foreign_admin=404, workspace_admin=204),
        fill=lambda world: {"grant_id": world.grant_id},
        body=lambda world: BECAUSE,
    ),
    Row(f"{V1}access/why/", "GET", IN_A_ROLE, address=f"{V1}access/why/?verb=view"),
    Row(f"{V1}audit/events/", "GET", LISTS),
    Row(
        f"{V1}audit/events/<uuid:event_id>/",
        "GET",
        READS_LEDGER,
        fill=lambda world: {"event_id": world.event.id},
    ),
    Row(f"{V1}audit/integrity/", "GET", LISTS),
    Row(f"{V1}jobs/", "GET", LISTS),
    Row(
        f"{V1}jobs/",
        "POST",
        # Who may contribute is told that the source was never uploaded.
        answers(403, anonymous=401, stranger=404, ml_engineer=400, ci=400),
        body=lambda world: {
            "kind": "training",
            "queue": "cpu",
            "name": "fit",
            "spec": {"command": ["python", "fit.py"]},
        },
    ),
    Row(f"{V1}jobs/<uuid:job_id>/", "GET", SEES, fill=_job),
    Row(f"{V1}jobs/<uuid:job_id>/log/", "GET", SEES, fill=_job),
    Row(f"{V1}jobs/<uuid:job_id>/attempts/", "GET", SEES, fill=_job),
    Row(
        f"{V1}jobs/<uuid:job_id>/cancel/",
        "POST",
        answers(403, anonymous=401, stranger=404, foreign_admin=404, operator=200),
        fill=_job,
        body=lambda world: BECAUSE,
    ),
    Row(f"{V1}queues/", "GET", LISTS),
]
