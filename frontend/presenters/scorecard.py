"""The metrics of an evaluation as rows of one table: value, change, interval, limit, verdict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from frontend import words
from frontend.svg import Tone
from registry.models import Evidence, ModelVersion, Policy
from registry.rules import LOWER_IS_BETTER

_VERDICTS: dict[str, tuple[str, str, str]] = {
    "ok": ("ok", "ok", "within the limit"),
    "warn": ("warn", "warn", "interval crosses the limit"),
    "bad": ("bad", "bad", "beyond the limit"),
    "ink": ("skip", "mute", "no limit set"),
}


@dataclass(frozen=True)
class Row:
    """One metric. Estimates and limits are floats for drawing; words come from the decimals."""

    title: str
    champion: str = ""
    candidate: str = ""
    change: str = ""
    limit_words: str = ""
    reading: str = ""
    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    reference: float | None = None
    limit: float | None = None
    higher_is_better: bool = True
    tone: Tone = "ink"

    @property
    def verdict_icon(self) -> str:
        return _VERDICTS[self.tone][0]

    @property
    def verdict_tone(self) -> str:
        return _VERDICTS[self.tone][1]

    @property
    def verdict(self) -> str:
        return _VERDICTS[self.tone][2]


@dataclass(frozen=True)
class RowGroup:
    name: str
    rows: list[Row]


@dataclass(frozen=True)
class Scorecard:
    words: str
    champion_head: str
    candidate_head: str
    baseline: str
    policy: str
    groups: list[RowGroup] = field(default_factory=list)


@dataclass(frozen=True)
class _Limit:
    """What the policy asks: a floor of the value, a margin of the change, or neither."""

    floor: Decimal | None = None
    margin: Decimal | None = None


def scorecard(evidence: Evidence | None, policy: Policy | None) -> Scorecard | None:
    """Return the table of the evidence, with the limits of the policy that would judge it."""
    if evidence is None:
        return None
    body = evidence.body
    baseline = evidence.baseline
    gates: list[Mapping[str, Any]] = policy.body["gates"] if policy else []
    limits = {str(metric["name"]): _limit(gates, str(metric["name"])) for metric in body["metrics"]}
    rows = [_row(metric, limits[str(metric["name"])]) for metric in body["metrics"]]
    groups = [RowGroup("All rows", rows)]
    slice_limit = _slice_limit(gates)
    slices = [_slice_row(item, slice_limit) for item in body.get("slices", [])]
    if slices:
        groups.append(RowGroup("Slices", slices))
    return Scorecard(
        words=_method(evidence),
        champion_head=f"Champion {words.version_words(baseline)}" if baseline else "Champion",
        candidate_head=f"Candidate {words.version_words(evidence.version)}",
        baseline=str(baseline) if baseline else "",
        policy=str(policy) if policy else "no policy yet",
        groups=groups,
    )


def primary(evidence: Evidence | None) -> tuple[str, Decimal, Decimal, Decimal] | None:
    """Return title, value and interval of the first metric: the one that the suite leads with."""
    if evidence is None or not evidence.body.get("metrics"):
        return None
    metric = evidence.body["metrics"][0]
    value = metric["candidate"]
    return (
        str(metric["title"]),
        Decimal(value["value"]),
        Decimal(value["low"]),
        Decimal(value["high"]),
    )


def _row(metric: Mapping[str, Any], limit: _Limit) -> Row:
    name, title = str(metric["name"]), str(metric["title"])
    is_error = name in LOWER_IS_BETTER
    candidate = metric["candidate"]
    value = Decimal(candidate["value"])
    difference = metric.get("difference")
    if difference:
        change, low, high = (Decimal(difference[key]) for key in ("value", "low", "high"))
        margin = limit.margin
        edge = None if margin is None else (margin if is_error else -margin)
        return Row(
            title=title,
            champion=_plain(Decimal(metric["live"]["value"])),
            candidate=_plain(value),
            change=_signed(change),
            limit_words="" if margin is None else f"{'rise' if is_error else 'drop'} ≤ {margin}",
            reading=(
                f"{title} change {_signed(change)}, 95 percent interval {_signed(low)} to "
                f"{_signed(high)}" + ("" if margin is None else f", limit {_signed(edge)}")
            ),
            estimate=float(change),
            low=float(low),
            high=float(high),
            reference=0.0,
            limit=None if edge is None else float(edge),
            higher_is_better=not is_error,
            tone=_tone(change, low, high, edge, is_error),
        )
    low, high = Decimal(candidate["low"]), Decimal(candidate["high"])
    floor = limit.floor
    return Row(
        title=title,
        candidate=_plain(value),
        limit_words="" if floor is None else f"{'≤' if is_error else '≥'} {floor}",
        reading=f"{title} {_plain(value)}, 95 percent interval {_plain(low)} to {_plain(high)}",
        estimate=float(value),
        low=float(low),
        high=float(high),
        limit=None if floor is None else float(floor),
        higher_is_better=not is_error,
        tone=_tone(value, low, high, floor, is_error),
    )


def _slice_row(item: Mapping[str, Any], margin: Decimal | None) -> Row:
    title = str(item["name"])
    named = f"{title} ({int(item['n']):,} rows)"
    difference = item.get("difference")
    if item.get("too_few"):
        return Row(title=named, reading="too few rows to compare")
    candidate = item.get("candidate") or {}
    value = Decimal(candidate["value"]) if candidate else None
    if not difference:
        shown = _plain(value) if value is not None else ""
        return Row(title=named, candidate=shown, reading="not compared with a live version")
    change, low, high = (Decimal(difference[key]) for key in ("value", "low", "high"))
    edge = None if margin is None else -margin
    return Row(
        title=named,
        champion=_plain(Decimal(item["live"]["value"])) if item.get("live") else "",
        candidate=_plain(value) if value is not None else "",
        change=_signed(change),
        limit_words="" if margin is None else f"drop ≤ {margin}",
        reading=f"{title} change {_signed(change)}, 95 percent interval {_signed(low)} to "
        f"{_signed(high)}",
        estimate=float(change),
        low=float(low),
        high=float(high),
        reference=0.0,
        limit=None if edge is None else float(edge),
        tone=_tone(change, low, high, edge, False),
    )


def _tone(
    value: Decimal, low: Decimal, high: Decimal, edge: Decimal | None, is_error: bool
) -> Tone:
    """Say by position what the check says in words: clear of the limit, across it, or beyond it."""
    if edge is None:
        return "ink"
    worst, best = (high, low) if is_error else (low, high)
    if (worst <= edge) if is_error else (worst >= edge):
        return "ok"
    return "bad" if ((best > edge) if is_error else (best < edge)) else "warn"


def _limit(gates: list[Mapping[str, Any]], metric: str) -> _Limit:
    floor = margin = None
    for gate in gates:
        if gate.get("metric") != metric:
            continue
        if gate["kind"] == "metric_threshold":
            floor = Decimal(gate["at_least"])
        if gate["kind"] == "metric_vs_live":
            margin = Decimal(gate["margin"])
    return _Limit(floor, margin)


def _slice_limit(gates: list[Mapping[str, Any]]) -> Decimal | None:
    for gate in gates:
        if gate["kind"] == "slice_vs_live":
            return Decimal(gate["margin"])
    return None


def _method(evidence: Evidence) -> str:
    body = evidence.body
    parts = [str(evidence.dataset_version or "holdout"), f"{int(body['rows']):,} rows"]
    if body.get("draws"):
        paired = "paired bootstrap" if evidence.baseline_id else "bootstrap"
        parts.append(f"{paired}, {int(body['draws']):,} draws")
    if evidence.attested_by_client:
        parts.append("uploaded by a client")
    return " · ".join(parts)


def _plain(value: Decimal) -> str:
    return words.number(float(value), digits=4)


def _signed(value: Decimal | None) -> str:
    return "" if value is None else words.number(float(value), digits=4, signed=True)


def newest_evidence(versions: list[ModelVersion]) -> dict[int, Evidence]:
    """Return for each version its newest evaluation; one query."""
    rows = (
        Evidence.objects.filter(version__in=versions, kind="evaluation", attested_by_client=False)
        .order_by("version_id", "-created_at", "-id")
        .distinct("version_id")
        .select_related("dataset_version__dataset")
    )
    return {row.version_id: row for row in rows}
