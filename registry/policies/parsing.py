"""Read a policy. Every mistake is answered with the place and what may stand there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import yaml

from controlplane.core.errors import Invalid

GATE_KINDS = (
    "evidence",
    "metric_threshold",
    "metric_vs_live",
    "slice_vs_live",
    "manifest",
    "signature",
    "lineage",
)
METRICS = (
    "accuracy",
    "precision_macro",
    "recall_macro",
    "f1_macro",
    "roc_auc_ovr",
    "mae",
    "rmse",
    "r2",
)
SLOTS = ("ml", "risk", "business", "ops")
STRATEGIES = ("blue_green", "canary")


@dataclass(frozen=True, slots=True)
class Gate:
    """One check. ``at_least`` and ``margin`` are decimal strings in the metric's own unit."""

    name: str
    kind: str
    title: str
    metric: str = ""
    at_least: str = ""
    margin: str = ""
    max_age_hours: int = 0


@dataclass(frozen=True, slots=True)
class ReviewSlot:
    slot: str
    quorum: int


@dataclass(frozen=True, slots=True)
class Guard:
    """When a canary is rolled back by itself. Shares are decimal strings between 0 and 1."""

    error_margin: str = "0.01"
    alpha: str = "0.05"
    minimum_requests: int = 1000
    hard_limit_share: str = "0.20"
    hard_limit_requests: int = 50


@dataclass(frozen=True, slots=True)
class Rollout:
    """How a version goes in; shares are basis points of the requests."""

    strategy: str = "canary"
    first_strategy: str = "blue_green"
    steps_basis_points: tuple[int, ...] = (500, 2500, 5000, 10000)
    step_seconds: int = 1800
    bake_seconds: int = 3600
    prepare_seconds: int = 600
    start: str = "automatic"
    guard: Guard = Guard()


@dataclass(frozen=True, slots=True)
class PolicyBody:
    gates: tuple[Gate, ...]
    reviews: tuple[ReviewSlot, ...]
    approval_valid_hours: int
    request_expires_hours: int
    rollout: Rollout

    def to_json(self) -> dict[str, Any]:
        """Return the policy as canonical-JSON material (lists, strings, integers)."""
        body: dict[str, Any] = asdict(self)
        body["rollout"]["steps_basis_points"] = list(self.rollout.steps_basis_points)
        body["gates"] = [asdict(gate) for gate in self.gates]
        body["reviews"] = [asdict(slot) for slot in self.reviews]
        return body


def default_source(tier: str) -> str:
    """Return the YAML of the policy that Gatehouse ships for a risk tier."""
    return (Path(__file__).parent / f"{tier}.yaml").read_text()


def parse(source: str) -> PolicyBody:
    """Read a policy from YAML.

    Raises:
        Invalid: the YAML cannot be read, or something in it is not known; the sentence says where.
    """
    try:
        document = yaml.safe_load(source)
    except yaml.YAMLError as error:
        raise Invalid(f"The policy is not valid YAML: {error}") from None
    if not isinstance(document, dict):
        raise Invalid("A policy is a YAML mapping with the keys gates, reviews and rollout.")
    return from_json(document)


def from_json(document: Mapping[str, Any]) -> PolicyBody:
    """Return the policy from its parsed form; the same checks as ``parse``."""
    _known(
        document,
        "policy",
        {"gates", "reviews", "approval_valid_hours", "request_expires_hours", "rollout"},
    )
    gates = tuple(_gate(item, index) for index, item in enumerate(document.get("gates") or []))
    if not gates:
        raise Invalid("policy.gates: name at least one gate.")
    if len({gate.name for gate in gates}) != len(gates):
        raise Invalid("policy.gates: two gates have the same name.")
    reviews = tuple(_slot(item, index) for index, item in enumerate(document.get("reviews") or []))
    if not reviews:
        raise Invalid("policy.reviews: name at least one slot; nothing passes unseen.")
    return PolicyBody(
        gates=gates,
        reviews=reviews,
        approval_valid_hours=_count(document, "approval_valid_hours", 72),
        request_expires_hours=_count(document, "request_expires_hours", 168),
        rollout=_rollout(document.get("rollout") or {}),
    )


