"""A health check says yes to what works and no to what does not."""

from __future__ import annotations

import http.server
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from controlplane.audit.connections import SEALER_LOCK
from controlplane.jobs.management.commands.scheduler import LOCK
from controlplane.local import health
from controlplane.local.home import CLONE


@contextmanager
def _http(status: int) -> Iterator[int]:
    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


@pytest.mark.parametrize(("status", "is_good"), [(200, True), (404, True), (500, False)])
def test_web_and_gateway_work_when_they_answer_without_a_fault(
    status: int, is_good: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    with _http(status) as port:
        monkeypatch.setenv("GATEHOUSE_BIND", f"0.0.0.0:{port}")
        monkeypatch.setenv("GATEHOUSE_GATEWAY_PORT", str(port))
        assert health.web() is is_good
        assert health.gateway() is is_good
    assert not health.web()
    assert not health.gateway()


def test_the_agent_works_when_it_accepts_gateways(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "agent.sock"
    monkeypatch.setenv("GATEHOUSE_AGENT_SOCKET", str(path))
    assert not health.agent()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        assert health.agent()


@pytest.mark.usefixtures("servers")
@pytest.mark.parametrize(
    ("check", "variable", "number"),
    [
        (health.sealer, "GATEHOUSE_SEALER_DATABASE_URL", SEALER_LOCK),
        (health.scheduler, "DATABASE_URL", LOCK),
    ],
)
def test_sealer_and_scheduler_work_when_their_lock_is_held(
    check: object, variable: str, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert callable(check)
    assert not check()
    with psycopg.connect(os.environ[variable], autocommit=True) as holder:
        holder.execute("SELECT pg_advisory_lock(%s)", [number])
        assert check()
    monkeypatch.setenv(variable, "postgresql://gh_app@127.0.0.1:1/gatehouse")
    assert not check()


@pytest.mark.processes
@pytest.mark.usefixtures("servers")
def test_a_worker_works_when_it_answers_through_the_broker() -> None:
    assert not health.worker()
    name = f"compute@{socket.gethostname()}"
    celery = [sys.executable, "-m", "celery", "-A", "controlplane.celery"]
    options = ["--pool", "threads", "--concurrency", "1", "--without-gossip", "--without-mingle"]
    worker = subprocess.Popen(
        [*celery, "worker", "--hostname", name, *options, "-Q", "cpu"],
        cwd=CLONE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert any(health.worker() for _ in range(5))
    finally:
        worker.terminate()
        worker.wait(20)


def test_the_command_says_it_by_its_status(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "controlplane.local.health", "agent"],
        cwd=CLONE,
        env={"GATEHOUSE_AGENT_SOCKET": str(tmp_path / "nobody.sock")},
        check=False,
    )
    assert done.returncode == 1
