"""The door of every page: signed in, in a workspace one belongs to, in its time zone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any, Concatenate, ParamSpec, cast
from zoneinfo import ZoneInfo

from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone

from controlplane.accounts.models import User, Workspace
from controlplane.core.actor import Actor
from controlplane.core.errors import NotFound, NotSignedIn

P = ParamSpec("P")


class PageRequest(HttpRequest):
    """A request that has passed the door."""

    actor: Actor
    person: User
    workspace: Workspace
    htmx: Any


View = Callable[Concatenate[PageRequest, P], HttpResponseBase]


@dataclass(frozen=True)
class Crumb:
    name: str
    url: str = ""


def page(view: View[P]) -> Callable[..., HttpResponseBase]:
    """Let people in who belong to the workspace of the address.

    A workspace that does not exist and one that the person does not belong to look the same.
    """

    @wraps(view)
    def enter(
        request: HttpRequest, workspace_key: str, *args: P.args, **kwargs: P.kwargs
    ) -> HttpResponseBase:
        opened = open_workspace(request, workspace_key)
        with timezone.override(ZoneInfo(opened.workspace.time_zone)):
            return view(opened, *args, **kwargs)

    return enter


def open_workspace(request: HttpRequest, key: str) -> PageRequest:
    """Return the request of a signed-in person inside a workspace that is theirs.

    Raises:
        NotSignedIn: nobody is signed in.
        NotFound: there is no such workspace for this person.
    """
    user = signed_in(request)
    # The session middleware has opened the workspace of the address, if the person belongs to it.
    workspace: Workspace | None = getattr(request, "workspace", None)
    if workspace is None or workspace.key != key:
        raise NotFound(f"There is no workspace {key} that you belong to.")
    opened = cast(PageRequest, request)
    opened.person = user
    return opened


def signed_in(request: HttpRequest) -> User:
    if not isinstance(request.user, User) or not Actor.from_request(request).is_human:
        raise NotSignedIn("Sign in to see this page.")
    return request.user


def show(
    request: PageRequest,
    template: str,
    context: dict[str, Any],
    *,
    crumbs: list[Crumb],
    status: int = 200,
) -> HttpResponse:
    """Render a page with its place in the tree of pages."""
    return render(request, template, {**context, "crumbs": crumbs}, status=status)


def to(request: PageRequest, name: str, *args: Any) -> str:
    """Return the address of a page of the workspace that is being looked at."""
    return reverse(f"pages:{name}", args=[request.workspace.key, *args])
