"""What a program in the sandbox can do, and what it cannot, at both levels."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from controlplane.jobs.inside import seccomp

pytestmark = pytest.mark.processes

HERE = Path(__file__).parent
ROOM = HERE.parents[2]
NOBODY = 65534


class Launcher:
    """Runs ``sandbox_launcher.py`` as root or as an ordinary user."""

    def __init__(self, level: str, folder: Path) -> None:
        self.level = level
        self.folder = folder
        self.user = NOBODY if level == "user" and os.geteuid() == 0 else None
        self.python = _python_for(self.user)
        self.package = folder / "package"
        self.work = folder / "work"
        self.secret = secrets.token_hex(16)
        _copy_package(self.package)
        self.work.mkdir()
        if self.user is not None:
            os.chown(self.work, self.user, self.user)

    def start(self, **spec: Any) -> subprocess.Popen[str]:
        given = {"work": str(self.work), "env": {"PATH": "/usr/bin:/bin"}} | spec
        return subprocess.Popen(
            [self.python, str(self.package / "launcher.py"), str(self.package), json.dumps(given)],
            stdout=subprocess.PIPE,
            text=True,
            user=self.user,
            group=self.user,
            extra_groups=[] if self.user is not None else None,
            env={"PATH": "/usr/bin:/bin", "SECRET_FOR_TESTS": self.secret},
            cwd="/",
        )

    def run(self, *argv: str, **spec: Any) -> dict[str, Any]:
        output, _ = self.start(argv=argv, **spec).communicate(timeout=60)
        report: dict[str, Any] = json.loads(output)
        return report

    def shell(self, script: str, **spec: Any) -> dict[str, Any]:
        return self.run("/bin/sh", "-c", script, **spec)


def _python_for(user: int | None) -> str:
    """Return a Python that this user can run: ours may lie in somebody's home folder."""
    for candidate in (sys.executable, "/usr/bin/python3"):
        try:
            done = subprocess.run(
                [candidate, "-c", "import sys; assert sys.version_info >= (3, 11)"],
                user=user,
                group=user,
                capture_output=True,
                cwd="/",
            )
        except OSError:
            continue
        if done.returncode == 0:
            return candidate
    pytest.skip("No Python 3.11 on this machine can be run by an ordinary user.")


def _copy_package(target: Path) -> None:
    """A clone may lie where an ordinary user cannot look."""
    jobs = target / "controlplane" / "jobs"
    jobs.mkdir(parents=True)
    source = ROOM / "controlplane" / "jobs"
    shutil.copytree(source / "inside", jobs / "inside")
    for name in ("__init__.py", "sandbox.py", "sandbox_users.py"):
        shutil.copy(source / name, jobs / name)
    shutil.copy(ROOM / "controlplane" / "__init__.py", target / "controlplane" / "__init__.py")
    shutil.copy(HERE / "sandbox_launcher.py", target / "launcher.py")
    shutil.copy(HERE / "sandbox_attempts.py", target / "attempts.py")


@pytest.fixture(params=["root", "user"])
def launcher(request: pytest.FixtureRequest) -> Iterator[Launcher]:
    if request.param == "root" and os.geteuid() != 0:
        pytest.skip("The level of root needs root.")
    with tempfile.TemporaryDirectory(prefix="gh-sandbox-") as name:
        Path(name).chmod(0o755)
        yield Launcher(request.param, Path(name))


