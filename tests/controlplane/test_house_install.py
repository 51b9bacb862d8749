"""Installing from a bare clone: what pip was told reaches uv, and each failure is one sentence."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from controlplane.local.home import CLONE
from controlplane.local.package_index import variables_for_uv


def test_what_pip_was_told_is_handed_to_uv() -> None:
    told = {
        "index-url": "https://packages.example/simple",
        "extra-index-url": "https://more.example/simple https://third.example/simple",
        "find-links": "/opt/one /opt/two",
        "cert": "/etc/own.pem",
        "timeout": "15",
    }
    assert variables_for_uv(told) == {
        "UV_DEFAULT_INDEX": "https://packages.example/simple",
        "UV_INDEX": "https://more.example/simple https://third.example/simple",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_FIND_LINKS": "/opt/one,/opt/two",
        "SSL_CERT_FILE": "/etc/own.pem",
    }
    assert variables_for_uv({}) == {}


def _base_python() -> str:
    return str(Path(sys.base_prefix) / "bin" / "python3.11")


def test_pips_files_and_variables_are_both_read(tmp_path: Path) -> None:
    configuration = tmp_path / "pip.conf"
    configuration.write_text(
        "[global]\nindex-url = https://file.example/simple\nextra-index-url =\n"
        "    https://a.example/simple\n    https://b.example/simple\n"
    )
    script = (
        "import os\n"
        "from controlplane.local.package_index import hand_pip_configuration_to_uv\n"
        "hand_pip_configuration_to_uv()\n"
        "print(os.environ['UV_DEFAULT_INDEX'], os.environ['UV_INDEX'], sep='|')\n"
    )

    def handed(**variables: str) -> str:
        kept = {"PATH": os.environ["PATH"], "PIP_CONFIG_FILE": str(configuration)}
        done = subprocess.run(
            [_base_python(), "-c", script],
            env={**kept, "PYTHONPATH": str(CLONE), **variables},
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip()

    both = "https://a.example/simple https://b.example/simple"
    assert handed() == f"https://file.example/simple|{both}"
    assert handed(PIP_INDEX_URL="https://env.example/simple").startswith("https://env.example/")
    assert handed(UV_DEFAULT_INDEX="https://uv.example/simple").startswith("https://uv.example/")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone with what installs, and locks of nothing."""
    shutil.copytree(CLONE / "controlplane" / "local", tmp_path / "controlplane" / "local")
    shutil.copyfile(CLONE / "controlplane/__init__.py", tmp_path / "controlplane/__init__.py")
    (tmp_path / "frontend").mkdir()
    for name in ("__init__.py", "icons.py"):
        shutil.copyfile(CLONE / "frontend" / name, tmp_path / "frontend" / name)
    (tmp_path / "requirements").mkdir()
    for name in ("base", "dev"):
        (tmp_path / "requirements" / f"{name}.txt").write_text("")
    shutil.copyfile(CLONE / "package-lock.json", tmp_path / "package-lock.json")
    return tmp_path


def _bootstrap(clone: Path, *arguments: str, path: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [_base_python(), "-m", "controlplane.local.bootstrap", *arguments],
        cwd=clone,
        env={"PATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def _pretend_front_end(clone: Path) -> None:
    """Give the clone the front-end packages of this one, as installing would."""
    script = (
        "from controlplane.local import bootstrap, front_end\n"
        "front_end.VENDOR.mkdir(parents=True)\n"
        "names = [n for ns in front_end._FILES.values() for n in ns] + [front_end._ICONS]\n"
        "[(front_end.VENDOR / name).touch() for name in names]\n"
        "front_end.NODE_MODULES.mkdir()\n"
        "(front_end.NODE_MODULES / '.gatehouse-lock').write_text(bootstrap._front_end_digest())\n"
    )
    subprocess.run([_base_python(), "-c", script], cwd=clone, check=True)


def test_without_uv_and_pip_one_line_says_what_to_install(clone: Path, tmp_path: Path) -> None:
    _pretend_front_end(clone)
    bare = tmp_path / "bare"
    subprocess.run([_base_python(), "-m", "venv", "--without-pip", str(bare)], check=True)
    done = subprocess.run(
        [str(bare / "bin" / "python"), "-m", "controlplane.local.bootstrap"],
        cwd=clone,
        env={"PATH": str(tmp_path / "nothing")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == (
        "Neither uv nor pip is on this machine: install one of them, for example with "
        "`apt-get install python3-pip`, and try again.\n"
    )


def test_a_changed_lock_is_installed_once_and_then_costs_nothing(clone: Path) -> None:
    _pretend_front_end(clone)
    uv = str(Path(sys.executable).parent)
    first = _bootstrap(clone, path=f"{uv}:/usr/bin:/bin")
    assert first.returncode == 0, first.stderr
    assert "everything is installed" in first.stdout
    assert _bootstrap(clone, path=f"{uv}:/usr/bin:/bin").stdout == ""
    with (clone / "requirements" / "base.txt").open("a") as lock:
        lock.write("# another state\n")
    assert "everything is installed" in _bootstrap(clone, path=f"{uv}:/usr/bin:/bin").stdout


def test_the_program_runs_in_the_virtual_environment_with_byte_code(clone: Path) -> None:
    _pretend_front_end(clone)
    script = "import os, sys; print(sys.prefix, os.environ.get('PYTHONDONTWRITEBYTECODE'))"
    uv = str(Path(sys.executable).parent)
    done = _bootstrap(clone, "--", "python", "-c", script, path=f"{uv}:/usr/bin:/bin")
    assert done.stdout.splitlines()[-1] == f"{clone / '.venv'} None"


def test_a_lock_that_cannot_be_installed_shows_what_the_installer_said(clone: Path) -> None:
    _pretend_front_end(clone)
    (clone / "requirements" / "base.txt").write_text("celery==5.0.0\n")
    done = _bootstrap(clone, path=f"{Path(sys.executable).parent}:/usr/bin:/bin")
    assert done.returncode == 1
    assert "hash" in done.stderr
    assert "Traceback" not in done.stderr
