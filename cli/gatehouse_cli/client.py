"""Talk to the REST interface: addresses, tokens, pages, long polls, and refusals in sentences."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx

from gatehouse_cli import __version__, config
from gatehouse_cli.errors import GatehouseError, Problem, Unreachable

LONGEST_WAIT_SECONDS = 25
_TIMEOUT = httpx.Timeout(30, connect=10)
# Uploads are written for as long as they move; the server then stores what it was sent.
_UPLOAD_TIMEOUT = httpx.Timeout(120, connect=10)
_PAGE = 100

Params = Mapping[str, str | int]


class Client(AbstractContextManager["Client"]):
    """One caller at one server. Safe to use from several threads.

    Every method raises ``Problem`` when the server refuses, and ``Unreachable`` when it does not
    answer; both carry a sentence for people.
    """

    def __init__(self, url: str, token: str, *, workspace: str = "") -> None:
        self.url = url
        headers = {
            "Authorization": f"Bearer {token}",
            "Accept": "application/json",
            "User-Agent": f"gatehouse-cli/{__version__}",
        }
        if workspace:
            headers["Gatehouse-Workspace"] = workspace
        # A proxy of the environment cannot reach our own machine's loopback address.
        self._http = httpx.Client(
            headers=headers, timeout=_TIMEOUT, trust_env=not config.is_loopback(url)
        )

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __enter__(self) -> Self:
        return self

    def close(self) -> None:
        self._http.close()

    def get(self, path: str, *, params: Params | None = None, wait_seconds: float = 0) -> Any:
        """Return a record; the server may hold the answer back that long until there is news."""
        return self._json(self._send("GET", path, params=params, **_waiting(wait_seconds)))

    def poll(self, path: str, *, seen: str, wait_seconds: float) -> Any:
        """Return the record once its state is another than ``seen``, or when the wait is over.

        A server that answers at once without news is not asked more than once a second.
        """
        started = time.monotonic()
        answer = self.get(path, params={"seen": seen}, wait_seconds=wait_seconds)
        if answer.get("state") == seen:
            time.sleep(max(0.0, min(1.0, wait_seconds) - (time.monotonic() - started)))
        return answer

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        return self._json(self._send("POST", path, json=dict(body or {})))

    def create(self, path: str, body: Mapping[str, Any]) -> Any:
        """POST once: a repetition after a broken connection finds the first one's answer."""
        return self._once("POST", path, lambda: {"json": dict(body)})

    def upload(
        self, path: str, *, files: Sequence[tuple[str, Path]], fields: Mapping[str, str]
    ) -> Any:
        """POST files as multipart, read from disk while they are sent.

        ``files`` are pairs of field name and file; a file keeps its own name.

        Raises:
            GatehouseError: a file cannot be read.
        """

        def parts() -> dict[str, Any]:
            opened = [
                (name, (file.name, file.open("rb"), "application/octet-stream"))
                for name, file in files
            ]
            return {"files": opened, "data": dict(fields), "timeout": _UPLOAD_TIMEOUT}

        try:
            return self._once("POST", path, parts)
        except OSError as error:
            raise GatehouseError(f"{error.filename} cannot be read: {error.strerror}.") from None

    def pages(self, path: str, *, params: Params | None = None, limit: int = 0) -> Iterator[Any]:
        """Yield the rows of a list, newest first; all of them, or at most ``limit``."""
        asked: Params = {**(params or {}), "limit": min(limit or _PAGE, _PAGE)}
        count = 0
        while True:
            page = self.get(path, params=asked)
            for row in page["results"]:
                yield row
                count += 1
                if limit and count >= limit:
                    return
            if not page.get("next"):
                return
            # Only the query of the next page's address is used: its host may be a proxy's.
            asked = dict(httpx.URL(page["next"]).params)

    def _once(self, method: str, path: str, options: Callable[[], dict[str, Any]]) -> Any:
        headers = {"Idempotency-Key": uuid.uuid4().hex}
        try:
            return self._json(self._send(method, path, headers=headers, **options()))
        except Unreachable as error:
            if isinstance(error.__cause__, httpx.ConnectError):
                raise
        time.sleep(1)
        return self._json(self._send(method, path, headers=headers, **options()))

    def _send(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            response = self._http.request(method, self._address(path), **options)
        except httpx.TransportError as error:
            raise Unreachable(_why(self.url, error)) from error
        if response.is_success:
            return response
        raise _problem(self.url, response)

    def _address(self, path: str) -> str:
        return f"{self.url}/api/v1/{path}/"

    def _json(self, response: httpx.Response) -> Any:
        try:
            return response.json() if response.content else None
        except ValueError:
            raise GatehouseError(f"What answers at {self.url} is not Gatehouse.") from None


def part(name: str | int) -> str:
    """Return a name as it may stand between two slashes of an address."""
    return quote(str(name), safe="")


def _waiting(seconds: float) -> dict[str, Any]:
    whole = max(0, min(LONGEST_WAIT_SECONDS, int(seconds)))
    if not whole:
        return {}
    return {
        "headers": {"Prefer": f"wait={whole}"},
        "timeout": httpx.Timeout(whole + 20, connect=10),
    }


def _problem(url: str, response: httpx.Response) -> GatehouseError:
    try:
        body = response.json()
    except ValueError:
        body = None
    if not isinstance(body, dict) or "detail" not in body:
        if response.is_redirect:
            target = response.headers.get("location", "another address")
            return GatehouseError(f"{url} sends us on to {target}; use that address.")
        passing = {502, 503, 504}
        kind = Unreachable if response.status_code in passing else GatehouseError
        return kind(f"{url} answered with status {response.status_code} and no explanation.")
    request_id = str(body.get("request_id") or response.headers.get("x-request-id", ""))
    return Problem(response.status_code, body, request_id=request_id)


def _why(url: str, error: httpx.TransportError) -> str:
    if isinstance(error, httpx.ConnectTimeout | httpx.ReadTimeout | httpx.PoolTimeout):
        return f"{url} did not answer in time."
    if isinstance(error, httpx.WriteTimeout):
        return f"{url} did not take what was sent in time."
    text = str(error)
    if isinstance(error, httpx.ConnectError):
        if "refused" in text:
            return f"Nothing answers at {url}: the connection was refused. Is Gatehouse running?"
        if "CERTIFICATE" in text.upper():
            return f"The certificate of {url} is not trusted: {text}"
        return f"{url} cannot be reached: {text}"
    return f"The connection to {url} broke: {text or type(error).__name__}."
