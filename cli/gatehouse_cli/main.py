"""The program ``gatehouse``: every command in one tree."""

from __future__ import annotations

from typing import Any

import click

from gatehouse_cli import __version__
from gatehouse_cli.commands import account, data, models, promote, runs, train
from gatehouse_cli.errors import GatehouseError


class Program(click.Group):
    """A group whose commands end with one sentence and the status of what went wrong."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except GatehouseError as error:
            error.show()
            ctx.exit(error.exit_code)


@click.group(
    cls=Program,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="The address and the token are kept by `gatehouse login`, or given as GATEHOUSE_URL and "
    "GATEHOUSE_TOKEN.",
)
@click.version_option(__version__, prog_name="gatehouse")
def gatehouse() -> None:
    """Train, evaluate, promote and roll back models."""


for command in (
    account.login,
    account.whoami,
    data.data,
    train.train,
    train.evaluate,
    runs.runs,
    models.models,
    models.versions,
    models.deployments,
    promote.promote,
    promote.group,
    promote.rollback,
):
    gatehouse.add_command(command)
