"""`make demo`: everything started on this machine, the story played, all of it stopped again.

Usage: ``python -m controlplane.local.demo run|up|down|reset``
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import shutil
import signal
import socket
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from controlplane.local import leftovers
from controlplane.local.errors import SetupError
from controlplane.local.home import Home
from controlplane.local.installation import Command, Installation
from controlplane.local.processes import PROCESSES
from controlplane.local.story import play
from controlplane.local.supervision import Supervisor
from controlplane.local.terminal import say, step
from controlplane.local.variables import Ports

_ANSWER_SECONDS = 90


class Stopped(Exception):
    """The person at the terminal wants everything to end."""


def main() -> int:
    """Run the command; a failure is one line and a non-zero status."""
    parser = argparse.ArgumentParser(prog="demo")
    parser.add_argument("command", choices=["run", "up", "down", "reset"])
    command = parser.parse_args().command
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _stop)
    home = Home()
    try:
        if command == "down":
            return _down(home)
        if command == "reset":
            return _reset(home)
        return _run(Installation(home, _ports()), stays=command == "run")
    except SetupError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except Stopped:
        return 130


def _stop(number: int, frame: FrameType | None) -> None:
    # A second Ctrl-C must not interrupt the stopping.
    for again in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(again, signal.SIG_IGN)
    raise Stopped


def _run(installation: Installation, *, stays: bool) -> int:
    home = installation.home
    home.prepare()
    supervisor = Supervisor(home)
    with _only_one(home):
        if supervisor.is_running():
            raise SetupError(_already_running())
        supervisor.wait_while_shutting_down()
        was_killed = (home.run / "supervisord.pid").exists()
        leftovers.end(home, postgres_data=installation.postgres.data)
        # What was killed a moment ago may still be letting go of its port.
        patience = 5.0 if was_killed else 0.0
        for name, port in (
            ("PORT", installation.ports.web),
            ("GATEWAY_PORT", installation.ports.gateway),
        ):
            _require_free(name, port, patience_seconds=patience)
        try:
            _start(installation, supervisor, dies_with_us=stays)
            has_played = play(installation, supervisor)
            _say_where(installation)
            if not stays:
                return 0 if has_played else 1
            say("\nCtrl-C stops everything.")
            while supervisor.is_running():
                time.sleep(1)
            raise SetupError(f"The supervisor has ended. Log: {home.log / 'supervisord.log'}")
        except (SetupError, Stopped) as reason:
            if isinstance(reason, Stopped):
                say("\nStopping.")
            supervisor.stop()
            leftovers.end(home, postgres_data=installation.postgres.data)
            shutil.rmtree(home.sockets, ignore_errors=True)
            if isinstance(reason, Stopped) and stays:
                return 0
            raise


def _start(installation: Installation, supervisor: Supervisor, *, dies_with_us: bool) -> None:
    """Start all processes in the order in which they need each other, side by side where not."""
    installation.initialise_servers()
    supervisor.start(installation.programs(), dies_with_us=dies_with_us)
    for name in installation.servers:
        supervisor.start_process(name)
    installation.wait_for_servers()
    step("PostgreSQL and Redis answer")
    _prepare(installation)
    step("schemas and static files are there")
    supervisor.start_process("web")
    people = installation.start_command(
        "bootstrap",
        "bootstrap_demo",
        *("--url", installation.ports.url),
        *("--gateway-url", installation.ports.gateway_url),
        *("--output", str(installation.home.people_file)),
    )
    try:
        _wait_for_answer(f"{installation.ports.url}/login/", supervisor, "web")
        step(f"the portal answers at {installation.ports.url}")
        # Nobody waits for it: the first training finds it ready, or half-way.
        installation.start_command(
            "build_environment", "build_environment", "examples/digits/requirements.lock"
        )
        people.wait()
    finally:
        people.stop()
    # The sealer's key and log are made by the command above; the agent's first snapshot too.
    others = [process.name for process in PROCESSES if process.name != "web"]
    for name in others:
        supervisor.start_process(name)
    supervisor.wait_until_running(["web", *others])
    step("all processes run")


def _prepare(installation: Installation) -> None:
    """Bring both schemas up to date side by side, and collect the front end's files."""
    if installation.is_prepared():
        return
    commands = {
        "migrate": ["gatehouse_migrate", "--part", "migrate"],
        "mlflow_migrate": ["gatehouse_migrate", "--part", "mlflow_migrate"],
        "collectstatic": ["collectstatic", "--noinput"],
    }
    _wait_for_all([installation.start_command(name, *words) for name, words in commands.items()])
    installation.note_prepared()


