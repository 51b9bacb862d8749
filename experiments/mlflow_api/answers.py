"""Models and versions in the JSON that MLflow's clients read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Exists, OuterRef, QuerySet, Subquery

from registry.models import Alias, Model, ModelVersion, VersionUse

# Clients may archive a version (it stays readable) or delete it (it is gone for them). Both retire
# it here; this tag tells which was meant.
DELETED_TAG = "gatehouse.deleted"
STAGES = ("None", "Staging", "Production", "Archived")
_STAGE_OF_KIND = {"prod": "Production", "staging": "Staging"}
_STATUS = {
    ModelVersion.State.UPLOADING: "PENDING_REGISTRATION",
    ModelVersion.State.FAILED: "FAILED_REGISTRATION",
}


def readable_versions() -> QuerySet[ModelVersion]:
    """Return the versions that a client of MLflow may be told of, with what an answer needs."""
    return (
        ModelVersion.objects.exclude(tags__has_key=DELETED_TAG)
        .exclude(model__state=Model.State.RETIRED)
        .select_related("model", "registrant")
    )


def version_json(
    version: ModelVersion, *, stage: str, aliases: Iterable[str] = ()
) -> dict[str, Any]:
    body: dict[str, Any] = {
        "name": version.model.name,
        "version": str(version.number),
        "creation_timestamp": _milliseconds(version.created_at),
        "last_updated_timestamp": _milliseconds(version.updated_at),
        "user_id": version.registrant.username,
        "current_stage": stage,
        "description": version.description,
        "source": version.source,
        "run_id": version.run_id,
        "status": _STATUS.get(ModelVersion.State(version.state), "READY"),
        "tags": _tags(version.tags),
    }
    if version.error:
        body["status_message"] = version.error
    if names := sorted(aliases):
        body["aliases"] = names
    return body


def versions_json(versions: Sequence[ModelVersion]) -> list[dict[str, Any]]:
    """Return a list of versions, their stages found together."""
    stages = stages_of(versions)
    return [version_json(item, stage=stages[item.pk]) for item in versions]


def model_json(
    model: Model, *, latest: Sequence[dict[str, Any]], aliases: Mapping[str, int]
) -> dict[str, Any]:
    body: dict[str, Any] = {
        "name": model.name,
        "creation_timestamp": _milliseconds(model.created_at),
        "last_updated_timestamp": _milliseconds(model.updated_at),
        "tags": _tags(model.tags),
    }
    if model.description:
        body["description"] = model.description
    if latest:
        body["latest_versions"] = list(latest)
    if aliases:
        body["aliases"] = [
            {"alias": name, "version": str(number)} for name, number in sorted(aliases.items())
        ]
    return body


def models_json(models: Sequence[Model]) -> list[dict[str, Any]]:
    """Return a list of models with newest versions and aliases, in few statements for all."""
    if not models:
        return []
    latest = latest_versions(models)
    uses = pointers(models)
    aliases: dict[int, dict[str, int]] = {}
    for item in uses:
        aliases.setdefault(item.model_id, {})[item.alias] = item.number
    return [
        model_json(
            model,
            latest=[
                version_json(item, stage=stage_of(item, uses)) for item in latest.get(model.pk, [])
            ],
            aliases=aliases.get(model.pk, {}),
        )
        for model in models
    ]


@dataclass(frozen=True, slots=True)
class Pointer:
    """An alias, or the use of a version in an environment, which guards an alias of its own."""

    model_id: int
    version_id: int
    alias: str
    number: int
    environment_kind: str = ""


def pointers(models: Sequence[Model]) -> list[Pointer]:
    """Return free and guarded aliases of these models; a guarded one hides a free one's name."""
    ids = [item.pk for item in models]
    guarded = VersionUse.objects.filter(
        model__in=ids, use=VersionUse.Use.LIVE, ended_at=None
    ).values_list(
        "model", "version", "environment__guarded_alias", "version__number", "environment__kind"
    )
    found = [Pointer(*row) for row in guarded]
    taken = {(item.model_id, item.alias) for item in found}
    free = Alias.objects.filter(model__in=ids, ended_at=None).values_list(
        "model", "version", "name", "version__number"
    )
    return found + [Pointer(*row) for row in free if (row[0], row[2]) not in taken]


def stage_of(version: ModelVersion, uses: Sequence[Pointer]) -> str:
    """Return MLflow's stage of a version: what it is used for, never what somebody set."""
    if version.state == ModelVersion.State.RETIRED:
        return "Archived"
    kinds = {item.environment_kind for item in uses if item.version_id == version.pk}
    for kind, stage in _STAGE_OF_KIND.items():
        if kind in kinds:
            return stage
    return "None"


def stages_of(versions: Sequence[ModelVersion]) -> dict[int, str]:
    """Return the stage of each version."""
    live = VersionUse.objects.filter(
        version__in=[item.pk for item in versions], use=VersionUse.Use.LIVE, ended_at=None
    ).values_list(
        "model", "version", "environment__guarded_alias", "version__number", "environment__kind"
    )
    uses = [Pointer(*row) for row in live] if versions else []
    return {item.pk: stage_of(item, uses) for item in versions}


def latest_versions(models: Sequence[Model]) -> dict[int, list[ModelVersion]]:
    """Return the newest version of every stage, by model."""
    of_model = readable_versions().filter(model=OuterRef("pk")).order_by("-number")
    live = VersionUse.objects.filter(
        version=OuterRef("pk"),
        use=VersionUse.Use.LIVE,
        ended_at=None,
        environment__kind__in=list(_STAGE_OF_KIND),
    )
    offered = of_model.exclude(state=ModelVersion.State.RETIRED).exclude(Exists(live))
    retired = of_model.filter(state=ModelVersion.State.RETIRED)
    found = Model.objects.filter(pk__in=[item.pk for item in models]).annotate(
        offered=Subquery(offered.values("pk")[:1]), retired=Subquery(retired.values("pk")[:1])
    )
    wanted = {
        key for row in found.values_list("offered", "retired") for key in row if key is not None
    }
    wanted.update(
        VersionUse.objects.filter(
            model__in=[item.pk for item in models],
            use=VersionUse.Use.LIVE,
            ended_at=None,
            environment__kind__in=list(_STAGE_OF_KIND),
        ).values_list("version", flat=True)
    )
    by_model: dict[int, list[ModelVersion]] = {}
    for version in readable_versions().filter(pk__in=wanted).order_by("number"):
        by_model.setdefault(version.model_id, []).append(version)
    return by_model


def _tags(tags: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in tags.items()]


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
