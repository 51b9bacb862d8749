"""The admin's door: for people who administer access, in the workspace they stand in."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib.admin import AdminSite
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, URLResolver, reverse
from django.utils.http import urlencode

from controlplane.access import services as access
from controlplane.access.queries import workspace_or_none
from controlplane.accounts import sessions
from controlplane.core.actor import Actor
from controlplane.core.errors import NotPermitted

# Django's own pages that write around the services, or show what nobody was asked about.
_LEFT_OUT = frozenset({"password_change", "password_change_done", "autocomplete", "view_on_site"})


class GatehouseAdminSite(AdminSite):
    """Signing in happens on the product's own page; being staff or superuser opens nothing."""

    site_header = "Gatehouse administration"
    site_title = "Gatehouse"
    index_title = "People and access"
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

    def login(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """Lead strangers to the sign-in page; refuse those who are signed in and may not.

        Raises:
            NotPermitted: the person does not administer access.
        """
        if Actor.from_request(request).is_human:
            if self.has_permission(request):
                return HttpResponseRedirect(self._index())
            raise NotPermitted(
                "The administration is for workspace administrators. They can grant you the role."
            )
        back = request.GET.get("next") or self._index()
        return HttpResponseRedirect(f"{settings.LOGIN_URL}?{urlencode({'next': back})}")

    def logout(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        if request.method == "POST":
            sessions.sign_out(request)
        return HttpResponseRedirect(settings.LOGIN_URL)

    def _index(self) -> str:
        return reverse("admin:index", current_app=self.name)


def _name(url: URLPattern | URLResolver) -> str | None:
    return url.name if isinstance(url, URLPattern) else None
