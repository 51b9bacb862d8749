"""Home: what needs the reader, first."""

from __future__ import annotations

from django.http import HttpResponse
from django.views.decorators.http import require_GET

from frontend.presenters import home
from frontend.views.base import Crumb, PageRequest, page, show


@require_GET
@page
def index(request: PageRequest) -> HttpResponse:
    """Show the work list of this person."""
    context = home.home(request.actor, request.person, request.workspace)
    return show(request, "home/index.html", context, crumbs=[Crumb("Home")])
