"""Tables, records and states for people; JSON for programs."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import click

_GOOD = {"sealed", "succeeded", "completed", "live", "pass", "active", "finished"}
_BAD = {
    "failed",
    "rejected",
    "rolled_back",
    "blocked",
    "timed_out",
    "lost",
    "fail",
    "quarantined",
    "rollback_failed",
}
_WAITING = {
    "checking",
    "in_review",
    "changes_requested",
    "approved",
    "executing",
    "queued",
    "dispatched",
    "running",
    "registering",
    "uploading",
    "inconclusive",
    "preparing",
    "baking",
    "paused",
    "rolling_back",
}
_GAP = 2
_NARROWEST = 8


def show_json(value: Any) -> None:
    """Write the server's answer, so that ``jq`` and the like can read it."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def note(sentence: str) -> None:
    """Say something that is not the result: it goes to stderr, so that stdout can be read on."""
    click.echo(sentence, err=True)


def show_table(columns: Sequence[str], rows: Sequence[Sequence[Any]], *, empty: str) -> None:
    """Write aligned columns; on a terminal no line is wider than it, the longest texts are cut."""
    if not rows:
        click.echo(empty)
        return
    cells = [[as_text(value) for value in row] for row in rows]
    right = [all(_is_number(row[index]) for row in rows) for index in range(len(columns))]
    widths = [
        max(len(name), *(len(row[index]) for row in cells)) for index, name in enumerate(columns)
    ]
    if sys.stdout.isatty():
        widths = _fitted(widths, shutil.get_terminal_size().columns)
    click.echo(_line([name.upper() for name in columns], widths, right, style={"bold": True}))
    for row in cells:
        click.echo(_line(row, widths, right))


def show_record(pairs: Mapping[str, Any]) -> None:
    """Write one record, a fact per line; empty facts are left out."""
    shown = {name: as_text(value) for name, value in pairs.items() if value not in (None, "", [])}
    width = max((len(name) for name in shown), default=0)
    for name, value in shown.items():
        click.echo(f"{_styled(name.ljust(width), fg='bright_black')}  {_coloured(value, value)}")


def as_text(value: Any) -> str:
    """Return a value as a person reads it in one line."""
    if value is None or value == "":
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.4g}".replace("-", "−")
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={inner}" for key, inner in value.items()) or "–"
    if isinstance(value, list | tuple):
        return ", ".join(as_text(item) for item in value) or "–"
    return " ".join(str(value).split())


def moment(value: str | None) -> str:
    """Return a time in the terminal's own time zone: of day for today, else with the date."""
    if not value:
        return ""
    at = datetime.fromisoformat(value).astimezone()
    is_today = at.date() == datetime.now().astimezone().date()
    return at.strftime("%H:%M:%S" if is_today else "%Y-%m-%d %H:%M")


def words(state: str) -> str:
    """Return a state as it stands in a sentence."""
    return state.replace("_", " ")


def size(count: int | None) -> str:
    """Return a number of bytes in the unit that leaves few digits."""
    value = float(count or 0)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000 or unit == "GB":
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return ""


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _fitted(widths: list[int], room: int) -> list[int]:
    """Take from the widest column until the line fits or nothing can be taken any more."""
    fitted = list(widths)
    while sum(fitted) + _GAP * (len(fitted) - 1) > room:
        widest = max(range(len(fitted)), key=fitted.__getitem__)
        if fitted[widest] <= _NARROWEST:
            break
        fitted[widest] -= 1
    return fitted


def _line(
    cells: Sequence[str],
    widths: Sequence[int],
    right: Sequence[bool],
    *,
    style: Mapping[str, Any] | None = None,
) -> str:
    parts: list[str] = []
    for cell, width, is_right in zip(cells, widths, right, strict=True):
        text = cell if len(cell) <= width else f"{cell[: width - 1]}…"
        is_last = len(parts) == len(cells) - 1
        text = text.rjust(width) if is_right else text if is_last else text.ljust(width)
        parts.append(_styled(text, **style) if style else _coloured(text, cell))
    return (" " * _GAP).join(parts)


def _coloured(text: str, value: str) -> str:
    state = value.replace(" ", "_")
    colour = (
        "green"
        if state in _GOOD
        else "red"
        if state in _BAD
        else "yellow"
        if state in _WAITING
        else ""
    )
    return _styled(text, fg=colour) if colour else text


def _styled(text: str, **style: Any) -> str:
    # click drops colours by itself where the output is no terminal.
    return text if os.environ.get("NO_COLOR") else click.style(text, **style)
