"""Roles: names for sets of verbs. A grant gives a role on one object; verbs are what is asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import Group

REVIEW_VERBS = frozenset({"review_ml", "review_risk", "review_business", "review_ops"})
# "review" stands for any of the four slots wherever a verb is asked for.
ANY_REVIEW = "review"
# Neither a service account nor the product itself ever does these.
HUMAN_VERBS = REVIEW_VERBS | {"break_glass"}


@dataclass(frozen=True, slots=True)
class Role:
    name: str
    title: str
    verbs: frozenset[str]
    is_global: bool = False

    @property
    def needs_human(self) -> bool:
        return bool(self.verbs & HUMAN_VERBS)


def _role(name: str, title: str, *verbs: str, is_global: bool = False) -> Role:
    return Role(name, title, frozenset({"view", *verbs}), is_global)


ROLES: dict[str, Role] = {
    role.name: role
    for role in (
        _role("viewer", "Viewer"),
        _role("ml_engineer", "ML engineer", "contribute", "propose"),
        _role("ci", "CI service account", "contribute", "propose"),
        _role("reviewer_ml", "ML reviewer", "review_ml", "audit_read"),
        _role("reviewer_risk", "Risk reviewer", "review_risk", "audit_read"),
        _role("reviewer_business", "Business reviewer", "review_business", "audit_read"),
        _role("reviewer_ops", "Operations reviewer", "review_ops", "audit_read"),
        _role("operator", "Operator", "propose", "operate", "audit_read"),
        _role(
            "workspace_admin", "Workspace administrator", "configure", "admin_access", "audit_read"
        ),
        _role("auditor", "Auditor", "audit_read", is_global=True),
    )
}

# What parts of the product may do without anybody's word. Only `manage.py` commands, run by
# somebody who holds the machine, act as set-up.
SYSTEM_VERBS = frozenset({"view", "contribute", "operate"})
SETUP = "system:setup"
SETUP_VERBS = frozenset({"view", "contribute", "configure", "admin_access"})


def system_verbs(actor_id: str) -> frozenset[str]:
    """Return the verbs of a part of the product; it never reviews, proposes or breaks glass."""
    return SETUP_VERBS if actor_id == SETUP else SYSTEM_VERBS


def roles_with(verb: str) -> list[Role]:
    """Return the roles that give a verb, in the order of the table."""
    wanted = REVIEW_VERBS if verb == ANY_REVIEW else {verb}
    return [role for role in ROLES.values() if role.verbs & wanted]


def readable(verb: str) -> str:
    """Return the verb as it stands in a sentence after "may"."""
    return _WORDS.get(verb, verb.replace("_", " "))


def make_global_groups(*, using: str, **_: Any) -> None:
    """Make the groups of the global roles; called after every migration."""
    for role in ROLES.values():
        if role.is_global:
            Group.objects.using(using).get_or_create(name=role.name)


_WORDS = {
    "contribute": "contribute to",
    "propose": "propose promotions of",
    "review": "review",
    "review_ml": "review (ML) for",
    "review_risk": "review (risk) for",
    "review_business": "review (business) for",
    "review_ops": "review (operations) for",
    "admin_access": "administer access to",
    "audit_read": "read the audit log of",
    "break_glass": "break glass for",
}
