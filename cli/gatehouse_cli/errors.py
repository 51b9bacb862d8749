"""What can go wrong, and the status with which the program then ends."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Any

import click


class Exit(IntEnum):
    """The statuses of ``gatehouse``; scripts rely on these numbers."""

    DONE = 0
    ERROR = 1
    USAGE = 2
    NOT_PERMITTED = 10
    REJECTED = 11
    CHANGES_REQUESTED = 12
    EXPIRED_OR_WITHDRAWN = 13
    GATE_FAILED = 14
    STILL_WAITING = 15
    ROLLED_BACK = 16


class GatehouseError(Exception):
    """One sentence for the person at the terminal, and the status for the script."""

    def __init__(self, message: str, *, exit_code: int = Exit.ERROR) -> None:
        super().__init__(message)
        self.message = message
        self.exit_code = int(exit_code)

    def show(self) -> None:
        """Write to stderr what a person should know."""
        click.echo(self.message, err=True)


class UsageError(GatehouseError):
    """What was typed cannot be meant."""

    def __init__(self, message: str) -> None:
        super().__init__(message, exit_code=Exit.USAGE)


class Unreachable(GatehouseError):
    """The server did not answer at all; asking again may help."""


class Problem(GatehouseError):
    """The server refused or failed, in its own words (problem+json, RFC 9457)."""

    def __init__(self, status: int, body: Mapping[str, Any], *, request_id: str) -> None:
        sentence = str(body.get("detail") or f"The server answered with status {status}.")
        exit_code = Exit.NOT_PERMITTED if status == 403 else Exit.ERROR
        super().__init__(sentence, exit_code=exit_code)
        self.status = status
        self.body = dict(body)
        self.request_id = request_id

    @property
    def code(self) -> str:
        """Return the server's name for this kind of refusal; it never changes."""
        return str(self.body.get("code", ""))

    @property
    def is_passing(self) -> bool:
        """Whether the same request may succeed in a moment."""
        return self.status in {429, 502, 503, 504}

    def show(self) -> None:
        super().show()
        for reason in self.body.get("reasons") or []:
            if reason not in self.message:
                click.echo(f"- {reason}", err=True)
        if self.request_id:
            click.echo(f"Request {self.request_id}", err=True)
