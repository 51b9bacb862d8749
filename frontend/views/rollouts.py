"""Rollouts: the list, one as it moves, and every way to steer it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from django.http import HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.views.decorators.http import require_GET, require_http_methods

from controlplane.core.errors import DomainError, NotFound
from deployments import queries
from deployments.states import ACTIVE_ROLLOUT_STATES
from frontend import words
from frontend.presenters import rollout_acts
from frontend.presenters.listing import page_of
from frontend.presenters.rollout import RolloutPage
from frontend.views.base import Crumb, PageRequest, page, show, to

STOP_POLLING = 286


@require_GET
@page
def index(request: PageRequest) -> HttpResponse:
    """List rollouts, newest first."""
    rows = queries.rollouts(request.actor)
    under_way = rows.filter(state__in=ACTIVE_ROLLOUT_STATES).count()
    shown, foot = page_of(rows.order_by("-pk"), request.GET, one="rollout")
    context = {
        "summary": f"{words.plural(under_way, 'rollout')} under way",
        "rows": [RolloutPage(item, request.actor, request.workspace.key) for item in shown],
        "page": foot,
    }
    return show(request, "rollouts/list.html", context, crumbs=[Crumb("Rollouts")])


@require_GET
@page
def detail(request: PageRequest, pk: int) -> HttpResponse:
    """Show a rollout; the moving part alone when it asks for itself."""
    found = _page(request, pk)
    context = _context(found)
    if request.htmx:
        status = 200 if found.is_active else STOP_POLLING
        return render(request, "rollouts/_board.html", context, status=status)
    return show(request, "rollouts/detail.html", context, crumbs=_crumbs(request, found))


@require_http_methods(["GET", "POST"])
@page
def act(request: PageRequest, pk: int, name: str) -> HttpResponse:
    """Ask for one step on a page of its own, and take it."""
    found = _page(request, pk)
    form = rollout_acts.form_of(name, request.POST or None, page=found)
    if request.method == "POST" and form.is_valid():
        try:
            rollout_acts.perform(name, found, form, actor=request.actor)
        except DomainError as error:
            if error.status in {403, 404}:
                raise
            form.add_refusal(error.message, error.details.get("fields"))
        else:
            return HttpResponseRedirect(found.url)
    offered = next((item for item in rollout_acts.acts(found) if item.name == name), None)
    if offered is None:
        if form.errors:
            raise NotFound(f"This rollout is {words.look_of(found.state).text}: {_first(form)}")
        raise NotFound("This rollout offers no such step now.")
    crumbs = [*_crumbs(request, found)[:-1], Crumb(_title(found), found.url), Crumb(offered.label)]
    status = 422 if form.errors else 200
    shown = replace(offered, form=form if request.method == "POST" else offered.form)
    return show(request, "act.html", {"act": shown}, crumbs=crumbs, status=status)


def _page(request: PageRequest, pk: int) -> RolloutPage:
    record = queries.rollout(pk, request.actor)
    return RolloutPage(record, request.actor, request.workspace.key)


def _context(found: RolloutPage) -> dict[str, Any]:
    return {"rollout": found, "acts": rollout_acts.acts(found)}


def _title(found: RolloutPage) -> str:
    return f"{found.model_name} {found.version}"


def _first(form: Any) -> str:
    return next((str(errors[0]) for errors in form.errors.values()), "")


def _crumbs(request: PageRequest, found: RolloutPage) -> list[Crumb]:
    return [Crumb("Rollouts", to(request, "rollouts")), Crumb(_title(found))]
