"""The canary test: does the candidate fail more often than stable in the same minutes?

An always-valid mixture bound on candidate share − stable share, so that it may be asked at every
tick. Its variance is *pooled*: with a few per cent of the traffic and rare errors, an arm that has
seen no error yet has an estimated variance of 0 and would decide at once. Pooling is done under
the hypothesis that the guard tests, that the candidate is worse by exactly the margin (with margin
0 this is the plain pooled variance), and nothing is decided before that hypothesis would have
produced ten errors in the candidate. So a canary of two arms without any error can succeed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from controlplane.stats.estimates import Interval
from controlplane.stats.sequential import mixture_interval


class Verdict(StrEnum):
    """What the guard says now. Only `continue_` may change when more requests arrive."""

    FAILED = "failed"
    SUCCESSFUL = "successful"
    CONTINUE_ = "continue"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, slots=True)
class ErrorGuard:
    """The values of the policy. All shares are fractions.

    `margin` is the extra share of errors that is tolerated, `tau` the extra share that should be
    found soonest, `alpha` the error level of this guard (that of the rollout divided by its
    guards). Fewer than `minimum_requests` to the candidate never make it successful. More than
    `hard_limit_share` of at least `hard_limit_requests` fail the canary whatever stable does.
    """

    margin: float = 0.02
    alpha: float = 0.05
    tau: float = 0.02
    minimum_requests: int = 200
    hard_limit_share: float = 0.20
    hard_limit_requests: int = 50
    minimum_expected_errors: float = 10.0

    def __post_init__(self) -> None:
        """Refuse values with which the guard could never act or would act on nothing."""
        if not 0 <= self.margin < 1:
            raise ValueError("The margin is a share from 0 to below 1.")
        if not 0 < self.alpha < 1:
            raise ValueError("The error level lies strictly between 0 and 1.")
        if not 0 < self.tau < 1:
            raise ValueError("τ lies strictly between 0 and 1.")
        if not 0 < self.hard_limit_share <= 1:
            raise ValueError("The hard limit is a share above 0.")
        if self.minimum_requests < 1 or self.hard_limit_requests < 1:
            raise ValueError("A minimum of requests is at least 1.")
        if self.minimum_expected_errors <= 0:
            raise ValueError("The expected errors to wait for must be above 0.")


@dataclass(frozen=True, slots=True)
class ArmCounts:
    """Requests of one arm in the window, and how many ended in a 5xx answer or a time-out.

    4xx answers are the client's and are not errors.
    """

    requests: int
    errors: int

    def __post_init__(self) -> None:
        """Refuse impossible counts."""
        if not 0 <= self.errors <= self.requests:
            raise ValueError(f"{self.errors} errors in {self.requests} requests is impossible.")

    @property
    def share(self) -> float:
        """The share of errors; 0 while there are no requests."""
        return self.errors / self.requests if self.requests else 0.0


@dataclass(frozen=True, slots=True)
class CanaryResult:
    """The verdict with what it rests on; `interval` is None while nothing can be said."""

    verdict: Verdict
    sentence: str
    candidate: ArmCounts
    stable: ArmCounts
    interval: Interval | None

    @property
    def is_decided(self) -> bool:
        """Whether the rollout should act now."""
        return self.verdict is not Verdict.CONTINUE_


def judge(
    guard: ErrorGuard,
    *,
    candidate: ArmCounts,
    stable: ArmCounts,
    deadline_passed: bool = False,
    stable_is_healthy: bool = True,
) -> CanaryResult:
    """Judge all requests since the step began; ask as often as you like.

    Both arms must cover the same minutes and one traffic share: start anew when the share changes.
    `stable_is_healthy` is false while stable burns its own error budget; then nothing but the hard
    limit is decided, because the comparison says nothing about the candidate.
    """
    interval = _interval(guard, candidate, stable)

    def answer(verdict: Verdict, why: str) -> CanaryResult:
        sentence = f"{_observed(candidate, stable)} {why}"
        return CanaryResult(verdict, sentence, candidate, stable, interval)

    if candidate.requests >= guard.hard_limit_requests and candidate.share > guard.hard_limit_share:
        return answer(
            Verdict.FAILED,
            f"More than {_percent(guard.hard_limit_share)} of at least "
            f"{guard.hard_limit_requests} requests to the candidate failed.",
        )
    if not stable_is_healthy:
        return answer(
            Verdict.INCONCLUSIVE,
            "Stable is burning its own error budget, so the two cannot be compared.",
        )
    expected = candidate.requests * _shares_under_margin(guard.margin, candidate, stable)[0]
    is_ready = interval is not None and expected >= guard.minimum_expected_errors
    margin = _points(guard.margin)
    if interval is not None and is_ready:
        bounds = f"The difference lies between {_points(interval.low)} and {_points(interval.high)}"
        if interval.low > guard.margin:
            return answer(Verdict.FAILED, f"{bounds}, beyond the margin of {margin}.")
        if interval.high <= guard.margin and candidate.requests >= guard.minimum_requests:
            return answer(Verdict.SUCCESSFUL, f"{bounds}, within the margin of {margin}.")
    if deadline_passed:
        return answer(
            Verdict.INCONCLUSIVE,
            f"The time is over and the requests do not show whether the margin of {margin} holds.",
        )
    return answer(Verdict.CONTINUE_, _what_is_missing(guard, candidate, stable, is_ready, expected))


def _interval(guard: ErrorGuard, candidate: ArmCounts, stable: ArmCounts) -> Interval | None:
    if not candidate.requests or not stable.requests:
        return None
    worse, usual = _shares_under_margin(guard.margin, candidate, stable)
    variance = worse * (1 - worse) / candidate.requests + usual * (1 - usual) / stable.requests
    if variance <= 0:
        return None
    effect = candidate.share - stable.share
    return mixture_interval(effect, variance, tau=guard.tau, alpha=guard.alpha)


def _shares_under_margin(
    margin: float, candidate: ArmCounts, stable: ArmCounts
) -> tuple[float, float]:
    """Error shares (candidate, stable) that differ by the margin and give the observed total."""
    total = candidate.requests + stable.requests
    if not total:
        return 0.0, 0.0
    pooled = (candidate.errors + stable.errors) / total
    # Stable cannot have less than no errors: where the total is too small, it is 0 and the
    # candidate has the margin.
    usual = min(max(pooled - margin * candidate.requests / total, 0.0), 1.0 - margin)
    return usual + margin, usual


def _what_is_missing(
    guard: ErrorGuard, candidate: ArmCounts, stable: ArmCounts, is_ready: bool, expected: float
) -> str:
    if not candidate.requests or not stable.requests:
        return "Nothing can be compared before both have answered requests."
    if not is_ready:
        return (
            f"Too early to decide: {math.floor(expected)} of "
            f"{math.ceil(guard.minimum_expected_errors)} expected errors."
        )
    if candidate.requests < guard.minimum_requests:
        return f"The candidate needs at least {guard.minimum_requests} requests."
    return f"The difference is not yet clear of the margin of {_points(guard.margin)}."


def _observed(candidate: ArmCounts, stable: ArmCounts) -> str:
    return (
        f"Candidate: {_percent(candidate.share)} errors "
        f"({candidate.errors} of {candidate.requests}); stable: {_percent(stable.share)} "
        f"({stable.errors} of {stable.requests})."
    )


def _percent(share: float) -> str:
    return f"{share * 100:.1f} %"


def _points(share: float) -> str:
    # A minus sign, not a hyphen, as on the pages.
    return f"{share * 100:.2f}".replace("-", "−") + " points"
