"""How a body is read: no further than allowed, and not for ever."""

import asyncio
from typing import Any

import pytest

from deployments.gateway import app
from deployments.gateway.errors import Refusal


def read(messages: list[dict[str, Any]], headers: dict[bytes, bytes] | None = None) -> bytes:
    asked = iter(messages)

    async def receive() -> dict[str, Any]:
        for message in asked:
            return message
        await asyncio.Event().wait()
        raise AssertionError

    return asyncio.run(app.read_body(headers or {}, receive, 10))


def part(body: bytes, *, more: bool = False) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more}


def test_a_body_in_parts_is_put_together() -> None:
    assert read([part(b"ab", more=True), part(b"", more=True), part(b"cd")]) == b"abcd"


@pytest.mark.parametrize(
    ("messages", "headers", "status", "message"),
    [
        ([], {b"content-length": b"11"}, 413, "The body has 11 bytes; at most 10"),
        ([part(b"12345", more=True), part(b"678901")], {}, 413, "larger than 10 bytes"),
        ([part(b"1", more=True), {"type": "http.disconnect"}], {}, 400, "The caller left"),
        ([part(b"1", more=True)], {}, 408, r"had not arrived after 0\.1 seconds"),
    ],
)
def test_a_body_that_is_too_large_or_too_slow_is_refused(
    monkeypatch: pytest.MonkeyPatch,
    messages: list[dict[str, Any]],
    headers: dict[bytes, bytes],
    status: int,
    message: str,
) -> None:
    monkeypatch.setattr(app, "BODY_SECONDS", 0.1)
    with pytest.raises(Refusal, match=message) as refused:
        read(messages, headers)
    assert refused.value.status == status
