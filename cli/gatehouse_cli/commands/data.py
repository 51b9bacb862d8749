"""``gatehouse data``: versions of datasets."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from gatehouse_cli import output
from gatehouse_cli.client import Client, part
from gatehouse_cli.errors import Exit, GatehouseError, UsageError
from gatehouse_cli.session import Session, with_session

_POLL_SECONDS = 0.5


@click.group()
def data() -> None:
    """Register and look at dataset versions."""


@data.command("push")
@click.argument("name")
@click.argument(
    "files",
    metavar="FILE…",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
)
@click.option("--note", default="", help="What is in it, or what changed.")
@click.option("--wait", is_flag=True, help="Stay until the version is sealed.")
@click.option(
    "--timeout",
    "timeout_seconds",
    type=click.FloatRange(min=0),
    default=600,
    show_default=True,
    metavar="SECONDS",
)
@with_session
def push(
    session: Session,
    name: str,
    files: tuple[Path, ...],
    note: str,
    wait: bool,
    timeout_seconds: float,
) -> None:
    """Upload FILEs as a new version of the dataset NAME.

    The same files again give the version that holds them already.
    """
    version = push_files(session.client, name, files, note=note)
    if wait:
        version = wait_until_sealed(session.client, version, timeout_seconds=timeout_seconds)
    if session.as_json:
        output.show_json(version)
    else:
        rows = f", {version['rows']:,} rows" if version["rows"] is not None else ""
        size = output.size(version["size_bytes"])
        click.echo(f"{version['reference']} is {output.words(version['state'])}: {size}{rows}.")
    if version["state"] == "rejected":
        raise GatehouseError(f"{version['reference']} was rejected: {version['note']}")
    if wait and version["state"] == "registering":
        raise GatehouseError(
            f"{version['reference']} is still being profiled at the time-out.",
            exit_code=Exit.STILL_WAITING,
        )


@data.command("list")
@with_session
def list_datasets(session: Session) -> None:
    """List the datasets."""
    rows = list(session.client.pages("datasets"))
    if session.as_json:
        output.show_json(rows)
        return
    output.show_table(
        ["dataset", "newest", "owner", "created", "description"],
        [
            [
                row["name"],
                row["newest_version"],
                row["owner"],
                output.moment(row["created_at"]),
                row["description"],
            ]
            for row in rows
        ],
        empty="No datasets. Register one with: gatehouse data push NAME FILE…",
    )


@data.command("show")
@click.argument("reference", metavar="NAME[@N]")
@with_session
def show(session: Session, reference: str) -> None:
    """Show the versions of a dataset, or one version with its columns."""
    name, at, number = reference.rpartition("@")
    if at and number.isdecimal():
        version = session.client.get(f"datasets/{part(name)}/versions/{number}")
        if session.as_json:
            output.show_json(version)
        else:
            _show_version(version)
        return
    if at:
        raise UsageError(f"{reference!r} is not of the form NAME or NAME@NUMBER.")
    rows = list(session.client.pages(f"datasets/{part(reference)}"))
    if session.as_json:
        output.show_json(rows)
        return
    output.show_table(
        ["version", "state", "rows", "size", "by", "created", "note"],
        [
            [
                row["reference"],
                output.words(row["state"]),
                row["rows"],
                output.size(row["size_bytes"]),
                row["created_by"],
                output.moment(row["created_at"]),
                row["note"],
            ]
            for row in rows
        ],
        empty=f"{reference} has no versions.",
    )


def push_files(
    client: Client, name: str, files: tuple[Path, ...], *, note: str = ""
) -> Mapping[str, Any]:
    """Return the dataset version that now holds the files; it is still being profiled."""
    version: Mapping[str, Any] = client.upload(
        f"datasets/{part(name)}/versions",
        files=[("file", file) for file in files],
        fields={"note": note},
    )
    return version


def wait_until_sealed(
    client: Client, version: Mapping[str, Any], *, timeout_seconds: float
) -> Mapping[str, Any]:
    """Return the version once it is sealed or rejected, or as it is when the time is over."""
    deadline = time.monotonic() + timeout_seconds
    name, _, number = str(version["reference"]).rpartition("@")
    while version["state"] == "registering" and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
        version = client.get(f"datasets/{part(name)}/versions/{number}")
    return version


def _show_version(version: Mapping[str, Any]) -> None:
    output.show_record(
        {
            "version": version["reference"],
            "state": output.words(version["state"]),
            "rows": version["rows"],
            "size": output.size(version["size_bytes"]),
            "digest": version["digest"],
            "by": version["created_by"],
            "created": output.moment(version["created_at"]),
            "sealed": output.moment(version["sealed_at"]),
            "note": version["note"],
        }
    )
    if version["schema"]:
        click.echo()
        output.show_table(
            ["column", "type"],
            [[column["name"], column["type"]] for column in version["schema"]],
            empty="",
        )
