"""The import contracts hold, and each is shown to fail when it is broken."""

from __future__ import annotations

import configparser
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from controlplane.local.home import CLONE

_ROOMS = ("controlplane", "registry", "experiments", "deployments", "monitoring", "frontend")
_CONFIG = configparser.ConfigParser()
_CONFIG.read(CLONE / ".importlinter")
_CONTRACTS = [
    section.rpartition(":")[2]
    for section in _CONFIG.sections()
    if section.startswith("importlinter:contract:")
]
# For each contract: a file, an import that it must refuse, and where the two meet.
_BREACHES = {
    "rooms": [
        ("registry/services/__init__.py", "import experiments.queries"),
        ("controlplane/core/clock.py", "import controlplane.accounts.models"),
        ("experiments/services/__init__.py", "import deployments.models"),
        ("monitoring/__init__.py", "import frontend.context"),
        ("registry/services/__init__.py", "import controlplane.urls"),
    ],
    "inside": [
        ("registry/models/__init__.py", "import registry.services"),
        ("deployments/states.py", "import deployments.models"),
        ("experiments/queries.py", "import experiments.mlflow_api"),
    ],
    "services-know-no-door": [
        ("registry/services/__init__.py", "import rest_framework"),
        ("controlplane/workflow/services.py", "import django_htmx"),
    ],
    "pure-statistics": [
        ("controlplane/stats/means.py", "import django"),
        ("deployments/assignment.py", "import controlplane.accounts.models"),
    ],
    "ledger-knows-names-only": [
        ("controlplane/audit/queries.py", "import controlplane.access.services"),
    ],
    "ledger-tables": [("registry/services/__init__.py", "import controlplane.audit.models")],
    "clients-at-the-edge": [
        ("registry/services/__init__.py", "import mlflow"),
        ("experiments/queries.py", "import mlflow"),
        ("frontend/context.py", "import httpx"),
    ],
    "grants": [("registry/models/__init__.py", "import guardian")],
    "serving-without-django": [
        ("deployments/gateway/__init__.py", "import django"),
        ("deployments/agent/__init__.py", "import deployments.models"),
    ],
}


def _lint(folder: Path, *contracts: str) -> subprocess.CompletedProcess[str]:
    chosen = [option for name in contracts for option in ("--contract", name)]
    program = str(Path(sys.executable).with_name("lint-imports"))
    return subprocess.run(
        [program, "--no-logo", "--no-cache", *chosen],
        cwd=folder,
        env={"PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The product's code in another folder, to be spoilt."""
    for room in _ROOMS:
        ignored = shutil.ignore_patterns("__pycache__", "static", "templates")
        shutil.copytree(CLONE / room, tmp_path / room, ignore=ignored)
    shutil.copyfile(CLONE / ".importlinter", tmp_path / ".importlinter")
    return tmp_path


def test_all_contracts_are_kept() -> None:
    done = _lint(CLONE)
    assert done.returncode == 0, done.stdout


def test_each_contract_has_a_breach_that_shows_it_at_work() -> None:
    assert sorted(_BREACHES) == sorted(_CONTRACTS)


@pytest.mark.parametrize(
    ("contract", "file", "statement"),
    [(name, *breach) for name, breaches in _BREACHES.items() for breach in breaches],
)
def test_a_contract_fails_when_it_is_broken(
    copy: Path, contract: str, file: str, statement: str
) -> None:
    target = copy / file
    target.write_text(f"{target.read_text()}\n{statement}  # noqa\n")
    done = _lint(copy, contract)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Contracts: 0 kept, 1 broken." in done.stdout
    importer = file.removesuffix("/__init__.py").removesuffix(".py").replace("/", ".")
    assert importer in done.stdout
    assert statement.split()[1] in done.stdout


def test_the_contract_of_rooms_names_every_part_of_the_control_plane() -> None:
    """A new part that no contract knows could import anything."""
    layers = _CONFIG["importlinter:contract:rooms"]["layers"]
    named = {word.strip("()") for word in layers.replace(":", " ").replace("|", " ").split()}
    parts = {
        f"controlplane.{entry.stem}"
        for entry in (CLONE / "controlplane").iterdir()
        if (entry.suffix == ".py" and entry.stem != "__init__") or (entry / "__init__.py").exists()
    }
    assert parts <= named
