"""When a rollout moves, waits, pauses or goes back: plain facts in, one decision out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from controlplane.stats import canary

# A step that stays undecided this many times its hold time is paused for a person to look at.
PATIENCE = 20


class Move(StrEnum):
    WAIT = "wait"
    ADVANCE = "advance"
    BAKE = "bake"
    SUCCEED = "succeed"
    PAUSE = "pause"
    ROLL_BACK = "roll_back"


@dataclass(frozen=True, slots=True)
class RolloutFacts:
    """The counts cover the requests since the step began, all in the same minutes."""

    state: str
    step: int
    plan: Mapping[str, Any]
    step_started_at: datetime
    now: datetime
    has_stable: bool
    candidate: canary.ArmCounts
    stable: canary.ArmCounts
    worker_state: str = "ready"
    worker_detail: str = ""


@dataclass(frozen=True, slots=True)
class RolloutDecision:
    move: Move
    sentence: str
    guard: dict[str, Any]


def decide(facts: RolloutFacts) -> RolloutDecision:
    """Return what a running or baking rollout should do now, and why in a sentence."""
    if facts.worker_state in {"failed", "degraded"}:
        return RolloutDecision(
            Move.ROLL_BACK, f"The new version's process failed: {facts.worker_detail}", {}
        )
    steps = facts.plan["steps_basis_points"]
    share = int(steps[facts.step])
    elapsed = facts.now - facts.step_started_at
    if facts.state == "baking" or share == 10_000 or not facts.has_stable:
        return _alone(facts, elapsed)
    hold = timedelta(seconds=facts.plan["step_seconds"])
    result = canary.judge(
        _guard(facts.plan),
        candidate=facts.candidate,
        stable=facts.stable,
        deadline_passed=elapsed > max(PATIENCE * hold, timedelta(minutes=10)),
    )
    guard = _as_json(result)
    if result.verdict is canary.Verdict.FAILED:
        return RolloutDecision(Move.ROLL_BACK, result.sentence, guard)
    if result.verdict is canary.Verdict.INCONCLUSIVE:
        return RolloutDecision(Move.PAUSE, result.sentence, guard)
    if result.verdict is canary.Verdict.SUCCESSFUL and elapsed >= hold:
        return RolloutDecision(Move.ADVANCE, result.sentence, guard)
    return RolloutDecision(Move.WAIT, result.sentence, guard)


def _alone(facts: RolloutFacts, elapsed: timedelta) -> RolloutDecision:
    """With all requests on the new version there is nothing to compare: only hard limits hold."""
    guard = _guard(facts.plan)
    counts = facts.candidate
    sentence = f"{counts.errors} of {counts.requests} requests failed since this step began."
    record = {
        "verdict": "continue",
        "sentence": sentence,
        "candidate": {"requests": counts.requests, "errors": counts.errors},
        "stable": {"requests": facts.stable.requests, "errors": facts.stable.errors},
    }
    if counts.requests >= guard.hard_limit_requests and counts.share > guard.hard_limit_share:
        limit = f"{guard.hard_limit_share * 100:.0f} %"
        why = f"{sentence} More than {limit} of at least {guard.hard_limit_requests}."
        return RolloutDecision(
            Move.ROLL_BACK, why, {**record, "verdict": "failed", "sentence": why}
        )
    if facts.state == "baking":
        done = elapsed >= timedelta(seconds=facts.plan["bake_seconds"])
        return RolloutDecision(Move.SUCCEED if done else Move.WAIT, sentence, record)
    is_last = facts.step == len(facts.plan["steps_basis_points"]) - 1
    hold = timedelta(seconds=facts.plan["step_seconds"])
    if is_last and (elapsed >= hold or facts.plan["strategy"] == "blue_green"):
        return RolloutDecision(Move.BAKE, sentence, record)
    return RolloutDecision(Move.WAIT, sentence, record)


def _guard(plan: Mapping[str, Any]) -> canary.ErrorGuard:
    values = plan["guard"]
    margin = float(values["error_margin"])
    return canary.ErrorGuard(
        margin=margin,
        alpha=float(values["alpha"]),
        tau=max(margin, 0.01),
        minimum_requests=max(1, int(values["minimum_requests"])),
        hard_limit_share=float(values["hard_limit_share"]),
        hard_limit_requests=max(1, int(values["hard_limit_requests"])),
    )


def _as_json(result: canary.CanaryResult) -> dict[str, Any]:
    interval = result.interval
    return {
        "verdict": result.verdict.value,
        "sentence": result.sentence,
        "candidate": {"requests": result.candidate.requests, "errors": result.candidate.errors},
        "stable": {"requests": result.stable.requests, "errors": result.stable.errors},
        "low": f"{interval.low:.6f}" if interval else None,
        "high": f"{interval.high:.6f}" if interval else None,
    }
