"""Closed unless opened: a view names the actions that signed-in callers may reach."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rest_framework.exceptions import MethodNotAllowed
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from controlplane.core.actor import Actor, ActorKind
from controlplane.core.errors import NotPermitted, NotSignedIn

if TYPE_CHECKING:
    # rest_framework.views reads its settings, and so this module, while it is being imported.
    from rest_framework.views import APIView


class DenyByDefault(BasePermission):
    """Let an action through when its view lists it in ``open_to_signed_in``, or, for the few
    that need no token, in ``open_to_anyone``. What may be done with a record is asked further
    in, of ``access``."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        method = (request.method or "").lower()
        if method == "options" or not hasattr(view, method):
            raise MethodNotAllowed(request.method or "")
        action = getattr(view, "action", None) or ("get" if method == "head" else method)
        if action in getattr(view, "open_to_anyone", ()):
            return True
        if Actor.from_request(request).kind is ActorKind.ANONYMOUS:
            raise NotSignedIn("Sign in first: send a token as Authorization: Bearer gh_…")
        if action not in getattr(view, "open_to_signed_in", ()):
            raise NotPermitted(f"Nothing opens {request.method} at this address.", code="closed")
        return True
