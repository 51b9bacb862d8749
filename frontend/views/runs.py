"""Runs and jobs: the list, one with its live log, and stopping it."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

from django.http import FileResponse, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.views.decorators.http import require_GET, require_http_methods

from controlplane.access import services as access
from controlplane.core.errors import DomainError, NotFound
from controlplane.jobs import folders, services
from controlplane.jobs.models import Job
from experiments.services import runs
from frontend.forms.promotions import ReasonForm
from frontend.presenters import run as presenter
from frontend.presenters import run_list
from frontend.presenters.listing import whole
from frontend.presenters.run import RunPage
from frontend.views.base import Crumb, PageRequest, page, show, to
from registry.models import ModelVersion

STOP_POLLING = 286
NOTHING_NEW = 204
# A file offset; Python and the file system take far larger ones than a log ever has.
LAST_BYTE = 2**40


@require_GET
@page
def index(request: PageRequest) -> HttpResponse:
    """List runs, newest first."""
    context = run_list.listed(request.GET, actor=request.actor, workspace=request.workspace)
    context["client_url"] = to(request, "me")
    return show(request, "runs/list.html", context, crumbs=[Crumb("Runs")])


@require_GET
@page
def detail(request: PageRequest, run_id: str) -> HttpResponse:
    """Show a run, with the job that produced it where there is one."""
    record = runs.get(run_id, actor=request.actor, workspace=request.workspace)
    job = (
        access.visible(Job.objects.filter(run_id=run_id), request.actor)
        .select_related("workspace", "owner")
        .first()
    )
    found = RunPage(
        request.actor,
        request.workspace.key,
        job=job,
        record=record,
        versions=_versions(request, run_id=run_id),
    )
    return _show(request, found)


@require_GET
@page
def job(request: PageRequest, job_id: UUID) -> HttpResponse:
    """Show a job; one with a run stands at the run's address."""
    found = _job_page(request, job_id)
    if found.record is not None:
        return HttpResponseRedirect(found.url)
    return _show(request, found)


@require_GET
@page
def board(request: PageRequest, job_id: UUID) -> HttpResponse:
    """Answer the part of the page that moves; the last one ends the asking."""
    found = _job_page(request, job_id)
    status = 200 if found.is_active else STOP_POLLING
    return render(request, "runs/_board.html", {"run": found}, status=status)


@require_GET
@page
def log(request: PageRequest, job_id: UUID) -> HttpResponse:
    """Answer the log from a byte on: 204 while nothing is new, 286 with the last part."""
    found = services.get(job_id, actor=request.actor)
    start = whole(request.GET.get("from", ""), most=LAST_BYTE)
    part = presenter.read_lines(found, start)
    if not part.lines and not part.is_complete:
        return HttpResponse(status=NOTHING_NEW)
    status = STOP_POLLING if part.is_complete else 200
    response = render(request, "runs/_log.html", {"lines": part.lines}, status=status)
    response.headers["Gatehouse-Next"] = str(part.next)
    return response


@require_GET
@page
def raw_log(request: PageRequest, job_id: UUID) -> HttpResponse | FileResponse:
    """Send the newest attempt's log as it was written."""
    found = services.get(job_id, actor=request.actor)
    path = folders.of(found.pk, found.attempt).log
    if not path.exists():
        raise NotFound(f"{found} has not written a log yet.")
    return FileResponse(
        path.open("rb"),
        as_attachment=True,
        filename=f"job-{found.pk}.log",
        content_type="text/plain; charset=utf-8",
    )


@require_http_methods(["GET", "POST"])
@page
def stop(request: PageRequest, job_id: UUID) -> HttpResponse:
    """Stop a job, with a reason."""
    found = _job_page(request, job_id)
    form = ReasonForm(request.POST or None, auto_id="stop_%s")
    if request.method == "POST" and form.is_valid():
        try:
            services.cancel(job_id, actor=request.actor, reason=form.cleaned_data["reason"])
        except DomainError as error:
            if found.stop is None:
                raise
            form.add_refusal(error.message)
        else:
            return HttpResponseRedirect(found.url)
    if found.stop is None:
        raise NotFound(f"{found.name} offers no stop now.")
    crumbs = [Crumb("Runs", to(request, "runs")), Crumb(found.name, found.url), Crumb("Stop")]
    context = {"act": replace(found.stop, form=form)}
    status = 422 if form.errors else 200
    return show(request, "act.html", context, crumbs=crumbs, status=status)


def _job_page(request: PageRequest, job_id: UUID) -> RunPage:
    found = services.get(job_id, actor=request.actor)
    record = None
    if found.run_id:
        try:
            record = runs.get(found.run_id, actor=request.actor, workspace=request.workspace)
        except NotFound:
            record = None  # the run was deleted by a client; the job stays
    return RunPage(
        request.actor,
        request.workspace.key,
        job=found,
        record=record,
        versions=_versions(request, job_id=found.pk),
    )


def _versions(request: PageRequest, **wanted: object) -> list[ModelVersion]:
    rows = access.visible(ModelVersion.objects.filter(**wanted), request.actor)
    return list(rows.select_related("model").order_by("number")[:5])


def _show(request: PageRequest, found: RunPage) -> HttpResponse:
    crumbs = [Crumb("Runs", to(request, "runs")), Crumb(found.name)]
    return show(request, "runs/detail.html", {"run": found}, crumbs=crumbs)
