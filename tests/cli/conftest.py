"""The command line is a distribution of its own; here it is used from its folder."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tests.cli.portal import Portal, listening

CLI = Path(__file__).resolve().parents[2] / "cli"
sys.path.insert(0, str(CLI))


@pytest.fixture
def portal() -> Iterator[Portal]:
    with listening() as portal:
        yield portal


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A person's home folder with nothing in it, and a shell that names no server."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("XDG_CONFIG_HOME", "GATEHOUSE_URL", "GATEHOUSE_TOKEN", "GATEHOUSE_WORKSPACE"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def run(portal: Portal, home: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Run the program as a caller of the portal."""
    from gatehouse_cli.main import gatehouse

    monkeypatch.setenv("GATEHOUSE_URL", portal.url)
    monkeypatch.setenv("GATEHOUSE_TOKEN", "gh_service_x")

    def call(*arguments: str, **options: Any) -> Result:
        return CliRunner().invoke(gatehouse, list(arguments), prog_name="gatehouse", **options)

    return call
