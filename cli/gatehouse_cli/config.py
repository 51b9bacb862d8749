"""Where the address and the tokens are kept: one file that only its owner can read."""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import click

from gatehouse_cli.errors import GatehouseError, UsageError

URL_VARIABLE = "GATEHOUSE_URL"
TOKEN_VARIABLE = "GATEHOUSE_TOKEN"  # noqa: S105 - the name of a variable


@dataclass(frozen=True, slots=True)
class Config:
    """The address used last, and the token of each address; a token never goes to another one."""

    url: str = ""
    tokens: dict[str, str] = field(default_factory=dict)


def path() -> Path:
    """Return the file: in ``~/.config/gatehouse``, or where the platform keeps such things."""
    return Path(click.get_app_dir("gatehouse")) / "config.json"


def load() -> Config:
    """Return what is stored; an empty configuration when nothing is.

    Raises:
        GatehouseError: the file cannot be read or understood.
    """
    try:
        stored = json.loads(path().read_text())
        return Config(str(stored["url"]), {str(k): str(v) for k, v in stored["tokens"].items()})
    except FileNotFoundError:
        return Config()
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise GatehouseError(
            f"{path()} cannot be read. Delete it and sign in again with: gatehouse login"
        ) from None


def store(url: str, token: str) -> Path:
    """Keep the token of this address, and make it the address used from now on."""
    present = load()
    body = {"url": url, "tokens": {**present.tokens, url: token}}
    target = path()
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # mkstemp gives mode 0600, and the rename leaves no moment with half a file.
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=".config-")
    try:
        with os.fdopen(handle, "w") as stream:
            json.dump(body, stream, indent=2)
            stream.write("\n")
        Path(temporary).replace(target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return target


def address_and_token() -> tuple[str, str]:
    """Return where to go and as whom: the environment's variables before what is stored.

    Raises:
        GatehouseError: there is no address, or no token for it.
    """
    stored = load()
    url = clean_url(os.environ.get(URL_VARIABLE, "") or stored.url)
    if not url:
        raise GatehouseError(
            f"No server is known. Sign in with: gatehouse login, or set {URL_VARIABLE} and "
            f"{TOKEN_VARIABLE}."
        )
    token = os.environ.get(TOKEN_VARIABLE, "").strip() or stored.tokens.get(url, "")
    if not token:
        raise GatehouseError(
            f"There is no token for {url}. Sign in with: gatehouse login --url {url}, or set "
            f"{TOKEN_VARIABLE}."
        )
    return url, token


def clean_url(url: str) -> str:
    """Return the address without a trailing slash; an empty one stays empty.

    Raises:
        UsageError: it is no http or https address.
    """
    url = url.strip().rstrip("/")
    if not url:
        return ""
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
        raise UsageError(
            f"{url!r} is no address of a server; write https://host or http://host:8000."
        )
    return url


def is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    return host == "localhost" or host.startswith("127.") or host == "::1"
