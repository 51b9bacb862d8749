"""The demo as a stranger meets it: started, played, interrupted, killed, started again, stopped.

One run in a copy of this clone, on ports of its own. The tests stand in the order of the story.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from controlplane.local import leftovers
from controlplane.local.home import CLONE, Home
from controlplane.local.processes import PROCESSES
from controlplane.local.supervision import Supervisor

pytestmark = pytest.mark.processes
# Generous: other tests may share the machine. How long it takes is measured by `make bench`.
_START_SECONDS = 480
_PEOPLE = ("engineer", "approver", "risk", "operator", "auditor", "admin")


class Demo:
    """One copy of the clone, and the demo in it."""

    def __init__(self, clone: Path) -> None:
        self.home = Home(clone)
        self.ports = {"PORT": _free_port(), "GATEWAY_PORT": _free_port()}
        self.output = clone / "output"
        self.url = f"http://127.0.0.1:{self.ports['PORT']}"

    def command(self, name: str) -> dict[str, Any]:
        """Return what subprocess needs; nothing of this test run's servers leaks in."""
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("GATEHOUSE") and not name.endswith(("_URL", "_MODULE"))
        }
        return {
            "args": [sys.executable, "-m", "controlplane.local.demo", name],
            "cwd": self.home.clone,
            "env": environment | self.ports | {"PYTHONPATH": str(self.home.clone)},
        }

    def start(self) -> subprocess.Popen[bytes]:
        """Start it as `make demo` does, and return when it says how to stop it."""
        with self.output.open("wb") as stream:
            process = subprocess.Popen(
                **self.command("run"), stdout=stream, stderr=stream, start_new_session=True
            )
        deadline = time.monotonic() + _START_SECONDS
        while "Ctrl-C stops everything" not in self.said():
            assert process.poll() is None, self.said()
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.2)
        return process

    def said(self) -> str:
        return self.output.read_text()

    def pids(self) -> set[int]:
        """Return everything that runs for this copy."""
        marker = f"GATEHOUSE_HOME={self.home.folder}".encode()
        found = set()
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or not leftovers.is_alive(int(entry.name)):
                continue
            try:
                environment = (entry / "environ").read_bytes().split(b"\0")
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if marker in environment or os.fsencode(self.home.folder) in command:
                found.add(int(entry.name))
        return found


def _free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def _eventually(is_so: Callable[[], bool], *, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, "it did not become true in time"
        time.sleep(0.1)


def _status(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


@pytest.fixture(scope="module")
def demo() -> Iterator[Demo]:
    # pytest's own folders are closed to other users, which no clone of a stranger is.
    folder = Path(tempfile.mkdtemp(prefix="gh-demo-"))
    folder.chmod(0o755)
    clone = folder / "clone"
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=CLONE,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (CLONE / name).is_file():
            (clone / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(CLONE / name, clone / name)
    vendor = Path("frontend") / "static" / "vendor"
    shutil.copytree(CLONE / vendor, clone / vendor)
    made = Demo(clone)
    yield made
    subprocess.run(**made.command("down"), check=True, stdout=subprocess.DEVNULL)
    shutil.rmtree(made.home.sockets, ignore_errors=True)
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def running(demo: Demo) -> subprocess.Popen[bytes]:
    return demo.start()


def test_it_plays_the_story_and_says_where_to_go(
    demo: Demo, running: subprocess.Popen[bytes]
) -> None:
    said = demo.said()
    assert "the story is complete" in said, said
    assert f"Gatehouse is at {demo.url}/" in said
    for name in _PEOPLE:
        assert re.search(rf"^  {name} +\S{{12,}} ", said, re.MULTILINE), said


def test_the_people_stand_in_a_file_that_only_we_can_read(
    demo: Demo, running: subprocess.Popen[bytes]
) -> None:
    file = demo.home.people_file
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    content = json.loads(file.read_text())
    assert content["url"] == demo.url
    assert content["gateway_url"] == f"http://127.0.0.1:{demo.ports['GATEWAY_PORT']}"
    people = {person["username"]: person for person in content["people"]}
    assert set(people) == {*_PEOPLE, "ci"}
    assert not people["ci"].get("password")
    assert all(people[name]["password"] for name in _PEOPLE)
    assert all(person["token"].startswith("gh_") for person in people.values())


def test_everything_listens_on_loopback_only(demo: Demo, running: subprocess.Popen[bytes]) -> None:
    inodes = set()
    for pid in demo.pids():
        for link in Path(f"/proc/{pid}/fd").glob("*"):
            try:
                inodes.add(link.readlink().name)
            except OSError:
                continue
    listening = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in inodes:
                listening.append(fields[1].partition(":")[0])
    assert len(listening) >= 2
    assert set(listening) == {"0100007F"}


def test_a_second_start_of_the_same_clone_is_refused(
    demo: Demo, running: subprocess.Popen[bytes]
) -> None:
    done = subprocess.run(**demo.command("run"), capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("Gatehouse already runs from this folder")
    assert running.poll() is None


@pytest.mark.parametrize("name", [process.name for process in PROCESSES])
def test_each_process_comes_back_after_kill_9(
    demo: Demo, running: subprocess.Popen[bytes], name: str
) -> None:
    supervisor = Supervisor(demo.home)
    before = supervisor.process_pid(name)
    os.kill(before, signal.SIGKILL)
    _eventually(lambda: supervisor.process_pid(name) not in (0, before))
    supervisor.wait_until_running([name])
    _eventually(lambda: _status(f"{demo.url}/login/") == 200)


def test_ctrl_c_stops_all_that_it_started(demo: Demo, running: subprocess.Popen[bytes]) -> None:
    os.killpg(running.pid, signal.SIGINT)
    assert running.wait(60) == 0
    assert demo.said().endswith("Stopping.\n")
    assert demo.pids() == set()


def test_the_next_start_continues_with_the_data(demo: Demo) -> None:
    people = demo.home.people_file.read_text()
    process = demo.start()
    assert "the story is complete" in demo.said()
    assert demo.home.people_file.read_text() == people
    # Not even a moment to clean up: for the terminal program, and for the supervisor.
    os.kill(Supervisor(demo.home).pid(), signal.SIGKILL)
    process.kill()
    process.wait()


def test_after_kill_9_of_everything_it_starts_again_and_stops_by_command(demo: Demo) -> None:
    process = demo.start()
    assert _status(f"{demo.url}/login/") == 200
    done = subprocess.run(**demo.command("down"), capture_output=True, text=True, check=True)
    assert done.stdout == "Gatehouse has stopped.\n"
    assert process.wait(30) == 1
    assert demo.pids() == set()
