"""What a version is made of, beside the version that it would replace."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from frontend import words
from registry.models import ModelVersion

# From so many columns of one type on, a signature is shown as one line.
MANY_ALIKE = 6


@dataclass(frozen=True)
class DiffRow:
    """One fact of both versions; `mark` is ~ changed, + added, − removed, blank the same."""

    name: str
    before: str
    after: str
    url: str = ""

    has_before: bool = True

    @property
    def is_changed(self) -> bool:
        return self.has_before and self.before != self.after

    @property
    def mark(self) -> str:
        if not self.is_changed:
            return ""
        if not self.before:
            return "+"
        return "~" if self.after else "−"


def makeup(
    version: ModelVersion, live: ModelVersion | None, *, run_url: str, data_url: str
) -> list[DiffRow]:
    """Return data, code, environment, files and people of both; two queries."""
    old = live is not None

    def pair(name: str, read: Any, url: str = "") -> DiffRow:
        return DiffRow(name, str(read(live)) if old else "", str(read(version)), url, old)

    return [
        pair("trained on", _data, data_url),
        pair("code commit", lambda item: item.commit[:8] or "not recorded"),
        pair("environment lock", lambda item: item.lock_sha256[:8] or "not recorded"),
        pair("run", lambda item: item.run_id[:8] or "not recorded", run_url),
        pair(
            "files",
            lambda item: (
                f"{words.plural(len(item.manifest), 'file')}, {words.size(item.size_bytes)}"
            ),
        ),
        pair("files digest", lambda item: item.manifest_sha256[:8] or "not sealed"),
        pair("flavours", lambda item: ", ".join(_flavours(item.flavours)) or "none"),
        pair("registered by", lambda item: str(item.registrant)),
        pair("file scan", lambda item: item.file_verdict),
    ]


def signature_rows(version: ModelVersion, live: ModelVersion | None) -> list[DiffRow]:
    """Return the inputs and outputs of both versions, changed ones first; many alike are one."""
    new = {(item.direction, item.name): item.type for item in columns(version.signature)}
    old = (
        {(item.direction, item.name): item.type for item in columns(live.signature)} if live else {}
    )
    rows = [
        DiffRow(
            f"{name} ({direction})",
            old.get((direction, name), ""),
            new.get((direction, name), ""),
            has_before=live is not None,
        )
        for direction, name in dict.fromkeys([*new, *old])
    ]
    changed = [row for row in rows if row.is_changed]
    return [*changed, *_folded([row for row in rows if not row.is_changed])]


def _folded(rows: list[DiffRow]) -> list[DiffRow]:
    """Return rows that say the same as one row when they are many: 64 pixels are read once."""
    found: list[DiffRow] = []
    for (before, after, direction), alike in groupby(
        rows, key=lambda row: (row.before, row.after, row.name.rpartition(" (")[2])
    ):
        group = list(alike)
        if len(group) < MANY_ALIKE:
            found.extend(group)
            continue
        first, last = (row.name.rpartition(" (")[0] for row in (group[0], group[-1]))
        side = direction.rstrip(")")
        name = f"{len(group)} {side}s, {first} to {last}"
        found.append(DiffRow(name, before, after, has_before=group[0].has_before))
    return found


@dataclass(frozen=True)
class Column:
    name: str
    direction: str
    type: str


def columns(signature: Mapping[str, Any]) -> list[Column]:
    """Return the inputs and outputs that a version declares, in MLflow's order.

    MLflow keeps each side as JSON, either text or parsed; a tensor has a shape instead of a name.
    """
    found = []
    for side, direction in (("inputs", "input"), ("outputs", "output")):
        for number, item in enumerate(_side(signature.get(side))):
            kind = str(item.get("type", "?"))
            if kind == "tensor":
                spec = item.get("tensor-spec", {})
                kind = f"{spec.get('dtype', '?')} tensor {spec.get('shape', '')}"
            if item.get("required") is False:
                kind += ", optional"
            found.append(
                Column(str(item.get("name") or f"{direction} {number + 1}"), direction, kind)
            )
    return found


def _side(value: Any) -> list[Mapping[str, Any]]:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return []
    return [item for item in value or [] if isinstance(item, Mapping)]


def _data(version: ModelVersion) -> str:
    names = [str(item) for item in version.datasets.all()]
    return ", ".join(names) or "not recorded"


def _flavours(value: Any) -> list[str]:
    return [str(item) for item in value if str(item) != "python_function"]
