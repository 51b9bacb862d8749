"""What a job is asked to do: parsed once at the door, trusted inside.

The kernel knows the shape only. Whether a dataset or an uploaded source exists is the question
of the job's kind (``controlplane.jobs.kinds``).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import PurePosixPath
from typing import Any

from controlplane.core.errors import Invalid
from controlplane.jobs import environments

MAX_LOCK_BYTES = 2 * 2**20
MAX_WORDS = 200
MAX_WORD_LENGTH = 4000
MAX_INPUTS = 50
MAX_VARIABLES = 50
LONGEST_SECONDS = 7 * 24 * 3600
_DIGEST = re.compile(r"[0-9a-f]{64}\Z")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}\Z")
_VARIABLE = re.compile(r"[A-Z][A-Z0-9_]{0,63}\Z")
# Set by the runner, or read by the loader and the interpreter before any code of the job.
_RESERVED = ("GATEHOUSE_", "MLFLOW_", "LD_", "PYTHON", "UV_", "PIP_")
_RESERVED_NAMES = frozenset({"PATH", "HOME", "TMPDIR", "VIRTUAL_ENV", "CUDA_VISIBLE_DEVICES"})


@dataclass(frozen=True, slots=True)
class TarSource:
    """A tar that was uploaded and is kept under its digest."""

    sha256: str
    kind: str = "tar"


@dataclass(frozen=True, slots=True)
class Input:
    """A dataset version, seen read-only at ``path`` below the working folder."""

    name: str
    dataset: str
    version: int
    path: str


@dataclass(frozen=True, slots=True)
class Resources:
    cpus: int = 1
    memory_mb: int = 4096
    gpus: int = 0
    timeout_seconds: int = 3600


@dataclass(frozen=True, slots=True)
class JobSpec:
    """Source, environment, command, inputs and limits of one job. ``extra`` is the kind's own."""

    command: tuple[str, ...]
    lock: str = ""
    python: str = "3.11"
    source: TarSource | None = None
    inputs: tuple[Input, ...] = ()
    resources: Resources = field(default_factory=Resources)
    environment: Mapping[str, str] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def lock_digest(self) -> str:
        """Return the digest under which a version keeps the lock it was trained with."""
        return environments.digest_of(self.lock)

    @property
    def digest(self) -> str:
        """Return the SHA-256 of the whole specification."""
        return hashlib.sha256(json.dumps(self.to_json(), sort_keys=True).encode()).hexdigest()

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {
            "command": list(self.command),
            "inputs": [asdict(item) for item in self.inputs],
            "environment": dict(self.environment),
            "extra": dict(self.extra),
        }


def parse(given: object) -> JobSpec:
    """Return the specification.

    Raises:
        Invalid: with a sentence that names the field; ``fields`` has the same for machines.
    """
    body = _mapping(given, "spec")
    if r"\u0000" in json.dumps(body, default=str):
        raise _wrong("spec", "A job's spec may hold no NUL character.")
    known = {"command", "lock", "python", "source", "inputs", "resources", "environment", "extra"}
    for name in body:
        if name not in known:
            raise _wrong(str(name), f"There is no field {str(name)[:60]!r} in a job's spec.")
    return JobSpec(
        command=_command(body.get("command")),
        lock=_lock(body.get("lock", "")),
        python=_python(body.get("python", "3.11")),
        source=_source(body.get("source")),
        inputs=_inputs(body.get("inputs", [])),
        resources=_resources(body.get("resources", {})),
        environment=_environment(body.get("environment", {})),
        extra=_mapping(body.get("extra", {}), "extra"),
    )


def relative_path(value: object, field_name: str) -> str:
    """Return a path below the working folder, in its plain form.

    Raises:
        Invalid: it is absolute, climbs out, or is empty.
    """
    if not isinstance(value, str) or not value or len(value) > 500 or "\0" in value:
        raise _wrong(field_name, "A path is a text of 1 to 500 characters.")
    path = PurePosixPath(value)
    if path.is_absolute() or ".." in path.parts or str(path) == ".":
        raise _wrong(field_name, f"The path {value[:100]!r} must lead below the working folder.")
    return str(path)


def _command(given: object) -> tuple[str, ...]:
    if isinstance(given, str) or not isinstance(given, Sequence) or not given:
        raise _wrong("command", "The command is a list of words, such as ['python', 'train.py'].")
    if len(given) > MAX_WORDS:
        raise _wrong("command", f"The command has more than {MAX_WORDS} words.")
    for word in given:
        if not isinstance(word, str) or len(word) > MAX_WORD_LENGTH or "\0" in word:
            raise _wrong(
                "command",
                f"Each word of the command is a text of at most {MAX_WORD_LENGTH} characters.",
            )
    if not given[0]:
        raise _wrong("command", "The command's first word, the program, is empty.")
    return tuple(given)


