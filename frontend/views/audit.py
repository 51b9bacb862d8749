"""The audit log for people: entries, filters, one entry, and whether the ledger holds."""

from __future__ import annotations

from uuid import UUID

from django.contrib import messages
from django.http import HttpResponse, HttpResponseRedirect
from django.views.decorators.http import require_GET, require_POST

from controlplane.access import services as access
from controlplane.audit import queries, verification
from controlplane.audit.sealer_files import FilesUnusable
from controlplane.audit.verify import CouldNotVerify
from frontend.presenters import audit as presenter
from frontend.presenters import history
from frontend.views.base import Crumb, PageRequest, page, show, to


@require_GET
@page
def index(request: PageRequest) -> HttpResponse:
    """List entries: all of the workspace to those who may read its log, else one's own acts."""
    return show(request, "audit/list.html", _context(request), crumbs=[Crumb("Audit log")])


@require_GET
@page
def entry(request: PageRequest, event_id: UUID) -> HttpResponse:
    """Show one entry in full beside the list."""
    scope = history.scope_on(request.actor, request.workspace)
    detail = queries.entry(scope, event_id)
    found = presenter.panel(detail, workspace_key=request.workspace.key, query=request.GET)
    name = f"Entry {found.number:,}" if found.number else "Entry being sealed"
    crumbs = [Crumb("Audit log", to(request, "audit")), Crumb(name)]
    return show(request, "audit/list.html", {**_context(request), "entry": found}, crumbs=crumbs)


@require_GET
@page
def by_number(request: PageRequest, number: int) -> HttpResponse:
    """Lead the number that people say to the entry's own address."""
    scope = history.scope_on(request.actor, request.workspace)
    found = queries.entry(scope, number)
    return HttpResponseRedirect(to(request, "audit_entry", found.entry.id))


@require_POST
@page
def verify(request: PageRequest) -> HttpResponse:
    """Check every entry against the signed tree now; the result is an entry itself."""
    access.require(request.actor, "audit_read", request.workspace)
    try:
        report = verification.verify_now(actor=request.actor)
    except (CouldNotVerify, FilesUnusable) as error:
        messages.error(request, f"The check could not be made: {error}")
    else:
        if report.is_intact:
            messages.success(
                request, f"{report.size:,} entries were checked; the ledger is intact."
            )
        else:
            messages.error(request, "The ledger does not verify. Nothing was repaired or hidden.")
    return HttpResponseRedirect(to(request, "audit"))


def _context(request: PageRequest) -> dict[str, object]:
    scope = history.scope_on(request.actor, request.workspace)
    return {
        **presenter.listed(
            request.GET, scope, actor=request.actor, workspace_key=request.workspace.key
        ),
        "integrity": presenter.banner(),
        "may_verify": access.can(request.actor, "audit_read", request.workspace).allowed,
    }
