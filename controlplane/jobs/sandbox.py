"""Run a program that nobody vouches for: the one seam for jobs, builds and model workers.

Two levels. Started by root: a user id from a pool, and mount, process and network namespaces.
Started by an ordinary user: a user namespace with one mapped id, and the same namespaces. In
both the program starts with exactly the environment it is given, in a file system that holds
nothing but what the specification names, with limits, without privileges, and it dies with the
process that launched it. No Django here.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Literal

from controlplane.jobs import sandbox_users
from controlplane.jobs.inside.plan import BindPlan, Plan

ALLOW_VARIABLE = "GATEHOUSE_ALLOW_UNSANDBOXED_JOBS"
_ROOM = Path(__file__).resolve().parents[2]
_BOOTSTRAP = (
    "import sys; sys.path.insert(0, sys.argv.pop()); "
    "from controlplane.jobs.inside import shim; shim.main()"
)
_SYSTEM_PREFIXES = frozenset({Path("/"), Path("/usr"), Path("/usr/local")})

_kept: list[SandboxLevel] = []

Network = Literal["none", "relay", "index"]
Account = Literal["pool", "build"]
Level = Literal["root", "user", "none"]
Stream = int | IO[bytes] | None


class SandboxError(Exception):
    """The program was not started; the message is a sentence for the operator."""


class SandboxUnavailable(SandboxError):
    """This machine offers no sandbox, and no setting allows to go without."""


@dataclass(frozen=True, slots=True)
class Bind:
    """A path of this machine that is seen inside, there under another name."""

    source: Path
    target: Path


@dataclass(frozen=True, slots=True)
class Relay:
    """The one address that the program may reach, under the same host name and port inside."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Limits:
    """What one program may use; sizes in bytes. ``processes`` counts threads too."""

    memory_bytes: int | None = None
    cpu_seconds: int | None = None
    file_bytes: int = 10 * 2**30
    processes: int = 512
    open_files: int = 4096


@dataclass(frozen=True, slots=True)
class SandboxSpec:
    """A program and all that it can see.

    ``argv[0]`` is an absolute path; if it is a Python, its environment and the installation
    behind it are added to ``readonly``. What is in ``readonly`` must be readable for everybody
    when we run as root. ``writable`` folders are given to the program's user, with all that is
    in them. ``tmp`` is a folder to be seen as /tmp; without it /tmp lives in memory.
    ``exit_file`` takes the exit code as soon as the program ended, unless its launcher went first.
    """

    argv: tuple[str, ...]
    cwd: Path
    env: Mapping[str, str] = field(default_factory=dict)
    writable: tuple[Path | Bind, ...] = ()
    readonly: tuple[Path | Bind, ...] = ()
    devices: tuple[Path, ...] = ()
    tmp: Path | None = None
    network: Network = "none"
    relays: tuple[Relay, ...] = ()
    limits: Limits = field(default_factory=Limits)
    account: Account = "pool"
    exit_file: Path | None = None


@dataclass(frozen=True, slots=True)
class SandboxLevel:
    """What this machine offers, with the sentence that says so or says why not."""

    level: Level
    sentence: str

    @property
    def is_sandboxed(self) -> bool:
        return self.level != "none"


class SandboxedProcess(subprocess.Popen[bytes]):
    """The shim around a program: ``terminate`` asks the program's process group to stop,
    ``kill`` ends everything inside, and the exit code is the program's (128 + n for signal n).

    The program lives no longer than this object, nor than the process that holds it.
    """

    lifeline: IO[bytes]
    uid: int


def launch(
    spec: SandboxSpec,
    *,
    stdout: Stream = subprocess.DEVNULL,
    stderr: Stream = subprocess.STDOUT,
    stdin: Stream = subprocess.DEVNULL,
) -> SandboxedProcess:
    """Start the program; it is running when this returns.

    Raises:
        SandboxUnavailable: no sandbox here, and none is not allowed.
        SandboxError: it could not be set up, or the program does not exist.
    """
    level = probe()
    if not level.is_sandboxed and not _unsandboxed_is_allowed():
        raise SandboxUnavailable(level.sentence)
    return _launch(spec, level.level, stdout=stdout, stderr=stderr, stdin=stdin)


def probe() -> SandboxLevel:
    """Try the sandbox on this machine and say what it is worth; a good answer is kept."""
    if not _kept:
        found = _try()
        if not found.is_sandboxed:
            return found
        _kept.append(found)
    return _kept[0]


