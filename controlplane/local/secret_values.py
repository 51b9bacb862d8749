"""Secrets of a local installation: made once, kept in one file that only we can read."""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path

from controlplane.database.roles import LOGIN_ROLES
from controlplane.local.errors import SetupError


@dataclass(frozen=True)
class Secrets:
    """The application's key and the database's passwords."""

    secret_key: str
    superuser_password: str
    role_passwords: dict[str, str]


def load_or_make(path: Path) -> Secrets:
    """Return the secrets in the file, made now when there is none.

    Raises:
        SetupError: the file is there and cannot be understood.
    """
    if path.exists():
        try:
            return Secrets(**json.loads(path.read_text()))
        except (ValueError, TypeError) as error:
            raise SetupError(
                f"{path} is damaged ({error}): `make demo-reset` deletes it, and all data."
            ) from error
    made = Secrets(
        secret_key=secrets.token_urlsafe(48),
        superuser_password=secrets.token_urlsafe(24),
        role_passwords={role: secrets.token_urlsafe(24) for role in LOGIN_ROLES},
    )
    write_private(path, json.dumps(asdict(made), indent=1))
    return made


def write_private(path: Path, text: str) -> None:
    """Put the text into the file with mode 0600, in one step: readers see all of it or nothing."""
    half = path.with_name(f"{path.name}.{os.getpid()}")
    descriptor = os.open(half, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    half.replace(path)
