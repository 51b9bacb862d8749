"""The queue's board."""

from __future__ import annotations

from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from frontend.presenters import jobs as presenter
from frontend.views.base import Crumb, PageRequest, page, show


@require_GET
@page
def board(request: PageRequest) -> HttpResponse:
    """Show what runs and waits; the board alone when it asks for itself."""
    context = {"board": presenter.board(request.actor, workspace_key=request.workspace.key)}
    if request.htmx:
        return render(request, "queue/_board.html", context)
    return show(request, "queue/board.html", context, crumbs=[Crumb("Training queue")])
