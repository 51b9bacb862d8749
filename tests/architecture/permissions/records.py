"""Who may what with datasets, models, versions, environments and promotions over REST."""

from __future__ import annotations

from django.core.files.uploadedfile import SimpleUploadedFile

from tests import make
from tests.architecture.permission_table import Row, World, answers
from tests.architecture.permissions.kernel import LISTS, SEES, V1

CONTRIBUTES = {"ml_engineer": 201, "ci": 201}
MODEL = f"{V1}models/<str:name>/"
VERSION = f"{MODEL}versions/<int:number>/"
PROMOTION = f"{V1}promotions/<int:number>/"


def _model(world: World) -> dict[str, object]:
    return {"name": world.model.name, "number": world.version.number}


def _dataset(world: World) -> dict[str, object]:
    return {"name": "rows", "number": 1}


def _waiting(world: World) -> dict[str, object]:
    return {"number": world.waiting.number}


def _decision(world: World) -> dict[str, object]:
    return {
        "subject_digest": world.waiting.subject_digest,
        "text": "The table asks who may decide on this promotion.",
    }


# One reviewer in the slot decides; who may only look is told so.
_DECIDES = answers(403, anonymous=401, stranger=404, foreign_admin=404, reviewer=200)

ROWS = [
    Row(f"{V1}datasets/", "GET", LISTS),
    Row(f"{V1}datasets/<str:name>/", "GET", SEES, fill=_dataset),
    Row(
        f"{V1}datasets/<str:name>/versions/",
        "POST",
        answers(403, anonymous=401, stranger=404, **CONTRIBUTES),
        fill=_dataset,
        body=lambda world: {"file": SimpleUploadedFile("more.csv", b"a,b\n5,6\n")},
        is_upload=True,
    ),
    Row(f"{V1}datasets/<str:name>/versions/<int:number>/", "GET", SEES, fill=_dataset),
    Row(f"{V1}models/", "GET", LISTS),
    Row(
        f"{V1}models/",
        "POST",
        answers(403, anonymous=401, stranger=404, **CONTRIBUTES),
        body=lambda world: {"name": make.a_name("model")},
    ),
    Row(MODEL, "GET", SEES, fill=_model),
    Row(
        MODEL,
        "PATCH",
        answers(403, anonymous=401, stranger=404, foreign_admin=404, ml_engineer=200, ci=200),
        fill=_model,
        body=lambda world: {"description": "what it is for"},
    ),
    Row(f"{MODEL}versions/", "GET", SEES, fill=_model),
    Row(VERSION, "GET", SEES, fill=_model),
    Row(f"{VERSION}evidence/", "GET", SEES, fill=_model),
    Row(f"{V1}environments/", "GET", LISTS),
    Row(
        f"{V1}environments/<slug:key>/policies/", "GET", SEES, fill=lambda world: {"key": "staging"}
    ),
    Row(
        f"{V1}environments/<slug:key>/policies/",
        "POST",
        # The policy in force again is no change: who may configure is told that.
        answers(403, anonymous=401, stranger=404, foreign_admin=404, workspace_admin=409),
        fill=lambda world: {"key": "staging"},
        body=lambda world: {
            "risk_tier": "critical",
            "source": world.critical_policy,
            "reason": "as the table asks",
        },
    ),
    Row(f"{V1}promotions/", "GET", LISTS),
    Row(
        f"{V1}promotions/",
        "POST",
        # Who may propose is told that one is open already.
        answers(
            403,
            anonymous=401,
            stranger=404,
            foreign_admin=404,
            ml_engineer=409,
            ci=409,
            operator=409,
        ),
        body=lambda world: {
            "model": world.model.name,
            "version": world.waiting.version.number,
            "environment": "staging",
        },
    ),
    Row(PROMOTION, "GET", SEES, fill=_waiting),
    Row(
        f"{PROMOTION}approve/",
        "POST",
        _DECIDES,
        fill=_waiting,
        body=lambda world: {
            "subject_digest": world.waiting.subject_digest,
            "password": make.PASSWORD,
        },
    ),
    Row(f"{PROMOTION}request-changes/", "POST", _DECIDES, fill=_waiting, body=_decision),
    Row(f"{PROMOTION}reject/", "POST", _DECIDES, fill=_waiting, body=_decision),
    Row(
        f"{PROMOTION}comment/",
        "POST",
        # A person's word counts; a service account has none.
        answers(201, anonymous=401, stranger=404, foreign_admin=404, ci=403),
        fill=_waiting,
        body=lambda world: {"text": "A word."},
    ),
    Row(
        f"{PROMOTION}withdraw/",
        "POST",
        # The requester may too; none of these is.
        answers(403, anonymous=401, stranger=404, foreign_admin=404, workspace_admin=200),
        fill=_waiting,
    ),
    Row(
        f"{PROMOTION}check/",
        "POST",
        answers(
            403,
            anonymous=401,
            stranger=404,
            foreign_admin=404,
            ml_engineer=200,
            ci=200,
            operator=200,
        ),
        fill=_waiting,
    ),
    Row(
        f"{PROMOTION}execute/",
        "POST",
        # Not approved yet: who may operate is told so.
        answers(403, anonymous=401, stranger=404, foreign_admin=404, operator=409),
        fill=_waiting,
    ),
]
