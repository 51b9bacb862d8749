"""What every command shares: the options ``--json`` and ``--workspace``, and the client."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, wraps
from typing import Any, Concatenate, ParamSpec

import click

from gatehouse_cli import config
from gatehouse_cli.client import Client
from gatehouse_cli.errors import UsageError

Arguments = ParamSpec("Arguments")
_REFERENCE = re.compile(r"(?P<name>.+)@(?P<number>[1-9]\d*)\Z")


@dataclass(eq=False)
class Session:
    """One run of the program."""

    as_json: bool
    workspace: str

    @cached_property
    def client(self) -> Client:
        """Return the client of the address and token in use.

        Raises:
            GatehouseError: nobody has signed in.
        """
        url, token = config.address_and_token()
        return Client(url, token, workspace=self.workspace)


def with_session(
    command: Callable[Concatenate[Session, Arguments], None],
) -> Callable[..., None]:
    """Give a command the common options, and the session as its first argument."""

    @click.option("--json", "as_json", is_flag=True, help="Write the server's answer as JSON.")
    @click.option(
        "--workspace",
        envvar="GATEHOUSE_WORKSPACE",
        default="",
        help="Act in this workspace instead of the token's own.",
    )
    @wraps(command)
    def run(as_json: bool, workspace: str, **options: Any) -> None:
        session = Session(as_json, workspace)
        try:
            command(session, **options)  # type: ignore[call-arg]
        finally:
            if "client" in vars(session):
                session.client.close()

    return run


def model_version(reference: str) -> tuple[str, int]:
    """Return name and number of ``MODEL@VERSION``.

    Raises:
        UsageError: it has another form.
    """
    found = _REFERENCE.match(reference)
    if not found:
        raise UsageError(
            f"{reference!r} names no version; write MODEL@VERSION, as in digit-reader@3."
        )
    return found["name"], int(found["number"])
