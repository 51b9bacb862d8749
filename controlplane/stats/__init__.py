"""Pure statistics: arrays or counts in, frozen dataclasses out.

Everything that compares two versions, two arms or two windows asks this package: evaluation,
promotion gates, the canary guard, and monitoring. It imports numpy and scipy and nothing of the
product, so that a number can be checked without a database.

Conventions, the same in every module:

* Shares, probabilities and confidence levels are fractions in 0..1, never percent.
* A difference is always first minus second: candidate − live, candidate − stable.
* Intervals are two-sided; 95 % unless the caller says otherwise.
* What is 0/0 is *undefined* and raises `UndefinedStatistic` or is listed; it is never a silent 0.
"""
