"""Keeping the processes running: supervisor's configuration, and talking to it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import xmlrpc.client
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from supervisor.xmlrpc import SupervisorTransport

from controlplane.local.errors import SetupError
from controlplane.local.home import Home
from controlplane.local.leftovers import is_alive
from controlplane.local.processes import SERVERS
from controlplane.local.secret_values import write_private

_LAUNCHER = Path(__file__).with_name("launch.py")
_STOP_SECONDS = 10
_FAILED = {"BACKOFF", "FATAL", "EXITED", "UNKNOWN"}


@dataclass(frozen=True)
class Program:
    """One process as supervisor sees it; a lower priority stops later."""

    name: str
    command: list[str]
    priority: int
    stop_signal: str = "TERM"


def process_command(
    home: Home, name: str, arguments: list[str], environment: dict[str, str]
) -> list[str]:
    """Return the command line that runs a process with this environment and no other.

    It dies with the supervisor: a killed installation leaves nothing behind.
    """
    file = home.run / "environment" / f"{name}.json"
    file.parent.mkdir(exist_ok=True, mode=0o700)
    write_private(file, json.dumps(environment))
    program = [sys.executable if part == "python" else part for part in arguments]
    launch = [sys.executable, "-I", "-S", str(_LAUNCHER), "--environment", str(file)]
    return [*launch, "--death-signal", str(int(signal.SIGKILL)), "--", *program]


class SupervisorGone(SetupError):
    """The supervisor does not answer: it was stopped or killed."""


class Supervisor:
    """The running supervisor of one clone."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self._socket = home.sockets / "supervisor.sock"
        self._config = home.run / "supervisord.conf"

    def is_running(self) -> bool:
        if not self._socket.exists():
            return False
        try:
            self._call("getState")
        except (SupervisorGone, xmlrpc.client.Fault):
            # A fault is its answer while it shuts down.
            return False
        return True

    def wait_while_shutting_down(self) -> None:
        """Return once a supervisor that was told to stop is gone, or at least runs nothing."""
        try:
            pid = int((self.home.run / "supervisord.pid").read_text())
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except (OSError, ValueError):
            return
        if os.fsencode(self._config) in command and not self.is_running():
            self._wait_for_end(pid)

    def pid(self) -> int:
        return int(self._call("getPID"))

    def start(self, programs: Iterable[Program], *, dies_with_us: bool) -> None:
        """Start the supervisor with all programs known and none running.

        Raises:
            SetupError: it does not come up.
        """
        self._config.write_text(_configuration(self.home, self._socket, programs))
        launch = [sys.executable, "-I", "-S", str(_LAUNCHER)]
        if dies_with_us:
            launch += ["--death-signal", str(int(signal.SIGTERM))]
        server = [sys.executable, "-m", "supervisor.supervisord", "-n", "-c", str(self._config)]
        log = self.home.log / "supervisord.log"
        with log.open("ab") as stream:
            child = subprocess.Popen(
                [*launch, "--", *server],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stream,
                # Ctrl-C reaches us alone; we then stop the processes in order.
                start_new_session=True,
                cwd=self.home.clone,
                env={"PATH": os.environ.get("PATH", os.defpath)},
            )
        deadline = time.monotonic() + 20
        while not self.is_running():
            if child.poll() is not None or time.monotonic() > deadline:
                raise SetupError(f"The supervisor does not start. Log: {log}")
            time.sleep(0.02)

    def start_process(self, name: str) -> None:
        self._call("startProcess", name, False)

    def process_pid(self, name: str) -> int:
        """Return the process's number; 0 while it does not run."""
        return int(self._call("getProcessInfo", name)["pid"])

    def require_running(self, names: Iterable[str]) -> bool:
        """Return whether all of them run, or are still starting.

        Raises:
            SetupError: one of them ended; the sentence carries its last line and its log.
        """
        wanted = set(names)
        states = {
            info["name"]: info["statename"]
            for info in self._call("getAllProcessInfo")
            if info["name"] in wanted
        }
        for name, state in states.items():
            if state in _FAILED:
                log = self.home.log / f"{name}.log"
                raise SetupError(f"{name} does not start: {last_line(log)} Log: {log}")
        return all(state == "RUNNING" for state in states.values())

    def require_steady(self, *, seconds: float = 5) -> None:
        """Return when every started process runs, or is only being restarted.

        Raises:
            SetupError: one of them ends again and again.
        """
        deadline = time.monotonic() + seconds
        while True:
            failing = [
                info["name"]
                for info in self._call("getAllProcessInfo")
                if info["statename"] in {"BACKOFF", "FATAL"}
            ]
            if not failing:
                return
            if time.monotonic() > deadline:
                self.require_running(failing)
            time.sleep(0.5)

    def wait_until_running(self, names: Iterable[str], *, timeout_seconds: float = 30) -> None:
        """Return once all have run for a second.

        Raises:
            SetupError: one of them ended, or does not get there within the time.
        """
        wanted = list(names)
        deadline = time.monotonic() + timeout_seconds
        while not self.require_running(wanted):
            if time.monotonic() > deadline:
                raise SetupError(
                    f"Not all of {', '.join(wanted)} came up within {timeout_seconds} s."
                )
            time.sleep(0.1)

    def stop(self) -> None:
        """Stop every process in order, then the supervisor; return when all are gone."""
        try:
            pid = self.pid()
            self._stop_all_but_servers()
            self._call("shutdown")
        except (SupervisorGone, xmlrpc.client.Fault):
            # It is gone, or was told to stop by somebody else.
            self.wait_while_shutting_down()
            return
        self._wait_for_end(pid)

    def _stop_all_but_servers(self) -> None:
        """Stop side by side what supervisor would stop one after the other."""
        names = {info["name"] for info in self._call("getAllProcessInfo")} - set(SERVERS)
        for name in names:
            with contextlib.suppress(xmlrpc.client.Fault):
                self._call("stopProcess", name, False)
        deadline = time.monotonic() + 2 * _STOP_SECONDS
        while time.monotonic() < deadline:
            running = {info["name"] for info in self._call("getAllProcessInfo") if info["pid"] != 0}
            if not running & names:
                return
            time.sleep(0.05)

    def _wait_for_end(self, pid: int) -> None:
        deadline = time.monotonic() + 4 * _STOP_SECONDS
        while is_alive(pid) and time.monotonic() < deadline:
            time.sleep(0.05)
        if is_alive(pid):
            os.kill(pid, signal.SIGKILL)

    def _call(self, method: str, *arguments: Any) -> Any:
        transport = SupervisorTransport(None, None, serverurl=f"unix://{self._socket}")
        proxy = xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport)
        try:
            return getattr(proxy.supervisor, method)(*arguments)
        except OSError as error:
            log = self.home.log / "supervisord.log"
            raise SupervisorGone(f"The supervisor has ended. Log: {log}") from error
        finally:
            transport.close()


