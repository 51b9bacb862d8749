"""The canary guard: each verdict with its sentence, and seeded simulations of whole rollouts."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from controlplane.stats.canary import ArmCounts, ErrorGuard, Verdict, judge

CANDIDATE_SHARE = 0.05


def simulate(
    guard: ErrorGuard,
    *,
    candidate_errors: float,
    stable_errors: float,
    per_look: int,
    looks: int,
    rollouts: int = 300,
    seed: int = 1,
) -> tuple[Counter[Verdict], list[int]]:
    """Play rollouts at 5:95 and judge at every look; also the candidate's requests at the end."""
    generator = np.random.default_rng(seed)
    verdicts: Counter[Verdict] = Counter()
    requests_at_end: list[int] = []
    for _ in range(rollouts):
        candidate = generator.binomial(per_look, CANDIDATE_SHARE, looks)
        stable = per_look - candidate
        failed = generator.binomial(candidate, candidate_errors).cumsum().tolist()
        usual = generator.binomial(stable, stable_errors).cumsum().tolist()
        verdict = Verdict.CONTINUE_
        arms = zip(
            candidate.cumsum().tolist(), failed, stable.cumsum().tolist(), usual, strict=True
        )
        for requests, errors, stable_requests, stable_failed in arms:
            result = judge(
                guard,
                candidate=ArmCounts(requests, errors),
                stable=ArmCounts(stable_requests, stable_failed),
            )
            verdict = result.verdict
            if result.is_decided:
                requests_at_end.append(requests)
                break
        verdicts[verdict] += 1
    return verdicts, requests_at_end


@pytest.mark.parametrize(("per_look", "looks"), [(1000, 150), (200, 200)])
def test_equal_versions_are_told_apart_in_at_most_one_rollout_of_twenty(
    per_look: int, looks: int
) -> None:
    """With margin 0 any decision between equal versions is false."""
    verdicts, _ = simulate(
        ErrorGuard(margin=0.0, tau=0.01),
        candidate_errors=0.01,
        stable_errors=0.01,
        per_look=per_look,
        looks=looks,
    )
    assert 300 - verdicts[Verdict.CONTINUE_] <= 15


@pytest.mark.parametrize("stable_errors", [0.0, 0.001, 0.01])
def test_a_candidate_exactly_at_the_margin_is_seldom_decided(stable_errors: float) -> None:
    """The border of what is tolerated: failing and passing are both wrong there."""
    guard = ErrorGuard(margin=0.02, tau=0.02)
    verdicts, _ = simulate(
        guard,
        candidate_errors=stable_errors + guard.margin,
        stable_errors=stable_errors,
        per_look=400,
        looks=200,
    )
    assert 300 - verdicts[Verdict.CONTINUE_] <= 15


def test_equal_versions_pass_once_the_margin_is_shown_to_hold() -> None:
    verdicts, requests = simulate(
        ErrorGuard(margin=0.02, tau=0.02),
        candidate_errors=0.01,
        stable_errors=0.01,
        per_look=500,
        looks=200,
    )
    assert verdicts[Verdict.SUCCESSFUL] >= 285
    assert np.median(requests) < 2000


def test_two_versions_without_any_error_can_succeed() -> None:
    guard = ErrorGuard()
    early = judge(guard, candidate=ArmCounts(400, 0), stable=ArmCounts(7600, 0))
    late = judge(guard, candidate=ArmCounts(700, 0), stable=ArmCounts(13_300, 0))
    assert early.verdict is Verdict.CONTINUE_
    assert "Too early to decide: 8 of 10 expected errors." in early.sentence
    assert late.verdict is Verdict.SUCCESSFUL


def test_a_candidate_with_sixty_per_cent_errors_is_failed_within_a_hundred_requests() -> None:
    verdicts, requests = simulate(
        ErrorGuard(), candidate_errors=0.6, stable_errors=0.0, per_look=100, looks=60
    )
    assert verdicts[Verdict.FAILED] == 300
    assert max(requests) <= 100
    assert min(requests) >= 50