class Outside:
    """Things on the machine that a program must not reach."""

    def __init__(self, launcher: Launcher) -> None:
        data = launcher.folder / "data"
        data.mkdir()
        secret_file = data / "secret"
        secret_file.write_text("the secret")
        # Readable for everybody: only its absence can protect it.
        secret_file.chmod(0o644)
        self.service = socket.create_server(("127.0.0.1", 0))
        path = str(data / "database.sock")
        self.database = socket.socket(socket.AF_UNIX)
        self.database.bind(path)
        Path(path).chmod(0o777)
        self.database.listen()
        self.victim = subprocess.Popen(
            ["sleep", "1000"], user=launcher.user, env={"SECRET_FOR_TESTS": launcher.secret}
        )
        for listener in (self.service, self.database):
            threading.Thread(target=self._greet, args=(listener,), daemon=True).start()
        self.target = {
            "secret": launcher.secret,
            "secret_file": str(secret_file),
            "port": self.port,
            "socket": path,
            "process": self.victim.pid,
            "skip": [],
        }

    @property
    def port(self) -> int:
        port: int = self.service.getsockname()[1]
        return port

    def close(self) -> None:
        self.victim.kill()
        self.victim.wait()
        self.service.close()
        self.database.close()

    @staticmethod
    def _greet(listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.sendall(b"hello from outside")


@pytest.fixture
def outside(launcher: Launcher) -> Iterator[Outside]:
    things = Outside(launcher)
    yield things
    things.close()


def test_ten_attempts_to_break_out_are_stopped(launcher: Launcher, outside: Outside) -> None:
    script = launcher.package / "attempts.py"
    report = launcher.run(
        launcher.python,
        str(script),
        json.dumps(outside.target),
        readonly=[str(script)],
        limits={"memory_bytes": 2**29, "file_bytes": 2**24, "processes": 64},
    )

    assert report["level"] == launcher.level
    outcome = json.loads(report["output"])
    assert len(outcome) == 10
    assert {name: what for name, what in outcome.items() if not what.startswith("stopped")} == {}


def test_the_same_attempts_succeed_without_a_sandbox(launcher: Launcher, outside: Outside) -> None:
    skip = [
        "fork_without_end",
        "take_all_memory",
        "fill_the_disk",
        "mount_something",
        "become_root",
    ]
    done = subprocess.run(
        [
            launcher.python,
            str(launcher.package / "attempts.py"),
            json.dumps(outside.target | {"skip": skip}),
        ],
        user=launcher.user,
        capture_output=True,
        text=True,
        cwd=launcher.work,
    )

    outcome = json.loads(done.stdout)
    assert len(outcome) == 5
    assert all(what.startswith("ESCAPED") for what in outcome.values()), outcome


def test_a_program_that_computes_for_ever_is_ended_by_its_limit(launcher: Launcher) -> None:
    report = launcher.shell("while :; do :; done", limits={"cpu_seconds": 1})
    assert report["code"] in {128 + signal.SIGXCPU, 128 + signal.SIGKILL}


def test_the_program_sees_nothing_but_what_it_was_given(launcher: Launcher) -> None:
    report = launcher.shell(
        "ls -d /*; env | sort; cat /proc/1/environ; id -u; ls /proc | grep -c '^[0-9]'",
        env={"PATH": "/usr/bin:/bin", "ONLY": "this"},
    )
    lines = report["output"].splitlines()
    folders = {line for line in lines if line.startswith("/")}
    assert folders <= {
        f"/{name}"
        for name in ["bin", "dev", "etc", "lib", "lib32", "lib64", "proc", "sbin", "tmp", "usr"]
    }
    assert "ONLY=this" in lines
    assert not any(launcher.secret in line for line in lines)
    assert "0" not in lines


def test_exit_codes_and_output_come_back(launcher: Launcher) -> None:
    report = launcher.shell("echo out; echo err >&2; exit 7")
    assert (report["code"], report["output"], report["complaints"]) == (7, "out\n", "err\n")
    assert launcher.shell("kill -9 $$")["code"] == 137


def test_a_program_that_does_not_exist_is_said_in_a_sentence(launcher: Launcher) -> None:
    report = launcher.run("/usr/bin/no-such-program")
    assert report["error"] == (
        "The program could not be started: No such file or directory: /usr/bin/no-such-program."
    )


def test_read_only_folders_cannot_be_written(launcher: Launcher) -> None:
    shown = launcher.folder / "shown"
    shown.mkdir(mode=0o777)
    shown.chmod(0o777)
    report = launcher.shell(f"touch {shown}/x || touch /usr/x || touch /x", readonly=[str(shown)])
    assert report["code"] == 1
    assert report["complaints"].count("Read-only file system") == 3


def test_a_relay_reaches_one_address_and_no_other(launcher: Launcher, outside: Outside) -> None:
    other = socket.create_server(("127.0.0.1", 0))
    code = (
        "import socket, sys\n"
        "for port in sys.argv[1:]:\n"
        "    try:\n"
        "        s = socket.create_connection(('127.0.0.1', int(port)), timeout=5)\n"
        "        print(s.recv(100).decode())\n"
        "    except OSError as error: print(type(error).__name__)\n"
    )
    report = launcher.run(
        *(launcher.python, "-c", code, str(outside.port), str(other.getsockname()[1])),
        network="relay",
        relays=[["127.0.0.1", outside.port]],
    )
    assert report["output"].splitlines() == ["hello from outside", "ConnectionRefusedError"]


def test_a_program_asked_to_stop_may_finish_its_work(launcher: Launcher) -> None:
    process = launcher.start(
        argv=[
            *("/bin/sh", "-c"),
            "trap 'echo saved > checkpoint; exit 9' TERM; echo > ready; "
            "while :; do sleep 0.05; done",
        ],
        hold=True,
    )
    assert process.stdout is not None
    shim = json.loads(process.stdout.readline())["shim"]
    _until((launcher.work / "ready").exists)
    os.kill(shim, signal.SIGTERM)
    assert json.loads(process.communicate()[0])["code"] == 9
    assert (launcher.work / "checkpoint").read_text() == "saved\n"


@pytest.mark.parametrize("victim", ["launcher", "shim"])
def test_nothing_is_left_when_the_launcher_is_killed(launcher: Launcher, victim: str) -> None:
    marker = f"10{secrets.randbelow(10**6):06d}"
    exit_file = launcher.work / "code"
    process = launcher.start(
        argv=["/bin/sh", "-c", f"setsid sleep {marker} & sleep {marker} & trap '' TERM; wait"],
        exit_file=str(exit_file),
        hold=True,
    )
    assert process.stdout is not None
    shim = json.loads(process.stdout.readline())["shim"]
    _until(lambda: _processes_with(marker) >= 3)

    os.kill(process.pid if victim == "launcher" else shim, signal.SIGKILL)

    _until(lambda: _processes_with(f"sleep\0{marker}") == 0)
    process.communicate()
    assert not exit_file.exists()


def test_the_exit_code_is_on_disk_before_anybody_records_it(launcher: Launcher) -> None:
    exit_file = launcher.work / "code"
    assert launcher.shell("exit 5", exit_file=str(exit_file))["code"] == 5
    assert exit_file.read_text() == "5\n"


def test_two_programs_of_root_run_under_different_users() -> None:
    if os.geteuid() != 0:
        pytest.skip("The level of root needs root.")
    from controlplane.jobs import sandbox

    with tempfile.TemporaryDirectory(prefix="gh-sandbox-") as name:
        specs = []
        for part in ("a", "b"):
            folder = Path(name, part)
            folder.mkdir()
            specs.append(
                sandbox.SandboxSpec(argv=("/bin/sleep", "100"), cwd=folder, writable=(folder,))
            )
        processes = [sandbox.launch(spec) for spec in specs]
        try:
            owners = {spec.cwd.stat().st_uid for spec in specs}
            assert owners == {process.uid for process in processes}
            assert len(owners) == 2
        finally:
            for process in processes:
                process.kill()
                process.wait()


def test_without_a_sandbox_nothing_runs_unless_a_setting_allows_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from controlplane.jobs import sandbox

    none = sandbox.SandboxLevel("none", "This machine offers no sandbox.")
    monkeypatch.setattr(sandbox, "probe", lambda: none)
    spec = sandbox.SandboxSpec(
        argv=("/bin/sh", "-c", "sleep 300 & echo ran > proof"),
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin"},
    )
    with pytest.raises(sandbox.SandboxUnavailable, match="offers no sandbox"):
        sandbox.launch(spec)
    assert not (tmp_path / "proof").exists()

    monkeypatch.setenv(sandbox.ALLOW_VARIABLE, "1")
    assert sandbox.launch(spec).wait(timeout=20) == 0
    assert (tmp_path / "proof").read_text() == "ran\n"


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_filter_of_system_calls_is_whole(machine: str) -> None:
    program = seccomp.program(machine)
    assert len(program) % 8 == 0
    assert len(program) // 8 < 256
    assert seccomp.program("an-unknown-machine") == b""


def _processes_with(marker: str) -> int:
    count = 0
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                count += marker.encode() in (entry / "cmdline").read_bytes()
            except OSError:
                continue
    return count


def _until(condition: Callable[[], bool], *, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "It did not happen in time."
        time.sleep(0.02)
