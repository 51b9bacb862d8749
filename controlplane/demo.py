"""The people of the demo: who they are, what they may do, and the file that says so.

Their passwords and tokens are made at the first start and kept in that file alone.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.db import transaction

from controlplane import installing
from controlplane.access import services as access
from controlplane.accounts import services as accounts
from controlplane.accounts import tokens
from controlplane.accounts.models import User, Workspace
from controlplane.core.actor import Actor
from controlplane.core.errors import DomainError

WORKSPACE = "demo"
WORKSPACE_NAME = "Nordhaven"
TOKEN_NAME = "demo"  # noqa: S105 - a name
TOKEN_LIFETIME = timedelta(days=90)
_REASON = "Shipped with the demo"


@dataclass(frozen=True, slots=True)
class Role:
    """One member of the demo's cast."""

    username: str
    display_name: str
    title: str
    roles: tuple[str, ...]
    answers_to: str = ""


CAST = (
    Role("engineer", "Mira Lindqvist", "ML engineer", ("ml_engineer",)),
    Role("approver", "Jonas Weber", "Lead data scientist", ("viewer", "reviewer_ml")),
    Role("risk", "Aisha Rahman", "Model risk", ("viewer", "reviewer_risk")),
    Role("operator", "Tomás Silva", "On call", ("operator",)),
    Role("auditor", "Ingrid Solberg", "Internal audit", ("auditor",)),
    Role("admin", "Kenji Mori", "Platform", ("workspace_admin",)),
    Role("ci", "Build pipeline", "", ("ci",), answers_to="engineer"),
)


def prepare(
    *, url: str, gateway_url: str, output: Path, policies: Mapping[str, str] | None = None
) -> Workspace:
    """The workspace, its people and the file with their keys exist; what exists stays.

    A password or token in the file that is still good is kept; one that is not is made anew.
    """
    known = _read(output)
    actor = installing.setup_actor()
    people = []
    with transaction.atomic():
        workspace = installing.open_workspace(
            actor=actor, key=WORKSPACE, name=WORKSPACE_NAME, policies=policies
        )
        for role in CAST:
            people.append(_person(role, workspace, known.get(role.username, {}), actor))
    _write(output, {"url": url, "gateway_url": gateway_url, "people": people})
    return workspace


def _person(
    role: Role, workspace: Workspace, known: Mapping[str, str], actor: Actor
) -> dict[str, str]:
    user = User.objects.filter(username=role.username).first()
    entry = {"username": role.username}
    if role.answers_to:
        if user is None:
            user = accounts.create_service_account(
                actor=actor,
                username=role.username,
                display_name=role.display_name,
                owner=User.objects.get(username=role.answers_to),
                workspace=workspace,
            )
    else:
        password = known.get("password") or _password()
        if user is None:
            user = accounts.create_person(
                actor=actor,
                username=role.username,
                display_name=role.display_name,
                title=role.title,
                password=password,
                workspace=workspace,
            )
        elif not user.check_password(password):
            accounts.reset_password(user.pk, actor=actor, new=password, reason=_REASON)
        entry["password"] = password
    _give_roles(role, user, workspace, actor)
    entry["role"] = role.roles[-1]
    entry["token"] = _token(user, workspace, known.get("token", ""), actor)
    return entry


def _give_roles(role: Role, user: User, workspace: Workspace, actor: Actor) -> None:
    for name in role.roles:
        if name == "auditor":
            if not user.groups.filter(name=name).exists():
                access.set_global_role(
                    actor=actor, user=user, role=name, holds=True, reason=_REASON
                )
        else:
            installing.hold_role(
                actor=actor, user=user, role=name, workspace=workspace, reason=_REASON
            )


def _token(user: User, workspace: Workspace, known: str, actor: Actor) -> str:
    if known:
        try:
            if tokens.authenticate(known).user_id == user.pk:
                return known
        except DomainError:
            pass  # Expired, revoked or of another database: a new one takes its place.
    _, secret = tokens.issue(
        actor=actor,
        user=user,
        workspace=workspace,
        name=TOKEN_NAME,
        kind=user.kind,
        lifetime=TOKEN_LIFETIME,
    )
    return secret


def _password() -> str:
    """Return 80 random bits in four groups that a person can type."""
    text = base64.b32encode(secrets.token_bytes(10)).decode().lower()
    return "-".join(text[place : place + 4] for place in range(0, 16, 4))


def _read(path: Path) -> dict[str, dict[str, str]]:
    try:
        content: Any = json.loads(path.read_text())
        return {entry["username"]: entry for entry in content["people"]}
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return {}


def _write(path: Path, content: dict[str, Any]) -> None:
    """Replace the file in one step; nobody but its owner can ever read it."""
    unfinished = path.with_name(path.name + ".new")
    unfinished.unlink(missing_ok=True)
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        json.dump(content, stream, indent=2, ensure_ascii=False)
        stream.write("\n")
    unfinished.replace(path)
