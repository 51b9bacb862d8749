"""Always-valid inference: an interval that may be looked at as often as one likes.

The normal mixture of Johari et al. (the boundary is the one of Howard et al. 2021): under the
null, the mixture likelihood ratio exceeds 1/α at *any* look with probability at most α.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from controlplane.stats.estimates import Interval, UndefinedStatistic


@dataclass(frozen=True, slots=True)
class SequentialLook:
    """What is known after a look: the intersection of all intervals and the smallest p so far.

    `is_consistent` is false once the intervals no longer overlap, which means that the effect
    changed while the test ran; the interval then is the newest one.
    """

    effect: float
    low: float
    high: float
    p_value: float
    looks: int
    is_consistent: bool = True


def mixture_interval(effect: float, variance: float, *, tau: float, alpha: float) -> Interval:
    """Return the always-valid interval of a normally distributed effect.

    `tau` is the size of effect that should be found soonest, in the unit of the effect; `variance`
    is that of the effect's estimate.

    Raises:
        UndefinedStatistic: the variance is 0, so that there is nothing to judge by yet.
    """
    half = mixture_half_width(variance, tau=tau, alpha=alpha)
    return Interval(effect, effect - half, effect + half)


def mixture_half_width(variance: float, *, tau: float, alpha: float) -> float:
    """Return √(V(V+τ²)/τ² · (2 ln(1/α) + ln((V+τ²)/V)))."""
    _check(variance, tau)
    if not 0 < alpha < 1:
        raise ValueError("An error level lies strictly between 0 and 1.")
    wider = variance + tau * tau
    # ln(wider/V) as log1p keeps its digits where V is far larger than τ².
    bound = -2 * math.log(alpha) + math.log1p(tau * tau / variance)
    return math.sqrt(variance * wider / (tau * tau) * bound)


def mixture_p_value(effect: float, variance: float, *, tau: float) -> float:
    """Return the p-value of this look, 1/Λ capped at 1; the running minimum of it is always valid.

    Raises:
        UndefinedStatistic: the variance is 0.
    """
    _check(variance, tau)
    wider = variance + tau * tau
    log_ratio = -math.log1p(tau * tau / variance) / 2
    log_ratio += (effect * tau) ** 2 / (2 * variance * wider)
    return math.exp(min(0.0, -log_ratio))


def look(
    previous: SequentialLook | None, effect: float, variance: float, *, tau: float, alpha: float
) -> SequentialLook:
    """Return the state after one more look: the interval shrinks and p falls, never the reverse."""
    now = mixture_interval(effect, variance, tau=tau, alpha=alpha)
    p_value = mixture_p_value(effect, variance, tau=tau)
    if previous is None:
        return SequentialLook(effect, now.low, now.high, p_value, looks=1)
    low, high = max(previous.low, now.low), min(previous.high, now.high)
    is_consistent = previous.is_consistent and low <= high
    if low > high:
        low, high = now.low, now.high
    return SequentialLook(
        effect, low, high, min(previous.p_value, p_value), previous.looks + 1, is_consistent
    )


def difference_of_shares(
    successes: int,
    trials: int,
    other_successes: int,
    other_trials: int,
    *,
    tau: float,
    alpha: float = 0.05,
) -> Interval:
    """Return first share − second share with its always-valid interval (unpooled variance).

    Suits shares far from 0 and 1 with many events on both sides, as in an A/B test. For rare
    errors ask `controlplane.stats.canary`, whose variance is pooled.

    Raises:
        UndefinedStatistic: a side has no trials, or no share lies strictly between 0 and 1.
    """
    if trials == 0 or other_trials == 0:
        raise UndefinedStatistic("A share of nothing is undefined: there are no trials.")
    first, second = successes / trials, other_successes / other_trials
    variance = first * (1 - first) / trials + second * (1 - second) / other_trials
    return mixture_interval(first - second, variance, tau=tau, alpha=alpha)


def _check(variance: float, tau: float) -> None:
    if tau <= 0:
        raise ValueError("τ is the size of effect to look for and must be above 0.")
    if variance <= 0:
        raise UndefinedStatistic("The effect has no variance yet: there is nothing to judge by.")
