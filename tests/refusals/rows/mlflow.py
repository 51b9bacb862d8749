"""The MLflow door: the same refusals in MLflow's own words and codes."""

from __future__ import annotations

from django.test import override_settings

from registry.models import PromotionRequest
from tests.refusals.scene import Scene
from tests.refusals.table import ABSENT, SUCCESS, UNREAD, Answer, Ask, Row, refused

_DENIED = (403, "PERMISSION_DENIED")
_INVALID = (400, "INVALID_PARAMETER_VALUE")
_MISSING = (404, "RESOURCE_DOES_NOT_EXIST")


def _alias(name: str, version: int, who: str = "engineer", model: str = "reader") -> Ask:
    body = {"name": model, "alias": name, "version": str(version)}
    return lambda scene: scene.mlflow(who, "POST", "registered-models/alias", body)


def _alias_of_trained(scene: Scene) -> Answer:
    """Point a guarded alias twice; both answers name the one promotion that stands for it."""
    answers = [_alias("staging", 1, model="trained")(scene) for _ in range(2)]
    made = PromotionRequest.objects.get(version=scene.trained)
    address = f"/w/{scene.workspace.key}/promotions/{made.number}/"
    assert all(answer.says.endswith(address) for answer in answers), answers
    return answers[1]


def _stage(stage: str, version: int = 2) -> Ask:
    body = {"name": "reader", "version": str(version), "stage": stage}
    return lambda scene: scene.mlflow("engineer", "POST", "model-versions/transition-stage", body)


def _put(path: str, who: str = "engineer", method: str = "PUT") -> Ask:
    return lambda scene: scene.file(who, method, f"{scene.artifacts}{path}", b"changed")


def _too_large(scene: Scene) -> Answer:
    with override_settings(ARTIFACT_FILE_LIMIT_BYTES=3):
        return _put("large.bin")(scene)


def _register(source: str) -> Ask:
    body = {"name": "logged", "source": source}
    return lambda scene: scene.mlflow("engineer", "POST", "model-versions/create", body)


def _log(key: str, who: str = "engineer") -> Ask:
    def ask(scene: Scene) -> Answer:
        body = {"run_id": scene.run, "key": key, "value": "1", "timestamp": 1}
        return scene.mlflow(who, "POST", "runs/set-tag", body)

    return ask


def _search_as(who: str) -> Ask:
    return lambda scene: scene.mlflow(who, "GET", "registered-models/search")


def _run(scene: Scene) -> str:
    return scene.run


