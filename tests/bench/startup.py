"""How long a stranger waits, and how much memory stays in use.

A clone of the last commit is started with a warm package cache, stopped and started again, on
ports of its own, beside whatever else this machine does.
"""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

from controlplane.local.home import CLONE
from tests.bench.rows import Row

# A rolled-back version stays loaded for a while; then nothing is left to do.
_IDLE_SECONDS = 75


def measure() -> list[Row]:
    with tempfile.TemporaryDirectory(prefix="gh-bench-") as folder:
        clone = Path(folder) / "clone"
        subprocess.run(["git", "clone", "--quiet", str(CLONE), str(clone)], check=True)
        # The server's own user passes through.
        Path(folder).chmod(0o711)
        ports = {"PORT": _free_port(), "GATEWAY_PORT": _free_port()}
        try:
            portal, story = _start(clone, ports)
            time.sleep(_IDLE_SECONDS)
            memory = _proportional_set_size_mb(clone / ".gatehouse")
            _make(clone, "demo-down", ports)
            again, _ = _start(clone, ports)
        finally:
            _make(clone, "demo-down", ports)
    return [
        Row("portal answers, first start", portal, "s", goal=25),
        Row("story complete, first start", story, "s", goal=120),
        Row("portal answers, second start", again, "s", goal=15),
        Row("all processes idle, PSS", memory, "MB", goal=1200),
    ]


def _start(clone: Path, ports: dict[str, str]) -> tuple[float, float]:
    """Return the seconds until the portal answers and until the story is complete."""
    answered: list[float] = []
    started = time.monotonic()
    is_over = threading.Event()

    def watch() -> None:
        while not is_over.is_set():
            if _answers(f"http://127.0.0.1:{ports['PORT']}/login/"):
                answered.append(time.monotonic() - started)
                return
            time.sleep(0.1)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        _make(clone, "demo-up", ports)
        finished = time.monotonic() - started
    finally:
        is_over.set()
        watcher.join()
    return answered[0], finished


def _answers(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=1).close()
    except OSError:
        return False
    return True


def _make(clone: Path, target: str, ports: dict[str, str]) -> None:
    # The environment of the tests' own servers must not reach the clone.
    environment = {name: value for name, value in os.environ.items() if "GATEHOUSE" not in name}
    subprocess.run(
        ["make", "--silent", target],
        cwd=clone,
        env=environment | ports,
        stdout=subprocess.DEVNULL,
        check=True,
    )


def _proportional_set_size_mb(home: Path) -> float:
    """Return the megabytes (10^6 bytes) of the clone's processes, shared pages counted once."""
    total_kib = 0
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        try:
            words = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
            if os.fsencode(home) not in words and not _is_child_of(process, home):
                continue
            lines = (process / "smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total_kib += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total_kib * 1024 / 1e6


def _is_child_of(process: Path, home: Path) -> bool:
    """Whether the process is one of PostgreSQL's, which rename themselves."""
    parent = (process / "stat").read_text().rpartition(")")[2].split()[1]
    return os.fsencode(home) in Path(f"/proc/{parent}/cmdline").read_bytes()


def _free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])
