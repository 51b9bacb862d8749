"""Process 1 inside the sandbox: builds the world, starts the program, reaps, passes signals on."""

from __future__ import annotations

import os
import resource
import select
import signal
import socket
import sys
from typing import Any, NoReturn

from controlplane.jobs.inside import relay, root, seccomp, syscalls
from controlplane.jobs.inside.plan import Plan

SETUP_FAILED = 125
_HOST_NAME = "sandbox"
_ADDRESS_RESERVE_BYTES = 4 * 2**30


def run(plan: Plan, *, status: int, parent: int, channel: socket.socket | None) -> NoReturn:
    """Become process 1. Exits with the program's code, or 128 + the signal that ended it.

    ``status`` takes a sentence if the set-up fails and is closed by a successful start;
    ``parent`` reaches its end when the shim is gone.
    """
    try:
        _enter_namespaces(plan)
        if channel is not None:
            relay.hand_out(plan["relays"], channel)
            channel.close()
        root.enter(plan)
        # Taken before the program starts, so that a signal in between is not lost.
        signal.signal(signal.SIGTERM, _wait_for_program)
        program = os.fork()
        if program == 0:
            start_program(plan, status)
        _become_harmless(plan)
        _leave_if_alone(parent)
    except (OSError, ValueError) as error:
        fail(status, f"The sandbox could not be set up: {error}")
    os.close(status)
    _reap_until_end_of(program)


def start_program(plan: Plan, status: int) -> NoReturn:
    """Give up every right and become the program."""
    try:
        os.setsid()
        _set_limits(plan)
        if plan["level"] != "none":
            syscalls.empty_bounding_set()
            _change_user(plan)
            syscalls.drop_capabilities()
        syscalls.forbid_new_privileges()
        if plan["level"] != "none":
            seccomp.install()
        for number in (signal.SIGTERM, signal.SIGPIPE, signal.SIGINT, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        os.umask(0o022)
        os.chdir(plan["cwd"])
        os.execve(plan["argv"][0], plan["argv"], plan["env"])  # noqa: S606 - no shell wanted
    except OSError as error:
        what = f": {error.filename}" if error.filename else ""
        fail(status, f"The program could not be started: {error.strerror or error}{what}.")


def fail(status: int, sentence: str) -> NoReturn:
    """Say why through the status pipe and end."""
    os.write(status, sentence.encode()[:4000])
    os._exit(SETUP_FAILED)


def _enter_namespaces(plan: Plan) -> None:
    flags = syscalls.CLONE_NEWNS | syscalls.CLONE_NEWIPC | syscalls.CLONE_NEWUTS
    if plan["own_network"]:
        flags |= syscalls.CLONE_NEWNET
    syscalls.unshare(flags)
    syscalls.set_host_name(_HOST_NAME)
    if plan["own_network"]:
        relay.bring_loopback_up()


def _set_limits(plan: Plan) -> None:
    memory = plan["memory_bytes"]
    limits = {
        # What the program fills itself; the address space also holds libraries, file maps and
        # the reserves of allocators and threads, which cost no memory until they are used.
        resource.RLIMIT_DATA: memory,
        resource.RLIMIT_AS: None if memory is None else memory + _ADDRESS_RESERVE_BYTES,
        resource.RLIMIT_CPU: plan["cpu_seconds"],
        resource.RLIMIT_FSIZE: plan["file_bytes"],
        resource.RLIMIT_NOFILE: plan["open_files"],
        resource.RLIMIT_NPROC: plan["processes"],
        resource.RLIMIT_CORE: 0,
    }
    for kind, value in limits.items():
        if value is not None:
            _, ceiling = resource.getrlimit(kind)
            allowed = value if ceiling == resource.RLIM_INFINITY else min(value, ceiling)
            resource.setrlimit(kind, (allowed, allowed))


def _change_user(plan: Plan) -> None:
    if plan["level"] == "root":
        os.setgroups([])
        os.setresgid(plan["gid"], plan["gid"], plan["gid"])
        os.setresuid(plan["uid"], plan["uid"], plan["uid"])


def _become_harmless(plan: Plan) -> None:
    """Process 1 keeps no right either: the program shares its user and must find nothing to win."""
    syscalls.empty_bounding_set()
    _change_user(plan)
    syscalls.drop_capabilities()
    syscalls.forbid_new_privileges()
    syscalls.hide_from_debuggers()
    syscalls.die_with_parent(signal.SIGKILL)


def _leave_if_alone(parent: int) -> None:
    """The shim may have gone before the kernel was asked to tell."""
    poll = select.poll()
    poll.register(parent, select.POLLHUP)
    if poll.poll(0):
        os._exit(SETUP_FAILED)


def _wait_for_program(number: int, _: Any) -> None:
    """Before the program runs there is nobody to pass the signal to: end."""
    os._exit(128 + number)


def _reap_until_end_of(program: int) -> NoReturn:
    def pass_on(number: int, _: Any) -> None:
        try:
            os.killpg(program, number)
        except ProcessLookupError:
            return

    signal.signal(signal.SIGTERM, pass_on)
    while True:
        ended, status = os.waitpid(-1, 0)
        if ended == program:
            code = os.waitstatus_to_exitcode(status)
            # The kernel ends everything else in here together with process 1.
            sys.stdout.flush()
            os._exit(code if code >= 0 else 128 - code)
