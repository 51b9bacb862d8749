"""Promises about the files of the repository itself."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

from controlplane.local.home import CLONE

_LOCKS = ("base", "dev", "node")
# Spelt in parts, so that this file does not find itself.
_FORBIDDEN = {
    "the address of a package registry": re.compile(
        r"pypi\.(org|python)|python" r"hosted\.org|registry\.npm" r"js|files\.pyth" r"on", re.I
    ),
    "an absolute path of one machine": re.compile(
        r"(?<![\w.])/(ro" r"ot|work|home/\w+|Users)/[\w.]"
    ),
}
_EXTENSION = re.compile(r"CREATE\s+EXTEN" r"SION|[A-Za-z]+Exten" r"sion\(\)", re.I)


def _committed() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=CLONE, capture_output=True, text=True, check=True
    )
    names = [name for name in listed.stdout.split("\0") if name]
    return [CLONE / name for name in names if (CLONE / name).is_file()]


def _texts() -> dict[str, str]:
    found = {}
    for file in _committed():
        try:
            found[str(file.relative_to(CLONE))] = file.read_text()
        except UnicodeDecodeError:
            continue
    return found


def test_no_committed_file_names_a_registry_or_a_path_of_one_machine() -> None:
    texts = _texts()
    assert "Makefile" in texts
    hits = [
        f"{name}: {what}: {match.group()}"
        for name, text in texts.items()
        for what, pattern in _FORBIDDEN.items()
        if (match := pattern.search(text))
    ]
    assert hits == []


def test_the_patterns_find_what_they_are_for() -> None:
    registry, path = _FORBIDDEN.values()
    assert registry.search("https://" + "pypi." + "org/simple")
    assert registry.search("https://registry." + "npmjs.org/axe-core")
    assert path.search("see /" + "root/.cache")
    assert not path.search("var/work/out and ./home/x")
    assert _EXTENSION.search("create " + "extension vector")


def test_no_code_asks_the_database_for_an_extension() -> None:
    code = {name: text for name, text in _texts().items() if name.endswith((".py", ".sql", ".yml"))}
    assert [name for name, text in code.items() if _EXTENSION.search(text)] == []


def test_every_locked_python_package_has_a_hash() -> None:
    for name in _LOCKS:
        text = (CLONE / "requirements" / f"{name}.txt").read_text()
        entries = re.split(r"\n(?=[A-Za-z0-9])", text)
        packages = [entry for entry in entries if re.match(r"[A-Za-z0-9._\[\],-]+==", entry)]
        assert packages, name
        assert [entry for entry in packages if "--hash=sha256:" not in entry] == []


def test_the_lock_of_development_holds_the_product_at_the_same_versions() -> None:
    def pins(name: str) -> set[str]:
        text = (CLONE / "requirements" / f"{name}.txt").read_text()
        return set(re.findall(r"^([A-Za-z0-9._-]+(?:\[[^\]]*\])?==\S+)", text, re.MULTILINE))

    assert pins("base")
    assert pins("base") <= pins("dev")


def test_the_front_end_lock_has_digests_and_no_addresses() -> None:
    lock = json.loads((CLONE / "package-lock.json").read_text())
    packages = {name: entry for name, entry in lock["packages"].items() if name}
    assert packages
    assert all(entry["integrity"].startswith("sha512-") for entry in packages.values())
    assert not any("resolved" in entry for entry in packages.values())
    wanted = json.loads((CLONE / "package.json").read_text())
    exact = {**wanted["dependencies"], **wanted["devDependencies"]}
    assert {name: packages[f"node_modules/{name}"]["version"] for name in exact} == exact
