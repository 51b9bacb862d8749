"""Who gets which answer at every address: the table, and the world it is asked in.

The rows stand in ``tests/architecture/permissions/<area>.py``, one list ``ROWS`` per area. A row
names a route exactly as the resolver does, one method, and the status for every role. A new
route fails the test until it has a row for each of its methods.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from controlplane.accounts import sessions
from controlplane.accounts.models import User, Workspace
from controlplane.core.clock import now
from tests import make

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
# The nine who ask, and nobody. `foreign_admin` administers another workspace; `stranger` belongs
# to this one without any role; `reviewer` reviews in the ML slot.
ROLES = (
    "anonymous",
    "stranger",
    "viewer",
    "ml_engineer",
    "ci",
    "reviewer",
    "operator",
    "workspace_admin",
    "foreign_admin",
    "auditor",
)
_GRANTED = {
    "viewer": "viewer",
    "ml_engineer": "ml_engineer",
    "reviewer": "reviewer_ml",
    "operator": "operator",
    "workspace_admin": "workspace_admin",
    "auditor": "auditor",
}


@dataclass(frozen=True)
class Row:
    """One method of one route. ``fill`` gives the address's variables, ``body`` what is sent,
    as JSON or a form, or with ``is_upload`` as multipart."""

    route: str
    method: str
    expect: Mapping[str, int]
    fill: Callable[[World], Mapping[str, Any]] = lambda world: {}
    body: Callable[[World], Mapping[str, Any]] | None = None
    address: str = ""
    is_upload: bool = False

    def path(self, world: World) -> str:
        """Return an address that this route answers."""
        if self.address:
            return "/" + self.address.format(**{"space": world.space.key, **self.fill(world)})
        return filled(self.route, self.fill(world), world)


@dataclass
class World:
    """A workspace, one account per role, and the records that rows ask for by name."""

    space: Workspace
    people: dict[str, User]
    clients: dict[tuple[str, str], Client]
    records: dict[str, Any] = field(default_factory=dict)

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["records"][name]
        except KeyError:
            raise AttributeError(name) from None


def answers(default: int, **by_role: int) -> dict[str, int]:
    """Return the status of every role: ``default``, save for those named.

    Raises:
        KeyError: a role is none of ours; a mistyped one must not pass unseen.
    """
    for role in by_role:
        if role not in ROLES:
            raise KeyError(role)
    return {role: by_role.get(role, default) for role in ROLES}


def make_world(space: Workspace, **records: Any) -> World:
    """Return the world around a workspace, everybody in it with a token and a session."""
    people = {
        role: make.person(granted, workspace=space, username=make.a_name(role.replace("_", "-")))
        for role, granted in _GRANTED.items()
    }
    people["stranger"] = make.person(workspace=space)
    people["ci"] = make.service_account("ci", workspace=space, owner=people["ml_engineer"])
    people["foreign_admin"] = make.person("workspace_admin", workspace=make.workspace())
    clients = {}
    for role, user in people.items():
        clients[role, "token"] = Client(
            headers=make.bearer(make.token(user)), raise_request_exception=False
        )
        clients[role, "session"] = _browser(user)
    for door in ("token", "session"):
        clients["anonymous", door] = Client(raise_request_exception=False)
    # A service account has no session: at the pages it is nobody.
    clients["ci", "session"] = clients["anonymous", "session"]
    return World(space=space, people=people, clients=clients, records=records)


def ask(
    world: World,
    role: str,
    method: str,
    path: str,
    body: Mapping[str, Any] | None,
    *,
    is_upload: bool = False,
) -> Any:
    """Send the request as that role, through the door that the address belongs to."""
    door = "token" if is_for_tokens(path) else "session"
    client = world.clients[role, door]
    if is_upload:
        return client.post(path, body)
    content: dict[str, Any] = {}
    if method != "GET":
        is_json = door == "token"
        content["content_type"] = (
            "application/json" if is_json else "application/x-www-form-urlencoded"
        )
        content["data"] = json.dumps(body or {}) if is_json else _form(body or {})
    return client.generic(method, path, **content)


def is_for_tokens(path: str) -> bool:
    return not re.match(r"/(w/|admin/|login/|logout/|theme/|$)", path)


def routes() -> Iterator[tuple[str, Any]]:
    """Yield every route of the product, as one pattern from the root, with its view."""
    yield from _walk(get_resolver(), "")


def filled(route: str, values: Mapping[str, Any], world: World) -> str:
    """Return the route with its variables filled in; the workspace's key is known."""
    known = {"workspace_key": world.space.key, **values}
    return "/" + re.sub(r"<(?:[a-z]+:)?(\w+)>", lambda found: str(known[found[1]]), route)


def _walk(resolver: URLResolver, before: str) -> Iterator[tuple[str, Any]]:
    for pattern in resolver.url_patterns:
        route = before + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from _walk(pattern, route)
        elif isinstance(pattern, URLPattern):
            yield route, pattern.callback


def _browser(user: User) -> Client:
    client = Client(raise_request_exception=False)
    client.force_login(user)
    session = client.session
    session[sessions.BEGAN_AT] = session[sessions.SEEN_AT] = int(now().timestamp())
    session.save()
    return client


def _form(body: Mapping[str, Any]) -> str:
    return urlencode(body, doseq=True)
