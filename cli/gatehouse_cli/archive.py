"""Pack a folder into the same bytes every time, without what does not belong to the source."""

from __future__ import annotations

import gzip
import io
import os
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gatehouse_cli.errors import GatehouseError

IGNORE_FILES = (".gitignore", ".gatehouseignore")
LIMIT_BYTES = 64 * 2**20
# Never part of a source, whatever the ignore files say.
_ALWAYS_LEFT_OUT = (
    ".git/",
    ".hg/",
    ".svn/",
    "__pycache__/",
    "*.py[cod]",
    ".venv/",
    "venv/",
    "node_modules/",
    ".mypy_cache/",
    ".pytest_cache/",
    ".ruff_cache/",
    ".ipynb_checkpoints/",
    ".DS_Store",
)


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of an ignore file; the last rule that matches decides."""

    pattern: re.Pattern[str]
    is_negated: bool
    folders_only: bool

    def matches(self, path: str, *, is_folder: bool) -> bool:
        return (is_folder or not self.folders_only) and bool(self.pattern.match(path))


def pack(folder: Path, target: Path, *, limit_bytes: int = LIMIT_BYTES) -> int:
    """Write the folder as tar.gz to ``target``; return how many files it holds.

    The same files give the same bytes: names are sorted, times, owners and umask left out. What
    ``.gitignore`` and ``.gatehouseignore`` in the folder exclude stays out, and so do caches,
    virtual environments and version control. Symbolic links to files within the folder become
    those files.

    Raises:
        GatehouseError: there is nothing to pack, it is larger than the limit (uncompressed), or a
            link leads out of the folder.
    """
    root = folder.resolve()
    if not root.is_dir():
        raise GatehouseError(f"{folder} is no folder.")
    files = list(source_files(root))
    if not files:
        raise GatehouseError(f"{folder} holds no file to train with: everything in it is excluded.")
    _require_size(files, root, folder, limit_bytes)
    with (
        target.open("wb") as raw,
        gzip.GzipFile("", "wb", mtime=0, fileobj=raw) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for path in files:
            content = path.read_bytes()
            tar.addfile(_entry(path, root, len(content)), io.BytesIO(content))
    return len(files)


def source_files(root: Path) -> Iterator[Path]:
    """Yield the files that belong to the source, sorted by path.

    Raises:
        GatehouseError: a link leads out of the folder or to another folder.
    """
    rules = _rules(_ALWAYS_LEFT_OUT)
    own: list[Rule] = []
    for name in IGNORE_FILES:
        file = root / name
        if file.is_file():
            own += _rules(file.read_text(errors="replace").splitlines())
    yield from sorted(_walk(root, root, own, rules), key=lambda path: path.relative_to(root).parts)


def _walk(folder: Path, root: Path, own: list[Rule], always: list[Rule]) -> Iterator[Path]:
    for entry in os.scandir(folder):
        path = Path(entry.path)
        relative = path.relative_to(root).as_posix()
        is_folder = entry.is_dir(follow_symlinks=False)
        if _is_ignored(relative, always, is_folder=is_folder):
            continue
        if _is_ignored(relative, own, is_folder=is_folder):
            continue
        if is_folder:
            yield from _walk(path, root, own, always)
        elif entry.is_symlink():
            _require_inside(path, root, relative)
            yield path
        elif entry.is_file():
            yield path


def _is_ignored(path: str, rules: list[Rule], *, is_folder: bool) -> bool:
    decided = False
    for rule in rules:
        if rule.matches(path, is_folder=is_folder):
            decided = not rule.is_negated
    return decided


def _rules(lines: tuple[str, ...] | list[str]) -> list[Rule]:
    found = []
    for line in lines:
        text = line.rstrip("\r\n")
        # A trailing space counts only when it is escaped, as git has it.
        text = re.sub(r"(?<!\\) +\Z", "", text)
        if not text or text.startswith("#"):
            continue
        is_negated = text.startswith("!")
        text = text[1:] if is_negated else text
        folders_only = text.endswith("/")
        text = text.rstrip("/")
        if text:
            found.append(Rule(re.compile(_expression(text)), is_negated, folders_only))
    return found


def _expression(pattern: str) -> str:
    """Return the regular expression of a pattern of gitignore, for a path below the folder."""
    is_anchored = "/" in pattern
    pattern = pattern.lstrip("/")
    parts = ["" if is_anchored else r"(?:.*/)?"]
    place = 0
    while place < len(pattern):
        if pattern.startswith("**/", place):
            parts.append(r"(?:.*/)?")
            place += 3
        elif pattern.startswith("**", place):
            parts.append(".*")
            place += 2
        elif pattern[place] == "*":
            parts.append("[^/]*")
            place += 1
        elif pattern[place] == "?":
            parts.append("[^/]")
            place += 1
        elif pattern[place] == "[" and (end := pattern.find("]", place + 2)) > 0:
            inside = pattern[place + 1 : end].replace("\\", "\\\\")
            parts.append(f"[{'^' + inside[1:] if inside[0] == '!' else inside}]")
            place = end + 1
        else:
            place += pattern[place] == "\\" and place + 1 < len(pattern)
            parts.append(re.escape(pattern[place]))
            place += 1
    return "".join(parts) + r"\Z"


def _require_inside(path: Path, root: Path, shown: str) -> None:
    target = path.resolve()
    if not target.is_file() or not target.is_relative_to(root):
        raise GatehouseError(
            f"{shown} is a link that leads to no file in the folder; a job could not follow it. "
            "Copy the file, or exclude it in .gatehouseignore."
        )


def _require_size(files: list[Path], root: Path, folder: Path, limit: int) -> None:
    sizes = [(path.stat().st_size, path.relative_to(root).as_posix()) for path in files]
    total = sum(size for size, _ in sizes)
    if total > limit:
        largest, name = max(sizes)
        raise GatehouseError(
            f"{folder} holds {total / 2**20:.1f} MiB of source, more than {limit / 2**20:.0f} MiB; "
            f"the largest file is {name} with {largest / 2**20:.1f} MiB. Push data with "
            "gatehouse data push, and exclude it here in .gatehouseignore."
        )


def _entry(path: Path, root: Path, size: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(path.relative_to(root).as_posix())
    entry.size = size
    entry.mode = 0o755 if os.access(path, os.X_OK) else 0o644
    return entry