def _gate(item: Any, index: int) -> Gate:
    place = f"policy.gates[{index}]"
    if not isinstance(item, dict):
        raise Invalid(f"{place}: a gate is a mapping with name, kind and title.")
    _known(item, place, set(Gate.__slots__))
    kind = str(item.get("kind", ""))
    if kind not in GATE_KINDS:
        raise Invalid(f"{place}.kind: {kind!r} is not one of {', '.join(GATE_KINDS)}.")
    metric = str(item.get("metric", ""))
    if kind in {"metric_threshold", "metric_vs_live", "slice_vs_live"} and metric not in METRICS:
        raise Invalid(f"{place}.metric: {metric!r} is not one of {', '.join(METRICS)}.")
    if kind == "metric_threshold":
        _decimal(item, "at_least", place)
    if kind in {"metric_vs_live", "slice_vs_live"}:
        _decimal(item, "margin", place)
    name = str(item.get("name", ""))
    if not name:
        raise Invalid(f"{place}.name: give the gate a name.")
    return Gate(
        name=name,
        kind=kind,
        title=str(item.get("title") or name),
        metric=metric,
        at_least=str(item.get("at_least", "") or ""),
        margin=str(item.get("margin", "") or ""),
        max_age_hours=_count(item, "max_age_hours", 0),
    )


def _slot(item: Any, index: int) -> ReviewSlot:
    place = f"policy.reviews[{index}]"
    slot = str(item.get("slot", "")) if isinstance(item, dict) else ""
    if slot not in SLOTS:
        raise Invalid(f"{place}.slot: {slot!r} is not one of {', '.join(SLOTS)}.")
    quorum = _count(item, "quorum", 1)
    if quorum < 1:
        raise Invalid(f"{place}.quorum: at least one person must look.")
    return ReviewSlot(slot, quorum)


def _rollout(item: Any) -> Rollout:
    place = "policy.rollout"
    if not isinstance(item, dict):
        raise Invalid(f"{place}: a rollout is a mapping.")
    _known(item, place, set(Rollout.__slots__))
    shape = Rollout()
    for key in ("strategy", "first_strategy"):
        if item.get(key, "canary") not in STRATEGIES:
            raise Invalid(f"{place}.{key}: use {' or '.join(STRATEGIES)}.")
    steps = tuple(item.get("steps_basis_points", shape.steps_basis_points))
    rising = all(isinstance(step, int) and 0 < step <= 10_000 for step in steps)
    if not steps or not rising or list(steps) != sorted(set(steps)) or steps[-1] != 10_000:
        raise Invalid(
            f"{place}.steps_basis_points: whole numbers that rise and end at 10000 (= 100 %)."
        )
    start = str(item.get("start", shape.start))
    if start not in {"automatic", "manual"}:
        raise Invalid(f"{place}.start: use automatic or manual.")
    return Rollout(
        strategy=str(item.get("strategy", shape.strategy)),
        first_strategy=str(item.get("first_strategy", shape.first_strategy)),
        steps_basis_points=steps,
        step_seconds=_count(item, "step_seconds", shape.step_seconds),
        bake_seconds=_count(item, "bake_seconds", shape.bake_seconds),
        prepare_seconds=_count(item, "prepare_seconds", shape.prepare_seconds),
        start=start,
        guard=_guard(item.get("guard") or {}),
    )


def _guard(item: Any) -> Guard:
    place = "policy.rollout.guard"
    if not isinstance(item, dict):
        raise Invalid(f"{place}: a guard is a mapping.")
    _known(item, place, set(Guard.__slots__))
    shape = Guard()
    for key in ("error_margin", "alpha", "hard_limit_share"):
        if key in item:
            _decimal(item, key, place)
    return Guard(
        error_margin=str(item.get("error_margin", shape.error_margin)),
        alpha=str(item.get("alpha", shape.alpha)),
        minimum_requests=_count(item, "minimum_requests", shape.minimum_requests),
        hard_limit_share=str(item.get("hard_limit_share", shape.hard_limit_share)),
        hard_limit_requests=_count(item, "hard_limit_requests", shape.hard_limit_requests),
    )


def _known(item: Mapping[str, Any], place: str, allowed: set[str]) -> None:
    unknown = sorted(set(item) - allowed)
    if unknown:
        raise Invalid(
            f"{place}: {unknown[0]!r} is not known here; use {', '.join(sorted(allowed))}."
        )


def _count(item: Mapping[str, Any], key: str, default: int) -> int:
    value = item.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise Invalid(f"{key}: {value!r} is not a whole number of 0 or more.")
    return value


def _decimal(item: Mapping[str, Any], key: str, place: str) -> Decimal:
    try:
        return Decimal(str(item[key]))
    except (KeyError, InvalidOperation):
        raise Invalid(f'{place}.{key}: write a decimal number such as "0.02".') from None
