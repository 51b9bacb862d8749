"""Where the attempts of jobs lie: ``<job>/attempt-<n>/`` with log, exit code and working folder."""

from __future__ import annotations

import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

LARGEST_PART_BYTES = 256 * 1024
_LAST_LINES = 20
_LAST_BYTES = 16 * 1024


@dataclass(frozen=True, slots=True)
class AttemptFolder:
    path: Path

    @property
    def log(self) -> Path:
        return self.path / "log"

    @property
    def work(self) -> Path:
        return self.path / "work"

    @property
    def files(self) -> Path:
        return self.path / "files"

    @property
    def tmp(self) -> Path:
        return self.path / "tmp"

    @property
    def exit_file(self) -> Path:
        return self.path / "exit"

    @property
    def stopped_marker(self) -> Path:
        """Made before we end a program ourselves: its exit code is then no result."""
        return self.path / "stopped"

    def make(self) -> None:
        for folder in (self.work, self.files, self.tmp):
            folder.mkdir(parents=True, exist_ok=True)
        self.log.touch()

    def exit_code(self) -> int | None:
        """Return the code of a program that ended by itself, also if nobody recorded it."""
        if self.stopped_marker.exists():
            return None
        try:
            return int(self.exit_file.read_text())
        except (FileNotFoundError, ValueError):
            return None

    def last_lines(self) -> str:
        with self.log.open("rb") as stream:
            stream.seek(max(0, self.log.stat().st_size - _LAST_BYTES))
            text = stream.read().decode(errors="replace").replace("\0", "�")
        return "\n".join(text.splitlines()[-_LAST_LINES:])

    def clean(self) -> None:
        """Delete all but log and exit code."""
        for folder in (self.work, self.files, self.tmp):
            shutil.rmtree(folder, ignore_errors=True)


def of(job_id: uuid.UUID, number: int) -> AttemptFolder:
    return AttemptFolder(_job(job_id) / f"attempt-{number}")


def unrecorded(job_id: uuid.UUID, *, before: int) -> AttemptFolder | None:
    """Return an earlier attempt whose program ended while nobody was left to record it."""
    for number in range(before - 1, 0, -1):
        folder = of(job_id, number)
        if folder.exit_code() is not None and folder.work.is_dir():
            return folder
    return None


def clean(job_id: uuid.UUID) -> None:
    """Delete the working folders of every attempt; logs stay."""
    for folder in _job(job_id).glob("attempt-*"):
        AttemptFolder(folder).clean()


def with_leftovers() -> list[uuid.UUID]:
    """Return the jobs that still have a working folder."""
    root = Path(settings.JOB_DIR)
    if not root.is_dir():
        return []
    return [uuid.UUID(path.parent.parent.name) for path in root.glob("*-*/attempt-*/work")]


def read_part(log: Path, start: int) -> tuple[bytes, int]:
    """Return what stands in the log from byte ``start``, cut at a whole line where there is one,
    and the byte to go on from."""
    try:
        with log.open("rb") as stream:
            stream.seek(start)
            part = stream.read(LARGEST_PART_BYTES)
    except FileNotFoundError:
        return b"", start
    if len(part) == LARGEST_PART_BYTES and (end := part.rfind(b"\n")) > 0:
        part = part[: end + 1]
    return part, start + len(part)


def _job(job_id: uuid.UUID) -> Path:
    return Path(settings.JOB_DIR) / str(job_id)
