"""Registered models, versions, tags and aliases: MLflow's routes over ``registry.services``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db import transaction
from django.http import HttpRequest, HttpResponseBase

from controlplane.access import services as access
from controlplane.core.actor import Actor
from controlplane.core.errors import Conflict, Invalid, NotFound
from experiments.mlflow_api import answers, filters, protocol
from experiments.mlflow_api.protocol import text
from experiments.services import registration, sources
from experiments.services.sealing import RESERVED_TAG_PREFIX
from registry.models import Model, ModelVersion
from registry.services import models as registry_models

_RECENT_FIRST = ("last_updated_timestamp DESC", "name ASC", "version_number DESC")


@protocol.door("POST")
def create_model(request: HttpRequest) -> HttpResponseBase:
    sent = protocol.parameters(request)
    tags = tags_of(sent)
    name = text(sent, "name", required=True)
    try:
        model = registry_models.create_model(
            actor=protocol.actor_of(request),
            workspace=protocol.workspace_of(request),
            name=name,
            description=text(sent, "description"),
            tags=tags,
            is_prompt=tags.get(filters.PROMPT_TAG, "false").lower() == "true",
        )
    except Conflict:
        raise Conflict(f"Registered Model (name={name}) already exists.") from None
    return protocol.answer({"registered_model": answers.models_json([model])[0]})


@protocol.door("GET")
def get_model(request: HttpRequest) -> HttpResponseBase:
    return protocol.answer({"registered_model": answers.models_json([model_of(request)])[0]})


@protocol.door("PATCH")
def update_model(request: HttpRequest) -> HttpResponseBase:
    sent = protocol.parameters(request)
    model = registry_models.update_model(
        model_of(request, sent),
        actor=protocol.actor_of(request),
        description=text(sent, "description"),
    )
    return protocol.answer({"registered_model": answers.models_json([model])[0]})


@protocol.door("POST")
def rename_model(request: HttpRequest) -> HttpResponseBase:
    sent = protocol.parameters(request)
    new_name = text(sent, "new_name", required=True)
    try:
        model = registry_models.rename_model(
            model_of(request, sent), new_name, actor=protocol.actor_of(request)
        )
    except Conflict:
        raise Conflict(f"Registered Model (name={new_name}) already exists.") from None
    return protocol.answer({"registered_model": answers.models_json([model])[0]})


@protocol.door("DELETE")
def delete_model(request: HttpRequest) -> HttpResponseBase:
    """Retire the model: for MLflow's clients it is gone, the record stays."""
    registry_models.retire_model(model_of(request), actor=protocol.actor_of(request))
    return protocol.answer()


@protocol.door("GET")
def search_models(request: HttpRequest) -> HttpResponseBase:
    sent = protocol.parameters(request)
    limit = protocol.whole_number(sent, "max_results", default=100, largest=1000)
    offset = filters.offset_of(text(sent, "page_token"))
    comparisons = filters.parse(text(sent, "filter"), filters.MODELS)
    order = filters.ordering(
        protocol.texts(sent, "order_by"), filters.MODELS, otherwise=["name ASC"]
    )
    found = (
        access.visible(Model.objects.all(), protocol.actor_of(request))
        .exclude(state=Model.State.RETIRED)
        .filter(filters.condition(comparisons, filters.MODELS))
        .order_by(*order)[offset : offset + limit + 1]
    )
    page = list(found)
    body: dict[str, Any] = {"registered_models": answers.models_json(page[:limit])}
    if len(page) > limit:
        body["next_page_token"] = filters.token_of(offset + limit)
    return protocol.answer(body)


@protocol.door("GET", "POST")
def get_latest_versions(request: HttpRequest) -> HttpResponseBase:
    sent = protocol.parameters(request)
    model = model_of(request, sent)
    wanted = {canonical_stage(stage) for stage in protocol.texts(sent, "stages")}
    found = answers.versions_json(answers.latest_versions([model]).get(model.pk, []))
    return protocol.answer(
        {
            "model_versions": [
                item for item in found if not wanted or item["current_stage"] in wanted
            ]
        }
    )


