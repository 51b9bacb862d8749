"""One worker of the node: prepare, start, watch, start again, stop."""

import contextlib
import json
import logging
import os
import signal
import socket
import subprocess
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from deployments.agent import materialise
from deployments.agent.isolation import Launcher, Process
from deployments.agent.settings import Settings
from deployments.snapshot import WorkerSpec
from deployments.worker.main import PING, FrameError, frames, pack

log = logging.getLogger("gatehouse.agent")

SOCKET_NAME = "w.sock"
PING_SECONDS = 1.0
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 30.0
CRASHES_UNTIL_DEGRADED = 5
CRASH_WINDOW_SECONDS = 600.0
LOADING_LIMIT_SECONDS = 300.0
BUSY_DEADLINES = 3
# Without an answer at all even a busy interpreter is given this long.
LEAST_SILENCE_SECONDS = 5.0
# How long a worker that is no longer wanted goes on answering what gateways still hold.
DRAIN_SECONDS = 30.0
_LOG_TAIL_BYTES = 4_096


@dataclass(frozen=True, slots=True)
class Prepared:
    python: Path
    model: Path


class WorkerProcess:
    """A replica of a worker spec. Only the supervising thread calls it."""

    def __init__(
        self,
        spec: WorkerSpec,
        number: int,
        *,
        settings: Settings,
        launcher: Launcher,
        background: ThreadPoolExecutor,
        changed: Callable[["WorkerProcess", str], None],
    ) -> None:
        self.spec = spec
        self.state = "loading"
        self.deadline_ms = 1_000
        self.unwanted_since: float | None = None
        name = f"{materialise.identity(spec)}-{number}"
        self.run = settings.node_dir / "run" / name
        self.log = settings.node_dir / "logs" / f"{name}.log"
        self._settings = settings
        self._launcher = launcher
        self._background = background
        self._changed = changed
        self._preparing: Future[Prepared] | None = None
        self._process: Process | None = None
        self._connection: socket.socket | None = None
        self._received = bytearray()
        self._started_at = 0.0
        self._pinged_at = 0.0
        self._answered_at = 0.0
        self._next_start = 0.0
        self._pause = FIRST_PAUSE_SECONDS
        self._crashes: deque[float] = deque()

    @property
    def socket_path(self) -> Path:
        return self.run / SOCKET_NAME

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def tick(self) -> None:
        """Do what is due now; never waits."""
        now = time.monotonic()
        if self._process is not None:
            self._watch(self._process, now)
        elif self._preparing is not None:
            if self._preparing.done():
                self._launch(self._preparing, now)
        elif now >= self._next_start:
            self._preparing = self._background.submit(self._prepare)

    def ask_to_stop(self) -> None:
        self._disconnect()
        if self._process is not None:
            self._process.terminate()

    def stop(self) -> None:
        """End the process; when it returns the process is gone."""
        self.ask_to_stop()
        if self._process is not None:
            try:
                self._process.wait(timeout=1)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None

    def _prepare(self) -> Prepared:
        settings = self._settings
        model = materialise.model_folder(
            self.spec, blob_dir=settings.blob_dir, models_dir=settings.node_dir / "models"
        )
        lock = materialise.lock_text(self.spec, model, blob_dir=settings.blob_dir)
        return Prepared(python=self._launcher.environment(lock), model=model)

    def _launch(self, preparing: "Future[Prepared]", now: float) -> None:
        self._preparing = None
        try:
            prepared = preparing.result()
            self.run.mkdir(parents=True, exist_ok=True)
            self.log.parent.mkdir(parents=True, exist_ok=True)
            self.socket_path.unlink(missing_ok=True)
            self._process = self._launcher.launch(
                prepared.python,
                self._arguments(prepared.model),
                model=prepared.model,
                run=self.run,
                log=self.log,
            )
        except Exception as error:
            # Whatever it is, this worker waits and is tried again; the others go on.
            log.exception("worker_not_started worker=%s", self.spec.key)
            self._crashed(now, str(error) or type(error).__name__)
            return
        self._started_at = self._answered_at = now

    def _arguments(self, model: Path) -> list[str]:
        return [
            "--serve",
            "--model",
            str(model),
            "--socket",
            SOCKET_NAME,
            "--load",
            self.spec.load,
            "--predict-method",
            self.spec.predict_method,
            "--max-rows",
            str(self.spec.max_rows),
            "--deadline-ms",
            str(self.deadline_ms),
        ]

    def _watch(self, process: Process, now: float) -> None:
        code = process.poll()
        if code is not None:
            self._process = None
            self._disconnect()
            self._crashed(now, self._why_ended(code))
            return
        self._ping(now)
        self._listen(now)
        if self._process is None:
            return
        if self.state == "ready":
            silence = max(LEAST_SILENCE_SECONDS, BUSY_DEADLINES * self.deadline_ms / 1_000)
            if now - self._answered_at > silence:
                self._kill(now, f"It did not answer for {silence:.0f} s.")
        elif now - self._started_at > LOADING_LIMIT_SECONDS:
            self._kill(now, f"It was not ready after {LOADING_LIMIT_SECONDS:.0f} s.")

    def _ping(self, now: float) -> None:
        pause = PING_SECONDS if self.state == "ready" else PING_SECONDS / 10
        if now - self._pinged_at < pause:
            return
        self._pinged_at = now
        with contextlib.suppress(OSError):
            if self._connection is None:
                self._connection = _connect(self.socket_path)
            self._connection.send(pack(0, PING, b""))
            return
        self._disconnect()

    def _listen(self, now: float) -> None:
        if self._connection is None:
            return
        try:
            chunk = self._connection.recv(65_536)
            if not chunk:
                self._disconnect()
                return
            self._received += chunk
            answers = list(frames(self._received))
        except BlockingIOError:
            return
        except (OSError, FrameError):
            self._disconnect()
            return
        for answer in answers:
            self._answered_at = now
            try:
                status = json.loads(answer.body)
                state, detail = str(status["state"]), str(status["detail"])
                busy_ms = int(status["busy_ms"])
            except (ValueError, KeyError, TypeError):
                # Foreign code shares that process; what it says is not to be trusted.
                self._kill(now, "It answered a question about its state with something else.")
                return
            self._heard(state, detail, busy_ms, now)

    def _heard(self, state: str, detail: str, busy_ms: int, now: float) -> None:
        if state == "failed":
            self._kill(now, detail)
        elif state == "ready" and self.state != "ready":
            self._set("ready", detail)
        elif busy_ms > BUSY_DEADLINES * self.deadline_ms:
            self._kill(now, f"It computed longer than {BUSY_DEADLINES} deadlines.")
        elif state == "ready" and now - self._started_at > CRASH_WINDOW_SECONDS:
            self._pause = FIRST_PAUSE_SECONDS

    def _kill(self, now: float, why: str) -> None:
        process, self._process = self._process, None
        self._disconnect()
        if process is not None:
            process.kill()
            process.wait()
        self._crashed(now, why)

    def _crashed(self, now: float, why: str) -> None:
        self._crashes.append(now)
        while now - self._crashes[0] > CRASH_WINDOW_SECONDS:
            self._crashes.popleft()
        self._next_start = now + self._pause
        count = len(self._crashes)
        if count >= CRASHES_UNTIL_DEGRADED:
            self._next_start = now + LONGEST_PAUSE_SECONDS
            self._set("degraded", f"{count} failures in 10 minutes; the last: {why}")
        elif self.state == "ready":
            self._set("loading", f"{why} It is being started again.")
        else:
            self._set("failed", why)
        self._pause = min(self._pause * 2, LONGEST_PAUSE_SECONDS)

    def _set(self, state: str, detail: str) -> None:
        self.state = state
        self._changed(self, detail)

    def _why_ended(self, code: int) -> str:
        number = -code if code < 0 else code - 128 if code > 128 else 0
        with contextlib.suppress(ValueError):
            if number:
                return f"The process was ended by {signal.Signals(number).name}."
        last = self._last_line()
        return f"The process ended with code {code}{': ' + last if last else ''}."

    def _last_line(self) -> str:
        try:
            with self.log.open("rb") as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - _LOG_TAIL_BYTES))
                lines = file.read().decode(errors="replace").strip().splitlines()
        except OSError:
            return ""
        return lines[-1][:500].rstrip(".") if lines else ""

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self._received.clear()


def _connect(path: Path) -> socket.socket:
    """Return a connection that never blocks; the folder keeps the address short."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.setblocking(False)
            connection.connect(f"/proc/self/fd/{folder}/{path.name}")
        except OSError:
            connection.close()
            raise
    finally:
        os.close(folder)
    return connection
