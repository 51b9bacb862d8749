"""Error rate and latency of both arms over the last minutes of a rollout."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from django.utils import timezone
from django.utils.safestring import SafeString

from controlplane.core import clock
from deployments import queries
from deployments.models import Rollout
from frontend import svg, words

LONGEST = timedelta(hours=6)
POINTS = 40


class ArmWords(Protocol):
    """What a chart's head says of an arm."""

    @property
    def version(self) -> str: ...
    @property
    def error_rate(self) -> str: ...
    @property
    def p95(self) -> str: ...


@dataclass(frozen=True)
class Value:
    name: str
    words: str


@dataclass(frozen=True)
class Chart:
    title: str
    values: list[Value]
    picture: SafeString


def charts(rollout: Rollout, version: str, baseline: str, arms: Sequence[ArmWords]) -> list[Chart]:
    """Return the charts of the rollout's life so far, at most its last six hours; one query."""
    until = rollout.finished_at or clock.now()
    since = max(rollout.created_at, until - LONGEST)
    seconds = max(2, round((until - since).total_seconds() / POINTS))
    minutes = [
        item
        for item in queries.timeline(rollout.deployment_id, since, bucket_seconds=seconds)
        if item.at <= until
    ]
    mark = [svg.Mark(_x(rollout.step_started_at), "this step")]
    marks = mark if minutes and minutes[0].at < rollout.step_started_at else []
    hard = 100 * float(rollout.plan["guard"]["hard_limit_share"])
    worst = max((100 * item.error_share for item in minutes), default=0.0)

    def draw(
        title: str,
        y_of: Callable[[queries.Minute], float],
        y_words: Callable[[float], str],
        limit: float | None,
    ) -> SafeString:
        lines = [
            svg.Line("champion", _series(minutes, "stable", y_of)),
            svg.Line("candidate", _series(minutes, "candidate", y_of)),
        ]
        if rollout.baseline_id is None:
            lines = [svg.Line("candidate", _series(minutes, "stable", y_of))]
        return svg.line_chart(
            [line for line in lines if line.points],
            label=f"{title} of {version}" + (f" and {baseline}" if baseline else ""),
            y_words=y_words,
            x_words=_x_words(minutes),
            limit=limit,
            limit_words=f"rolls back above {limit:g}%" if limit is not None else "",
            marks=marks,
            from_zero=True,
        )

    near_limit = hard if worst > hard / 4 else None
    return [
        Chart(
            "Error rate",
            [Value(arm.version, arm.error_rate) for arm in arms],
            draw(
                "Error rate", lambda item: 100 * item.error_share, lambda y: f"{y:g}%", near_limit
            ),
        ),
        Chart(
            "Latency p95, ms",
            [Value(arm.version, arm.p95) for arm in arms],
            draw("Latency p95 in milliseconds", lambda item: item.p95_ms, lambda y: f"{y:g}", None),
        ),
    ]


def _series(
    minutes: list[queries.Minute], arm: str, y_of: Callable[[queries.Minute], float]
) -> list[tuple[float, float]]:
    return [(_x(item.at), y_of(item)) for item in minutes if item.arm == arm]


def _x(moment: datetime) -> float:
    return moment.timestamp()


def _x_words(minutes: list[queries.Minute]) -> list[tuple[float, str]]:
    if len(minutes) < 2:
        return []
    first, last = minutes[0].at, minutes[-1].at
    with_seconds = last - first < timedelta(minutes=10)
    return [
        (_x(at), words.moment(timezone.localtime(at), seconds=with_seconds))
        for at in (first, first + (last - first) / 2, last)
    ]
