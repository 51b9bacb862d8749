"""The admin's door: for people who administer access, in the workspace they stand in."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

from django.conf import settings
from django.contrib.admin import AdminSite
from django.http import (
    HttpRequest,
    HttpResponse,
    HttpResponseNotAllowed,
    HttpResponseRedirect,
)
from django.http.response import HttpResponseBase
from django.urls import URLPattern, URLResolver, reverse
from django.utils.http import urlencode

from controlplane.access import services as access
from controlplane.access.queries import workspace_or_none
from controlplane.accounts import sessions
from controlplane.core.actor import Actor
from controlplane.core.errors import NotPermitted

View = TypeVar("View", bound=Callable[..., Any])
# Django's own pages that write around the services, or show what nobody was asked about.
_LEFT_OUT = frozenset({"password_change", "password_change_done", "autocomplete", "view_on_site"})


def answers_to(*methods: str) -> Callable[[View], View]:
    """Name the methods of an admin page; without this, GET is the only one."""

    def mark(view: View) -> View:
        view.answers_to = methods  # type: ignore[attr-defined]
        return view

    return mark


class GatehouseAdminSite(AdminSite):
    """Signing in happens on the product's own page; being staff or superuser opens nothing."""

    site_header = "Gatehouse administration"
    site_title = "Gatehouse"
    index_title = "People and access"
    index_template = "service_admin/index.html"
    final_catch_all_view = False
    enable_nav_sidebar = False

    def __init__(self, name: str = "admin") -> None:
        super().__init__(name)
        # Deleting rows in bulk goes around every service.
        self.disable_action("delete_selected")

    def has_permission(self, request: HttpRequest) -> bool:
        actor = Actor.from_request(request)
        workspace = workspace_or_none(actor)
        if workspace is None or not actor.is_human:
            return False
        return access.can(actor, "admin_access", workspace).allowed

    def get_urls(self) -> list[Any]:
        return [url for url in super().get_urls() if _name(url) not in _LEFT_OUT]

    def admin_view(self, view: Any, cacheable: bool = False) -> Any:
        """Let a page answer to its methods only, before anybody is asked who they are."""
        inner = super().admin_view(view, cacheable)
        methods = getattr(getattr(view, "func", view), "answers_to", ("GET",))

        @wraps(inner)
        def answer(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            if request.method not in (*methods, "HEAD"):
                return HttpResponseNotAllowed(methods)
            response: HttpResponseBase = inner(request, *args, **kwargs)
            return response

        return answer

    def login(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """Lead strangers to the sign-in page; refuse those who are signed in and may not.

        Raises:
            NotPermitted: the person does not administer access.
        """
        if request.method not in {"GET", "HEAD"}:
            return HttpResponseNotAllowed(["GET"])
        if Actor.from_request(request).is_human:
            if self.has_permission(request):
                return HttpResponseRedirect(self._index())
            raise NotPermitted(
                "The administration is for workspace administrators. They can grant you the role."
            )
        back = request.GET.get("next") or self._index()
        return HttpResponseRedirect(f"{settings.LOGIN_URL}?{urlencode({'next': back})}")

    @answers_to("POST")
    def logout(  # type: ignore[override]
        self, request: HttpRequest, extra_context: Any = None
    ) -> HttpResponse:
        sessions.sign_out(request)
        return HttpResponseRedirect(settings.LOGIN_URL)

    def _index(self) -> str:
        return reverse("admin:index", current_app=self.name)


def _name(url: URLPattern | URLResolver) -> str | None:
    return url.name if isinstance(url, URLPattern) else None
