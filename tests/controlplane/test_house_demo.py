"""What `make demo` says when it cannot start, each time in one line, with nothing started."""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from controlplane.local.home import CLONE, Home

pytestmark = pytest.mark.processes


@pytest.fixture
def clone(tmp_path: Path) -> Iterator[Path]:
    """A clone with nothing but what starts the demo."""
    for package in ("controlplane/local", "controlplane/database"):
        shutil.copytree(CLONE / package, tmp_path / package)
    for file in ("controlplane/__init__.py", "manage.py", "requirements/base.txt"):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        shutil.copyfile(CLONE / file, tmp_path / file)
    yield tmp_path
    shutil.rmtree(Home(tmp_path).sockets, ignore_errors=True)


def _demo(clone: Path, command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {
        name: value for name, value in os.environ.items() if not name.endswith(("_URL", "_MODULE"))
    }
    return subprocess.run(
        [sys.executable, "-m", "controlplane.local.demo", command],
        cwd=clone,
        env={**environment, "PYTHONPATH": str(clone), **variables},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def _free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


@pytest.mark.parametrize("variable", ["PORT", "GATEWAY_PORT"])
def test_a_port_in_use_is_one_clear_line(clone: Path, variable: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        ports = {"PORT": _free_port(), "GATEWAY_PORT": _free_port(), variable: port}
        done = _demo(clone, "up", **ports)
    assert done.returncode == 1
    assert done.stderr == (
        f"Port {port} cannot be used (Address already in use): free it, or choose another one "
        f"with {variable}=…\n"
    )
    assert not (clone / ".gatehouse" / "postgres").exists()


@pytest.mark.parametrize("value", ["http", "0", "65536", "-1"])
def test_a_port_that_is_none_is_one_clear_line(clone: Path, value: str) -> None:
    done = _demo(clone, "run", PORT=value)
    assert done.returncode == 1
    assert done.stderr == f"PORT must be a port number between 1 and 65535, not {value!r}.\n"


def test_a_second_instance_of_the_same_clone_is_refused(clone: Path) -> None:
    home = Home(clone)
    home.prepare()
    with (home.run / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = _demo(clone, "run", PORT=_free_port(), GATEWAY_PORT=_free_port())
    assert done.returncode == 1
    assert done.stderr == (
        "Gatehouse already runs from this folder: stop it with Ctrl-C or `make demo-down`.\n"
    )


def test_a_step_that_fails_is_named_with_its_log_and_everything_stops(clone: Path) -> None:
    """This clone has no application: its first management command fails."""
    done = _demo(clone, "up", PORT=_free_port(), GATEWAY_PORT=_free_port())
    assert done.returncode == 1
    line = done.stderr.strip()
    assert "\n" not in line
    assert line.startswith("migrate failed: ModuleNotFoundError: No module named")
    assert line.endswith(f"Log: {clone}/.gatehouse/log/migrate.log")
    assert _demo(clone, "down").stdout == "Gatehouse is not running.\n"


def test_stopping_what_does_not_run_is_no_error(clone: Path) -> None:
    done = _demo(clone, "down")
    assert (done.returncode, done.stdout) == (0, "Gatehouse is not running.\n")
    assert not (clone / ".gatehouse").exists()


def test_reset_deletes_data_and_secrets_and_keeps_what_was_installed(clone: Path) -> None:
    home = Home(clone)
    home.prepare()
    (home.data / "blob").write_text("kept until now")
    home.secrets_file.write_text("{}")
    (home.folder / "uv").mkdir()
    done = _demo(clone, "reset")
    assert done.returncode == 0
    assert [entry.name for entry in home.folder.iterdir()] == ["uv"]
    assert not home.sockets.exists()


def test_a_socket_folder_of_somebody_else_is_refused(clone: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can give a folder away")
    sockets = Home(clone).sockets
    sockets.mkdir()
    os.chown(sockets, 65534, 65534)
    done = _demo(clone, "up", PORT=_free_port(), GATEWAY_PORT=_free_port())
    assert done.returncode == 1
    assert done.stderr == f"{sockets} belongs to another user: remove it first.\n"
