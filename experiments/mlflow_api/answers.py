"""Models and versions in the JSON that MLflow's clients read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
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
    """Return a list of models with newest versions and aliases, in four statements for all."""
    latest = latest_versions(models)
    stages = stages_of([item for items in latest.values() for item in items])
    aliases = _aliases(models)
    return [
        model_json(
            model,
            latest=[version_json(item, stage=stages[item.pk]) for item in latest.get(model.pk, [])],
            aliases=aliases.get(model.pk, {}),
        )
        for model in models
    ]


def stages_of(versions: Sequence[ModelVersion]) -> dict[int, str]:
    """Return MLflow's stage of each version: what it is used for, never what somebody set."""
    kinds: dict[int, str] = {}
    uses = VersionUse.objects.filter(
        version__in=[item.pk for item in versions], use=VersionUse.Use.LIVE, ended_at=None
    ).values_list("version", "environment__kind")
    for version_id, kind in uses:
        stage = _STAGE_OF_KIND.get(kind, "None")
        if kinds.get(version_id) != "Production":
            kinds[version_id] = stage
    return {
        item.pk: "Archived"
        if item.state == ModelVersion.State.RETIRED
        else kinds.get(item.pk, "None")
        for item in versions
    }


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


def _aliases(models: Sequence[Model]) -> dict[int, dict[str, int]]:
    ids = [item.pk for item in models]
    rows = [
        *Alias.objects.filter(model__in=ids, ended_at=None).values_list(
            "model", "name", "version__number"
        ),
        *VersionUse.objects.filter(
            model__in=ids, use=VersionUse.Use.LIVE, ended_at=None
        ).values_list("model", "environment__guarded_alias", "version__number"),
    ]
    found: dict[int, dict[str, int]] = {}
    for model_id, name, number in rows:
        found.setdefault(model_id, {})[name] = number
    return found


def _tags(tags: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in tags.items()]


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
