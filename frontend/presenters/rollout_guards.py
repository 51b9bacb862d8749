"""The guards of a rollout, as last judged, each in a row with its limit."""

from __future__ import annotations

from dataclasses import dataclass

from deployments.models import Rollout
from deployments.queries import ArmFigures
from frontend import words


@dataclass(frozen=True)
class Guard:
    name: str
    now: str
    limit: str
    reading: str
    icon: str
    tone: str
    verdict: str


_VERDICTS = {
    "successful": ("ok", "ok", "inside its limit"),
    "continue": ("wait", "mute", "not enough requests yet"),
    "inconclusive": ("warn", "warn", "not enough data"),
    "failed": ("bad", "bad", "beyond its limit"),
}


def guards(rollout: Rollout, candidate: ArmFigures) -> list[Guard]:
    """The newest analysis as one row per guard of the plan."""
    plan, found = rollout.plan["guard"], rollout.guard
    icon, tone, verdict = _VERDICTS.get(str(found.get("verdict", "")), _VERDICTS["continue"])
    rows = []
    if rollout.strategy == "canary" and rollout.baseline_id:
        low, high = found.get("low"), found.get("high")
        change = f"{_points(low)} to {_points(high)}" if low and high else "no data"
        limit = words.number(100 * float(plan["error_margin"]), digits=1, signed=True)
        rows.append(
            Guard(
                "Error rate against the live version",
                change,
                f"{limit} points",
                str(found.get("sentence", "")) or "Not judged yet.",
                icon,
                tone,
                verdict,
            )
        )
    hard = float(plan["hard_limit_share"])
    enough = candidate.requests >= int(plan["hard_limit_requests"])
    over = enough and candidate.error_share > hard
    rows.append(
        Guard(
            "Failed requests",
            words.number(100 * candidate.error_share, digits=2, unit="%")
            if candidate.requests
            else "no data",
            f"{100 * hard:g}%",
            f"{candidate.errors:,} of {candidate.requests:,} failed; judged from "
            f"{int(plan['hard_limit_requests']):,} requests on.",
            "bad" if over else "ok" if enough else "wait",
            "bad" if over else "ok" if enough else "mute",
            "beyond its limit"
            if over
            else "inside its limit"
            if enough
            else "not enough requests yet",
        )
    )
    return rows


def _points(share: str) -> str:
    return words.number(100 * float(share), digits=1, signed=True)
