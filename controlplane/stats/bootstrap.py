"""Seeded percentile bootstrap of any metric over rows, alone or paired.

Rows with equal content are one *cell* with a multiplicity; a resample is a weight per cell. A
statistic maps weights (cells × draws) to one value per draw, so 2,000 draws are a few matrix
products. Paired means that candidate and live are weighted by the *same* resample: what is hard
or easy about the drawn rows cancels in the difference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from controlplane.stats.estimates import (
    DEFAULT_CONFIDENCE,
    Difference,
    Estimate,
    FloatArray,
    IntArray,
    PairedEstimates,
    UndefinedStatistic,
)

Statistic = Callable[[IntArray], FloatArray]
"""Weights (cells × draws) to one value per draw; NaN where a draw leaves the value undefined."""

DEFAULT_DRAWS = 2_000
# Weights of one block stay in the processor's cache: 2,000 draws at once are twice as slow.
_BLOCK_ELEMENTS = 1 << 18
# Drawing row by row costs n per draw, drawing cell by cell about this many times the cells.
_CELL_COST = 16


def single_rows(n: int) -> IntArray:
    """Return the multiplicity of n rows that all differ."""
    return np.ones(n, dtype=np.int64)


def estimate(
    statistic: Statistic,
    multiplicity: IntArray,
    *,
    seed: int,
    draws: int = DEFAULT_DRAWS,
    confidence: float = DEFAULT_CONFIDENCE,
) -> Estimate:
    """Return the statistic with its percentile interval; the same seed gives the same interval.

    Resamples that leave the statistic undefined are left out; `draws` counts those used.

    Raises:
        UndefinedStatistic: the rows, or most resamples of them, do not define the statistic.
    """
    value = _value(statistic, multiplicity)
    sampled = np.concatenate(
        [statistic(block) for block in _resamples(multiplicity, seed=seed, draws=draws)]
    )
    low, high, used = _percentiles(sampled, confidence)
    return Estimate(value, low, high, int(multiplicity.sum()), used, seed)


def paired_estimates(
    candidate: Statistic,
    live: Statistic,
    multiplicity: IntArray,
    *,
    seed: int,
    draws: int = DEFAULT_DRAWS,
    confidence: float = DEFAULT_CONFIDENCE,
) -> PairedEstimates:
    """Return both statistics and candidate − live, every draw being the same rows for both.

    Raises:
        UndefinedStatistic: the rows, or most resamples of them, do not define both statistics.
    """
    n = int(multiplicity.sum())
    first, second = _value(candidate, multiplicity), _value(live, multiplicity)
    pairs = np.concatenate(
        [
            np.stack([candidate(block), live(block)])
            for block in _resamples(multiplicity, seed=seed, draws=draws)
        ],
        axis=1,
    )

    def sided(value: float, sampled: FloatArray) -> Estimate:
        low, high, used = _percentiles(sampled, confidence)
        return Estimate(value, low, high, n, used, seed)

    low, high, used = _percentiles(pairs[0] - pairs[1], confidence)
    return PairedEstimates(
        candidate=sided(first, pairs[0]),
        live=sided(second, pairs[1]),
        difference=Difference(first - second, low, high, n, used, seed),
    )


def _value(statistic: Statistic, multiplicity: IntArray) -> float:
    if not multiplicity.size or not multiplicity.sum():
        raise UndefinedStatistic("A metric of no rows is undefined.")
    value = float(statistic(multiplicity[:, np.newaxis])[0])
    if not np.isfinite(value):
        raise UndefinedStatistic("These rows leave the metric undefined.")
    return value


def _percentiles(sampled: FloatArray, confidence: float) -> tuple[float, float, int]:
    if not 0 < confidence < 1:
        raise ValueError("A confidence level lies strictly between 0 and 1.")
    defined = sampled[np.isfinite(sampled)]
    if defined.size * 2 < sampled.size or not defined.size:
        raise UndefinedStatistic("Most resamples of these rows leave the metric undefined.")
    tail = (1 - confidence) / 2
    low, high = np.quantile(defined, [tail, 1 - tail])
    return float(low), float(high), int(defined.size)


def _resamples(multiplicity: IntArray, *, seed: int, draws: int) -> Iterator[IntArray]:
    """Yield the weights of all draws, in blocks of (cells × some draws)."""
    if draws < 1:
        raise ValueError("A bootstrap needs at least one draw.")
    generator = np.random.default_rng(seed)
    cells, n = multiplicity.size, int(multiplicity.sum())
    by_row = n <= _CELL_COST * cells
    cell_of_row = np.repeat(np.arange(cells), multiplicity) if by_row else None
    shares = multiplicity / n
    block = max(1, min(draws, _BLOCK_ELEMENTS // (n if by_row else cells)))
    for start in range(0, draws, block):
        size = min(block, draws - start)
        if cell_of_row is None:
            counts = generator.multinomial(n, shares, size=size)
        else:
            drawn = cell_of_row[generator.integers(0, n, size=(size, n))]
            drawn += np.arange(size)[:, np.newaxis] * cells
            counts = np.bincount(drawn.ravel(), minlength=size * cells).reshape(size, cells)
        # Metrics read whole rows of this array; a transposed view would make them stride.
        yield np.ascontiguousarray(counts.T, dtype=np.int64)
