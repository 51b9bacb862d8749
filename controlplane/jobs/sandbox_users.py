"""Users for sandboxed programs: one number per running program, taken from a pool.

The numbers belong to nobody: they need no entry in /etc/passwd. A number is in use as long as
some process holds the lock on its file, so that a crash gives it back.
"""

from __future__ import annotations

import fcntl
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

# Between what distributions hand out to people and what systemd hands out to services, and
# below 65536, so that they exist in a container with mapped users too.
BUILD_UID = 60_599
FIRST_UID = 60_600
POOL_SIZE = 256


class PoolExhausted(Exception):
    """More programs are running than there are users for."""


@dataclass(frozen=True, slots=True)
class User:
    uid: int
    gid: int
    descriptors: tuple[int, ...] = ()


@contextmanager
def lease(account: Literal["pool", "build"], *, is_root: bool) -> Iterator[User]:
    """Yield a user; whoever inherits its descriptors keeps it in use after the block.

    Raises:
        PoolExhausted: all are in use.
    """
    if not is_root:
        # A user namespace maps us to ourselves; there is no other user to take.
        yield User(os.getuid(), os.getgid())
        return
    if account == "build":
        yield User(BUILD_UID, BUILD_UID)
        return
    descriptor, uid = _take()
    try:
        yield User(uid, uid, (descriptor,))
    finally:
        os.close(descriptor)


def give(folder: Path, user: User) -> None:
    """Make the folder and all in it the user's; links are changed, never followed."""
    os.chown(folder, user.uid, user.gid, follow_symlinks=False)
    if folder.is_symlink() or not folder.is_dir():
        return
    for parent, folders, files, descriptor in os.fwalk(folder, follow_symlinks=False):
        for name in (*folders, *files):
            try:
                os.chown(name, user.uid, user.gid, dir_fd=descriptor, follow_symlinks=False)
            except FileNotFoundError as error:
                raise FileNotFoundError(f"{parent}/{name} went away") from error


def _take() -> tuple[int, int]:
    folder = _lock_folder()
    for uid in range(FIRST_UID, FIRST_UID + POOL_SIZE):
        descriptor = os.open(folder / str(uid), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            continue
        return descriptor, uid
    raise PoolExhausted(f"All {POOL_SIZE} users for sandboxed programs are in use.")


def _lock_folder() -> Path:
    folder = Path(tempfile.gettempdir()) / "gatehouse-users"
    folder.mkdir(mode=0o700, exist_ok=True)
    state = folder.lstat()
    if not stat.S_ISDIR(state.st_mode) or state.st_uid != os.geteuid():
        raise PermissionError(f"{folder} belongs to somebody else: remove it first.")
    return folder
