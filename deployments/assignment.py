"""Which arm answers a caller: the one function that gateway, analysts and monitoring share.

A unit (a customer, a device) falls into one of 10 000 buckets, and a stored table says which arm
owns each bucket. The table is state: it grows and shrinks by moving as few buckets as possible,
so that a caller who has met an arm keeps meeting it while the shares change.
"""

from collections.abc import Sequence
from hashlib import sha256

BUCKETS = 10_000

# The same bucket in PostgreSQL, for analysts; `salt` and `unit` are text columns or parameters.
BUCKET_SQL = (
    "(('x' || encode(substring(sha256(convert_to({salt} || ':' || {unit}, 'UTF8')) "
    "from 1 for 4), 'hex'))::bit(32)::bigint * 10000) >> 32"
)

STABLE = 0


def bucket(salt: str, unit: str) -> int:
    """Return the bucket of a unit, 0 to 9999, even over units and independent between salts.

    Raises:
        ValueError: the unit is empty; every caller without a unit would share one bucket.
    """
    if not unit:
        raise ValueError(
            "An empty unit has no bucket: leave the unit out to be assigned by chance."
        )
    return int.from_bytes(sha256(f"{salt}:{unit}".encode()).digest()[:4], "big") * BUCKETS >> 32


def all_stable() -> tuple[int, ...]:
    """Return the table in which arm 0, the stable one, owns every bucket."""
    return (STABLE,) * BUCKETS


def grow(previous: Sequence[int], want: Sequence[int]) -> tuple[int, ...]:
    """Return the table in which arm *i* owns ``want[i]`` buckets (basis points).

    An arm that shrinks returns its highest buckets to stable; an arm that grows takes stable's
    lowest, and those that another arm has just returned only when stable has no other left. So
    no arm loses a bucket that it keeps in number, and shrinking undoes growing.

    Raises:
        ValueError: the shares are negative or do not add up to 10 000, the table does not have
            10 000 buckets, or it names an arm that has no share.
    """
    if len(previous) != BUCKETS:
        raise ValueError(f"An owner table has {BUCKETS} buckets, this one has {len(previous)}.")
    if min(want, default=-1) < 0 or sum(want) != BUCKETS:
        raise ValueError(f"The shares {list(want)} must be 0 or more and add up to {BUCKETS}.")
    if max(previous) >= len(want) or min(previous) < STABLE:
        raise ValueError("The previous table names an arm that has no share; give it 0.")
    owners = list(previous)
    held: list[list[int]] = [[] for _ in want]
    for index, arm in enumerate(owners):
        held[arm].append(index)
    returned: list[int] = []
    for arm in range(1, len(want)):
        returned += held[arm][want[arm] :]
        del held[arm][want[arm] :]
    free = iter(held[STABLE] + sorted(returned))
    for index in returned:
        owners[index] = STABLE
    for arm in range(1, len(want)):
        for _ in range(want[arm] - len(held[arm])):
            owners[next(free)] = arm
    return tuple(owners)


def compress(owners: Sequence[int]) -> list[list[int]]:
    """Return the table as runs ``[[arm, count], …]``, the form it has in a snapshot."""
    runs: list[list[int]] = []
    for arm in owners:
        if runs and runs[-1][0] == arm:
            runs[-1][1] += 1
        else:
            runs.append([arm, 1])
    return runs


def expand(runs: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """Return the table of the runs.

    Raises:
        ValueError: the runs do not cover 10 000 buckets.
    """
    owners = tuple(arm for arm, count in runs for _ in range(count))
    if len(owners) != BUCKETS:
        raise ValueError(f"The runs cover {len(owners)} buckets, not {BUCKETS}.")
    return owners
