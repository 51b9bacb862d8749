"""Models and their versions."""

from __future__ import annotations

from dataclasses import replace

from django.http import HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.views.decorators.http import require_GET, require_http_methods

from controlplane.access import services as access
from controlplane.core.errors import DomainError, NotFound
from controlplane.workflow import services as workflow
from frontend.forms.promotions import ReasonForm
from frontend.presenters import history, model_list, scorecard
from frontend.presenters import model as presenter
from frontend.presenters.acts import Act
from frontend.presenters.makeup import columns
from frontend.views.base import Crumb, PageRequest, page, show, to
from registry.models import Environment, ModelVersion, Policy, PromotionRequest
from registry.services import evidence, models
from registry.states import OPEN_PROMOTION_STATES, VERSION


@require_GET
@page
def index(request: PageRequest) -> HttpResponse:
    """List models; a changed filter asks for the table alone."""
    context = model_list.listed(request.GET, actor=request.actor)
    context["client_url"] = to(request, "me")
    if request.htmx and request.htmx.target == "models-table":
        return render(request, "models/_table.html", context)
    return show(request, "models/list.html", context, crumbs=[Crumb("Models")])


@require_GET
@page
def detail(request: PageRequest, name: str) -> HttpResponse:
    """Show a model: where it is live, its versions, how its leading metric moved."""
    model = models.get_model(name, actor=request.actor, workspace_id=request.workspace.pk)
    found = presenter.model_page(model, request.GET, workspace_key=request.workspace.key)
    may_propose = "propose" in access.verbs_on(request.actor, model)
    context = {
        **vars(found),
        "history": history.about(request.actor, request.workspace.key, model),
        "propose_url": _propose_url(request, found.newest) if may_propose else "",
    }
    crumbs = [Crumb("Models", to(request, "models")), Crumb(model.name)]
    return show(request, "models/detail.html", context, crumbs=crumbs)


@require_GET
@page
def version(request: PageRequest, name: str, number: int) -> HttpResponse:
    """Show one version: its files, evaluation, origin and use."""
    found = _version(request, name, number)
    requests = list(PromotionRequest.objects.filter(version=found).select_related("environment"))
    current = next((item for item in requests if item.state in OPEN_PROMOTION_STATES), None)
    may_propose = found.state == ModelVersion.State.SEALED and "propose" in access.verbs_on(
        request.actor, found
    )
    card = scorecard.scorecard(evidence.newest(found), _policy(found))
    context = {
        "model": found.model,
        "version": found,
        "aliases": presenter.aliases_by_version(found.model, current).get(found.pk, []),
        "card": card,
        "files": found.manifest,
        "columns": columns(found.signature),
        "lineage": presenter.lineage(
            found, workspace_key=request.workspace.key, actor=request.actor
        ),
        "uses": presenter.uses_of(found),
        "promotions": requests,
        "promotion": current,
        "propose_url": _propose_url(request, found) if may_propose else "",
        "acts": _acts(request, found),
        "history": history.about(request.actor, request.workspace.key, found),
    }
    return show(request, "models/version.html", context, crumbs=_crumbs(request, found))


@require_GET
@page
def version_by_name(request: PageRequest, name: str, label: str) -> HttpResponse:
    """Lead a semantic version or an alias to the version's number, which never changes."""
    model = models.get_model(name, actor=request.actor, workspace_id=request.workspace.pk)
    found = model.versions.filter(semantic_version=label).first() or models.resolve_alias(
        model, label.removeprefix("@")
    )
    if found is None:
        raise NotFound(f"{name!r} has no version {label}.")
    return HttpResponseRedirect(to(request, "version", name, found.number))


@require_http_methods(["GET", "POST"])
@page
def retire(request: PageRequest, name: str, number: int) -> HttpResponse:
    """Stop offering a version for promotion."""
    found = _version(request, name, number)
    act = _retire_act(request, found)
    form = ReasonForm(request.POST or None, auto_id="retire_%s")
    if request.method == "POST" and form.is_valid():
        try:
            models.retire_version(found, actor=request.actor, reason=form.cleaned_data["reason"])
        except DomainError as error:
            form.add_refusal(error.message)
        else:
            return HttpResponseRedirect(to(request, "version", name, number))
    status = 422 if form.errors else 200
    context = {"act": replace(act, form=form)}
    return show(request, "act.html", context, crumbs=_crumbs(request, found), status=status)


def _version(request: PageRequest, name: str, number: int) -> ModelVersion:
    return models.get_version(name, number, actor=request.actor, workspace_id=request.workspace.pk)


def _acts(request: PageRequest, version: ModelVersion) -> list[Act]:
    steps = {step.name: step for step in workflow.available_steps(VERSION, version, request.actor)}
    step = steps.get("retire")
    return [_retire_act(request, version)] if step and step.permitted else []


def _retire_act(request: PageRequest, version: ModelVersion) -> Act:
    return Act(
        name="retire",
        label="Retire…",
        url=to(request, "version_retire", version.model.name, version.number),
        question=f"Retire {version}?",
        confirm=f"Retire {version}",
        effect="It is no longer offered for promotion, and its free aliases end. What it serves "
        "keeps running.",
        back=to(request, "version", version.model.name, version.number),
        form=ReasonForm(auto_id="retire_%s"),
        is_dangerous=True,
    )


def _policy(version: ModelVersion) -> Policy | None:
    """Return the policy that the version would meet on its way to production."""
    return (
        Policy.objects.filter(
            environment__workspace=version.workspace_id,
            environment__kind=Environment.Kind.PROD,
            risk_tier=version.model.risk_tier,
            state=Policy.State.ACTIVE,
        )
        .select_related("environment")
        .first()
    )


def _propose_url(request: PageRequest, version: ModelVersion | None) -> str:
    if version is None:
        return ""
    address = to(request, "promotion_new")
    return f"{address}?model={version.model.name}&version={version.number}"


def _crumbs(request: PageRequest, version: ModelVersion) -> list[Crumb]:
    name = version.model.name
    return [
        Crumb("Models", to(request, "models")),
        Crumb(name, to(request, "model", name)),
        Crumb(f"v{version.number}"),
    ]
