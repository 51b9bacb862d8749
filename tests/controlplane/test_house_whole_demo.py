"""The demo as a stranger meets it: started, played, interrupted, killed, started again, stopped.

One run in a copy of this clone, on ports of its own. The tests stand in the order of the story.
"""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from controlplane.local.processes import PROCESSES
from controlplane.local.supervision import Supervisor
from tests import clones
from tests.clones import Demo

pytestmark = pytest.mark.processes
_PEOPLE = ("engineer", "approver", "risk", "operator", "auditor", "admin")


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
    with clones.a_copy() as made:
        yield made


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
