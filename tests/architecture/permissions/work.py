"""Who may what with training, runs, evaluations, deployments and rollouts over REST."""

from __future__ import annotations

from tests.architecture.permission_table import Row, World, answers
from tests.architecture.permissions.kernel import BECAUSE, IN_A_ROLE, LISTS, SEES, V1
from tests.architecture.permissions.records import VERSION

DEPLOYMENT = f"{V1}deployments/<slug:name>/"
ROLLOUT = f"{V1}rollouts/<int:pk>/"


def _run(world: World) -> dict[str, object]:
    return {"run_id": world.run_id, "key": "loss"}


def _deployment(world: World) -> dict[str, object]:
    return {"name": world.deployment.name}


def _rollout(world: World) -> dict[str, object]:
    return {"pk": world.rollout.pk}


# The rollout is being prepared: who may operate is told that the step does not lead from there.
_OPERATES = answers(403, anonymous=401, stranger=404, foreign_admin=404, operator=409)
# Going back is open in every state.
_ROLLS_BACK = {**_OPERATES, "operator": 200}

ROWS = [
    Row(
        f"{V1}training/",
        "POST",
        # Who may contribute is told what is missing.
        answers(403, anonymous=401, stranger=404, ml_engineer=400, ci=400),
        body=lambda world: {"spec": "{}"},
        is_upload=True,
    ),
    Row(f"{V1}runs/", "GET", IN_A_ROLE),
    Row(f"{V1}runs/<str:run_id>/", "GET", SEES, fill=_run),
    Row(f"{V1}runs/<str:run_id>/metrics/<path:key>/", "GET", SEES, fill=_run),
    Row(
        f"{VERSION}evaluations/",
        "POST",
        # The dataset is not sealed yet: who may contribute is told so.
        answers(403, anonymous=401, stranger=404, foreign_admin=404, ml_engineer=409, ci=409),
        fill=lambda world: {"name": world.model.name, "number": world.version.number},
        body=lambda world: {"dataset": "rows@1", "label": "b"},
    ),
    Row(f"{V1}deployments/", "GET", LISTS),
    Row(DEPLOYMENT, "GET", SEES, fill=_deployment),
    Row(f"{DEPLOYMENT}revisions/", "GET", SEES, fill=_deployment),
    Row(
        f"{DEPLOYMENT}predictions/",
        "GET",
        answers(403, anonymous=401, stranger=404, foreign_admin=404, ml_engineer=200, ci=200),
        fill=_deployment,
    ),
    Row(
        f"{DEPLOYMENT}rollback/",
        "POST",
        _ROLLS_BACK,
        fill=_deployment,
        body=lambda world: BECAUSE,
    ),
    Row(f"{V1}rollouts/", "GET", LISTS),
    Row(ROLLOUT, "GET", SEES, fill=_rollout),
    Row(f"{ROLLOUT}advance/", "POST", _OPERATES, fill=_rollout),
    Row(f"{ROLLOUT}pause/", "POST", _OPERATES, fill=_rollout),
    Row(f"{ROLLOUT}resume/", "POST", _OPERATES, fill=_rollout),
    Row(
        f"{ROLLOUT}rollback/",
        "POST",
        _ROLLS_BACK,
        fill=_rollout,
        body=lambda world: BECAUSE,
    ),
]
