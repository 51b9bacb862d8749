"""Refusals at the door: by whom, at which address; recorded unless a service did so already."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest

from controlplane.access.refusals import record
from controlplane.audit.services import ObjectRef
from controlplane.core.actor import Actor
from controlplane.core.errors import DomainError


def record_at_door(request: HttpRequest | Any, error: DomainError) -> None:
    """Leave an event for an answer of 401 or 403; the pages' and the REST door both call this."""
    if error.status not in {401, 403}:
        return
    actor = Actor.from_request(request)
    record("request.refuse", actor=actor, obj=_address(request, actor), error=error)


def _address(request: HttpRequest | Any, actor: Actor) -> ObjectRef:
    match = request.resolver_match
    route = match.route if match is not None else ""
    label = f"{request.method} /{route}"[:200]
    return ObjectRef("address", f"{request.method} {route}"[:200], label, actor.workspace_id)
