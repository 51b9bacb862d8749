"""The ASGI application: addresses, tokens, limits and answers."""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import unquote

import orjson

from deployments.gateway import predictions
from deployments.gateway.agent_link import AgentLink
from deployments.gateway.capture import Capture
from deployments.gateway.errors import Refusal
from deployments.gateway.predictions import Prediction
from deployments.gateway.routing import LiveDeployment, Router, Table
from deployments.gateway.settings import Settings
from deployments.snapshot import TokenGrant

log = logging.getLogger("gatehouse.gateway")

HARD_BODY_LIMIT = 16 * 1024 * 1024
# A caller who sends slower than this would hold one of the deployment's places for ever.
BODY_SECONDS = 10.0
Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]


class Gateway:
    """One gateway process."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.router: Router
        self.capture: Capture
        self.counts: Counter[str] = Counter()
        self._in_flight: Counter[str] = Counter()
        self._link: AgentLink

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._lifespan(receive, send)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        self.router = Router()
        self.capture = Capture(self.settings.capture_dir, self.settings.name)
        self._link = AgentLink(self.settings, self.router, self.stats)
        await self._link.start()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self._link.stop()
        await self.router.close()
        self.capture.close()
        await send({"type": "lifespan.shutdown.complete"})

    def stats(self) -> dict[str, Any]:
        """Return what the agent reports of this gateway."""
        table = self.router.table
        return {
            "epoch": table.order[0] if table else None,
            "revision": table.order[1] if table else None,
            "in_flight": sum(self._in_flight.values()),
            "captured": self.capture.written,
            "capture_dropped": self.capture.dropped,
            **self.counts,
        }

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            status, body, headers = await self._dispatch(scope, receive)
        except Refusal as refusal:
            status, body, headers = refused(refusal)
        except asyncio.CancelledError:
            raise
        except Exception:
            log.exception("request_failed path=%s", scope["path"])
            status, body, headers = refused(
                Refusal(500, "The gateway failed on this request.", code="INTERNAL_ERROR")
            )
        headers.append((b"content-length", str(len(body)).encode()))
        headers.append((b"content-type", b"application/json"))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _dispatch(self, scope: Scope, receive: Receive) -> tuple[int, bytes, Headers]:
        path: str = scope["path"]
        method: str = scope["method"]
        if path == "/live":
            return 200, b'{"live":true}', []
        if path == "/ready":
            return self._ready()
        name, _, action = path[1:].partition("/")
        if action not in ("invocations", "ping", "health", "version"):
            raise Refusal(
                404, "There is nothing at this address; POST to /<deployment>/invocations."
            )
        wanted = "POST" if action == "invocations" else "GET"
        if method != wanted and not (wanted == "GET" and method == "HEAD"):
            raise Refusal(405, f"{method} is not possible here; use {wanted}.")
        headers = dict(scope["headers"])
        table = self._table()
        grant = table.token(headers.get(b"authorization", b"").decode("latin-1"), now=time.time())
        deployment = table.deployment(unquote(name), grant, scope="predict")
        if action == "invocations":
            return await self._invocation(deployment, grant, headers, receive)
        if action == "version":
            return 200, orjson.dumps(_described(table, deployment)), []
        return self._health(deployment)

    def _table(self) -> Table:
        if self.router.table is None:
            raise Refusal(503, "This gateway has not been told yet what to serve.", retry_after=1)
        return self.router.table

    def _ready(self) -> tuple[int, bytes, Headers]:
        ready = self.router.is_ready()
        table = self.router.table
        order = table.order if table else (None, None)
        body = orjson.dumps({"ready": ready, "epoch": order[0], "revision": order[1]})
        return 200 if ready else 503, body, []

    def _health(self, deployment: LiveDeployment) -> tuple[int, bytes, Headers]:
        stable = deployment.stable
        if stable is None:
            raise Refusal(
                503,
                f"Deployment {deployment.spec.name} has no live version.",
                code="NO_LIVE_VERSION",
            )
        if not stable.pool.is_up:
            raise Refusal(503, f"The process of {stable.pool.label} is not running.")
        return 200, b"{}", []

    async def _invocation(
        self,
        deployment: LiveDeployment,
        grant: TokenGrant,
        headers: Mapping[bytes, bytes],
        receive: Receive,
    ) -> tuple[int, bytes, Headers]:
        spec = deployment.spec
        if self._in_flight[spec.name] >= spec.max_in_flight:
            self.counts["shed"] += 1
            raise Refusal(
                429,
                f"Deployment {spec.name} is answering {spec.max_in_flight} requests already.",
                retry_after=1,
            )
        prediction = predictions.begin(deployment, headers, grant.scopes)
        self._in_flight[spec.name] += 1
        try:
            return await self._predict(prediction, headers, receive)
        finally:
            self._in_flight[spec.name] -= 1

    async def _predict(
        self, prediction: Prediction, headers: Mapping[bytes, bytes], receive: Receive
    ) -> tuple[int, bytes, Headers]:
        limit = min(prediction.deployment.spec.body_limit_bytes, HARD_BODY_LIMIT)
        refusal: Refusal | None = None
        body = b""
        try:
            sent = await read_body(headers, receive, limit)
            content_type = headers.get(b"content-type", b"").decode("latin-1")
            outputs = await predictions.answer(prediction, content_type, sent)
            body = orjson.dumps({"predictions": outputs})
        except Refusal as error:
            refusal = error
            prediction.status = error.status
            prediction.error = prediction.error or error.message
        self._count(prediction)
        # The record comes before the answer: what a caller has seen can always be found again.
        predictions.record(prediction, self.capture, unit_key=self.settings.unit_key)
        if refusal is not None:
            status, body, extra = refused(refusal)
            return status, body, extra + prediction.headers()
        return 200, body, prediction.headers()

    def _count(self, prediction: Prediction) -> None:
        self.counts["requests"] += 1
        if prediction.status >= 500:
            self.counts["errors"] += 1
        if prediction.assignment == "failover":
            self.counts["failovers"] += 1


async def read_body(headers: Mapping[bytes, bytes], receive: Receive, limit: int) -> bytes:
    """Return the body, cut off as soon as it is known to be too large.

    Raises:
        Refusal: 413 above the limit, 400 when the caller left in the middle, 408 when it is slow.
    """
    announced = headers.get(b"content-length", b"0")
    if announced.isdigit() and int(announced) > limit:
        raise Refusal(413, f"The body has {int(announced)} bytes; at most {limit} are allowed.")
    try:
        async with asyncio.timeout(BODY_SECONDS):
            return await _whole_body(receive, limit)
    except TimeoutError:
        raise Refusal(408, f"The body had not arrived after {BODY_SECONDS:g} seconds.") from None


async def _whole_body(receive: Receive, limit: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refusal(400, "The caller left before the whole body had arrived.")
        part = message.get("body", b"")
        size += len(part)
        if size > limit:
            raise Refusal(413, f"The body is larger than {limit} bytes.")
        parts.append(part)
        if not message.get("more_body"):
            return b"".join(parts) if len(parts) > 1 else part


def refused(refusal: Refusal) -> tuple[int, bytes, Headers]:
    """Return the answer to a refused request, in MLflow's form."""
    body = orjson.dumps({"error_code": refusal.code, "message": refusal.message})
    headers: Headers = []
    if refusal.retry_after is not None:
        headers.append((b"retry-after", str(refusal.retry_after).encode()))
    if refusal.status == 401:
        headers.append((b"www-authenticate", b'Bearer realm="Gatehouse"'))
    return refusal.status, body, headers


def _described(table: Table, deployment: LiveDeployment) -> dict[str, Any]:
    return {
        "deployment": deployment.spec.name,
        "epoch": table.order[0],
        "revision": deployment.spec.revision,
        "arms": [
            {
                "arm": arm.spec.arm,
                "model": arm.spec.model,
                "version": arm.spec.version,
                "share_basis_points": arm.spec.share_basis_points,
                "is_up": arm.pool.is_up,
            }
            for arm in deployment.arms
        ],
    }
