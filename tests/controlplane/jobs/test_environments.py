"""Environments are built from locks with hashes, once, by a user that no job is."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from controlplane.jobs import environments, sandbox, sandbox_users
from controlplane.jobs.environments import EnvironmentUnbuildable

SIX = (
    "six==1.17.0 \\\n"
    "    --hash=sha256:4721f391ed90541fddacab5acf947aa0d3dc7d27b2e1e8eda2be8970586c3274 \\\n"
    "    --hash=sha256:ff70335d468e7eb6ec65b95b99d3a2836546063f63acc5171de367e834932a81\n"
)


@pytest.fixture(scope="module")
def root() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="gh-environments-") as name:
        Path(name).chmod(0o755)
        yield Path(name) / "environments"


@pytest.fixture(scope="module")
def python(root: Path) -> Path:
    return environments.ensure(SIX, root=root)


def _run(python: Path, code: str, **spec: object) -> tuple[int, str]:
    with tempfile.TemporaryDirectory(prefix="gh-job-") as name:
        folder = Path(name)
        given = sandbox.SandboxSpec(
            argv=(str(python), "-c", code),
            cwd=folder,
            writable=(folder,),
            **spec,  # type: ignore[arg-type]
        )
        process = sandbox.launch(given, stdout=subprocess.PIPE)
        output, _ = process.communicate(timeout=60)
        return process.returncode, output.decode()


def test_a_program_in_the_sandbox_imports_what_the_lock_names(python: Path) -> None:
    assert _run(python, "import six; print(six.__version__)") == (0, "1.17.0\n")


def test_the_same_lock_is_built_once_even_by_two_at_once(root: Path, python: Path) -> None:
    lock = "# another comment\n\n" + SIX
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda text: environments.ensure(text, root=root), [lock, SIX]))
    assert set(found) == {python}
    assert not any((root / "building").iterdir())


def test_bytecode_is_there_before_the_first_job(python: Path) -> None:
    site = python.parent.parent / "lib"
    assert list(site.rglob("__pycache__/six.*.pyc"))


def test_a_job_can_change_neither_the_environment_nor_the_cache(root: Path, python: Path) -> None:
    code, output = _run(
        python,
        "import os, six, pathlib\n"
        f"for path in (six.__file__, {str(root / 'cache')!r} + '/x'):\n"
        "    try: pathlib.Path(path).open('a')\n"
        "    except OSError as error: print(type(error).__name__, error.errno)\n",
    )
    # As another user by permission; as the same user because it is mounted read-only.
    refused = "PermissionError 13" if os.geteuid() == 0 else "OSError 30"
    assert code == 0
    assert output.splitlines() == [refused, "FileNotFoundError 2"]
    if os.geteuid() == 0:
        assert (root / "cache").stat().st_uid not in {
            0,
            *range(sandbox_users.FIRST_UID, sandbox_users.FIRST_UID + sandbox_users.POOL_SIZE),
        }


def test_an_empty_lock_gives_a_bare_python(root: Path) -> None:
    python = environments.ensure("", root=root)
    assert _run(python, "print(6 * 7)") == (0, "42\n")


@pytest.mark.parametrize(
    ("lock", "sentence"),
    [
        ("six==1.17.0\n", "The lock has no hash for 'six==1.17.0'"),
        ("-r other.txt\n", "not the option '-r other.txt'"),
        ("--index-url http://x\n" + SIX, "not the option '--index-url http://x'"),
    ],
)
def test_a_lock_without_hashes_or_with_options_is_refused(
    root: Path, lock: str, sentence: str
) -> None:
    with pytest.raises(EnvironmentUnbuildable, match=sentence):
        environments.ensure(lock, root=root)


def test_a_wrong_hash_ends_with_what_uv_said(root: Path) -> None:
    lock = "six==1.17.0 --hash=sha256:" + "0" * 64
    with pytest.raises(EnvironmentUnbuildable, match=r"(?s)cannot be built from its lock.*six"):
        environments.ensure(lock, root=root)
    assert not any((root / "building").iterdir())


def test_a_python_that_is_not_here_is_said_in_a_sentence(root: Path) -> None:
    with pytest.raises(EnvironmentUnbuildable, match=r"Python 3\.99 is not installed"):
        environments.ensure(SIX, root=root, python="3.99")
    with pytest.raises(EnvironmentUnbuildable, match="is not a Python version"):
        environments.ensure(SIX, root=root, python="/bin/sh")


def test_uv_is_told_where_pip_finds_packages() -> None:
    given = {
        "PIP_INDEX_URL": "https://index.example/simple",
        "PIP_FIND_LINKS": "/wheels /more",
        "UV_CACHE_DIR": "/elsewhere",
        "DATABASE_URL": "postgresql://secret",
        "SSL_CERT_FILE": "/etc/certificates.pem",
    }
    assert environments.index_settings(given) == {
        "UV_DEFAULT_INDEX": "https://index.example/simple",
        "UV_FIND_LINKS": "/wheels,/more",
        "SSL_CERT_FILE": "/etc/certificates.pem",
    }
