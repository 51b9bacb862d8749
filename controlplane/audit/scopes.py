"""Which entries somebody may see; computed by the door, because access stands above audit."""

from __future__ import annotations

from dataclasses import dataclass

from django.db.models import Q


@dataclass(frozen=True, slots=True)
class AuditScope:
    """All entries, or those of some workspaces and of one's own acts.

    An auditor has ``AuditScope.all()``; who holds `audit_read` on a workspace has it in
    ``workspaces``; everybody sees what they did themselves.
    """

    everything: bool = False
    workspaces: frozenset[int] = frozenset()
    actor_id: str | None = None

    @classmethod
    def all(cls) -> AuditScope:
        return cls(everything=True)

    def condition(self) -> Q:
        """Return the filter on events that this scope means; without any right, nothing."""
        if self.everything:
            return Q()
        allowed = Q(pk__in=[])
        if self.workspaces:
            allowed |= Q(workspace__in=sorted(self.workspaces))
        if self.actor_id:
            allowed |= Q(actor=self.actor_id)
        return allowed
