"""`make check`: everything that can be said about the code without running the product.

All checks run, so that one run reports everything; the status is non-zero if one failed.
"""

from __future__ import annotations

import argparse
import filecmp
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from controlplane.local.home import CLONE
from controlplane.local.terminal import say

_BIN = CLONE / ".venv" / "bin"
_TYPED = [
    *("controlplane", "registry", "experiments", "deployments", "monitoring", "frontend"),
    *("tests", "manage.py"),
]
_OPENAPI = CLONE / "docs" / "openapi.yaml"
_DJANGO_VERSION = "5.2"


def lint() -> bool:
    return _passes("ruff", "check", "--quiet", ".")


def formatting() -> bool:
    return _passes("ruff", "format", "--check", "--quiet", ".")


def types() -> bool:
    return _passes("mypy", "--no-error-summary", *_TYPED)


def client_types() -> bool:
    """The command-line client is a distribution of its own and must not lean on ours."""
    return _passes("mypy", "--no-error-summary", "--config-file", "cli/pyproject.toml", "cli")


def contracts() -> bool:
    return _passes("lint-imports", "--no-logo", quiet_when_good=True)


def migrations() -> bool:
    return _manage("makemigrations", "--check", "--dry-run", quiet_when_good=True)


def openapi() -> bool:
    """The description of the API in docs/ is the one that the code gives."""
    fresh = _write_openapi(CLONE / "build" / "openapi.yaml")
    if fresh is None:
        return False
    if not _OPENAPI.exists() or not filecmp.cmp(fresh, _OPENAPI, shallow=False):
        say("docs/openapi.yaml is not what the code gives: run `make openapi` and commit it.")
        return False
    return True


def templates() -> bool:
    return _djade("--check")


_CHECKS: dict[str, Callable[[], bool]] = {
    "lint": lint,
    "format": formatting,
    "types": types,
    "types of the client": client_types,
    "import contracts": contracts,
    "migrations": migrations,
    "API description": openapi,
    "templates": templates,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="checks")
    parser.add_argument("--fix-templates", action="store_true")
    parser.add_argument("--write-openapi", action="store_true")
    options = parser.parse_args()
    if options.fix_templates:
        _djade()
        return 0
    if options.write_openapi:
        fresh = _write_openapi(CLONE / "build" / "openapi.yaml")
        if fresh is None:
            return 1
        shutil.copyfile(fresh, _OPENAPI)
        return 0
    failed = [name for name, check in _CHECKS.items() if not _reported(name, check)]
    if failed:
        say(f"\nNot good: {', '.join(failed)}.")
    return 1 if failed else 0


def _reported(name: str, check: Callable[[], bool]) -> bool:
    started = time.monotonic()
    is_good = check()
    say(f"{'good' if is_good else 'NOT GOOD':<9} {name} ({time.monotonic() - started:.1f} s)")
    return is_good


def _passes(program: str, *arguments: str, quiet_when_good: bool = False) -> bool:
    return _run([str(_BIN / program), *arguments], quiet_when_good=quiet_when_good)


def _manage(*arguments: str, quiet_when_good: bool = False) -> bool:
    command = [str(_BIN / "python"), "-W", "ignore", "manage.py", *arguments]
    return _run(command, quiet_when_good=quiet_when_good)


def _run(command: list[str], *, quiet_when_good: bool) -> bool:
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "controlplane.settings.test"}
    done = subprocess.run(
        command,
        cwd=CLONE,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    is_good = done.returncode == 0
    if done.stdout.strip() and not (is_good and quiet_when_good):
        say(done.stdout.rstrip())
    return is_good


def _write_openapi(target: Path) -> Path | None:
    """Return the file with the description, or None with the reasons on the terminal."""
    target.parent.mkdir(parents=True, exist_ok=True)
    wrote = _manage("spectacular", "--validate", "--fail-on-warn", "--file", str(target))
    return target if wrote else None


def _djade(*options: str) -> bool:
    files = [str(file) for file in sorted((CLONE / "frontend" / "templates").rglob("*.html"))]
    return _passes("djade", "--target-version", _DJANGO_VERSION, *options, *files)


if __name__ == "__main__":
    sys.exit(main())
