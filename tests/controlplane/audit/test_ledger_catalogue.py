"""What the code records, the catalogue knows: found here, not when it happens."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from controlplane.audit import actions
from controlplane.local.home import CLONE

_ROOMS = ("controlplane", "registry", "experiments", "deployments", "monitoring", "frontend")
_RECORDERS = {"record", "record_refusal", "refusals", "compose"}


def _recorded(path: Path) -> Iterator[str]:
    """Yield the actions that a file names where it records or lists transitions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else ""
        name = node.func.id if isinstance(node.func, ast.Name) else name
        values = [keyword.value for keyword in node.keywords if keyword.arg == "audit_action"]
        if name in _RECORDERS and node.args:
            values.append(node.args[0])
        for value in values:
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                yield value.value


def test_every_recorded_action_has_a_sentence() -> None:
    files = [path for room in _ROOMS for path in (CLONE / room).rglob("*.py")]
    named = {(action, path.name) for path in files for action in _recorded(path)}
    assert len(named) > 50
    assert [(action, file) for action, file in named if action not in actions.known()] == []
