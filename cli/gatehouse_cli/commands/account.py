"""``gatehouse login`` and ``whoami``."""

from __future__ import annotations

import os
import sys

import click

from gatehouse_cli import config, output
from gatehouse_cli.client import Client
from gatehouse_cli.errors import UsageError
from gatehouse_cli.session import Session, with_session


@click.command()
@click.option(
    "--url", default="", help="The address of Gatehouse, such as https://gatehouse.example."
)
@click.option("--token-stdin", is_flag=True, help="Read the token from standard input.")
def login(url: str, token_stdin: bool) -> None:
    """Keep the address and a token, after the server has accepted it.

    Issue a token on your account's page. GATEHOUSE_URL and GATEHOUSE_TOKEN come before what is
    kept here, so that a pipeline needs no file.
    """
    known = config.load().url or os.environ.get(config.URL_VARIABLE, "")
    if not url and token_stdin and not known:
        raise UsageError("With --token-stdin give the address with --url.")
    if not url:
        url = known if token_stdin else str(click.prompt("Address", default=known or None))
    url = config.clean_url(url)
    if token_stdin:
        token = sys.stdin.readline().strip()
    else:
        token = str(click.prompt("Token", hide_input=True)).strip()
    if not token:
        raise UsageError("No token was given.")
    with Client(url, token) as client:
        me = client.get("me")
    place = config.store(url, token)
    if url.startswith("http://") and not config.is_loopback(url):
        output.note(f"{url} is not encrypted: everybody on the way can read the token.")
    click.echo(f"Signed in at {url} as {me['user']['username']}. The token is kept in {place}.")


@click.command()
@with_session
def whoami(session: Session) -> None:
    """Show as whom this token acts, and where."""
    me = session.client.get("me")
    if session.as_json:
        output.show_json(me)
        return
    user, here = me["user"], me["workspace"]
    output.show_record(
        {
            "server": session.client.url,
            "name": user["username"],
            "kind": user["kind"],
            "workspace": here and here["key"],
            "may": [output.words(verb) for verb in me["verbs"]],
            "token narrowed to": me["scopes"],
            "others": [item["key"] for item in me["workspaces"] if item != here],
        }
    )
