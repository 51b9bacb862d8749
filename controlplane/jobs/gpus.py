"""The graphics processors of this machine: counted once, lent to one job at a time.

A lent processor is a locked file, so that two worker processes never lend the same one and a
crash gives it back. Without the driver there are none, which is no error.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from pathlib import Path

SLOTS_VARIABLE = "GATEHOUSE_GPU_SLOTS"
_UUID = re.compile(r"\(UUID: ((?:GPU|MIG)-[0-9a-fA-F/-]+)\)")
_ASK_SECONDS = 20


class NoneFree(Exception):
    """Fewer processors are free than were asked for."""


@lru_cache(maxsize=1)
def identifiers() -> tuple[str, ...]:
    """Return what CUDA_VISIBLE_DEVICES calls each processor of this machine.

    ``GATEHOUSE_GPU_SLOTS`` overrules: a number of slots, called 0, 1, …
    """
    slots = os.environ.get(SLOTS_VARIABLE, "")
    if slots.isdecimal():
        return tuple(str(number) for number in range(int(slots)))
    program = shutil.which("nvidia-smi")
    if program is None:
        return ()
    try:
        done = subprocess.run(
            [program, "-L"], capture_output=True, text=True, timeout=_ASK_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ()
    return tuple(_UUID.findall(done.stdout))


def device_files() -> tuple[Path, ...]:
    """Return the devices that a program needs to use a processor at all."""
    return tuple(path for path in sorted(Path("/dev").glob("nvidia*")) if not path.is_dir())


@contextmanager
def lend(count: int) -> Iterator[tuple[str, ...]]:
    """Yield ``count`` processors that are nobody else's until the block ends.

    Raises:
        NoneFree: there are not so many free ones.
    """
    with ExitStack() as held:
        lent: list[str] = []
        for identifier in identifiers():
            if len(lent) == count:
                break
            if _lock(identifier, held):
                lent.append(identifier)
        if len(lent) < count:
            raise NoneFree(f"{count} graphics processors are needed and {len(lent)} are free.")
        yield tuple(lent)


def count_free() -> int:
    with ExitStack() as held:
        return sum(_lock(identifier, held) for identifier in identifiers())


def _lock(identifier: str, held: ExitStack) -> bool:
    folder = Path(tempfile.gettempdir()) / f"gatehouse-gpus-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    name = re.sub(r"[^A-Za-z0-9-]", "_", identifier)
    descriptor = os.open(folder / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return False
    held.callback(os.close, descriptor)
    return True
