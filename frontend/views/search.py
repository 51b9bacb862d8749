"""Search: as suggestions for the palette, and as a page for readers without JavaScript."""

from __future__ import annotations

from django.http import HttpResponse, JsonResponse
from django.views.decorators.http import require_GET

from frontend.presenters import search
from frontend.views.base import Crumb, PageRequest, page, show


@require_GET
@page
def suggest(request: PageRequest) -> HttpResponse:
    """Answer the palette with what the reader may see."""
    found = search.groups(
        request.GET.get("q", ""), actor=request.actor, workspace=request.workspace
    )
    return JsonResponse({"groups": [group.to_json() for group in found]})


@require_GET
@page
def find(request: PageRequest) -> HttpResponse:
    """The same as a page."""
    text = request.GET.get("q", "").strip()[:100]
    context = {
        "q": text,
        "groups": search.groups(text, actor=request.actor, workspace=request.workspace),
    }
    return show(request, "me/find.html", context, crumbs=[Crumb("Search")])
