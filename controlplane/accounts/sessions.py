"""Signing in to the pages with a name and a password, and out again."""

from __future__ import annotations

import time

from django.contrib import auth
from django.db.models import F
from django.http import HttpRequest

from controlplane.access.refusals import refusals
from controlplane.accounts import throttle
from controlplane.accounts.models import User
from controlplane.audit import services as audit
from controlplane.core.actor import Actor, ActorKind
from controlplane.core.errors import NotSignedIn

BEGAN_AT = "began_at"
SEEN_AT = "seen_at"
WRONG = "This name and password do not belong together."


def sign_in(request: HttpRequest, *, username: str, password: str) -> User:
    """Start a session for the person; afterwards ``request.actor`` is that person.

    A wrong name and a wrong password are told apart neither by sentence nor by time.

    Raises:
        NotSignedIn: they do not belong together, or the account was deactivated.
        TooMany: too many wrong ones lately.
    """
    visitor = Actor.from_request(request)
    known = User.objects.filter(username=username).first()
    target = audit.ObjectRef(
        "user", str(known.pk) if known else "", known.actor_id if known else "unknown", None
    )
    with refusals("session.sign_in_failed", actor=visitor, obj=target):
        throttle.require_patience(who=username, ip=visitor.ip)
        user = auth.authenticate(request, username=username, password=password)
        if not isinstance(user, User) or user.kind != User.Kind.HUMAN:
            throttle.note_wrong(who=username, ip=visitor.ip)
            raise NotSignedIn(WRONG, code="wrong_password")
    throttle.note_right(who=username, ip=visitor.ip)
    auth.login(request, user)
    moment = int(time.time())
    request.session[BEGAN_AT] = moment
    request.session[SEEN_AT] = moment
    actor = actor_of(user, request=request, workspace_id=home_of(user))
    request.actor = actor  # type: ignore[attr-defined]
    audit.record("session.sign_in", actor=actor, obj=target, workspace_id=actor.workspace_id)
    return user


def sign_out(request: HttpRequest) -> None:
    """End the session, if there is one; afterwards ``request.actor`` is anonymous."""
    actor = Actor.from_request(request)
    if actor.user_id is not None:
        target = audit.ObjectRef("user", str(actor.user_id), actor.id, None)
        audit.record("session.sign_out", actor=actor, obj=target, workspace_id=actor.workspace_id)
    auth.logout(request)
    request.actor = visitor(request)  # type: ignore[attr-defined]


def actor_of(user: User, *, request: HttpRequest, workspace_id: int | None) -> Actor:
    """Return the person as an actor of this request, in that workspace."""
    known = visitor(request)
    return Actor(
        id=user.actor_id,
        kind=ActorKind(user.kind),
        user_id=user.pk,
        workspace_id=workspace_id,
        auth="session",
        request_id=known.request_id,
        ip=known.ip,
        agent=known.agent,
        label=str(user),
    )


def visitor(request: HttpRequest) -> Actor:
    """Return somebody of whom only the request is known."""
    return Actor.anonymous(
        request_id=getattr(request, "request_id", ""),
        ip=getattr(request, "client_ip", ""),
        agent=getattr(request, "client_agent", ""),
    )


def home_of(user: User) -> int | None:
    """Return the workspace where a person starts: the one used last, else their home."""
    found: int | None = (
        user.memberships.order_by(F("last_used_at").desc(nulls_last=True), "-is_home")
        .values_list("workspace_id", flat=True)
        .first()
    )
    return found