@protocol.door("POST", "DELETE")
def model_tag(request: HttpRequest) -> HttpResponseBase:
    sent = protocol.parameters(request)
    return _tag(request, model_of(request, sent), sent)


@protocol.door("POST")
def create_version(request: HttpRequest) -> HttpResponseBase:
    """Register and seal a version; READY in the answer."""
    sent = protocol.parameters(request)
    actor, workspace = protocol.actor_of(request), protocol.workspace_of(request)
    model = model_of(request, sent)
    source = text(sent, "source", required=True)
    description, tags = text(sent, "description"), tags_of(sent)
    if not model.is_prompt and sources.is_model_version(source):
        version = registration.copy(
            model,
            _original(request, source, sent),
            actor=actor,
            description=description,
            tags=tags,
        )
    else:
        version = registration.register(
            model,
            actor=actor,
            workspace=workspace,
            source=source,
            run_id=text(sent, "run_id"),
            logged_model_id=text(sent, "model_id"),
            description=description,
            tags=tags,
        )
    return _answer_version(version)


@protocol.door("GET")
def get_version(request: HttpRequest) -> HttpResponseBase:
    return _answer_version(version_of(request))


@protocol.door("PATCH")
def update_version(request: HttpRequest) -> HttpResponseBase:
    sent = protocol.parameters(request)
    version = version_of(request, sent)
    if "description" in sent:
        version = registry_models.update_version(
            version,
            actor=protocol.actor_of(request),
            description=text(sent, "description"),
        )
    return _answer_version(version)


@protocol.door("DELETE")
def delete_version(request: HttpRequest) -> HttpResponseBase:
    """Retire the version: for MLflow's clients it is gone, files and record stay."""
    version, actor = version_of(request), protocol.actor_of(request)
    with transaction.atomic():
        if version.state != ModelVersion.State.RETIRED:
            version = registry_models.retire_version(version, actor=actor)
        registry_models.set_tag(version, answers.DELETED_TAG, "true", actor=actor)
    return protocol.answer()


@protocol.door("GET")
def search_versions(request: HttpRequest) -> HttpResponseBase:
    sent = protocol.parameters(request)
    limit = protocol.whole_number(sent, "max_results", default=10_000, largest=200_000)
    offset = filters.offset_of(text(sent, "page_token"))
    comparisons = filters.parse(text(sent, "filter"), filters.VERSIONS)
    order = filters.ordering(
        protocol.texts(sent, "order_by"), filters.VERSIONS, otherwise=_RECENT_FIRST
    )
    found = (
        access.visible(answers.readable_versions(), protocol.actor_of(request))
        .filter(filters.condition(comparisons, filters.VERSIONS))
        .defer("manifest", "signature", "contributors")
        .order_by(*order)[offset : offset + limit + 1]
    )
    page = list(found)
    body: dict[str, Any] = {"model_versions": answers.versions_json(page[:limit])}
    if len(page) > limit:
        body["next_page_token"] = filters.token_of(offset + limit)
    return protocol.answer(body)


@protocol.door("GET")
def download_uri(request: HttpRequest) -> HttpResponseBase:
    uri = sources.download_uri(version_of(request), protocol.workspace_of(request))
    return protocol.answer({"artifact_uri": uri})


@protocol.door("POST", "DELETE")
def version_tag(request: HttpRequest) -> HttpResponseBase:
    sent = protocol.parameters(request)
    return _tag(request, version_of(request, sent), sent)


def model_of(request: HttpRequest, sent: Mapping[str, Any] | None = None) -> Model:
    """Return the model that a request names.

    Raises:
        NotFound: there is none that the actor may see; worded as MLflow words it.
    """
    name = text(sent or protocol.parameters(request), "name", required=True)
    return visible_model(name, actor=protocol.actor_of(request))


def visible_model(name: str, *, actor: Actor) -> Model:
    try:
        model = registry_models.get_model(name, actor=actor, workspace_id=actor.workspace_id or 0)
    except NotFound:
        model = None
    if model is None or model.state == Model.State.RETIRED:
        raise NotFound(f"Registered Model with name={name} not found")
    return model


