"""Connections to the model workers of this node, and the batching in front of them.

Greedy: an idle worker gets a request at once; while it computes, requests collect, and its answer
sends all that wait, up to `max_rows`. There is no timer to wait for.
"""

import asyncio
import contextlib
import os
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter

import orjson

from deployments.gateway.errors import ArmFailed
from deployments.worker.main import ERROR, JSON, PING, Frame, FrameError, frames, pack

RECONNECT_SECONDS = 0.25
_PATH_LIMIT = 100
_SMOOTHING = 0.3


@contextlib.contextmanager
def short_address(path: Path) -> Iterator[str]:
    """Give an address for the socket that fits in the 107 bytes which Linux has for it.

    Through the open folder any path is short.
    """
    if len(os.fsencode(path)) < _PATH_LIMIT:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


class WorkerLost(Exception):
    """The connection broke before the answer came; the request may be sent elsewhere once."""


class Call:
    """One request on its way through a worker.

    ``deadline`` is in the event loop's time, which moves in milliseconds; ``queued_at`` and
    ``sent_at`` are exact.
    """

    __slots__ = ("answer", "columns", "deadline", "frame", "queued_at", "rows", "sent_at")

    def __init__(
        self, frame: bytes, *, rows: int, deadline: float, answer: "asyncio.Future[Frame]"
    ) -> None:
        self.frame = frame
        self.rows = rows
        self.deadline = deadline
        self.answer = answer
        self.queued_at = 0.0
        self.sent_at = 0.0


