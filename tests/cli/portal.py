"""A real HTTP server whose answers a test writes down: it stands for the far side of the wire."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = tuple[int, Any] | tuple[int, Any, dict[str, str]]


@dataclass(frozen=True)
class Asked:
    """One request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Portal:
    """What the server answers, and what it was asked."""

    url: str
    answers: dict[tuple[str, str], list[Answer | Callable[[Asked], Answer]]] = field(
        default_factory=dict
    )
    asked: list[Asked] = field(default_factory=list)

    def says(self, method: str, path: str, *answers: Answer | Callable[[Asked], Answer]) -> None:
        """Answer requests to the path with these, one after the other; the last one stays."""
        self.answers[method, f"/api/v1/{path}/"] = list(answers)

    def requests(self, method: str, path: str) -> list[Asked]:
        wanted = f"/api/v1/{path}/"
        return [
            asked
            for asked in self.asked
            if asked.method == method and asked.path.partition("?")[0] == wanted
        ]


def refusal(status: int, detail: str, **more: Any) -> Answer:
    """Return an answer in problem+json."""
    return status, {"detail": detail, "status": status, "request_id": "req-7", **more}


def page(*rows: Any) -> Answer:
    return 200, {"results": list(rows), "next": None}


@contextmanager
def listening() -> Iterator[Portal]:
    """Yield a portal that listens on loopback."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            asked = Asked(self.command, self.path, dict(self.headers), body)
            known.asked.append(asked)
            queue = known.answers.get((self.command, self.path.partition("?")[0]))
            if not queue:
                found: Answer = refusal(404, f"There is nothing at {self.path}.")
            else:
                entry = queue.pop(0) if len(queue) > 1 else queue[0]
                found = entry(asked) if callable(entry) else entry
            content = found[1] if isinstance(found[1], bytes) else json.dumps(found[1]).encode()
            self.send_response(found[0])
            for name, value in (found[2] if len(found) == 3 else {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = answer

        def log_message(self, format: str, *args: Any) -> None:
            """Stay silent: the test reads what was asked from the portal."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    known = Portal(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield known
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
