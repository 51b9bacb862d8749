"""Become a server: drop the user, tie the life to the parent's, and replace this process.

Run as a file with ``python -I -S``, so that it costs milliseconds and imports nothing of ours::

    launch.py [--user UID:GID | --namespace UID:GID] [--death-signal N]
              [--environment FILE] -- program argument…

``--user`` becomes that user for good. ``--namespace`` stays the same user outside and looks like
the given one inside a user namespace of its own: the way to run a server that refuses root in a
folder that only root may enter. ``--environment`` is a JSON file with all the variables that
the program gets; it keeps secrets out of command lines and out of the supervisor.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import sys
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_CLONE_NEWUSER = 0x10000000


def _drop_to(uid: int, gid: int) -> None:
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)


def _enter_namespace(uid: int, gid: int) -> None:
    outer_uid, outer_gid = os.getuid(), os.getgid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWUSER) != 0:
        raise OSError(ctypes.get_errno(), "this system allows no user namespace")
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{uid} {outer_uid} 1")
    Path("/proc/self/gid_map").write_text(f"{gid} {outer_gid} 1")


def _die_with_parent(signal_number: int) -> None:
    """Ask the kernel for a signal when the parent ends.

    Set after the change of user, because setuid clears it.
    """
    parent = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal_number, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit(0)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--user")
    parser.add_argument("--namespace")
    parser.add_argument("--death-signal", type=int, default=0)
    parser.add_argument("--environment", type=Path)
    parser.add_argument("command", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    environment = dict(os.environ)
    if options.environment:
        environment = json.loads(options.environment.read_text())
    command = [part for index, part in enumerate(options.command) if index or part != "--"]
    if options.user:
        uid, gid = map(int, options.user.split(":"))
        _drop_to(uid, gid)
    if options.namespace:
        uid, gid = map(int, options.namespace.split(":"))
        _enter_namespace(uid, gid)
    if options.death_signal and sys.platform == "linux":
        _die_with_parent(options.death_signal)
    os.execvpe(command[0], command, environment)  # noqa: S606 - replacing this process is the whole point


if __name__ == "__main__":
    main()
