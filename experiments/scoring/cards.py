"""What an evaluation found, as values and as canonical JSON."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from controlplane.stats.estimates import Difference, Estimate, Interval

DIGITS = 6


class ScoringError(ValueError):
    """Labels and predictions cannot be compared. The message is a sentence for people."""


@dataclass(frozen=True, slots=True)
class Numbers:
    """A value with its interval and the rows behind it."""

    value: float
    low: float
    high: float
    n: int

    @classmethod
    def of(cls, found: Estimate | Difference) -> Numbers:
        """Keep what a reader needs; seed and draws stand once on the card."""
        return cls(found.value, found.low, found.high, found.n)

    @classmethod
    def of_interval(cls, interval: Interval, n: int) -> Numbers:
        """Join an interval with its number of rows."""
        return cls(interval.value, interval.low, interval.high, n)

    def to_json(self) -> dict[str, Any]:
        """Return decimal strings, and `n` as an integer."""
        return {
            "value": decimal(self.value),
            "low": decimal(self.low),
            "high": decimal(self.high),
            "n": self.n,
        }


@dataclass(frozen=True, slots=True)
class MetricScore:
    """One metric; `difference` is candidate − live on the same rows, `direction` what is better."""

    name: str
    title: str
    direction: str
    candidate: Numbers
    live: Numbers | None = None
    difference: Numbers | None = None

    def to_json(self) -> dict[str, Any]:
        """Return canonical-JSON material."""
        return {
            "name": self.name,
            "title": self.title,
            "direction": self.direction,
            "candidate": self.candidate.to_json(),
            "live": _maybe(self.live),
            "difference": _maybe(self.difference),
        }


@dataclass(frozen=True, slots=True)
class SliceScore:
    """The card's first metric on the rows with one value; without numbers when they are too few."""

    column: str
    value: str
    n: int
    candidate: Numbers | None = None
    live: Numbers | None = None
    difference: Numbers | None = None

    @property
    def name(self) -> str:
        """How the slice is called on pages."""
        return f"{self.column} {self.value}"

    @property
    def too_few(self) -> bool:
        """Whether the rows are too few to say anything."""
        return self.candidate is None

    def to_json(self) -> dict[str, Any]:
        """Return canonical-JSON material."""
        return {
            "name": self.name,
            "column": self.column,
            "value": self.value,
            "n": self.n,
            "candidate": _maybe(self.candidate),
            "live": _maybe(self.live),
            "difference": _maybe(self.difference),
            "too_few": self.too_few,
        }


@dataclass(frozen=True, slots=True)
class Confusion:
    """How often each class (row) was predicted as each class (column)."""

    classes: tuple[str, ...]
    candidate: tuple[tuple[int, ...], ...]
    live: tuple[tuple[int, ...], ...] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return canonical-JSON material."""
        return {
            "classes": list(self.classes),
            "candidate": [list(row) for row in self.candidate],
            "live": None if self.live is None else [list(row) for row in self.live],
        }


@dataclass(frozen=True, slots=True)
class ScoreCard:
    """Everything one evaluation found. `notes` are sentences about what is undefined or left out.

    A metric that is undefined for the candidate is missing from `metrics` and named in `notes`.
    """

    task: str
    rows: int
    seed: int
    draws: int
    confidence: float
    metrics: tuple[MetricScore, ...]
    slices: tuple[SliceScore, ...] = ()
    notes: tuple[str, ...] = field(default=())
    confusion: Confusion | None = None

    def metric(self, name: str) -> MetricScore | None:
        """Return the metric of that name, if it is defined."""
        return next((metric for metric in self.metrics if metric.name == name), None)

    def to_json(self) -> dict[str, Any]:
        """Return canonical-JSON material: same labels, predictions and seed, same digest."""
        return {
            "task": self.task,
            "rows": self.rows,
            "seed": self.seed,
            "draws": self.draws,
            "confidence": f"{self.confidence:g}",
            "metrics": [metric.to_json() for metric in self.metrics],
            "slices": [item.to_json() for item in self.slices],
            "notes": list(self.notes),
            "confusion": None if self.confusion is None else self.confusion.to_json(),
        }


def decimal(number: float) -> str:
    """Return a decimal string with six digits after the point; never `-0.000000`."""
    return f"{round(number, DIGITS) + 0.0:.{DIGITS}f}"


def _maybe(numbers: Numbers | None) -> dict[str, Any] | None:
    return None if numbers is None else numbers.to_json()
