"""Who may what through MLflow's protocol, under both prefixes of its addresses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from experiments.mlflow_api.refused import FEATURES
from tests import make
from tests.architecture.permission_table import METHODS, Row, World, answers

SEES = answers(200, anonymous=401, stranger=404, foreign_admin=404)
NOT_SERVED = answers(501, anonymous=401)
# Contributors do it; who only looks is refused; elsewhere there is no such record.
WRITES = answers(403, anonymous=401, stranger=404, foreign_admin=404, ml_engineer=200, ci=200)
# The same without a record that it is about, so that another workspace's administrator is refused.
MAKES = {**WRITES, "foreign_admin": 403}
EMPTY_LISTS = answers(200, anonymous=401)
IN_A_ROLE = {**EMPTY_LISTS, "stranger": 404}
OWNS = {**WRITES, "ml_engineer": 403, "ci": 403}
# What is asked for does not exist, so that nobody gets more than that.
NO_FILE = answers(404, anonymous=401)
# MLflow answers 400 for an alias that a model does not have.
NO_ALIAS = answers(400, anonymous=401, stranger=404, foreign_admin=404)
# Told to whoever sees the model: the run has no such files.
NO_SOURCE = NO_ALIAS
NO_FILE_TO_DELETE = {**MAKES, "ml_engineer": 404, "ci": 404}
TRACKING = r"^(?:ajax-)?api/[23]\.0/mlflow/"

# Behind these stand many handlers of MLflow's; what has none is answered as not served.
FORWARDING = (TRACKING, r"^(?:ajax-)?api/[23]\.0/.*//", r"^(?:ajax-)?api//")
# One address of each feature that is not served, in the order of ``refused.FEATURES``.
_UNSERVED = (
    *("api/2.0/mlflow-artifacts/mpu/create", "api/2.0/mlflow/webhooks", "graphql", "gateway"),
    *("api/2.0/mlflow/workspaces", "api/2.0/mlflow/scorers", "api/2.0/mlflow/genai"),
    *("api/2.0/mlflow/issues", "api/2.0/mlflow/review-queues", "api/2.0/mlflow/label-schemas"),
    *("api/2.0/mlflow/prompt-optimization", "api/2.0/jobs", "assistant", "api/2.0/mlflow/demo"),
    *("api/2.0/mlflow/telemetry", "mcp", "static-files"),
    *("api/2.0/mlflow/runs/create-promptlab-run", "v1/traces"),
)
Body = Callable[[World], dict[str, Any]]


def _ask(route: str, expect: dict[str, int], **query: str) -> Row:
    """Return a GET with its query; variables in the query are filled from the world."""
    address = f"{route}?{urlencode(query, safe='{}')}" if query else route
    return Row(route, "GET", expect, fill=_records, address=address)


def _tell(route: str, expect: dict[str, int], body: Body, method: str = "POST") -> Row:
    return Row(route, method, expect, fill=_records, body=body)


def _track(path: str, method: str, expect: dict[str, int], body: Body | None = None) -> Row:
    """Return a row of MLflow's own tracking, which is one route with many handlers behind it."""
    address = f"api/2.0/mlflow/{path}"
    return Row(TRACKING, method, expect, fill=_records, body=body, address=address)


def _records(world: World) -> dict[str, Any]:
    return {
        "run": world.run_id,
        "model": world.model.name,
        "experiment": world.experiment_id,
        "model_id": "m-" + "0" * 32,
        "path": f"{world.experiment_id}/{world.run_id}/artifacts/notes.txt",
        "folder": f"{world.experiment_id}/{world.run_id}/artifacts",
    }


def _model(world: World, **more: Any) -> dict[str, Any]:
    return {"name": world.model.name, **more}


def _version(world: World, **more: Any) -> dict[str, Any]:
    return {"name": world.model.name, "version": "1", **more}


def _registry(prefix: str) -> list[Row]:
    models = f"{prefix}api/2.0/mlflow/registered-models"
    versions = f"{prefix}api/2.0/mlflow/model-versions"
    tag = {"key": "team", "value": "risk"}
    return [
        _tell(f"{models}/create", MAKES, lambda world: {"name": make.a_name("model")}),
        _ask(f"{models}/get", SEES, name="{model}"),
        _tell(f"{models}/update", WRITES, lambda world: _model(world, description="d"), "PATCH"),
        # Renaming and retiring are for who answers for the model; nobody here does.
        _tell(f"{models}/rename", OWNS, lambda world: _model(world, new_name=make.a_name("m"))),
        _tell(f"{models}/delete", OWNS, _model, "DELETE"),
        _ask(f"{models}/search", EMPTY_LISTS),
        _ask(f"{models}/get-latest-versions", SEES, name="{model}"),
        _tell(f"{models}/get-latest-versions", SEES, _model),
        _tell(f"{models}/set-tag", WRITES, lambda world: _model(world, **tag)),
        _tell(f"{models}/set-tag", WRITES, lambda world: _model(world, **tag), "DELETE"),
        _tell(f"{models}/delete-tag", WRITES, lambda world: _model(world, key="team"), "DELETE"),
        _tell(f"{models}/delete-tag", WRITES, lambda world: _model(world, key="team")),
        _ask(f"{models}/alias", NO_ALIAS, name="{model}", alias="none"),
        _tell(f"{models}/alias", WRITES, lambda world: _version(world, alias="free")),
        _tell(f"{models}/alias", WRITES, lambda world: _model(world, alias="free"), "DELETE"),
        _tell(
            f"{versions}/create",
            NO_SOURCE,
            lambda world: _model(world, source=f"runs:/{world.run_id}/model"),
        ),
        _ask(f"{versions}/get", SEES, name="{model}", version="1"),
        _tell(
            f"{versions}/update", WRITES, lambda world: _version(world, description="d"), "PATCH"
        ),
        _tell(f"{versions}/delete", OWNS, _version, "DELETE"),
        _ask(f"{versions}/search", EMPTY_LISTS),
        _ask(f"{versions}/get-download-uri", SEES, name="{model}", version="1"),
        _tell(f"{versions}/set-tag", WRITES, lambda world: _version(world, **tag)),
        _tell(f"{versions}/set-tag", WRITES, lambda world: _version(world, **tag), "DELETE"),
        _tell(
            f"{versions}/delete-tag", WRITES, lambda world: _version(world, key="team"), "DELETE"
        ),
        _tell(f"{versions}/delete-tag", WRITES, lambda world: _version(world, key="team")),
        _tell(
            f"{versions}/transition-stage",
            OWNS,
            lambda world: _version(world, stage="Archived"),
        ),
    ]


