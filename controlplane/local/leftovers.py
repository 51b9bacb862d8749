"""What a killed installation may have left running, found and ended before the next start."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

from controlplane.local.errors import SetupError
from controlplane.local.home import Home

_PATIENCE_SECONDS = 30


def end(home: Home, *, postgres_data: Path) -> int:
    """End every process of this clone that nobody supervises; return how many there were.

    A process is ours when its environment names this clone's folder, which all inherit, or when
    it is the server recorded in the database's data folder. Numbers in a file alone would not
    do: the system hands them out again.
    """
    marker = f"GATEHOUSE_HOME={home.folder}".encode()
    ended = 0
    # Again until there are none: one that is killed late may start another in between.
    while ours := [pid for pid in _pids() if marker in _environment(pid)]:
        for pid in ours:
            _kill(pid, signal.SIGKILL)
        _wait_for_end(ours)
        ended += len(ours)
    postmaster = _postmaster(postgres_data)
    if postmaster is not None:
        # Not SIGKILL: its children would have to notice first.
        _kill(postmaster, signal.SIGINT)
        _wait_for_end([postmaster])
        ended += 1
    return ended


def is_alive(pid: int) -> bool:
    """Whether the process still does or holds anything.

    A zombie does not. But the first thread of a dying process is a zombie before the others have
    let go of its files.
    """
    states = []
    for thread in Path(f"/proc/{pid}/task").glob("*/stat"):
        with contextlib.suppress(OSError, IndexError):
            states.append(thread.read_text().rpartition(")")[2].split()[0])
    return any(state not in {"Z", "X"} for state in states)


def _wait_for_end(pids: list[int]) -> None:
    """Return when all are gone.

    Raises:
        SetupError: one survives, which takes a kernel that is stuck.
    """
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while alive := [pid for pid in pids if is_alive(pid)]:
        if time.monotonic() > deadline:
            raise SetupError(f"Processes of an earlier start do not end: {alive}.")
        time.sleep(0.05)


def _pids() -> list[int]:
    """Return all processes but ourselves and those that started us."""
    untouched = set()
    pid = os.getpid()
    while pid > 0:
        untouched.add(pid)
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    names = (entry.name for entry in Path("/proc").iterdir() if entry.name.isdigit())
    return [int(name) for name in names if int(name) not in untouched]


def _environment(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []


def _postmaster(data: Path) -> int | None:
    """Return the running server of this data folder."""
    try:
        pid = int((data / "postmaster.pid").read_text().splitlines()[0])
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (OSError, ValueError, IndexError):
        return None
    return pid if os.fsencode(data) in command else None


def _kill(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