def _try() -> SandboxLevel:
    is_root = os.geteuid() == 0
    level: Level = "root" if is_root else "user"
    with tempfile.TemporaryDirectory(prefix="gh-probe-") as folder:
        spec = SandboxSpec(
            argv=(sys.executable, "-I", "-S", "-c", "import ctypes, json, socket"),
            cwd=Path(folder),
            writable=(Path(folder),),
        )
        try:
            process = _launch(spec, level, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        except SandboxError as error:
            return SandboxLevel("none", _no_sandbox(str(error), is_root=is_root))
        _, complaint = process.communicate()
    if process.returncode != 0:
        last = complaint.decode(errors="replace").strip().splitlines()[-1:] or ["no message"]
        return SandboxLevel("none", _no_sandbox(last[0], is_root=is_root))
    if is_root:
        return SandboxLevel(
            "root", "Jobs and models run under users of their own, in namespaces of their own."
        )
    return SandboxLevel("user", "Jobs and models run in user namespaces of their own.")


def interpreter_paths(python: Path) -> tuple[Path, ...]:
    """Return the folders that a Python needs: its environment and the installations behind it."""
    found: list[Path] = []
    hop = python
    while True:
        prefix = hop.parent.parent
        if prefix not in _SYSTEM_PREFIXES and not prefix.is_relative_to("/usr"):
            found.append(prefix)
        if not hop.is_symlink():
            break
        hop = hop.parent / hop.readlink()
    resolved = python.resolve().parent.parent
    if resolved not in _SYSTEM_PREFIXES and not resolved.is_relative_to("/usr"):
        found.append(resolved)
    return tuple(path for path in dict.fromkeys(found) if (path / "lib").is_dir())


def _launch(
    spec: SandboxSpec,
    level: Level,
    *,
    stdout: Stream,
    stderr: Stream,
    stdin: Stream = subprocess.DEVNULL,
) -> SandboxedProcess:
    with _user(spec.account, level) as user:
        plan = _plan(spec, level, user)
        if level == "root":
            for item in (*spec.writable, *((spec.tmp,) if spec.tmp else ())):
                sandbox_users.give(_source(item), user)
        return _start(spec, plan, user, stdout=stdout, stderr=stderr, stdin=stdin)


@contextmanager
def _user(account: Account, level: Level) -> Iterator[sandbox_users.User]:
    try:
        with sandbox_users.lease(account, is_root=level == "root") as user:
            yield user
    except (sandbox_users.PoolExhausted, OSError) as error:
        raise SandboxError(f"No user for the program could be had: {error}") from error


def _start(
    spec: SandboxSpec,
    plan: Plan,
    user: sandbox_users.User,
    *,
    stdout: Stream,
    stderr: Stream,
    stdin: Stream,
) -> SandboxedProcess:
    # A nameless file, because the plan holds the job's token.
    plan_fd = os.memfd_create("plan")
    status_read, status_write = os.pipe()
    lifeline_read, lifeline_write = os.pipe()
    passed = (plan_fd, status_write, lifeline_read, *user.descriptors)
    lifeline = os.fdopen(lifeline_write, "wb")
    try:
        with os.fdopen(os.dup(plan_fd), "wb") as stream:
            stream.write(json.dumps(plan).encode())
        os.lseek(plan_fd, 0, os.SEEK_SET)
        process = SandboxedProcess(
            [sys.executable, "-I", "-S", "-c", _BOOTSTRAP, *map(str, passed), str(_ROOM)],
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            env={},
            cwd="/",
            pass_fds=passed,
            start_new_session=True,
        )
    except BaseException:
        lifeline.close()
        os.close(status_read)
        raise
    finally:
        for descriptor in (plan_fd, status_write, lifeline_read):
            os.close(descriptor)
    process.lifeline = lifeline
    process.uid = user.uid
    with os.fdopen(status_read, "rb") as status:
        complaint = status.read().decode(errors="replace")
    if complaint:
        process.wait()
        if spec.exit_file:
            spec.exit_file.unlink(missing_ok=True)
        raise SandboxError(complaint)
    return process


def _plan(spec: SandboxSpec, level: Level, user: sandbox_users.User) -> Plan:
    program = Path(spec.argv[0])
    if not program.is_absolute():
        raise SandboxError(f"The program must be an absolute path, not {spec.argv[0]!r}.")
    binds: dict[str, BindPlan] = {}

    def add(items: tuple[Path | Bind, ...], mode: str) -> None:
        for item in items:
            source = _source(item)
            target = item.target if isinstance(item, Bind) else item
            if not source.exists():
                raise SandboxError(f"{source} does not exist and cannot be shown to a program.")
            binds[str(target)] = {
                "source": str(source.resolve()),
                "target": str(target),
                "mode": mode,
            }

    add(interpreter_paths(program), "ro")
    add(spec.readonly, "ro")
    add(spec.devices, "dev")
    add(spec.writable, "rw")
    limits = spec.limits
    return {
        "level": level,
        "argv": list(spec.argv),
        "cwd": str(spec.cwd),
        "env": dict(spec.env),
        "binds": list(binds.values()),
        "tmp": str(spec.tmp.resolve()) if spec.tmp else "",
        "own_network": spec.network != "index",
        "relays": [
            {"port": relay.port, "target_host": relay.host, "target_port": relay.port}
            for relay in (spec.relays if spec.network == "relay" and level != "none" else ())
        ],
        "host_names": [relay.host for relay in spec.relays if _is_name(relay.host)],
        "uid": user.uid,
        "gid": user.gid,
        "memory_bytes": limits.memory_bytes,
        "cpu_seconds": limits.cpu_seconds,
        "file_bytes": limits.file_bytes,
        "processes": limits.processes,
        "open_files": limits.open_files,
        "exit_file": str(spec.exit_file) if spec.exit_file else "",
    }


def _source(item: Path | Bind) -> Path:
    return item.source if isinstance(item, Bind) else item


def _is_name(host: str) -> bool:
    return host != "localhost" and not host.replace(".", "").isdigit() and ":" not in host


def _unsandboxed_is_allowed() -> bool:
    return os.environ.get(ALLOW_VARIABLE, "").lower() in {"1", "true", "yes", "on"}


def _no_sandbox(reason: str, *, is_root: bool) -> str:
    need = "the capability SYS_ADMIN" if is_root else "user namespaces"
    return (
        f"This machine offers no sandbox for foreign code ({reason.rstrip('.')}), so jobs and "
        f"models that bring code are refused. Allow {need}, or accept the risk with "
        f"{ALLOW_VARIABLE}=1."
    )
