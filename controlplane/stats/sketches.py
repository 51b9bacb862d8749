"""Mergeable summaries of one column: bit buckets for numbers and latencies, counts for categories.

Buckets are the leading bits of the binary representation of a number, so that a key is computed
without a logarithm, order of keys is order of numbers, and `key >> s` is the key with s bits
fewer. Counts are integers: merging is exact in any order and grouping.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, TypeVar

import numpy as np
import numpy.typing as npt

from controlplane.stats.estimates import FloatArray, IntArray, UndefinedStatistic

Key = TypeVar("Key", int, str)

_MANTISSA_BITS = 52
_BELOW_SIGN = np.int64(0x7FFF_FFFF_FFFF_FFFF)
# One value of 1e300 would otherwise ask for two million buckets.
_LIMIT = 2.0**40
_LATENCY_BITS = 7
# 1 µs to about 70 minutes; what lies outside counts as the border.
_LATENCY_LOW_MS, _LATENCY_HIGH_MS = 2.0**-10, 2.0**22


@dataclass(frozen=True, slots=True)
class LatencyHistogram:
    """How often each latency occurred, in milliseconds; a bucket is at most 0.8 % wide.

    The buckets are the same everywhere and for ever, so histograms of replicas and hours merge.
    """

    counts: Mapping[int, int]

    @classmethod
    def of(cls, milliseconds: npt.ArrayLike) -> LatencyHistogram:
        """Count latencies.

        Raises:
            ValueError: a latency is negative or not a number.
        """
        values = np.asarray(milliseconds, dtype=np.float64).ravel()
        if np.isnan(values).any() or (values < 0).any():
            raise ValueError("A latency is a number of milliseconds, 0 or more.")
        clamped = np.clip(values, _LATENCY_LOW_MS, _LATENCY_HIGH_MS)
        return cls(_tally(clamped.view(np.int64) >> (_MANTISSA_BITS - _LATENCY_BITS)))

    @classmethod
    def merged(cls, parts: Iterable[LatencyHistogram]) -> LatencyHistogram:
        """Return the histogram of all parts together."""
        return cls(_added(part.counts for part in parts))

    @classmethod
    def from_json(cls, stored: Mapping[str, int]) -> LatencyHistogram:
        """Read what `to_json` wrote."""
        return cls({int(key): int(count) for key, count in stored.items()})

    def to_json(self) -> dict[str, int]:
        """Return counts by bucket number, in order."""
        return {str(key): self.counts[key] for key in sorted(self.counts)}

    @property
    def n(self) -> int:
        """The number of latencies counted."""
        return sum(self.counts.values())

    def percentile(self, percent: float) -> float:
        """Return a latency in milliseconds, exact to the width of its bucket (0.8 %).

        Raises:
            UndefinedStatistic: nothing was counted.
        """
        if not 0 <= percent <= 100:
            raise ValueError("A percentile lies between 0 and 100.")
        n = self.n
        if not n:
            raise UndefinedStatistic("There are no latencies yet.")
        rank = max(1, math.ceil(n * percent / 100))
        keys = sorted(self.counts)
        cumulative = np.cumsum([self.counts[key] for key in keys])
        at = int(np.searchsorted(cumulative, rank))
        before = int(cumulative[at - 1]) if at else 0
        low, high = _latency_edges(keys[at])
        return low + (high - low) * (rank - before - 0.5) / self.counts[keys[at]]


@dataclass(frozen=True, slots=True)
class CategoryCounts:
    """How often each value occurred, exactly, or those of a fixed vocabulary and the rest pooled.

    The vocabulary comes from the reference and never from the window: windows that chose their
    own values could not be merged.
    """

    counts: Mapping[str, int]
    null: int = 0
    other: int = 0
    vocabulary: frozenset[str] | None = None

    MAX_EXACT: ClassVar[int] = 10_000

    @classmethod
    def of(
        cls, values: Iterable[str | None], *, vocabulary: frozenset[str] | None = None
    ) -> CategoryCounts:
        """Count values; None is missing and "" is a value.

        Raises:
            ValueError: more than 10,000 different values and no vocabulary to pool them by.
        """
        counts: dict[str, int] = {}
        null = other = 0
        for value in values:
            if value is None:
                null += 1
            elif vocabulary is None or value in vocabulary:
                counts[value] = counts.get(value, 0) + 1
            else:
                other += 1
        return cls._checked(counts, null, other, vocabulary)

    @classmethod
    def merged(cls, parts: Iterable[CategoryCounts]) -> CategoryCounts:
        """Return the counts of all parts together.

        Raises:
            ValueError: the parts pool by different vocabularies, or become too many values.
        """
        listed = list(parts)
        vocabularies = {part.vocabulary for part in listed}
        if len(vocabularies) > 1:
            raise ValueError("Counts with different vocabularies cannot be merged.")
        return cls._checked(
            _added(part.counts for part in listed),
            sum(part.null for part in listed),
            sum(part.other for part in listed),
            vocabularies.pop() if vocabularies else None,
        )

    @classmethod
    def _checked(
        cls, counts: dict[str, int], null: int, other: int, vocabulary: frozenset[str] | None
    ) -> CategoryCounts:
        if vocabulary is None and len(counts) > cls.MAX_EXACT:
            raise ValueError(
                f"More than {cls.MAX_EXACT} different values: count those of a vocabulary instead."
            )
        return cls(counts, null, other, vocabulary)

    @property
    def n(self) -> int:
        """All rows, missing ones included."""
        return sum(self.counts.values()) + self.null + self.other


@dataclass(frozen=True, slots=True)
class Grid:
    """Where the buckets of a column lie: fixed by its reference, shared by all its sketches.

    A bucket around x is at most (|x − centre| + scale)·2^−bits wide: linear near the centre,
    logarithmic in the tails. Beyond 40 octaves of `scale` values count as the border.
    """

    centre: float
    scale: float
    bits: int = 11

    @classmethod
    def of(cls, reference: npt.ArrayLike, *, bits: int = 11) -> Grid:
        """Choose centre and scale from the reference's median and quartiles.

        Raises:
            UndefinedStatistic: the reference has no finite value.
        """
        values = np.asarray(reference, dtype=np.float64)
        values = values[np.isfinite(values)]
        if not values.size:
            raise UndefinedStatistic("A grid needs at least one finite value.")
        low, centre, high = np.quantile(values, [0.25, 0.5, 0.75]).tolist()
        # Halved before subtracting: the range of two huge values would overflow.
        spread = 2 * (high / 128 - low / 128)
        # Where the quartiles coincide the standard deviation, then the size of the value, decide.
        if not spread:
            with np.errstate(over="ignore"):
                spread = float(values.std()) / 64
        if not spread or not math.isfinite(spread):
            spread = (abs(centre) or 1.0) / 64
        return cls(centre, 2.0 ** max(-1000, min(900, math.floor(math.log2(spread)))), bits)

    def distances(self, values: FloatArray) -> FloatArray:
        """Return (x − centre)/scale of finite values, clamped to ±2^40."""
        # Scaled before subtracting: the scale is a power of two, so nothing is lost, and the
        # difference of two huge values does not overflow.
        with np.errstate(over="ignore"):
            distance = values / self.scale - self.centre / self.scale
        # Adding 0 turns −0 into 0: equal values belong into one bucket.
        return np.clip(distance, -_LIMIT, _LIMIT) + 0.0

    def keys(self, values: FloatArray) -> IntArray:
        """Return the bucket of every finite value; greater values never have smaller keys."""
        return self.keys_of_distances(self.distances(values))

    def keys_of_distances(self, distance: FloatArray) -> IntArray:
        """Return the bucket of every clamped distance."""
        # ±1 keeps the exponent from running to −∞ around the centre: linear there.
        bits = (distance + np.copysign(1.0, distance)).view(np.int64)
        bits = np.where(bits < 0, bits ^ _BELOW_SIGN, bits) >> (_MANTISSA_BITS - self.bits)
        # Keys of 1 and −1 are far apart; close the gap so that keys count on from −1 to 0.
        lowest = np.int64(1023 << self.bits)
        return np.where(bits >= 0, bits - lowest, bits + lowest)

    def edges(self, key: int) -> tuple[float, float]:
        """Return the two ends of a bucket, in the column's unit."""
        return self._value(key), self._value(key + 1)

    def _value(self, key: int) -> float:
        mirrored = abs(key) + (1023 << self.bits)
        magnitude = np.int64(mirrored << (_MANTISSA_BITS - self.bits)).view(np.float64)
        return float(math.copysign(float(magnitude) - 1.0, key) * self.scale + self.centre)


