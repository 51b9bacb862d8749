"""The wire to the agent of this node: tables come in, acknowledgements and figures go out.

Lines of JSON over a unix socket. When the agent is away the gateway goes on with the table it
has; a gateway that starts then takes the last one from the disk.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Any

import orjson

from deployments import snapshot
from deployments.agent.disk import NodeDisk
from deployments.gateway.routing import Router
from deployments.gateway.settings import Settings
from deployments.gateway.workers import short_address

log = logging.getLogger("gatehouse.gateway")

LONGEST_LINE = 64 * 1024 * 1024
RETRY_SECONDS = 0.5
REPORT_SECONDS = 5.0


class AgentLink:
    """Keeps the router in step with the agent."""

    def __init__(
        self, settings: Settings, router: Router, stats: Callable[[], dict[str, Any]]
    ) -> None:
        self._settings = settings
        self._router = router
        self._stats = stats
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Apply what the disk holds, then follow the agent in the background."""
        disk = NodeDisk(self._settings.node_dir)
        latest = disk.latest()
        if latest is not None:
            await self._router.apply(snapshot.loads(latest.body), disk.sockets())
        self._task = asyncio.create_task(self._follow())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _follow(self) -> None:
        while True:
            try:
                with short_address(self._settings.agent_socket) as address:
                    reader, writer = await asyncio.open_unix_connection(address, limit=LONGEST_LINE)
                await _write(writer, {"type": "hello", "gateway": self._settings.name})
                reporting = asyncio.create_task(self._report(writer))
                try:
                    await self._read(reader, writer)
                finally:
                    reporting.cancel()
                    writer.close()
            except OSError as error:
                log.debug("agent_away error=%s", error)
            except ValueError as error:
                log.error("agent_not_understood error=%s", error)
            await asyncio.sleep(RETRY_SECONDS)

    async def _read(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            message = orjson.loads(line)
            if message["type"] == "sockets":
                self._router.use_sockets(message["sockets"])
                continue
            try:
                source = snapshot.loads(message["body"], expected_sha256=message["sha256"])
            except snapshot.SnapshotInvalid as error:
                log.error("table_refused reason=%s", error)
                continue
            await self._router.apply(source, message["sockets"])
            table = self._router.table
            if table is not None:
                await _write(
                    writer,
                    {"type": "ack", "epoch": table.order[0], "revision": table.order[1]},
                )

    async def _report(self, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):  # the reading side notices too, and connects again
            while True:
                await _write(writer, {"type": "stats", "detail": self._stats()})
                await asyncio.sleep(REPORT_SECONDS)


async def _write(writer: asyncio.StreamWriter, message: dict[str, Any]) -> None:
    writer.write(orjson.dumps(message) + b"\n")
    await writer.drain()