def _wait_for_all(commands: list[Command]) -> None:
    try:
        for command in commands:
            command.wait()
    finally:
        for command in commands:
            command.stop()


def _wait_for_answer(url: str, supervisor: Supervisor, name: str) -> None:
    """Return once the address answers without an error of the server's."""
    deadline = time.monotonic() + _ANSWER_SECONDS
    while True:
        supervisor.require_running([name])
        try:
            urllib.request.urlopen(url, timeout=5).close()  # noqa: S310 - our own loopback address
        except urllib.error.HTTPError as error:
            raise SetupError(
                f"{url} answers {error.code}. Log: {supervisor.home.log / name}.log"
            ) from error
        except OSError as error:
            if time.monotonic() > deadline:
                raise SetupError(f"{url} does not answer: {error}") from error
            time.sleep(0.1)
        else:
            return


def _say_where(installation: Installation) -> None:
    people = json.loads(installation.home.people_file.read_text())["people"]
    say(f"\nGatehouse is at {installation.ports.url}/ - sign in as one of")
    for person in people:
        if person.get("password"):
            say(f"  {person['username']:<10} {person['password']:<24} {person['role']}")
    say(f"These, with API tokens, are in {installation.home.people_file}")


def _down(home: Home) -> int:
    if not home.folder.exists():
        say("Gatehouse is not running.")
        return 0
    home.prepare()
    supervisor = Supervisor(home)
    was_running = supervisor.is_running()
    supervisor.stop()
    supervisor.wait_while_shutting_down()
    ended = leftovers.end(home, postgres_data=home.folder / "postgres")
    shutil.rmtree(home.sockets, ignore_errors=True)
    say("Gatehouse has stopped." if was_running or ended else "Gatehouse is not running.")
    return 0


def _reset(home: Home) -> int:
    _down(home)
    for folder in ("data", "postgres", "redis", "run", "log"):
        shutil.rmtree(home.folder / folder, ignore_errors=True)
    for file in (home.secrets_file, home.people_file):
        file.unlink(missing_ok=True)
    say("All data of this clone is deleted; `make demo` starts anew.")
    return 0


@contextmanager
def _only_one(home: Home) -> Iterator[None]:
    with (home.run / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise SetupError(_already_running()) from None
        yield


def _already_running() -> str:
    return "Gatehouse already runs from this folder: stop it with Ctrl-C or `make demo-down`."


def _ports() -> Ports:
    def port(name: str, default: str) -> int:
        raw = os.environ.get(name) or default
        if not raw.isdigit() or not 0 < int(raw) < 65536:
            raise SetupError(f"{name} must be a port number between 1 and 65535, not {raw!r}.")
        return int(raw)

    return Ports(web=port("PORT", "8000"), gateway=port("GATEWAY_PORT", "8100"))


def _require_free(name: str, port: int, *, patience_seconds: float) -> None:
    deadline = time.monotonic() + patience_seconds
    while True:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as error:
                if time.monotonic() > deadline:
                    raise SetupError(
                        f"Port {port} cannot be used ({error.strerror}): free it, or choose "
                        f"another one with {name}=…"
                    ) from error
                time.sleep(0.1)
            else:
                return


if __name__ == "__main__":
    sys.exit(main())