def test_a_candidate_below_the_hard_limit_is_failed_by_the_comparison() -> None:
    verdicts, requests = simulate(
        ErrorGuard(), candidate_errors=0.1, stable_errors=0.005, per_look=100, looks=400
    )
    assert verdicts[Verdict.FAILED] == 300
    assert np.median(requests) < 500


def test_the_hard_limit_acts_at_fifty_requests_and_not_before() -> None:
    before = judge(ErrorGuard(), candidate=ArmCounts(49, 49), stable=ArmCounts(900, 0))
    assert before.verdict is Verdict.CONTINUE_
    at = judge(ErrorGuard(), candidate=ArmCounts(50, 11), stable=ArmCounts(900, 0))
    assert at.verdict is Verdict.FAILED
    assert at.sentence == (
        "Candidate: 22.0 % errors (11 of 50); stable: 0.0 % (0 of 900). "
        "More than 20.0 % of at least 50 requests to the candidate failed."
    )
    just = judge(ErrorGuard(), candidate=ArmCounts(50, 10), stable=ArmCounts(900, 0))
    assert just.verdict is Verdict.CONTINUE_


def test_the_hard_limit_needs_no_healthy_stable() -> None:
    result = judge(
        ErrorGuard(),
        candidate=ArmCounts(60, 40),
        stable=ArmCounts(900, 600),
        stable_is_healthy=False,
    )
    assert result.verdict is Verdict.FAILED


def test_an_unhealthy_stable_makes_the_comparison_inconclusive() -> None:
    result = judge(
        ErrorGuard(),
        candidate=ArmCounts(5000, 100),
        stable=ArmCounts(95_000, 1900),
        stable_is_healthy=False,
    )
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "Stable is burning its own error budget" in result.sentence


def test_the_deadline_ends_an_undecided_canary_without_a_guess() -> None:
    candidate, stable = ArmCounts(300, 8), ArmCounts(5700, 57)
    assert judge(ErrorGuard(), candidate=candidate, stable=stable).verdict is Verdict.CONTINUE_
    over = judge(ErrorGuard(), candidate=candidate, stable=stable, deadline_passed=True)
    assert over.verdict is Verdict.INCONCLUSIVE
    assert over.sentence.endswith(
        "The time is over and the requests do not show whether the margin of 2.00 points holds."
    )


def test_the_deadline_does_not_undo_what_the_requests_show() -> None:
    result = judge(
        ErrorGuard(),
        candidate=ArmCounts(5000, 50),
        stable=ArmCounts(95_000, 950),
        deadline_passed=True,
    )
    assert result.verdict is Verdict.SUCCESSFUL
    assert result.interval is not None
    assert result.interval.low < 0 < result.interval.high <= 0.02


def test_a_small_sample_never_succeeds() -> None:
    guard = ErrorGuard(margin=0.15, tau=0.1, minimum_requests=500)
    result = judge(guard, candidate=ArmCounts(300, 1), stable=ArmCounts(5700, 20))
    assert result.verdict is Verdict.CONTINUE_
    assert result.sentence.endswith("The candidate needs at least 500 requests.")


@pytest.mark.parametrize(
    ("candidate", "stable"), [((0, 0), (100, 1)), ((100, 1), (0, 0)), ((0, 0), (0, 0))]
)
def test_without_requests_on_both_sides_nothing_is_compared(
    candidate: tuple[int, int], stable: tuple[int, int]
) -> None:
    result = judge(ErrorGuard(), candidate=ArmCounts(*candidate), stable=ArmCounts(*stable))
    assert result.verdict is Verdict.CONTINUE_
    assert result.interval is None
    assert "Nothing can be compared" in result.sentence


def test_values_with_which_a_guard_could_not_work_are_refused() -> None:
    for values in (
        {"margin": -0.1},
        {"alpha": 1.0},
        {"tau": 0.0},
        {"hard_limit_share": 0.0},
        {"minimum_requests": 0},
        {"minimum_expected_errors": 0.0},
    ):
        with pytest.raises(ValueError):
            ErrorGuard(**values)
    with pytest.raises(ValueError, match="3 errors in 2 requests is impossible"):
        ArmCounts(2, 3)
