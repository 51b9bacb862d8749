"""REST callers say who they are with a token, and with nothing else."""

from __future__ import annotations

from typing import Any

from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request

from controlplane.accounts import sessions, tokens
from controlplane.core.actor import Actor
from controlplane.core.errors import NotSignedIn

WORKSPACE_HEADER = "Gatehouse-Workspace"
CHALLENGE = 'Bearer realm="gatehouse"'


class TokenAuthentication(BaseAuthentication):
    """``Authorization: Bearer gh_…``; afterwards ``request.actor`` is who that is.

    The actor stands in the token's own workspace, or in the one named by ``Gatehouse-Workspace``.
    """

    def authenticate(self, request: Request) -> tuple[Actor, None] | None:
        visitor = sessions.visitor(request._request)
        _put(request, visitor)
        header = request.headers.get("Authorization", "")
        if not header:
            return None
        scheme, _, secret = header.partition(" ")
        if scheme.lower() != "bearer" or not secret.strip():
            raise NotSignedIn("Send the token as: Authorization: Bearer gh_…", code="no_bearer")
        actor = tokens.authenticate(
            secret.strip(),
            workspace=request.headers.get(WORKSPACE_HEADER, "").strip(),
            request_id=visitor.request_id,
            ip=visitor.ip,
            agent=visitor.agent,
        )
        _put(request, actor)
        return actor, None

    def authenticate_header(self, request: Request) -> str:
        return CHALLENGE


def _put(request: Any, actor: Actor) -> None:
    # Middleware sees Django's request, views the wrapper: both must name the same actor.
    request.actor = actor
    request._request.actor = actor
