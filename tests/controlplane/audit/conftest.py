"""Ledgers in databases of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.controlplane.audit import ledgers
from tests.controlplane.audit.ledgers import Ledger


@pytest.fixture
def ledger(servers: None, tmp_path: Path) -> Iterator[Ledger]:
    """An empty ledger that nobody has sealed yet."""
    made = ledgers.make(tmp_path / "sealer")
    yield made
    made.drop()


@pytest.fixture(scope="module")
def sealed(servers: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ledger]:
    """A ledger of 600 sealed events under several checkpoints, and three that wait.

    Read only: take a ``clone_of_sealed`` to break it.
    """
    made = ledgers.make(tmp_path_factory.mktemp("sealer"))
    made.seal()
    with made.connect("app") as connection:
        for start in range(0, 600, 50):
            for number in range(start, start + 50):
                ledgers.append(
                    connection,
                    ledgers.event(
                        actor=ledgers.ANA,
                        reason=f"Because of {number}" if number % 10 == 0 else "",
                        outcome="refused" if number % 25 == 0 else "success",
                        after={"number": number, "name": "Zürich"},
                    ),
                )
            made.seal()
        for number in range(3):
            ledgers.append(connection, ledgers.event(after={"waiting": number}))
    yield made
    made.drop()


@pytest.fixture
def clone_of_sealed(sealed: Ledger, tmp_path: Path) -> Iterator[Callable[[], Ledger]]:
    """Make copies of ``sealed`` that are dropped afterwards; they share its verifier keys."""
    made: list[Ledger] = []

    def clone() -> Ledger:
        made.append(sealed.clone(sealed.files.folder))
        return made[-1]

    yield clone
    for copy in made:
        copy.drop()