def version_of(request: HttpRequest, sent: Mapping[str, Any] | None = None) -> ModelVersion:
    """Return the version that a request names.

    Raises:
        NotFound: there is none that the actor may see. Invalid: the number is none.
    """
    sent = sent or protocol.parameters(request)
    name = text(sent, "name", required=True)
    number = version_number(text(sent, "version", required=True))
    return visible_version(name, number, actor=protocol.actor_of(request))


def visible_version(name: str, number: int, *, actor: Actor) -> ModelVersion:
    found = (
        access.visible(answers.readable_versions(), actor)
        .select_related("model__workspace")
        .filter(model__name=name, number=number)
        .first()
    )
    if found is None:
        raise NotFound(f"Model Version (name={name}, version={number}) not found")
    return found


def version_number(written: str) -> int:
    if not written.isdecimal() or int(written) >= 2**31:
        raise Invalid(f"Parameter 'version' must be an integer, got '{written}'.")
    return int(written)


def tags_of(sent: Mapping[str, Any]) -> dict[str, str]:
    """Return the tags of a new record.

    Raises:
        Invalid: they are malformed, or one of them only the portal writes.
    """
    tags = sent.get("tags") or []
    if not isinstance(tags, list) or not all(isinstance(tag, dict) for tag in tags):
        raise Invalid("Invalid value for parameter 'tags' supplied: it must be a list of tags.")
    found = {}
    for tag in tags:
        key = text(tag, "key", required=True)
        _refuse_reserved(key)
        found[key] = text(tag, "value")
    return found


def canonical_stage(stage: str) -> str:
    for known in answers.STAGES:
        if known.lower() == stage.lower():
            return known
    raise Invalid(
        f"Invalid Model Version stage: {stage}. Value must be one of {', '.join(answers.STAGES)}."
    )


def _tag(
    request: HttpRequest, record: Model | ModelVersion, sent: Mapping[str, Any]
) -> HttpResponseBase:
    key = text(sent, "key", required=True)
    _refuse_reserved(key)
    actor = protocol.actor_of(request)
    if request.method == "POST":
        registry_models.set_tag(record, key, text(sent, "value"), actor=actor)
    elif key in record.tags:
        registry_models.delete_tag(record, key, actor=actor)
    else:
        # As in MLflow, deleting a tag that is not there changes nothing.
        access.require(actor, "contribute", record)
    return protocol.answer()


def _refuse_reserved(key: str) -> None:
    if key.startswith(RESERVED_TAG_PREFIX):
        raise Invalid(
            f"The tag {key!r} cannot be set or deleted: tags that begin with "
            f"{RESERVED_TAG_PREFIX!r} are written by Gatehouse."
        )


def _original(request: HttpRequest, source: str, sent: Mapping[str, Any]) -> ModelVersion:
    """Return the version that is to be copied, named by number or alias."""
    actor = protocol.actor_of(request)
    name, separator, rest = source.removeprefix("models:/").partition("/")
    if not separator:
        name, _, alias = name.partition("@")
        found = registry_models.resolve_alias(visible_model(name, actor=actor), alias)
        if found is None:
            raise Invalid(f"Invalid model version source: '{source}'.")
        rest = str(found.number)
    original = visible_version(name, version_number(rest), actor=actor)
    if original.model.is_prompt:
        raise Invalid(
            f"Invalid model version source: '{source}'. Prompt versions cannot be used as model "
            "version sources."
        )
    run_id, model_id = text(sent, "run_id"), text(sent, "model_id")
    if (run_id and run_id != original.run_id) or (
        model_id and model_id != original.logged_model_id
    ):
        raise Invalid(
            f"Invalid model version source: '{source}'. The run_id and model_id request "
            "parameters must match the referenced model version."
        )
    return original


def _answer_version(version: ModelVersion) -> HttpResponseBase:
    uses = answers.pointers([version.model])
    names = [item.alias for item in uses if item.version_id == version.pk]
    body = answers.version_json(version, stage=answers.stage_of(version, uses), aliases=names)
    return protocol.answer({"model_version": body})