ROWS = [
    *(
        Row(
            f"MLflow with {name}",
            _search_as(who),
            *(401, "UNAUTHENTICATED", says),
            refused("request.refuse"),
        )
        for name, who, says in [
            ("no token", "", "This needs an API token. Set MLFLOW_TRACKING_TOKEN"),
            ("an expired token", "expired", "This token expired on "),
            ("a revoked token", "revoked", "This token was revoked."),
            ("a mistyped token", "mistyped", "This token is mistyped or cut off."),
        ]
    ),
    Row(
        "MLflow from another workspace",
        lambda scene: scene.mlflow("stranger", "GET", "runs/get", {"run_id": scene.run}),
        *(*_MISSING, "not found"),
        ABSENT,
        given=_run,
    ),
    Row(
        "a viewer writes to a run",
        _log("note", "viewer"),
        *(*_DENIED, "contribute"),
        refused("run.tag"),
        given=_run,
    ),
    Row(
        "a guarded alias",
        _alias_of_trained,
        *(*_DENIED, "Alias 'staging' of 'trained' is guarded. Promotion request PR-"),
        (("promotion.submit", SUCCESS), ("alias.set", "refused")),
        given=lambda scene: scene.trained,
        leaves={
            "registry_promotionrequest": 1,
            "outbox_outboxmessage": 1,
            "accounts_workspace": 0,
        },
    ),
    Row(
        "a guarded alias while another version asks for it",
        lambda scene: _alias("production", scene.retired.number)(scene),
        *(*_DENIED, "Alias 'production' of 'reader' is guarded."),
        (("promotion.request", "refused"), ("alias.set", "refused")),
        given=lambda scene: scene.retired,
    ),
    Row(
        "a guarded alias by a viewer",
        _alias("production", 2, "viewer"),
        *(*_DENIED, "you may not propose a promotion"),
        refused("alias.set"),
    ),
    Row(
        "a guarded alias is deleted",
        lambda scene: scene.mlflow(
            "engineer",
            "DELETE",
            "registered-models/alias",
            {"name": "reader", "alias": "production"},
        ),
        *(*_DENIED, "follows what is live in Production and cannot be deleted."),
        refused("alias.delete"),
    ),
    Row(
        "an alias that cannot be one",
        _alias("v7", 1),
        *(*_INVALID, "v7"),
        refused("alias.set"),
    ),
    Row(
        "an alias on a version that does not exist",
        _alias("favourite", 99),
        *(*_MISSING, "no version 99"),
        refused("alias.set"),
    ),
    Row(
        "a guarded stage",
        _stage("Production"),
        *(*_DENIED, "Stage 'Production' of 'reader' is guarded. Promotion request PR-"),
        refused("alias.set"),
    ),
    Row(
        "a stage that does not exist",
        _stage("Heaven"),
        *(*_INVALID, "Heaven"),
        UNREAD,
    ),
    Row(
        "a sealed file is overwritten",
        _put("model/weights"),
        *(*_DENIED, "is sealed by logged/1."),
        refused("artifact.upload"),
        given=_run,
    ),
    Row(
        "a file is added among sealed ones",
        _put("model/more"),
        *(*_DENIED, "is sealed by logged/1."),
        refused("artifact.upload"),
        given=_run,
    ),
    Row(
        "a sealed file is deleted",
        _put("model/weights", method="DELETE"),
        *(*_DENIED, "is sealed by logged/1."),
        refused("artifact.delete"),
        given=_run,
    ),
    Row(
        "the run of a version is deleted",
        lambda scene: scene.mlflow("engineer", "POST", "runs/delete", {"run_id": scene.run}),
        *(*_DENIED, "sealed by logged/1"),
        refused("run.delete"),
        given=_run,
    ),
    Row(
        "a file by a viewer",
        _put("notes.txt", "viewer"),
        *(*_DENIED, "contribute"),
        refused("artifact.upload"),
        given=_run,
    ),
    Row(
        "a path that climbs out",
        _put("%2e%2e/%2e%2e/etc/passwd"),
        *(*_INVALID, "Invalid path"),
        UNREAD,
        given=_run,
    ),
    Row(
        "a path that climbs out, encoded twice",
        _put("%252e%252e/weights"),
        *(*_INVALID, "Invalid path"),
        UNREAD,
        given=_run,
    ),
    Row(
        "a path that belongs to nobody",
        lambda scene: scene.file("engineer", "PUT", "elsewhere/file", b"1"),
        *(*_MISSING, "No such artifact"),
        ABSENT,
    ),
    Row(
        "an artifact beyond the limit",
        _too_large,
        *(413, "INVALID_PARAMETER_VALUE", "The file has 7 bytes; a file may have 3."),
        refused("artifact.upload"),
        given=_run,
    ),
    Row(
        "a model from a local path",
        _register("file:///etc"),
        *(*_INVALID, "local paths and other stores are not read."),
        UNREAD,
        given=_run,
    ),
    Row(
        "a model from a run without files",
        lambda scene: _register(f"runs:/{scene.run}/nothing")(scene),
        *(*_INVALID, "Invalid model version source"),
        UNREAD,
        given=_run,
    ),
    Row(
        "a tag that only Gatehouse writes",
        _log("gatehouse.job"),
        *(*_INVALID, "tags that begin with 'gatehouse.' are written by Gatehouse."),
        refused("run.tag"),
        given=_run,
    ),
    Row(
        "a body that is no JSON object",
        lambda scene: scene.mlflow("engineer", "POST", "registered-models/create", ["reader"]),
        *(*_INVALID, "The body must be a JSON object."),
        UNREAD,
    ),
    Row(
        "a route of MLflow's that is not served",
        lambda scene: scene.mlflow("engineer", "POST", "webhooks"),
        *(501, "NOT_IMPLEMENTED", "Gatehouse does not serve MLflow webhooks"),
        UNREAD,
    ),
]
