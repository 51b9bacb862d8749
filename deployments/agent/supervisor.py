"""Which workers of the node should run, and that they do."""

import logging
import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from deployments import snapshot
from deployments.agent.isolation import Launcher
from deployments.agent.materialise import identity
from deployments.agent.settings import Settings
from deployments.agent.worker_process import DRAIN_SECONDS, WorkerProcess

log = logging.getLogger("gatehouse.agent")

TICK_SECONDS = 0.05
Told = Callable[[str, str, str], None]


class Supervisor:
    """Runs in the agent's main thread, which lives as long as the workers it has started.

    `told(worker_key, state, detail)` gets every change; `moved(sockets)` gets where ready workers
    listen whenever that changes.
    """

    def __init__(
        self,
        settings: Settings,
        launcher: Launcher,
        *,
        told: Told,
        moved: Callable[[dict[str, list[str]]], None],
    ) -> None:
        self._settings = settings
        self._launcher = launcher
        self._told = told
        self._moved = moved
        self._background = ThreadPoolExecutor(2, thread_name_prefix="prepare")
        self._lock = threading.Lock()
        self._wanted: snapshot.Snapshot | None = None
        self._adopted: snapshot.Snapshot | None = None
        self._replicas: dict[str, list[WorkerProcess]] = {}
        self._states: dict[str, str] = {}
        self._sockets: dict[str, list[str]] = {}
        self._stop_asked = threading.Event()

    def want(self, source: snapshot.Snapshot) -> None:
        """Keep exactly the workers of this snapshot warm from now on; any thread may call."""
        with self._lock:
            self._wanted = source

    def stop(self) -> None:
        self._stop_asked.set()

    def summary(self) -> dict[str, str]:
        """Return the state of each worker key."""
        with self._lock:
            return dict(self._states)

    def run(self) -> None:
        """Supervise until `stop`; when it returns every worker has ended."""
        try:
            while not self._stop_asked.wait(TICK_SECONDS):
                self._reconcile()
                for replicas in list(self._replicas.values()):
                    for worker in replicas:
                        worker.tick()
        finally:
            workers = [worker for group in self._replicas.values() for worker in group]
            for worker in workers:
                worker.ask_to_stop()
            for worker in workers:
                worker.stop()
            self._background.shutdown(wait=False, cancel_futures=True)

    def _reconcile(self) -> None:
        with self._lock:
            wanted = self._wanted
        if wanted is None:
            return
        if wanted is not self._adopted:
            self._adopt(wanted)
        now = time.monotonic()
        for name, replicas in list(self._replicas.items()):
            since = replicas[0].unwanted_since
            if since is not None and now - since > DRAIN_SECONDS:
                del self._replicas[name]
                for worker in replicas:
                    worker.stop()
                    shutil.rmtree(worker.run, ignore_errors=True)
                shutil.rmtree(self._settings.node_dir / "models" / name, ignore_errors=True)
                log.info("worker_drained worker=%s", replicas[0].spec.key)
                self._tell_sockets()

    def _adopt(self, wanted: snapshot.Snapshot) -> None:
        deadlines = _deadlines(wanted)
        specs = {identity(spec): spec for spec in wanted.workers}
        for name, spec in specs.items():
            if name not in self._replicas:
                self._replicas[name] = [
                    WorkerProcess(
                        spec,
                        number,
                        settings=self._settings,
                        launcher=self._launcher,
                        background=self._background,
                        changed=self._worker_changed,
                    )
                    for number in range(self._settings.replicas)
                ]
                self._told_state(spec.key, "loading", "It is being prepared.")
            elif self._replicas[name][0].unwanted_since is not None:
                states = {worker.state for worker in self._replicas[name]}
                state = "ready" if "ready" in states else states.pop()
                self._told_state(spec.key, state, "It was still warm.")
            for worker in self._replicas[name]:
                worker.unwanted_since = None
                worker.deadline_ms = deadlines.get(spec.key, worker.deadline_ms)
        for name, replicas in self._replicas.items():
            if name not in specs and replicas[0].unwanted_since is None:
                for worker in replicas:
                    worker.unwanted_since = time.monotonic()
                if not any(spec.key == replicas[0].spec.key for spec in specs.values()):
                    # So that nobody takes its last READY for true when it is asked for again.
                    self._told_state(replicas[0].spec.key, "loading", "It is no longer kept warm.")
        self._adopted = wanted

    def _worker_changed(self, worker: WorkerProcess, detail: str) -> None:
        """Tell the state of the key: ready while one replica is, else that of this one."""
        if worker.unwanted_since is None:
            replicas = self._replicas[identity(worker.spec)]
            ready = any(w.state == "ready" for w in replicas)
            self._told_state(worker.spec.key, "ready" if ready else worker.state, detail)
        self._tell_sockets()

    def _told_state(self, key: str, state: str, detail: str) -> None:
        with self._lock:
            self._states[key] = state
        self._told(key, state, detail)

    def _tell_sockets(self) -> None:
        sockets: dict[str, list[str]] = {}
        for replicas in self._replicas.values():
            for worker in replicas:
                if worker.state == "ready":
                    sockets.setdefault(worker.spec.key, []).append(str(worker.socket_path))
        if sockets != self._sockets:
            self._sockets = sockets
            self._moved(sockets)


def _deadlines(source: snapshot.Snapshot) -> dict[str, int]:
    """Return the longest deadline that each worker answers under, in milliseconds."""
    found: dict[str, int] = {}
    for deployment in source.deployments:
        for arm in deployment.arms:
            found[arm.worker_key] = max(found.get(arm.worker_key, 0), deployment.deadline_ms)
    return found
