"""The owner table moves as few callers as possible, and analysts can compute the same buckets."""

import itertools
import os
from collections import Counter

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployments import assignment
from deployments.assignment import BUCKETS, bucket, compress, expand, grow


@st.composite
def shares(draw: st.DrawFn, arms: int) -> list[int]:
    cuts = sorted(draw(st.lists(st.integers(0, BUCKETS), min_size=arms - 1, max_size=arms - 1)))
    edges = [0, *cuts, BUCKETS]
    return [high - low for low, high in itertools.pairwise(edges)]


@st.composite
def walks(draw: st.DrawFn) -> list[list[int]]:
    arms = draw(st.integers(2, 5))
    return draw(st.lists(shares(arms), min_size=1, max_size=5))


@settings(max_examples=60, deadline=None, database=None)
@given(walks())
def test_every_step_moves_the_fewest_buckets_for_any_number_of_arms(walk: list[list[int]]) -> None:
    table = assignment.all_stable()
    for want in walk:
        following = grow(table, want)
        assert [Counter(following)[arm] for arm in range(len(want))] == want
        for arm in range(1, len(want)):
            before = {i for i, owner in enumerate(table) if owner == arm}
            after = {i for i, owner in enumerate(following) if owner == arm}
            assert before <= after or after <= before
        moved = sum(a != b for a, b in zip(table, following, strict=True))
        changes = [w - Counter(table)[arm] for arm, w in enumerate(want)]
        assert moved <= sum(abs(change) for change in changes[1:])
        if all(change >= 0 for change in changes[1:]) or all(c <= 0 for c in changes[1:]):
            assert moved == abs(changes[0])
        table = following


@settings(max_examples=40, deadline=None, database=None)
@given(st.integers(2, 4).flatmap(lambda arms: st.tuples(shares(arms), shares(arms))))
def test_shrinking_undoes_growing(pair: tuple[list[int], list[int]]) -> None:
    first, more = pair
    start = grow(assignment.all_stable(), first)
    taken = min(start.count(0), more[1])
    wider = [first[0] - taken, first[1] + taken, *first[2:]]
    assert grow(grow(start, wider), first) == start


def test_a_canary_that_grows_throws_no_caller_back() -> None:
    table = assignment.all_stable()
    seen: set[str] = set()
    units = [f"customer-{i}" for i in range(2_000)]
    for percent in (5, 10, 25, 50, 100):
        table = grow(table, [BUCKETS - percent * 100, percent * 100])
        now = {unit for unit in units if table[bucket("rollout-7", unit)] == 1}
        assert seen <= now
        seen = now
    assert len(seen) == len(units)


def test_raising_one_arm_of_three_leaves_the_others_alone() -> None:
    table = grow(assignment.all_stable(), [8_500, 500, 1_000])
    following = grow(table, [8_000, 1_000, 1_000])
    assert sum(a != b for a, b in zip(table, following, strict=True)) == 500


def test_buckets_are_even_and_salts_are_independent() -> None:
    units = [f"unit-{i}" for i in range(40_000)]
    tenths = Counter(bucket("salt-a", unit) // 1_000 for unit in units)
    chi_square = sum((count - 4_000) ** 2 / 4_000 for count in tenths.values())
    assert chi_square < 27.9  # 9 degrees of freedom, one false alarm in a thousand
    both = sum(bucket("salt-a", u) < 5_000 and bucket("salt-b", u) < 5_000 for u in units)
    assert both / len(units) == pytest.approx(0.25, abs=0.01)


def test_an_empty_unit_has_no_bucket() -> None:
    with pytest.raises(ValueError, match="assigned by chance"):
        bucket("salt", "")


@pytest.mark.parametrize(
    ("want", "message"),
    [([5_000, 4_999], "add up"), ([10_001, -1], "0 or more"), ([10_000], "has no share")],
)
def test_a_table_is_not_grown_towards_impossible_shares(want: list[int], message: str) -> None:
    table = grow(assignment.all_stable(), [9_000, 1_000])
    with pytest.raises(ValueError, match=message):
        grow(table, want)


def test_runs_are_the_table_and_must_cover_it() -> None:
    table = grow(assignment.all_stable(), [9_000, 600, 400])
    assert compress(table) == [[1, 600], [2, 400], [0, 9_000]]
    assert expand(compress(table)) == table
    with pytest.raises(ValueError, match="cover 9999"):
        expand([[0, 9_999]])


def test_postgresql_computes_the_same_bucket(servers: None) -> None:
    units = ["customer-1", "Zoë", "客户", "🚲", "a:b", " ", "x" * 256]
    expression = assignment.BUCKET_SQL.format(salt="%(salt)s::text", unit="unit")
    query = f"SELECT unit, {expression} FROM unnest(%(units)s::text[]) AS unit"
    with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
        rows = connection.execute(query, {"salt": "rollout:ß", "units": units}).fetchall()
    assert dict(rows) == {u: bucket("rollout:ß", u) for u in units}