class Replica(asyncio.Protocol):
    """One worker process: its connection, what waits for it and what it is computing."""

    def __init__(self, path: Path, *, max_rows: int, deadline_seconds: float) -> None:
        self.path = path
        self.max_rows = max_rows
        self.deadline_seconds = deadline_seconds
        self.is_up = False
        self.waiting_rows = 0
        self.batch_seconds = 0.0
        self.came_up = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._waiting: deque[tuple[int, Call]] = deque()
        self._in_flight: dict[int, Call] = {}
        self._batch_sent_at = 0.0
        self._evict_timer: asyncio.TimerHandle | None = None
        self._closed = False
        self._next_identity = 0
        self._connecting = self._loop.create_task(self._connect())

    # --- connection

    async def _connect(self) -> None:
        """Try until the worker is reached, and use it once it says that it is ready and idle."""
        while not self._closed:
            with contextlib.suppress(OSError):
                with short_address(self.path) as address:
                    await self._loop.create_unix_connection(lambda: self, address)
                while self._transport is not None and not self.is_up:
                    self._transport.write(pack(0, PING, b""))
                    await asyncio.sleep(RECONNECT_SECONDS / 5)
                if self.is_up:
                    return
            await asyncio.sleep(RECONNECT_SECONDS)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._buffer.clear()
        self._transport = transport  # type: ignore[assignment]

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self.is_up = False
        self.came_up.clear()
        self._cancel_eviction()
        lost = [*self._in_flight.values(), *(call for _, call in self._waiting)]
        self._in_flight.clear()
        self._waiting.clear()
        self.waiting_rows = 0
        for call in lost:
            if not call.answer.done():
                call.answer.set_exception(WorkerLost())
        if self._connecting.done() and not self._closed:
            self._connecting = self._loop.create_task(self._connect())

    def close(self) -> None:
        """Stop using the worker; what is on its way still ends."""
        self._closed = True
        if not self._in_flight and not self._waiting:
            self._connecting.cancel()
            if self._transport is not None:
                self._transport.close()

    # --- calls

    @property
    def expected_seconds(self) -> float:
        """How long a request that arrives now will wait, at the speed of the last batches.

        Counted in batches: a batch of one often takes as long as a batch of a hundred, so the
        time of one row, measured while it is quiet, would turn a burst away for nothing.
        """
        waiting = -(-self.waiting_rows // self.max_rows) * self.batch_seconds
        if self._in_flight:
            elapsed = perf_counter() - self._batch_sent_at
            waiting += max(0.0, self.batch_seconds - elapsed)
        return waiting

    def submit(self, call: Call, make_frame: Callable[[int], bytes]) -> None:
        """Send the call, now or with the next batch."""
        self._next_identity += 1
        call.frame = make_frame(self._next_identity)
        call.queued_at = perf_counter()
        self._waiting.append((self._next_identity, call))
        self.waiting_rows += call.rows
        if not self._in_flight:
            self._send_batch()

    def _send_batch(self) -> None:
        if self._transport is None:
            return  # `connection_lost` follows and gives every waiting call its answer
        now, sent_at = self._loop.time(), perf_counter()
        batch: list[bytes] = []
        rows = 0
        while self._waiting:
            identity, call = self._waiting[0]
            gone = call.answer.done() or call.deadline <= now
            if not gone and batch and rows + call.rows > self.max_rows:
                break
            self._waiting.popleft()
            self.waiting_rows -= call.rows
            if gone:
                continue
            call.sent_at = sent_at
            self._in_flight[identity] = call
            batch.append(call.frame)
            rows += call.rows
        if not batch:
            return
        self._batch_sent_at = sent_at
        self._transport.write(b"".join(batch))
        # By then every call in the batch is past its own deadline. An answer that never comes
        # must not hold the slot for ever.
        self._evict_timer = self._loop.call_later(self.deadline_seconds, self._evict)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        try:
            for frame in frames(self._buffer):
                if frame.kind == PING:
                    self._pong(frame)
                else:
                    self._answered(frame)
        except (FrameError, orjson.JSONDecodeError):
            self._drop()

    def _pong(self, frame: Frame) -> None:
        status = orjson.loads(frame.body)
        ready = isinstance(status, dict) and status.get("state") == "ready"
        if ready and status.get("busy_ms") == 0 and not self.is_up:
            self.is_up = True
            self.came_up.set()

    def _answered(self, frame: Frame) -> None:
        call = self._in_flight.pop(frame.identity, None)
        if call is not None and not call.answer.done():
            call.answer.set_result(frame)
        if self._in_flight:
            return
        self._cancel_eviction()
        took = perf_counter() - self._batch_sent_at
        change = took - self.batch_seconds
        self.batch_seconds += _SMOOTHING * change if self.batch_seconds else change
        self._send_batch()
        if self._closed:
            self.close()

    def _evict(self) -> None:
        self._evict_timer = None
        self._drop()

    def _drop(self) -> None:
        self.is_up = False
        if self._transport is not None:
            self._transport.abort()

    def _cancel_eviction(self) -> None:
        if self._evict_timer is not None:
            self._evict_timer.cancel()
            self._evict_timer = None


class Pool:
    """The replicas of one model version."""

    def __init__(self, key: str, *, label: str, max_rows: int) -> None:
        self.key = key
        self.label = label
        self.max_rows = max_rows
        self.queue_rows = 2_048
        self.deadline_seconds = 1.0
        self._replicas: dict[Path, Replica] = {}
        self._loop = asyncio.get_running_loop()

    def use(self, paths: list[Path]) -> None:
        """Keep connections to exactly these sockets."""
        for path in [path for path in self._replicas if path not in paths]:
            self._replicas.pop(path).close()
        for path in paths:
            if path not in self._replicas:
                self._replicas[path] = Replica(
                    path, max_rows=self.max_rows, deadline_seconds=self.deadline_seconds
                )

    def set_limits(self, *, deadline_ms: int, queue_rows: int) -> None:
        self.queue_rows = queue_rows
        self.deadline_seconds = deadline_ms / 1_000
        for replica in self._replicas.values():
            replica.deadline_seconds = self.deadline_seconds

    @property
    def is_up(self) -> bool:
        return any(replica.is_up for replica in self._replicas.values())

    async def wait_up(self, seconds: float) -> bool:
        """Return whether a replica can be used, waiting for the known ones at most so long."""
        if self.is_up or not self._replicas:
            return self.is_up
        waits = [asyncio.ensure_future(r.came_up.wait()) for r in self._replicas.values()]
        _, pending = await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for wait in pending:
            wait.cancel()
        return self.is_up

    def close(self) -> None:
        self.use([])

    async def predict(
        self, kind: int, body: bytes, *, columns: int, rows: int, deadline: float
    ) -> tuple[Frame, Call]:
        """Return the worker's answer and the call with its times.

        Raises:
            ArmFailed: 503 when no worker is there or it cannot be in time, 500 when the model
                raised, 504 when the deadline passed.
        """

        def make_frame(identity: int) -> bytes:
            return pack(identity, kind, body, columns=columns, rows=rows)

        tried: set[Path] = set()
        while True:
            replica = self._least_busy(tried)
            self._refuse_if_late(replica, rows, deadline)
            call = Call(b"", rows=rows, deadline=deadline, answer=self._loop.create_future())
            timer = self._loop.call_at(deadline, _expire, call, self.label)
            try:
                replica.submit(call, make_frame)
                frame = await call.answer
            except WorkerLost:
                tried.add(replica.path)
                if self._loop.time() >= deadline:
                    raise late(self.label) from None
                if len(tried) > 1:
                    raise self._unreachable() from None
                continue
            finally:
                timer.cancel()
            if frame.kind == ERROR:
                raise ArmFailed(500, f"{self.label} failed: {message_of(frame)}")
            return frame, call

    def _least_busy(self, tried: set[Path]) -> Replica:
        usable = [r for r in self._replicas.values() if r.is_up and r.path not in tried]
        if not usable:
            raise self._unreachable()
        return min(usable, key=lambda replica: replica.waiting_rows)

    def _refuse_if_late(self, replica: Replica, rows: int, deadline: float) -> None:
        wait = replica.expected_seconds
        left = deadline - self._loop.time()
        if replica.waiting_rows + rows > max(self.queue_rows, rows) or wait > left:
            raise ArmFailed(
                503,
                f"{self.label} has {replica.waiting_rows} rows waiting, more than it can answer "
                f"in time.",
                retry_after=retry_after(wait),
            )

    def _unreachable(self) -> ArmFailed:
        return ArmFailed(
            503,
            f"The process of {self.label} is not running on this node; it is being started again.",
            retry_after=1,
        )


def message_of(frame: Frame) -> str:
    """Return what an error frame says; a model's process may have put anything there."""
    try:
        return str(orjson.loads(frame.body)["message"])[:1_000]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return "it gave no reason"


def late(label: str) -> ArmFailed:
    return ArmFailed(504, f"{label} did not answer before the deadline.")


def retry_after(seconds: float) -> int:
    """Return the whole seconds to wait, 1 to 30."""
    return max(1, min(30, int(seconds) + 1))


def _expire(call: Call, label: str) -> None:
    if not call.answer.done():
        call.answer.set_exception(late(label))


def predictions_of(frame: Frame) -> object:
    """Return the predictions as JSON values, or None when they are none.

    NaN and infinity become null on the wire.
    """
    if frame.kind == JSON:
        try:
            return orjson.loads(frame.body)
        except orjson.JSONDecodeError:
            return None
    values = memoryview(frame.body).cast("q" if frame.dtype else "d").tolist()
    if not frame.columns:
        return values
    width = frame.columns
    return [values[start : start + width] for start in range(0, len(values), width)]
