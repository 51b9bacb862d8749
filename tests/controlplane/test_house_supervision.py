"""Processes that are kept running, on a real supervisor, PostgreSQL and Redis."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from controlplane.local import leftovers
from controlplane.local.errors import SetupError
from controlplane.local.home import CLONE, Home
from controlplane.local.installation import Installation
from controlplane.local.supervision import Program, Supervisor, process_command
from controlplane.local.variables import Ports

pytestmark = pytest.mark.processes
_SLEEPER = ["python", "-c", "import time; print('awake', flush=True); time.sleep(600)"]


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """An empty clone, in a folder that is too deep for a unix socket."""
    clone = tmp_path / ("a" * 60) / ("b" * 60)
    clone.mkdir(parents=True)
    found = Home(clone)
    found.prepare()
    yield found
    Supervisor(found).stop()
    leftovers.end(found, postgres_data=found.folder / "postgres")
    shutil.rmtree(found.sockets)


def _program(home: Home, name: str, arguments: list[str]) -> Program:
    environment = {"PATH": os.environ["PATH"], "GATEHOUSE_HOME": str(home.folder)}
    return Program(name, process_command(home, name, arguments, environment), priority=100)


def _pids_of(home: Home) -> set[int]:
    marker = f"GATEHOUSE_HOME={home.folder}".encode()
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and leftovers.is_alive(int(entry.name)):
            try:
                if marker in (entry / "environ").read_bytes().split(b"\0"):
                    found.add(int(entry.name))
            except OSError:
                continue
    return found


def _eventually(is_so: Callable[[], bool], *, seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, "it did not become true in time"
        time.sleep(0.05)


def test_a_killed_process_comes_back(home: Home) -> None:
    supervisor = Supervisor(home)
    supervisor.start([_program(home, "sleeper", _SLEEPER)], dies_with_us=True)
    supervisor.start_process("sleeper")
    supervisor.wait_until_running(["sleeper"])
    (first,) = _pids_of(home)
    os.kill(first, signal.SIGKILL)
    _eventually(lambda: bool(_pids_of(home) - {first}))
    assert first not in _pids_of(home)


def test_a_process_that_cannot_start_is_named_with_its_last_line_and_its_log(home: Home) -> None:
    supervisor = Supervisor(home)
    broken = _program(home, "broken", ["python", "-c", "raise SystemExit('no such table')"])
    supervisor.start([broken], dies_with_us=True)
    supervisor.start_process("broken")
    with pytest.raises(
        SetupError, match=r"^broken does not start: no such table Log: .*broken\.log$"
    ):
        supervisor.wait_until_running(["broken"])


def test_nothing_survives_a_killed_supervisor_and_the_next_start_works(home: Home) -> None:
    supervisor = Supervisor(home)
    programs = [_program(home, "sleeper", _SLEEPER)]
    supervisor.start(programs, dies_with_us=False)
    supervisor.start_process("sleeper")
    supervisor.wait_until_running(["sleeper"])
    os.kill(supervisor.pid(), signal.SIGKILL)
    _eventually(lambda: not _pids_of(home))
    assert not supervisor.is_running()
    supervisor.start(programs, dies_with_us=False)
    supervisor.start_process("sleeper")
    supervisor.wait_until_running(["sleeper"])


def test_the_supervisor_stops_when_the_terminal_program_is_killed(home: Home) -> None:
    script = f"""
import time
from pathlib import Path
from controlplane.local.home import Home
from controlplane.local.supervision import Supervisor, Program, process_command
home = Home(Path({str(home.clone)!r}))
environment = {{"GATEHOUSE_HOME": str(home.folder)}}
command = process_command(home, "sleeper", {_SLEEPER!r}, environment)
supervisor = Supervisor(home)
supervisor.start([Program("sleeper", command, priority=100)], dies_with_us=True)
supervisor.start_process("sleeper")
supervisor.wait_until_running(["sleeper"])
print("ready", flush=True)
time.sleep(600)
"""
    terminal = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, cwd=CLONE
    )
    assert terminal.stdout is not None
    assert terminal.stdout.readline() == "ready\n"
    assert _pids_of(home)
    terminal.kill()
    terminal.wait()
    terminal.stdout.close()
    _eventually(lambda: not _pids_of(home))
    supervisor = Supervisor(home)
    supervisor.wait_while_shutting_down()
    assert not supervisor.is_running()


def test_leftovers_of_this_clone_are_ended_and_others_are_not(home: Home, tmp_path: Path) -> None:
    def sleeping(folder: Path) -> subprocess.Popen[bytes]:
        return subprocess.Popen(["sleep", "600"], env={"GATEHOUSE_HOME": str(folder)})

    ours, neighbour = sleeping(home.folder), sleeping(tmp_path / "another" / ".gatehouse")
    try:
        assert leftovers.end(home, postgres_data=home.folder / "postgres") == 1
        assert ours.wait(5) == -signal.SIGKILL
        assert neighbour.poll() is None
    finally:
        neighbour.kill()
        neighbour.wait()


def test_the_embedded_servers_ask_for_passwords_and_survive_kill_9(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DATABASE_URL", "REDIS_URL"):
        monkeypatch.delenv(name)
    installation = Installation(home, Ports(1, 2))
    supervisor = Supervisor(home)
    servers = [
        program for program in installation.programs() if program.name in ("postgres", "redis")
    ]
    installation.initialise_servers()

    def start() -> None:
        supervisor.start(servers, dies_with_us=True)
        for name in installation.servers:
            supervisor.start_process(name)
        installation.wait_for_servers()

    start()
    address = installation.secret_variables()["DATABASE_URL"]
    with psycopg.connect(address) as connection:
        assert connection.execute("SELECT current_user").fetchone() == ("gh_app",)
    for user in ("gh_app", "gh_migrate", "postgres"):
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(installation.postgres.url("gatehouse", user=user, password="guess"))
    with psycopg.connect(installation.postgres.url("gatehouse"), autocommit=True) as connection:
        connection.execute("CREATE TABLE kept (id int)")
    os.kill(supervisor.pid(), signal.SIGKILL)
    leftovers.end(home, postgres_data=installation.postgres.data)
    start()
    with psycopg.connect(installation.postgres.url("gatehouse")) as connection:
        assert connection.execute("SELECT count(*) FROM kept").fetchone() == (0,)
    assert home.secrets_file.stat().st_mode & 0o777 == 0o600
    assert installation.redis.socket.parent.stat().st_mode & 0o777 == 0o700


def test_a_process_knows_only_the_secrets_it_needs(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DATABASE_URL")
    monkeypatch.setenv("UNRELATED_TOKEN", "of the shell")
    installation = Installation(home, Ports(1, 2))
    from controlplane.local.processes import PROCESSES

    known = {
        process.name: set(installation.environment(process.variables)) for process in PROCESSES
    }
    assert not any("UNRELATED_TOKEN" in names for names in known.values())
    assert not any("GATEHOUSE_MIGRATE_DATABASE_URL" in names for names in known.values())
    sealers = [name for name, names in known.items() if "GATEHOUSE_SEALER_DATABASE_URL" in names]
    assert sealers == ["sealer"]
    assert "GATEHOUSE_NODE_DATABASE_URL" in known["agent"]
    for name in ("agent", "gateway"):
        assert not known[name] & {"DATABASE_URL", "REDIS_URL", "GATEHOUSE_SECRET_KEY"}
