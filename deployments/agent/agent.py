"""The agent as a whole: who tells whom."""

import logging
import threading
from typing import Any

from deployments import snapshot
from deployments.agent.database import Reporter, Watcher, connect
from deployments.agent.disk import NodeDisk, Stored
from deployments.agent.hub import Hub
from deployments.agent.isolation import Launcher
from deployments.agent.loader import Loader
from deployments.agent.settings import Settings
from deployments.agent.supervisor import Supervisor

log = logging.getLogger("gatehouse.agent")

HEARTBEAT_SECONDS = 5.0


class Agent:
    """One agent process."""

    def __init__(self, settings: Settings, launcher: Launcher) -> None:
        settings.node_dir.mkdir(parents=True, exist_ok=True)
        self._disk = NodeDisk(settings.node_dir)
        self._lock = threading.Lock()
        self._table: Stored | None = self._disk.latest()
        self._sockets: dict[str, list[str]] = {}
        self._stop_asked = threading.Event()
        self._reporter = Reporter(settings)
        self._hub = Hub(settings.agent_socket, self._heard)
        self._supervisor = Supervisor(
            settings, launcher, told=self._reporter.worker_state, moved=self._moved
        )
        known = self._table.order if self._table else (-1, -1)
        self._watcher = Watcher(settings, known, self._changed)
        self._loader = Loader(settings.capture_dir, lambda: connect(settings, "loader"))

    def run(self) -> None:
        """Serve until `stop`; when it returns every worker has ended."""
        self._disk.save_sockets({})
        self._hub.start()
        if self._table is not None:
            # From the disk first: a node that starts while the database is away still serves.
            self._supervisor.want(snapshot.loads(self._table.body))
            self._hub.publish(self._table, {})
        for thread in (self._reporter, self._watcher, self._loader):
            thread.start()
        threading.Thread(target=self._beat, name="heartbeat", daemon=True).start()
        try:
            self._supervisor.run()
        finally:
            self._stop_asked.set()
            self._watcher.stop()
            self._loader.stop()
            self._hub.close()
            self._reporter.stop()

    def stop(self) -> None:
        self._supervisor.stop()

    def _changed(self, stored: Stored) -> None:
        """A newer snapshot: gateways first, since a rollback waits for them, then the disk."""
        source = snapshot.loads(stored.body)
        with self._lock:
            self._table = stored
            self._hub.publish(stored, self._sockets)
        self._supervisor.want(source)
        try:
            self._disk.save(stored)
        except OSError as error:
            log.error("snapshot_not_kept order=%s error=%s", stored.order, error)

    def _moved(self, sockets: dict[str, list[str]]) -> None:
        with self._lock:
            self._sockets = sockets
            self._hub.publish_sockets(sockets)
        try:
            self._disk.save_sockets(sockets)
        except OSError as error:
            log.error("sockets_not_kept error=%s", error)

    def _heard(self, gateway: str, message: dict[str, Any]) -> None:
        if message["type"] == "ack":
            self._reporter.acknowledge(gateway, (int(message["epoch"]), int(message["revision"])))
        elif message["type"] == "stats":
            self._reporter.heartbeat(gateway, message["detail"])

    def _beat(self) -> None:
        while True:
            order = self._table.order if self._table else None
            self._reporter.heartbeat(
                "agent",
                {
                    "epoch": order[0] if order else None,
                    "revision": order[1] if order else None,
                    "gateways": self._hub.gateways,
                    "workers": self._supervisor.summary(),
                    "database_is_older": self._watcher.is_database_older,
                    "segments_waiting": self._loader.backlog,
                    "predictions_loaded": self._loader.loaded,
                },
            )
            if self._stop_asked.wait(HEARTBEAT_SECONDS):
                return
