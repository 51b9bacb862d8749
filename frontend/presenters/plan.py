"""How a version goes in, what stops it, and how it is undone: in sentences."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from frontend import words
from registry.models import PromotionRequest, VersionUse


@dataclass(frozen=True)
class PlanStep:
    share: str
    words: str
    tone: str = "next"


def plan_steps(plan: Mapping[str, Any]) -> list[PlanStep]:
    """Return the steps of a rollout plan, the watching after the last one included."""
    shares = [int(item) for item in plan.get("steps_basis_points", [])]
    hold = words.duration(float(plan.get("step_seconds", 0)))
    least = int(plan.get("guard", {}).get("minimum_requests", 0))
    steps = []
    for place, share in enumerate(shares):
        is_last = place == len(shares) - 1
        if is_last:
            how = "all at once" if len(shares) == 1 else "the rest"
        else:
            waits = f" for {hold}" if plan.get("step_seconds") else ""
            how = f"of requests{waits}" + (f", at least {least:,} of them" if least else "")
        steps.append(PlanStep(f"{share / 100:g}%", how))
    bake = float(plan.get("bake_seconds", 0))
    if bake:
        steps.append(
            PlanStep("Watch", f"for {words.duration(bake)}; the version before stays warm")
        )
    return steps


def guard_sentences(plan: Mapping[str, Any], *, has_live: bool) -> list[str]:
    """Return what makes the rollout go back by itself."""
    guard = plan.get("guard")
    if not guard:
        return []
    hard = Decimal(str(guard["hard_limit_share"])) * 100
    sentences = [
        f"more than {hard.normalize():f}% of {int(guard['hard_limit_requests']):,} requests fail",
        "the new version cannot be loaded or stops answering",
    ]
    if has_live and plan.get("strategy") == "canary":
        margin = Decimal(str(guard["error_margin"])) * 100
        sentences.insert(
            0,
            f"its error rate is above the live one's by more than {margin.normalize():f} points, "
            f"at {100 - Decimal(str(guard['alpha'])) * 100:.0f}% confidence",
        )
    return sentences


def undo_sentences(promotion: PromotionRequest) -> list[str]:
    """Return how fast this is undone, and to what; one query."""
    place = promotion.environment.name.lower()
    target = promotion.replaces
    if target is None:
        return [
            f"Nothing was live in {place} before. Rolling back leaves the address empty: "
            "it then answers 503 with a sentence.",
        ]
    use = (
        VersionUse.objects.filter(version=target, environment=promotion.environment)
        .order_by("-since")
        .first()
    )
    since = f", in use since {use.since:%d %b %Y}" if use else ""
    return [
        f"One click returns all requests to {words.version_words(target)}{since}. "
        "It stays loaded, so nothing is prepared first.",
        "Going back needs no approval and no passing check; anybody on call may do it.",
    ]
