"""What the registry tells apps that it does not know."""

from __future__ import annotations

from dataclasses import dataclass

from controlplane.core.actor import Actor


@dataclass(frozen=True, slots=True)
class PromotionExecuting:
    """An approved promotion begins: whoever deploys creates its rollout in this transaction."""

    promotion_id: int
    actor: Actor


@dataclass(frozen=True, slots=True)
class VersionSealed:
    version_id: int
    actor: Actor
