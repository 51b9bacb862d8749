"""What a kind of job means: trusted code of the rooms above, called by services and runner.

The kernel knows leases and processes; which dataset is meant, which run is made and what an
evaluation's output proves is known above it and registered here.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from controlplane.core.actor import Actor
from controlplane.core.errors import Invalid
from controlplane.jobs.models import Job
from controlplane.jobs.spec import JobSpec


@dataclass(frozen=True, slots=True)
class Preparation:
    """What the program is given. ``files`` maps a path below the working folder to the file of
    ours that is seen there, read-only. Without ``door`` there is no network and no token."""

    source: Path | None = None
    files: Mapping[str, Path] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    argv: tuple[str, ...] | None = None
    door: bool = True


class OutputRefused(Invalid):
    """What the program left behind is missing, too large, or not a plain file."""

    code = "output_refused"


@dataclass(frozen=True, slots=True)
class Result:
    """What is left of a program that ended with exit code 0."""

    folder: Path

    def read(self, name: str, *, limit_bytes: int) -> bytes:
        """Return the content of a file in the working folder, following no link on the way.

        Raises:
            OutputRefused: it is missing, no plain file, reached through a link, or larger.
        """
        with os.fdopen(self._open(name), "rb") as stream:
            state = os.fstat(stream.fileno())
            if not stat.S_ISREG(state.st_mode):
                raise OutputRefused(f"The job's output {name} is not a plain file.")
            content = stream.read(limit_bytes + 1)
        if len(content) > limit_bytes:
            raise OutputRefused(f"The job's output {name} is larger than {limit_bytes:,} bytes.")
        return content

    def _open(self, name: str) -> int:
        parts = PurePosixPath(name).parts
        if not parts or ".." in parts or name.startswith("/"):
            raise OutputRefused(f"{name[:100]!r} is no name of an output.")
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
        folder = os.open(self.folder, flags | os.O_DIRECTORY)
        try:
            for part in parts[:-1]:
                inner = os.open(part, flags | os.O_DIRECTORY, dir_fd=folder)
                os.close(folder)
                folder = inner
            # A named pipe would wait for ever.
            return os.open(parts[-1], flags | os.O_NONBLOCK, dir_fd=folder)
        except OSError as error:
            raise OutputRefused(
                f"The job left no output {name}: {(error.strerror or '').lower()}."
            ) from None
        finally:
            os.close(folder)


class Submitted(Protocol):
    def __call__(self, job: Job, spec: JobSpec, *, actor: Actor) -> Mapping[str, Any]:
        """Refuse by raising, or return fields of the job to change; in submit's transaction."""


@dataclass(frozen=True, slots=True)
class Kind:
    """``prepare`` runs before the program, ``finish`` after exit code 0; both outside any
    transaction. What ``finish`` returns is called once, in the transaction that records the end.
    ``settled`` is called in the transaction of every final state. ``is_open`` lets clients of
    REST submit it as it is."""

    name: str
    prepare: Callable[[Job, JobSpec], Preparation]
    submitted: Submitted | None = None
    finish: Callable[[Job, Result], Callable[[], None] | None] | None = None
    settled: Callable[[Job], None] | None = None
    is_open: bool = False


_kinds: dict[str, Kind] = {}


def register(kind: Kind) -> None:
    _kinds[kind.name] = kind


def named(name: str) -> Kind:
    """Return the kind.

    Raises:
        Invalid: there is none of that name.
    """
    try:
        return _kinds[name]
    except KeyError:
        known = ", ".join(sorted(_kinds)) or "none"
        raise Invalid(
            f"There is no kind of job {name[:60]!r}; there are: {known}.",
            fields={"kind": ["unknown"]},
        ) from None


def settle(job: Job) -> None:
    """Tell the job's kind that it reached a final state."""
    kind = _kinds.get(job.kind)
    if kind is not None and kind.settled is not None:
        kind.settled(job)
