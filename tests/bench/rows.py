"""What a measurement says: ours beside a peer's, with the goal where there is one."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from controlplane.local.home import CLONE

FOLDER = CLONE / "build" / "bench"


@dataclass(frozen=True)
class Row:
    """One figure. ``ratio`` says how many times better ours is; 1 means the same.

    ``goal`` is the ratio to reach where there is a peer, else the most that ours may be.
    """

    name: str
    ours: float
    unit: str
    peer: float | None = None
    ratio: float | None = None
    goal: float | None = None


def write(name: str, rows: list[Row]) -> Path:
    """Write the rows of one subject and return the file."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    target = FOLDER / f"{name}.json"
    target.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    return target


def line(row: Row) -> str:
    """Return the row as a person reads it in the terminal."""
    text = f"  {row.name:<44} {row.ours:>10.3g} {row.unit}"
    if row.peer is not None and row.ratio is not None:
        text += f"   peer {row.peer:.3g}   ratio {row.ratio:.2f}"
    return text if row.goal is None else f"{text}   goal {row.goal:g}"