@dataclass(frozen=True, slots=True)
class NumericSketch:
    """One numeric column of one window, on the grid of its reference.

    `total` and `total_of_squares` are of (x − centre)/scale over the clamped values; they may
    differ in the last digits by merge order, all counts are exact.
    """

    grid: Grid
    counts: Mapping[int, int]
    null: int = 0
    nan: int = 0
    positive_infinity: int = 0
    negative_infinity: int = 0
    zero: int = 0
    negative: int = 0
    minimum: float | None = None
    maximum: float | None = None
    total: float = 0.0
    total_of_squares: float = 0.0

    @classmethod
    def of(cls, grid: Grid, values: npt.ArrayLike, *, null: int = 0) -> NumericSketch:
        """Summarise the values that are present; `null` says how many are not."""
        column = np.asarray(values, dtype=np.float64).ravel()
        finite = column[np.isfinite(column)]
        distance = grid.distances(finite)
        return cls(
            grid=grid,
            counts=_tally(grid.keys_of_distances(distance)),
            null=null,
            nan=int(np.isnan(column).sum()),
            positive_infinity=int((column == np.inf).sum()),
            negative_infinity=int((column == -np.inf).sum()),
            zero=int((finite == 0).sum()),
            negative=int((finite < 0).sum()),
            minimum=float(finite.min()) if finite.size else None,
            maximum=float(finite.max()) if finite.size else None,
            total=float(distance.sum()),
            total_of_squares=float((distance**2).sum()),
        )

    def merge(self, other: NumericSketch) -> NumericSketch:
        """Return the sketch of both windows together.

        Raises:
            ValueError: the two are on different grids.
        """
        if self.grid != other.grid:
            raise ValueError("Sketches on different grids cannot be merged.")
        lows = [end for end in (self.minimum, other.minimum) if end is not None]
        highs = [end for end in (self.maximum, other.maximum) if end is not None]
        return NumericSketch(
            grid=self.grid,
            counts=_added([self.counts, other.counts]),
            null=self.null + other.null,
            nan=self.nan + other.nan,
            positive_infinity=self.positive_infinity + other.positive_infinity,
            negative_infinity=self.negative_infinity + other.negative_infinity,
            zero=self.zero + other.zero,
            negative=self.negative + other.negative,
            minimum=min(lows, default=None),
            maximum=max(highs, default=None),
            total=self.total + other.total,
            total_of_squares=self.total_of_squares + other.total_of_squares,
        )

    def fold(self, bits: int) -> NumericSketch:
        """Return the sketch that a coarser grid would have given, exactly.

        Raises:
            ValueError: the grid is coarser already.
        """
        if bits > self.grid.bits:
            raise ValueError("A sketch can be made coarser, not finer.")
        shift = self.grid.bits - bits
        return replace(
            self,
            grid=replace(self.grid, bits=bits),
            counts=_added({key >> shift: count} for key, count in self.counts.items()),
        )

    @property
    def finite(self) -> int:
        """How many finite values were counted."""
        return sum(self.counts.values())

    @property
    def n(self) -> int:
        """All rows: finite, infinite, NaN and missing."""
        special = self.nan + self.positive_infinity + self.negative_infinity
        return self.finite + special + self.null

    @property
    def mean(self) -> float:
        """The mean of the finite values.

        Raises:
            UndefinedStatistic: there are none.
        """
        if not self.finite:
            raise UndefinedStatistic("A mean of no values is undefined.")
        return self.grid.centre + self.grid.scale * self.total / self.finite


def _latency_edges(key: int) -> tuple[float, float]:
    shift = _MANTISSA_BITS - _LATENCY_BITS
    low, high = np.array([key << shift, (key + 1) << shift], dtype=np.int64).view(np.float64)
    return float(low), float(high)


def _tally(keys: IntArray) -> dict[int, int]:
    if not keys.size:
        return {}
    lowest = int(keys.min())
    counts = np.bincount(keys - lowest)
    used = np.flatnonzero(counts)
    return dict(zip((used + lowest).tolist(), counts[used].tolist(), strict=True))


def _added(parts: Iterable[Mapping[Key, int]]) -> dict[Key, int]:
    merged: dict[Key, int] = {}
    for part in parts:
        for key, count in part.items():
            merged[key] = merged.get(key, 0) + count
    return merged
