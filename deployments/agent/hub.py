"""Where the gateways of this host connect: they get the table, and say when it is in force."""

import contextlib
import json
import logging
import os
import queue
import socket
import struct
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from deployments.agent.disk import Stored

log = logging.getLogger("gatehouse.agent")

SEND_SECONDS = 2
Heard = Callable[[str, dict[str, Any]], None]


class Hub:
    """A unix socket with one line of JSON per message; `heard(gateway, message)` gets theirs."""

    def __init__(self, path: Path, heard: Heard) -> None:
        self._heard = heard
        self._lock = threading.Lock()
        self._table: Stored | None = None
        self._sockets: dict[str, list[str]] = {}
        self._gateways: set[_Gateway] = set()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX)
        folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
        try:
            # A unix address holds 107 bytes; through the open folder any path is short.
            self._listener.bind(f"/proc/self/fd/{folder}/{path.name}")
        finally:
            os.close(folder)
        path.chmod(0o660)
        self._listener.listen(32)

    def start(self) -> None:
        threading.Thread(target=self._accept, name="hub", daemon=True).start()

    def close(self) -> None:
        # Shutdown, not close, is what wakes the thread that accepts.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            for gateway in self._gateways:
                gateway.drop()

    @property
    def gateways(self) -> list[str]:
        with self._lock:
            return sorted(gateway.name for gateway in self._gateways if gateway.name)

    def publish(self, table: Stored, sockets: Mapping[str, list[str]]) -> None:
        """Give every gateway the table, now and when it connects later."""
        with self._lock:
            self._table = table
            self._sockets = dict(sockets)
            self._send_all(self._table_message())

    def publish_sockets(self, sockets: Mapping[str, list[str]]) -> None:
        """Tell every gateway where the workers listen now."""
        with self._lock:
            self._sockets = dict(sockets)
            self._send_all(_line({"type": "sockets", "sockets": self._sockets}))

    def _table_message(self) -> bytes:
        if self._table is None:
            return b""
        return _line(
            {
                "type": "table",
                "sha256": self._table.sha256,
                "body": self._table.body,
                "sockets": self._sockets,
            }
        )

    def _send_all(self, line: bytes) -> None:
        for gateway in self._gateways:
            gateway.outbox.put(line)

    def _accept(self) -> None:
        while True:
            try:
                gateway, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(_Gateway(gateway),), daemon=True).start()

    def _serve(self, gateway: "_Gateway") -> None:
        with self._lock:
            self._gateways.add(gateway)
            gateway.outbox.put(self._table_message())
        threading.Thread(target=gateway.send, daemon=True).start()
        try:
            with gateway.socket.makefile("rb") as lines:
                for line in lines:
                    message = json.loads(line)
                    if message["type"] == "hello":
                        gateway.name = str(message["gateway"])[:200]
                        log.info("gateway_connected gateway=%s", gateway.name)
                    else:
                        self._heard(gateway.name, message)
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning("gateway_dropped gateway=%s error=%s", gateway.name, error)
        finally:
            with self._lock:
                self._gateways.discard(gateway)
            gateway.drop()
            gateway.outbox.put(None)


class _Gateway:
    """One connection. It has a thread that sends, so that one which does not read stops nobody."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.name = ""
        self.outbox: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        limit = struct.pack("ll", SEND_SECONDS, 0)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)

    def send(self) -> None:
        with contextlib.suppress(OSError):
            while (line := self.outbox.get()) is not None:
                self.socket.sendall(line)
        # It will connect again and get the table as it is then.
        self.drop()

    def drop(self) -> None:
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)


def _line(message: dict[str, Any]) -> bytes:
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"
