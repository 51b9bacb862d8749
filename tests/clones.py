"""A copy of this clone in which the whole product runs, as a stranger's clone does."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from controlplane.local import leftovers
from controlplane.local.home import CLONE, Home

# Generous: other tests may share the machine. How long it takes is measured by `make bench`.
_START_SECONDS = 480


class Demo:
    """One copy of the clone, and the demo in it."""

    def __init__(self, clone: Path) -> None:
        self.home = Home(clone)
        self.ports = {"PORT": _free_port(), "GATEWAY_PORT": _free_port()}
        self.output = clone / "output"
        self.url = f"http://127.0.0.1:{self.ports['PORT']}"
        self.gateway_url = f"http://127.0.0.1:{self.ports['GATEWAY_PORT']}"

    def command(self, name: str) -> dict[str, Any]:
        """Return what subprocess needs for a command of `make demo`."""
        return {
            "args": [sys.executable, "-m", "controlplane.local.demo", name],
            "cwd": self.home.clone,
            "env": self.environment(),
        }

    def environment(self) -> dict[str, str]:
        """Return the shell's variables; nothing of this test run's servers leaks in."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("GATEHOUSE") and not name.endswith(("_URL", "_MODULE"))
        }
        return kept | self.ports | {"PYTHONPATH": str(self.home.clone)}

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


@contextmanager
def a_copy() -> Iterator[Demo]:
    """Yield a copy in which nothing runs yet; whatever runs at the end is stopped."""
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
    try:
        yield made
    finally:
        subprocess.run(**made.command("down"), check=True, stdout=subprocess.DEVNULL)
        shutil.rmtree(made.home.sockets, ignore_errors=True)
        shutil.rmtree(folder)


def _free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])