def _artifacts(prefix: str) -> list[Row]:
    files = f"{prefix}api/2.0/mlflow-artifacts/artifacts"
    v2 = f"{prefix}api/2.0/mlflow"
    logged = f"{v2}/logged-models/<str:model_id>/artifacts"
    trace = f"{prefix}api/3.0/mlflow"
    return [
        _ask(files, SEES, path="{folder}"),
        _ask(f"{files}/", SEES, path="{folder}"),
        Row(f"{files}/<path:path>", "GET", NO_FILE, fill=_records),
        Row(f"{files}/<path:path>", "PUT", MAKES, fill=_records, body=lambda world: {"a": 1}),
        Row(f"{files}/<path:path>", "DELETE", NO_FILE_TO_DELETE, fill=_records),
        _ask(f"{v2}/artifacts/list", SEES, run_id="{run}"),
        _ask(f"{v2}/get-trace-artifact", NO_FILE, request_id="tr-0"),
        _ask(f"{trace}/get-trace-artifact", NO_FILE, request_id="tr-0"),
        Row(f"{logged}/directories", "GET", NO_FILE, fill=_records),
        Row(
            f"{logged}/files",
            "GET",
            NO_FILE,
            fill=_records,
            address=f"{v2}/logged-models/{{model_id}}/artifacts/files?artifact_file_path=a",
        ),
        Row(f"{trace}/server-info", "GET", answers(200, anonymous=401)),
        Row(
            f"{v2}/upload-artifact",
            "POST",
            MAKES,
            fill=_records,
            body=lambda world: {"a": 1},
            address=f"{v2}/upload-artifact?run_uuid={{run}}&path=a.json",
        ),
    ]


def _run(world: World, **more: Any) -> dict[str, Any]:
    return {"run_id": world.run_id, **more}


# MLflow's own handlers first ask whether one may do this at all in one's own workspace.
TRACKING_ROWS = [
    _track("experiments/search?max_results=5", "GET", IN_A_ROLE),
    _track("experiments/search", "POST", IN_A_ROLE, lambda world: {"max_results": 5}),
    _track("experiments/create", "POST", MAKES, lambda world: {"name": make.a_name("exp")}),
    _track("experiments/get?experiment_id={experiment}", "GET", SEES),
    _track("runs/get?run_id={run}", "GET", SEES),
    _track(
        "runs/search",
        "POST",
        IN_A_ROLE,
        lambda world: {"experiment_ids": [str(world.experiment_id)]},
    ),
    _track(
        "runs/create",
        "POST",
        MAKES,
        lambda world: {"experiment_id": str(world.experiment_id), "start_time": 1},
    ),
    _track("runs/log-parameter", "POST", MAKES, lambda world: _run(world, key="a", value="1")),
    _track(
        "runs/log-metric",
        "POST",
        MAKES,
        lambda world: _run(world, key="loss", value=0.5, timestamp=1),
    ),
    _track("runs/set-tag", "POST", MAKES, lambda world: _run(world, key="a", value="1")),
    _track("runs/delete", "POST", MAKES, _run),
    _track("metrics/get-history?run_id={run}&metric_key=loss", "GET", SEES),
]

ROWS = [
    *[row for prefix in ("", "ajax-") for row in _registry(prefix)],
    *[row for prefix in ("", "ajax-") for row in _artifacts(prefix)],
    *[
        Row(f"^(?:{pattern})", method, NOT_SERVED, address=example)
        for (pattern, _, _), example in zip(FEATURES, _UNSERVED, strict=True)
        for method in METHODS
    ],
    *[
        Row(r"^(?:ajax-)?api/[23]\.0/", method, NOT_SERVED, address="api/2.0/other")
        for method in METHODS
    ],
    # Doubled slashes are read as single ones.
    Row(
        FORWARDING[1],
        "GET",
        EMPTY_LISTS,
        address="api/2.0/mlflow//registered-models/search",
    ),
    Row(FORWARDING[2], "GET", EMPTY_LISTS, address="api//2.0/mlflow/registered-models/search"),
    Row("health", "GET", answers(200)),
    Row("version", "GET", answers(200, anonymous=401)),
    _ask("get-artifact", NO_FILE, run_uuid="{run}", path="none.txt"),
    _ask("model-versions/get-artifact", NO_FILE, name="{model}", version="1", path="none.txt"),
]
