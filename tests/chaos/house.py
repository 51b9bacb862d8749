"""The product with all its processes in a copy of this clone, seen from outside, and its killer."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import httpx
import psycopg

from controlplane.local.home import CLONE
from controlplane.local.installation import Installation
from controlplane.local.supervision import Supervisor
from controlplane.local.variables import Ports
from tests import clones
from tests.deployments.serving import descendants

Found = TypeVar("Found")
_STORY = "print('A test plays the story.')\n"
# An empty package cache makes the first environment slow.
_PATIENCE_SECONDS = 120


class House:
    """Everything runs; people ask over REST and ask again when nobody answers."""

    def __init__(self, demo: clones.Demo) -> None:
        self.demo = demo
        self.supervisor = Supervisor(demo.home)
        self.killed: list[str] = []
        people = json.loads(demo.home.people_file.read_text())["people"]
        self.people: dict[str, dict[str, str]] = {person["username"]: person for person in people}
        self._http = httpx.Client(base_url=f"{demo.url}/api/v1/", timeout=30, trust_env=False)

    def kill(self, name: str) -> None:
        """Kill the process and all below it with -9, as when the memory is gone.

        The supervisor starts it again while the thread goes on.
        """
        pid = wait_for(lambda: self.supervisor.process_pid(name), f"{name} to run")
        for each in (*descendants(pid), pid):
            # What is below may end with what is above, before its turn.
            with suppress(ProcessLookupError):
                os.kill(each, signal.SIGKILL)
        self.killed.append(name)

    def ask(self, who: str, method: str, path: str, body: Any = None, **more: Any) -> Any:
        """Return the answer, asking again with the same key for as long as there is none.

        Raises:
            Refused: the product answered, and refused.
        """
        headers = {"Authorization": f"Bearer {self.people[who]['token']}"}
        if method == "POST":
            headers["Idempotency-Key"] = str(uuid.uuid4())
        content = {"json": body or {}} if method == "POST" and not more else more

        def answered() -> httpx.Response | None:
            try:
                got = self._http.request(method, path, headers=headers, **content)
            except httpx.TransportError:
                return None
            return None if got.status_code >= 500 else got

        answer = wait_for(answered, f"an answer to {method} {path}")
        if answer.status_code >= 400:
            raise Refused(answer.status_code, answer.text)
        return answer.json()

    def until(self, what: str, look: Callable[[], Found | None]) -> Found:
        return wait_for(look, what)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Read the database directly, as no user can."""
        ports = Ports(int(self.demo.ports["PORT"]), int(self.demo.ports["GATEWAY_PORT"]))
        address = Installation(self.demo.home, ports).postgres.url("gatehouse")
        with psycopg.connect(address) as connection:
            return connection.execute(query.encode()).fetchall()

    def verify_ledger(self) -> subprocess.CompletedProcess[str]:
        """Run the operator's command."""
        return subprocess.run(
            [sys.executable, "-m", "controlplane.local.manage", "ledger_verify"],
            cwd=self.demo.home.clone,
            env=self.demo.environment(),
            capture_output=True,
            text=True,
            check=False,
        )


class Refused(Exception):
    """The product answered with a refusal."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"{status} {text}")
        self.status = status


@contextmanager
def open_house() -> Iterator[House]:
    """Yield the product as it is right after its first start, without a story of its own."""
    with clones.a_copy() as demo:
        (demo.home.clone / "examples" / "story.py").write_text(_STORY)
        process = demo.start()
        try:
            yield House(demo)
        finally:
            os.killpg(process.pid, signal.SIGINT)
            process.wait(60)


def wait_for(
    look: Callable[[], Found | None], what: str, *, seconds: float = _PATIENCE_SECONDS
) -> Found:
    """Return what ``look`` finds once it finds something.

    Raises:
        AssertionError: it found nothing in that time.
    """
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, f"waited {seconds} s in vain for {what}"
        time.sleep(0.1)
    return found


def rows_of_digits(folder: Path) -> dict[str, Path]:
    """Write the digits of the example; return the files' paths by part."""
    script = CLONE / "examples" / "digits" / "data.py"
    subprocess.run([sys.executable, str(script), str(folder)], check=True, capture_output=True)
    return {name: folder / f"{name}.csv" for name in ("train", "holdout", "requests")}
