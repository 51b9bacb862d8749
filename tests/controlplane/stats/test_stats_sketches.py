"""Sketches: merging is the sketch of the union, buckets keep order and width."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.stats.estimates import UndefinedStatistic
from controlplane.stats.sketches import CategoryCounts, Grid, LatencyHistogram, NumericSketch

any_number = st.floats(width=64)
finite = st.floats(allow_nan=False, allow_infinity=False)
latencies = st.lists(st.floats(min_value=0, max_value=1e9), max_size=30)
grids = st.builds(
    lambda centre, power, bits: Grid(centre, 2.0**power, bits),
    st.floats(min_value=-1e6, max_value=1e6),
    st.integers(min_value=-20, max_value=20),
    st.integers(min_value=4, max_value=11),
)


@given(st.lists(latencies, max_size=4))
def test_merged_latencies_are_the_histogram_of_all(parts: list[list[float]]) -> None:
    merged = LatencyHistogram.merged(LatencyHistogram.of(part) for part in parts)
    assert merged == LatencyHistogram.of([value for part in parts for value in part])


@pytest.mark.parametrize("percent", [0, 1, 50, 90, 99, 99.9, 100])
def test_percentiles_of_latencies_are_within_one_bucket_of_the_sorted_ones(percent: float) -> None:
    values = np.random.default_rng(1).lognormal(3, 1.5, 5000)
    rank = max(1, math.ceil(5000 * percent / 100))
    expected = np.sort(values)[rank - 1]
    assert LatencyHistogram.of(values).percentile(percent) == pytest.approx(expected, rel=1 / 128)


def test_latencies_survive_json_and_extremes_count_as_the_border() -> None:
    histogram = LatencyHistogram.of([0.0, 1e-9, 12.5, 12.5, 1e12, math.inf])
    assert LatencyHistogram.from_json(json.loads(json.dumps(histogram.to_json()))) == histogram
    assert histogram.n == 6
    assert histogram.percentile(0) == pytest.approx(2**-10, rel=1 / 128)
    assert histogram.percentile(100) == pytest.approx(2**22, rel=1 / 128)


def test_what_is_not_a_latency_is_refused() -> None:
    for wrong in (-1.0, math.nan):
        with pytest.raises(ValueError, match="0 or more"):
            LatencyHistogram.of([1.0, wrong])
    with pytest.raises(UndefinedStatistic, match="no latencies yet"):
        LatencyHistogram.of([]).percentile(50)
    with pytest.raises(ValueError, match="between 0 and 100"):
        LatencyHistogram.of([1.0]).percentile(101)


@given(
    grids,
    st.lists(any_number, max_size=30),
    st.lists(any_number, max_size=30),
    st.integers(0, 5),
)
def test_merged_numbers_are_the_sketch_of_the_union(
    grid: Grid, first: list[float], second: list[float], null: int
) -> None:
    union = NumericSketch.of(grid, first + second, null=null)
    for merged in (
        NumericSketch.of(grid, first, null=null).merge(NumericSketch.of(grid, second)),
        NumericSketch.of(grid, second).merge(NumericSketch.of(grid, first, null=null)),
    ):
        assert dict(merged.counts) == dict(union.counts)
        assert merged.n == union.n == len(first) + len(second) + null
        for name in (
            "null",
            "nan",
            "positive_infinity",
            "negative_infinity",
            "zero",
            "negative",
            "minimum",
            "maximum",
        ):
            assert getattr(merged, name) == getattr(union, name), name
        assert merged.total == pytest.approx(union.total, rel=1e-12, abs=1e-3)
        assert merged.total_of_squares == pytest.approx(union.total_of_squares, rel=1e-12)


@given(grids, st.lists(finite, min_size=2, max_size=30))
def test_keys_keep_the_order_of_the_numbers(grid: Grid, values: list[float]) -> None:
    ordered = np.sort(np.array(values))
    keys = grid.keys(ordered)
    assert (np.diff(keys) >= 0).all()
    # ±40 octaves: no column can ask for more buckets than this.
    assert np.abs(keys).max() <= 41 << grid.bits


@given(grids, st.floats(min_value=-1e15, max_value=1e15))
def test_a_number_lies_inside_its_bucket_which_is_narrow(grid: Grid, value: float) -> None:
    distance = abs(value - grid.centre) / grid.scale
    if distance >= 2.0**40:
        return
    low, high = grid.edges(int(grid.keys(np.array([value]))[0]))
    slack = 1e-9 * (abs(value - grid.centre) + grid.scale) + 1e-9 * abs(grid.centre)
    assert low - slack <= value <= high + slack
    assert high - low <= (abs(value - grid.centre) + grid.scale) * 2.0**-grid.bits + 2 * slack


@pytest.mark.parametrize("value", [0.0, -0.0, 5e-324, -5e-324, 1e300, -1e300, 1.7e308])
def test_the_strangest_numbers_have_a_bucket(value: float) -> None:
    grid = Grid(centre=0.0, scale=1.0)
    sketch = NumericSketch.of(grid, [value])
    (key,) = sketch.counts
    low, high = grid.edges(key)
    clamped = max(-(2.0**40), min(2.0**40, value))
    assert low <= clamped <= high
    assert math.isfinite(sketch.total_of_squares)


def test_both_zeros_share_a_bucket() -> None:
    assert len(NumericSketch.of(Grid(0.0, 1.0), [0.0, -0.0]).counts) == 1


@given(grids, st.lists(any_number, max_size=30), st.integers(min_value=1, max_value=4))
def test_folding_is_the_sketch_of_the_coarser_grid(
    grid: Grid, values: list[float], bits: int
) -> None:
    coarse = Grid(grid.centre, grid.scale, bits)
    assert NumericSketch.of(grid, values).fold(bits) == NumericSketch.of(coarse, values)


def test_a_grid_comes_from_the_reference_and_its_sketch_knows_the_mean() -> None:
    values = np.random.default_rng(2).normal(50, 4, 10_000)
    grid = Grid.of(values)
    quartiles = np.quantile(values, [0.25, 0.75])
    assert grid.centre == pytest.approx(np.median(values))
    assert grid.scale == 2.0 ** math.floor(math.log2((quartiles[1] - quartiles[0]) / 64))
    sketch = NumericSketch.of(grid, values)
    assert sketch.mean == pytest.approx(values.mean())
    assert sketch.finite == 10_000


@pytest.mark.parametrize(
    "reference", [[7.0] * 9, [0.0] * 9, [5.0] * 20 + [1e6], [1e308, -1e308, 1e308, 0.0], [1e300]]
)
def test_every_finite_reference_gives_a_usable_grid(reference: list[float]) -> None:
    grid = Grid.of(reference)
    assert math.isfinite(grid.scale)
    assert grid.scale > 0
    assert NumericSketch.of(grid, reference).finite == len(reference)


def test_sketches_on_different_grids_are_not_merged() -> None:
    with pytest.raises(ValueError, match="different grids"):
        NumericSketch.of(Grid(0, 1), [1.0]).merge(NumericSketch.of(Grid(0, 2), [1.0]))
    with pytest.raises(ValueError, match="coarser, not finer"):
        NumericSketch.of(Grid(0, 1, 7), [1.0]).fold(8)
    with pytest.raises(UndefinedStatistic, match="at least one finite value"):
        Grid.of([math.nan])
    with pytest.raises(UndefinedStatistic, match="mean of no values"):
        _ = NumericSketch.of(Grid(0, 1), [math.nan]).mean


values_or_missing = st.lists(st.one_of(st.none(), st.sampled_from(["a", "b", "", "new"])))


@given(st.lists(values_or_missing, min_size=1, max_size=4), st.booleans())
def test_merged_categories_are_the_counts_of_all(
    parts: list[list[str | None]], pooled: bool
) -> None:
    vocabulary = frozenset({"a", ""}) if pooled else None
    merged = CategoryCounts.merged(CategoryCounts.of(p, vocabulary=vocabulary) for p in parts)
    union = CategoryCounts.of([v for part in parts for v in part], vocabulary=vocabulary)
    assert merged == union
    assert merged.n == sum(map(len, parts))


def test_an_empty_text_is_a_value_and_not_a_missing_one() -> None:
    counts = CategoryCounts.of(["", None, "x"])
    assert (counts.counts[""], counts.null) == (1, 1)


def test_too_many_values_ask_for_a_vocabulary() -> None:
    many = [str(number) for number in range(CategoryCounts.MAX_EXACT + 1)]
    with pytest.raises(ValueError, match="count those of a vocabulary"):
        CategoryCounts.of(many)
    assert CategoryCounts.of(many, vocabulary=frozenset(many[:5])).other == len(many) - 5
    with pytest.raises(ValueError, match="different vocabularies"):
        CategoryCounts.merged(
            [CategoryCounts.of([]), CategoryCounts.of([], vocabulary=frozenset())]
        )