def _lock(given: object) -> str:
    if not isinstance(given, str):
        raise _wrong("lock", "The lock is the text of a requirements file with hashes.")
    if len(given.encode()) > MAX_LOCK_BYTES:
        raise _wrong("lock", f"The lock is larger than {MAX_LOCK_BYTES // 2**20} MiB.")
    try:
        environments.require_hashes(given)
    except environments.EnvironmentUnbuildable as error:
        raise _wrong("lock", str(error)) from None
    return given


def _python(given: object) -> str:
    if not isinstance(given, str):
        raise _wrong("python", "The Python version is a text such as '3.11'.")
    try:
        environments.find_interpreter(given)
    except environments.EnvironmentUnbuildable as error:
        raise _wrong("python", str(error)) from None
    return given


def _source(given: object) -> TarSource | None:
    if given is None:
        return None
    body = _mapping(given, "source")
    kind = body.get("kind")
    if kind == "git":
        raise _wrong(
            "source", "Sources from Git are not offered in this installation; upload a tar instead."
        )
    if kind != "tar":
        raise _wrong("source", f"There is no kind of source {str(kind)[:60]!r}; there is 'tar'.")
    digest = body.get("sha256")
    if set(body) != {"kind", "sha256"} or not isinstance(digest, str) or not _DIGEST.match(digest):
        raise _wrong(
            "source", "A source of kind 'tar' has exactly 'sha256', 64 hexadecimal digits."
        )
    return TarSource(digest)


def _inputs(given: object) -> tuple[Input, ...]:
    if isinstance(given, str) or not isinstance(given, Sequence):
        raise _wrong("inputs", "The inputs are a list.")
    if len(given) > MAX_INPUTS:
        raise _wrong("inputs", f"A job has at most {MAX_INPUTS} inputs.")
    found = tuple(_input(item, index) for index, item in enumerate(given))
    for attribute in ("name", "path"):
        values = [getattr(item, attribute) for item in found]
        for value in values:
            if values.count(value) > 1:
                raise _wrong("inputs", f"Two inputs have the {attribute} {value!r}.")
    return found


def _input(given: object, index: int) -> Input:
    where = f"inputs.{index}"
    body = _mapping(given, where)
    name, dataset, version = body.get("name"), body.get("dataset"), body.get("version")
    if set(body) - {"name", "dataset", "version", "path"}:
        raise _wrong(where, "An input has name, dataset, version and path.")
    if not isinstance(name, str) or not _NAME.match(name):
        raise _wrong(where, f"{str(name)[:60]!r} is no name for an input.")
    if isinstance(dataset, str) and "@" in dataset and version is None:
        dataset, _, number = dataset.rpartition("@")
        version = int(number) if number.isascii() and number.isdecimal() else None
    if not isinstance(dataset, str) or not dataset:
        raise _wrong(where, "An input names its dataset, such as 'digits@3'.")
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise _wrong(where, f"The input {name} names no version of {dataset}: write '{dataset}@1'.")
    return Input(name, dataset, version, relative_path(body.get("path", f"inputs/{name}"), where))


def _resources(given: object) -> Resources:
    body = _mapping(given, "resources")
    limits = {
        "cpus": (1, 256),
        "memory_mb": (64, 4 * 2**20),
        "gpus": (0, 64),
        "timeout_seconds": (1, LONGEST_SECONDS),
    }
    found: dict[str, int] = {}
    for name, value in body.items():
        if name not in limits:
            raise _wrong("resources", f"There is no resource {str(name)[:60]!r}.")
        low, high = limits[name]
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise _wrong("resources", f"{name} is a whole number from {low} to {high}.")
        found[name] = value
    return Resources(**found)


def _environment(given: object) -> dict[str, str]:
    body = _mapping(given, "environment")
    if len(body) > MAX_VARIABLES:
        raise _wrong("environment", f"A job has at most {MAX_VARIABLES} variables.")
    for name, value in body.items():
        if not _VARIABLE.match(str(name)):
            raise _wrong(
                "environment", f"{str(name)[:60]!r} is no name of a variable: use A–Z, 0–9, _."
            )
        if name in _RESERVED_NAMES or str(name).startswith(_RESERVED):
            raise _wrong("environment", f"The variable {name} is set by Gatehouse.")
        if not isinstance(value, str) or len(value) > MAX_WORD_LENGTH or "\0" in value:
            raise _wrong(
                "environment", f"{name} is a text of at most {MAX_WORD_LENGTH} characters."
            )
    return dict(body)


def _mapping(given: object, field_name: str) -> dict[str, Any]:
    if not isinstance(given, Mapping):
        raise _wrong(field_name, f"{field_name} must be an object.")
    return dict(given)


def _wrong(field_name: str, sentence: str) -> Invalid:
    return Invalid(sentence, fields={field_name: [sentence]})
