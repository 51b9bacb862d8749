"""The process between the launcher and the sandbox.

It stays in the machine's own mount and network namespaces, carries the relays, ends everything
inside when the launcher is gone (the lifeline reaches its end), and writes the exit code to a
file before anybody records it, so that a result survives the launcher.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import socket
import sys
from pathlib import Path
from typing import NoReturn

from controlplane.jobs.inside import init, relay, syscalls
from controlplane.jobs.inside.plan import Plan


def main() -> NoReturn:
    """Run the plan from the descriptor in argv[1]; argv[2] is the status pipe, argv[3] the
    lifeline. Exits with the program's code."""
    plan_fd, status, lifeline = (int(argument) for argument in sys.argv[1:4])
    for descriptor in (status, lifeline, *(int(argument) for argument in sys.argv[4:])):
        os.set_inheritable(descriptor, False)
    with os.fdopen(plan_fd, "rb") as stream:
        plan: Plan = json.loads(stream.read())
    try:
        child, channel = _start(plan, status)
    except OSError as error:
        init.fail(status, f"The sandbox could not be set up: {error}")
    os.close(status)
    signal.signal(signal.SIGTERM, lambda number, _: _signal(child, plan, number))
    selector = selectors.DefaultSelector()
    if channel is not None:
        carrier = relay.Carrier(selector)
        if not relay.take_over(plan["relays"], channel, carrier):
            os.kill(child, signal.SIGKILL)
    code = _wait(child, plan, lifeline, selector)
    os._exit(code if code >= 0 else 128 - code)


def _start(plan: Plan, status: int) -> tuple[int, socket.socket | None]:
    """Start process 1 (or the bare program, unsandboxed) and return it with the relay channel."""
    if plan["level"] == "none":
        syscalls.adopt_orphans()
        child = os.fork()
        if child == 0:
            init.start_program(plan, status)
        return child, None
    if plan["level"] == "user":
        _enter_user_namespace(plan)
    syscalls.unshare(syscalls.CLONE_NEWPID)
    parent_read, parent_write = os.pipe()
    ours, theirs = socket.socketpair() if plan["relays"] else (None, None)
    child = os.fork()
    if child == 0:
        os.close(parent_write)
        if ours is not None:
            ours.close()
        init.run(plan, status=status, parent=parent_read, channel=theirs)
    os.close(parent_read)
    if theirs is not None:
        theirs.close()
    return child, ours


def _enter_user_namespace(plan: Plan) -> None:
    uid, gid = os.getuid(), os.getgid()
    syscalls.unshare(syscalls.CLONE_NEWUSER)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{plan['uid']} {uid} 1")
    Path("/proc/self/gid_map").write_text(f"{plan['gid']} {gid} 1")


def _signal(child: int, plan: Plan, number: int) -> None:
    target = -child if plan["level"] == "none" else child
    try:
        os.kill(target, number)
    except ProcessLookupError:
        return


def _wait(child: int, plan: Plan, lifeline: int, selector: selectors.BaseSelector) -> int:
    """Carry bytes until the program ended; return its exit code, with its file written before."""
    ended = os.pidfd_open(child)
    selector.register(ended, selectors.EVENT_READ)
    selector.register(lifeline, selectors.EVENT_READ)
    ready: set[object] = set()
    while not ready & {ended, lifeline}:
        events = selector.select()
        for key, mask in events:
            if key.data is not None:
                key.data(mask)
        ready = {key.fileobj for key, _ in events}
    # Whoever launched us is gone: its lease will end, and the job goes on elsewhere.
    abandoned = ended not in ready
    if abandoned:
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if plan["level"] == "none":
        _end_descendants()
    code = os.waitstatus_to_exitcode(status)
    if plan["exit_file"] and not abandoned and code >= 0:
        _write_exit_file(Path(plan["exit_file"]), code)
    return code


def _write_exit_file(path: Path, code: int) -> None:
    unfinished = path.with_suffix(".new")
    with unfinished.open("w") as stream:
        stream.write(f"{code}\n")
        stream.flush()
        os.fsync(stream.fileno())
    unfinished.rename(path)


def _end_descendants() -> None:
    """Without a process namespace: whatever was left behind is our child now; end it."""
    while True:
        children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
        for child in children:
            _kill(int(child))
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def _kill(child: int) -> None:
    try:
        os.kill(child, signal.SIGKILL)
    except ProcessLookupError:
        return
