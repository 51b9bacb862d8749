"""Parts of the holdout that are looked at by themselves."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from controlplane.stats.estimates import BoolArray, IntArray
from experiments.scoring.cards import ScoringError, SliceScore

MINIMUM_SLICE_ROWS = 30
LARGEST_NUMBER_OF_SLICES = 20
_MISSING = "(missing)"

Scorer = Callable[[str, str, IntArray], SliceScore]


@dataclass(frozen=True, slots=True, eq=False)
class SliceColumn:
    """A column of the holdout with one value per row; every value is a slice."""

    name: str
    values: npt.ArrayLike

    def parts(self, rows: int) -> tuple[list[tuple[str, IntArray]], list[str]]:
        """Return (value, row numbers) of the largest slices in order of value, and notes.

        Raises:
            ScoringError: the column does not have one value per row.
        """
        column = np.asarray(self.values)
        if column.shape != (rows,):
            raise ScoringError(f"The slice column “{self.name}” needs one value for each row.")
        texts = np.array([_text(value) for value in column.tolist()])
        known, codes = np.unique(texts, return_inverse=True)
        sizes = np.bincount(codes)
        # By size, then by value: which slices are shown must not depend on the order of rows.
        largest = sorted(range(known.size), key=lambda at: (-sizes[at], known[at]))
        kept = sorted(largest[:LARGEST_NUMBER_OF_SLICES], key=lambda at: _in_order(str(known[at])))
        notes = []
        if known.size > LARGEST_NUMBER_OF_SLICES:
            notes.append(
                f"“{self.name}” has {known.size} values; "
                f"the {LARGEST_NUMBER_OF_SLICES} largest are shown."
            )
        return [(str(known[at]), np.flatnonzero(codes == at)) for at in kept], notes


def score_slices(
    columns: tuple[SliceColumn, ...], rows: int, score: Scorer
) -> tuple[tuple[SliceScore, ...], list[str]]:
    """Score every slice that has enough rows; the others say how many they have."""
    found: list[SliceScore] = []
    notes: list[str] = []
    for column in columns:
        parts, said = column.parts(rows)
        notes += said
        for value, members in parts:
            if members.size < MINIMUM_SLICE_ROWS:
                found.append(SliceScore(column.name, value, int(members.size)))
            else:
                found.append(score(column.name, value, members))
    return tuple(found), notes


def pairs(candidate: BoolArray, live: BoolArray) -> tuple[int, int, int, int]:
    """Return how often both, only the candidate, only live, and neither were right."""
    return (
        int((candidate & live).sum()),
        int((candidate & ~live).sum()),
        int((~candidate & live).sum()),
        int((~candidate & ~live).sum()),
    )


def _text(value: object) -> str:
    # Only NaN differs from itself.
    if value is None or value != value:
        return _MISSING
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return unicodedata.normalize("NFC", str(value).replace("\x00", "\ufffd"))


def _in_order(value: str) -> tuple[int, float, str]:
    """Numbers by size, then texts: 2 comes before 10."""
    try:
        return 0, float(value), value
    except ValueError:
        return 1, 0.0, value
