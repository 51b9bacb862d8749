"""Who is acting, and by what right they came in."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from controlplane.core.identifiers import uuid7


class ActorKind(StrEnum):
    HUMAN = "human"
    SERVICE = "service"
    SYSTEM = "system"
    ANONYMOUS = "anonymous"


@dataclass(frozen=True, slots=True)
class Actor:
    """The person, service account or part of the product on whose word something happens.

    ``id`` is opaque (``user:7``, ``system:scheduler``) and is what the ledger keeps. ``scopes``
    are the verbs that the token allows; None means that nothing narrows the actor's own verbs.
    ``on_behalf_of`` is the id of the human for whom a service account or a job acts.
    """

    id: str
    kind: ActorKind
    user_id: int | None = None
    workspace_id: int | None = None
    auth: str = "none"
    scopes: frozenset[str] | None = None
    on_behalf_of: str | None = None
    job_id: str | None = None
    request_id: str = ""
    ip: str = ""
    agent: str = ""
    label: str = ""

    @classmethod
    def system(cls, name: str, *, workspace_id: int | None = None) -> Actor:
        """Return the part of the product called ``name``; it acts without anybody's word."""
        return cls(
            id=f"system:{name}",
            kind=ActorKind.SYSTEM,
            workspace_id=workspace_id,
            auth="internal",
            request_id=str(uuid7()),
            label="Gatehouse",
        )

    @classmethod
    def anonymous(cls, *, request_id: str = "", ip: str = "", agent: str = "") -> Actor:
        """Return somebody who has not said who they are."""
        return cls(
            id="anonymous", kind=ActorKind.ANONYMOUS, request_id=request_id, ip=ip, agent=agent
        )

    @classmethod
    def from_request(cls, request: Any) -> Actor:
        """Return the actor that authentication put on the request (page, REST or MLflow)."""
        actor: Actor = request.actor
        return actor

    @property
    def is_system(self) -> bool:
        return self.kind is ActorKind.SYSTEM

    @property
    def is_human(self) -> bool:
        return self.kind is ActorKind.HUMAN

    @property
    def cause(self) -> str:
        """Return the ledger's word for why this actor acts, where nothing more is known."""
        return "human" if self.is_human else self.kind.value

    @property
    def accountable_id(self) -> str:
        """Return the human answerable for the act, where there is one; else the actor itself."""
        return self.on_behalf_of or self.id