def last_line(log: Path) -> str:
    """Return the last line that says something, to be quoted in a sentence."""
    text = log.read_text(errors="replace") if log.exists() else ""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it wrote nothing."


def _configuration(home: Home, socket: Path, programs: Iterable[Program]) -> str:
    sections = [
        _section("unix_http_server", {"file": socket, "chmod": "0700"}),
        _section(
            "supervisord",
            {
                "logfile": home.log / "supervisord.log",
                "pidfile": home.run / "supervisord.pid",
                "childlogdir": home.log,
                "directory": home.clone,
                # Silences the advice against root: servers drop it themselves where they must.
                **({"user": "root"} if os.getuid() == 0 else {}),
            },
        ),
        _section(
            "rpcinterface:supervisor",
            {"supervisor.rpcinterface_factory": ("supervisor.rpcinterface:make_main_rpcinterface")},
        ),
    ]
    sections += [_program(home, program) for program in programs]
    return "\n".join(sections)


def _program(home: Home, program: Program) -> str:
    return _section(
        f"program:{program.name}",
        {
            "command": " ".join(_quoted(part) for part in program.command),
            "directory": home.clone,
            "priority": program.priority,
            "autostart": "false",
            "autorestart": "true",
            "startsecs": 1,
            # About eight minutes of patience with a server that is away.
            "startretries": 30,
            "stopsignal": program.stop_signal,
            "stopwaitsecs": _STOP_SECONDS,
            "killasgroup": "true",
            "stdout_logfile": home.log / f"{program.name}.log",
            "stdout_logfile_maxbytes": "10MB",
            "stdout_logfile_backups": 1,
            "redirect_stderr": "true",
        },
    )


def _section(title: str, values: dict[str, Any]) -> str:
    # Supervisor expands %(name)s in every value.
    lines = [f"{name}={str(value).replace('%', '%%')}" for name, value in values.items()]
    return "\n".join([f"[{title}]", *lines, ""])


def _quoted(part: str) -> str:
    return '"' + part.replace("\\", "\\\\").replace('"', '\\"') + '"'
