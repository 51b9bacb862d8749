"""Who acts on a page: read once per request from the session."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import timedelta

from django.conf import settings
from django.contrib.auth import logout
from django.db.models import F
from django.http import HttpRequest, HttpResponse

from controlplane.accounts import sessions
from controlplane.accounts.models import Membership, User
from controlplane.core.clock import now

_WORKSPACE = re.compile(r"^/w/(?P<key>[a-z][a-z0-9-]{0,39})(/|$)")
# The API and the MLflow door know their callers by token only; a session never opens them.
_OTHER_DOORS = ("/api/", "/ajax-api/")
_SEEN_NOTED_EVERY_SECONDS = 60
_USE_NOTED_EVERY = timedelta(minutes=5)


class SessionActorMiddleware:
    """Put ``request.actor`` and ``request.workspace`` on every request.

    A session ends after half an hour without a request and after twelve hours in any case. The
    workspace is the one in the address, else the one used last; None where the person does not
    belong to the one in the address.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        request.actor = sessions.visitor(request)  # type: ignore[attr-defined]
        request.workspace = None  # type: ignore[attr-defined]
        if not request.path_info.startswith(_OTHER_DOORS):
            self._recognise(request)
        return self.get_response(request)

    def _recognise(self, request: HttpRequest) -> None:
        user = request.user
        if not isinstance(user, User) or not user.is_authenticated:
            return
        if self._has_run_out(request):
            logout(request)
            return
        membership = self._membership(user, request.path_info)
        workspace = membership.workspace if membership else None
        request.workspace = workspace  # type: ignore[attr-defined]
        request.actor = sessions.actor_of(  # type: ignore[attr-defined]
            user, request=request, workspace_id=workspace.pk if workspace else None
        )

    def _has_run_out(self, request: HttpRequest) -> bool:
        moment = int(time.time())
        began = request.session.get(sessions.BEGAN_AT)
        seen = request.session.get(sessions.SEEN_AT)
        if began is None or seen is None:
            return True
        if moment - began > settings.SESSION_COOKIE_AGE:
            return True
        if moment - seen > settings.SESSION_IDLE_SECONDS:
            return True
        if moment - seen >= min(_SEEN_NOTED_EVERY_SECONDS, settings.SESSION_IDLE_SECONDS // 2):
            request.session[sessions.SEEN_AT] = moment
        return False

    def _membership(self, user: User, path: str) -> Membership | None:
        mine = user.memberships.select_related("workspace")
        named = _WORKSPACE.match(path)
        if named is None:
            return mine.order_by(F("last_used_at").desc(nulls_last=True), "-is_home").first()
        found = mine.filter(workspace__key=named["key"]).first()
        if found is not None:
            moment = now()
            if found.last_used_at is None or found.last_used_at < moment - _USE_NOTED_EVERY:
                Membership.objects.filter(pk=found.pk).update(last_used_at=moment)
        return found
