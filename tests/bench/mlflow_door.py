"""The MLflow door beside a tuned ``mlflow server``: the same requests, rows and database server.

Each has a database of its own with the same seed; rounds alternate, and the median of the rounds
counts. The peer runs as its own documentation advises and better: two processes with uvloop on
the unix socket, without job execution and access log.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import statistics
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg

from controlplane.local import throw_away
from controlplane.local.home import CLONE
from tests.bench.rows import Row

CONNECTIONS = 8
ROUNDS = 3
SECONDS = 2.5
VERSIONS = int(os.environ.get("GATEHOUSE_BENCH_VERSIONS", "1000"))
_MLMODEL = b"flavors:\n  python_function:\n    loader_module: mlflow.sklearn\n"
_V2 = "/api/2.0/mlflow"


@dataclass
class Side:
    """One server under load, with what the requests need to name."""

    address: str
    headers: dict[str, str]
    model_id: str = ""
    run_id: str = ""
    experiment_id: str = ""
    counter: Iterator[int] = field(default_factory=lambda: iter(range(10**9)))


@dataclass(frozen=True)
class Load:
    """One kind of request; ``body`` makes the next one."""

    name: str
    goal: float
    method: str
    path: Callable[[Side], str]
    body: Callable[[Side], dict[str, Any]] | None = None
    seconds: float = SECONDS


LOADS = (
    Load(
        "get version by alias",
        3,
        "GET",
        lambda _: f"{_V2}/registered-models/alias?name=seeded&alias=favourite",
    ),
    Load(
        "search versions by tag",
        5,
        "GET",
        lambda _: f"{_V2}/model-versions/search?filter=tags.tier%20%3D%20%27t7%27&max_results=20",
    ),
    Load(
        "search recent versions", 5, "GET", lambda _: f"{_V2}/model-versions/search?max_results=20"
    ),
    Load("search models", 5, "GET", lambda _: f"{_V2}/registered-models/search?max_results=20"),
    Load(
        "create version",
        2,
        "POST",
        lambda _: f"{_V2}/model-versions/create",
        lambda side: {
            "name": "written",
            "source": f"models:/{side.model_id}",
            "model_id": side.model_id,
        },
    ),
    Load(
        "set version tag",
        2,
        "POST",
        lambda _: f"{_V2}/model-versions/set-tag",
        lambda side: {
            "name": "seeded",
            "version": str(next(side.counter) % VERSIONS + 1),
            "key": "k",
            "value": "v",
        },
    ),
    Load(
        "log metric (mounted)",
        0.8,
        "POST",
        lambda _: f"{_V2}/runs/log-metric",
        lambda side: {
            "run_id": side.run_id,
            "key": "loss",
            "value": 0.5,
            "timestamp": 1,
            "step": next(side.counter),
        },
    ),
    Load(
        "log batch of 1000 (mounted)",
        0.8,
        "POST",
        lambda _: f"{_V2}/runs/log-batch",
        lambda side: {
            "run_id": side.run_id,
            "metrics": [
                {"key": f"m{number}", "value": 0.5, "timestamp": 1, "step": next(side.counter)}
                for number in range(1000)
            ],
        },
        seconds=5,
    ),
)


def measure() -> list[Row]:
    os.environ["DJANGO_SETTINGS_MODULE"] = "controlplane.settings.test"
    with ExitStack() as stack:
        servers = stack.enter_context(throw_away.Servers())
        import django

        django.setup()
        from django.core.management import call_command

        if not servers.has_schemas:
            call_command("gatehouse_migrate", verbosity=0)
        ours, peer = stack.enter_context(_ours()), stack.enter_context(_peer())
        return [_compare(load, ours, peer) for load in LOADS]


def _compare(load: Load, ours: Side, peer: Side) -> Row:
    rates: dict[int, list[float]] = {0: [], 1: []}
    for side in (ours, peer):
        _rate(load, side, seconds=0.5)
    for _ in range(ROUNDS):
        for index, side in enumerate((ours, peer)):
            rates[index].append(_rate(load, side, seconds=load.seconds))
    mine, theirs = statistics.median(rates[0]), statistics.median(rates[1])
    return Row(
        name=load.name,
        ours=round(mine, 1),
        peer=round(theirs, 1),
        ratio=round(mine / theirs, 2),
        goal=load.goal,
        unit="requests/s",
    )


def _rate(load: Load, side: Side, *, seconds: float) -> float:
    """Return the answered requests per second of 8 connections; a refusal ends all."""
    done: list[int] = []
    failures: list[str] = []
    started = time.monotonic()
    end = started + seconds

    def work() -> None:
        parts = urlsplit(side.address)
        connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=120)
        connection.connect()
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        count = 0
        while time.monotonic() < end and not failures:
            body = json.dumps(load.body(side)) if load.body else None
            connection.request(load.method, load.path(side), body=body, headers=side.headers)
            answer = connection.getresponse()
            content = answer.read()
            if answer.status != 200:
                failures.append(f"{load.name}: {answer.status} {content[:300]!r}")
            count += 1
        connection.close()
        done.append(count)

    threads = [threading.Thread(target=work) for _ in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise RuntimeError(failures[0])
    return sum(done) / (time.monotonic() - started)


@contextmanager
def _ours() -> Iterator[Side]:
    from controlplane.accounts.models import Workspace

    secret, workspace_id = _account()
    port = _free_port()
    environment = {
        **os.environ,
        "GATEHOUSE_BIND": f"127.0.0.1:{port}",
        "GATEHOUSE_WEB_PROCESSES": "2",
    }
    command = [
        sys.executable,
        "-m",
        "gunicorn",
        "-c",
        "python:controlplane.local.gunicorn",
        "controlplane.wsgi:application",
        "--log-level",
        "error",
    ]
    headers = {"Authorization": f"Bearer {secret}", "Content-Type": "application/json"}
    with _running(command, environment, port):
        side = Side(f"http://127.0.0.1:{port}", headers)
        _prepare(side, f"workspaces/{Workspace.objects.get(pk=workspace_id).key}/")
        _seed_ours(workspace_id)
        yield side


@contextmanager
def _peer() -> Iterator[Side]:
    postgres = throw_away.postgres()
    postgres.make_database("peer", statements="SELECT 1")
    address = postgres.url("peer").replace("postgresql://", "postgresql+psycopg2://", 1)
    port = _free_port()
    files = throw_away.home() / "peer-files"
    files.mkdir()
    environment = {
        **os.environ,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_ENABLE_WORKSPACES": "false",
        "MLFLOW_SQLALCHEMYSTORE_POOL_SIZE": "20",
    }
    command = [
        str(Path(sys.executable).parent / "mlflow"),
        "server",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--workers",
        "2",
        "--backend-store-uri",
        address,
        "--artifacts-destination",
        str(files),
        "--uvicorn-opts",
        "--loop uvloop --no-access-log --log-level error",
    ]
    with _running(command, environment, port):
        side = Side(f"http://127.0.0.1:{port}", {"Content-Type": "application/json"})
        _prepare(side, "")
        with psycopg.connect(postgres.url("peer")) as connection:
            _seed_peer(connection)
        yield side


def _prepare(side: Side, prefix: str) -> None:
    """Make an experiment, a run and a logged model with an MLmodel file, by the API."""
    side.experiment_id = _post(side, "/experiments/create", {"name": "bench"})["experiment_id"]
    run = _post(side, "/runs/create", {"experiment_id": side.experiment_id, "start_time": 1})
    side.run_id = run["run"]["info"]["run_id"]
    model = _post(
        side,
        "/logged-models",
        {
            "experiment_id": side.experiment_id,
            "name": "m",
            "source_run_id": side.run_id,
        },
    )
    side.model_id = model["model"]["info"]["model_id"]
    place = f"{prefix}{side.experiment_id}/models/{side.model_id}/artifacts/MLmodel"
    _send(side, "PUT", f"/api/2.0/mlflow-artifacts/artifacts/{place}", _MLMODEL)
    for name in ("seeded", "written"):
        _post(side, "/registered-models/create", {"name": name})


def _seed_ours(workspace_id: int) -> None:
    from controlplane.accounts.models import User
    from registry.models import Alias, Model, ModelVersion

    user = User.objects.order_by("-pk").first()
    model = Model.objects.get(workspace=workspace_id, name="seeded")
    assert user is not None
    ModelVersion.objects.bulk_create(
        (
            ModelVersion(
                model=model,
                number=number,
                state="sealed",
                source="models:/m-0",
                run_id=_a_run(number),
                tags=_tags(number),
                registrant=user,
                manifest=[{"path": "MLmodel", "size": 60, "sha256": "0" * 64}],
            )
            for number in range(1, VERSIONS + 1)
        ),
        batch_size=2000,
    )
    Model.objects.filter(pk=model.pk).update(next_version=VERSIONS + 1)
    Alias.objects.create(
        model=model,
        name="favourite",
        set_by=user,
        version=ModelVersion.objects.get(model=model, number=VERSIONS),
    )
    Model.objects.bulk_create(
        Model(workspace_id=workspace_id, name=f"model-{number:03}", owner=user)
        for number in range(100)
    )
    _analyse("default")


def _seed_peer(connection: psycopg.Connection[Any]) -> None:
    now = int(time.time() * 1000)
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO model_versions (name, version, creation_time, last_updated_time, "
            "description, user_id, current_stage, source, run_id, status, workspace) VALUES "
            "('seeded', %s, %s, %s, '', 'x', 'None', 'models:/m-0', %s, 'READY', 'default')",
            [(number, now, now, _a_run(number)) for number in range(1, VERSIONS + 1)],
        )
        cursor.executemany(
            "INSERT INTO model_version_tags (key, value, name, version, workspace) "
            "VALUES (%s, %s, 'seeded', %s, 'default')",
            [
                (key, value, number)
                for number in range(1, VERSIONS + 1)
                for key, value in _tags(number).items()
            ],
        )
        cursor.execute(
            "INSERT INTO registered_model_aliases (alias, version, name, workspace) "
            "VALUES ('favourite', %s, 'seeded', 'default')",
            [VERSIONS],
        )
        cursor.executemany(
            "INSERT INTO registered_models (name, creation_time, last_updated_time, description, "
            "workspace) VALUES (%s, %s, %s, '', 'default')",
            [(f"model-{number:03}", now, now) for number in range(100)],
        )
    connection.commit()
    connection.autocommit = True
    connection.execute("ANALYZE")


def _tags(number: int) -> dict[str, str]:
    return {"tier": f"t{number % 50}", "team": f"team-{number % 7}"}


def _a_run(number: int) -> str:
    return uuid.uuid5(uuid.NAMESPACE_URL, str(number)).hex


def _account() -> tuple[str, int]:
    from datetime import timedelta

    from controlplane.accounts import tokens
    from registry.services import environments
    from tests import make

    workspace = make.workspace()
    environments.ship_defaults(workspace, actor=make.setup())
    _, secret = tokens.issue(
        actor=make.setup(),
        user=make.person("ml_engineer", workspace=workspace),
        workspace=workspace,
        name="bench",
        kind="human",
        lifetime=timedelta(hours=6),
    )
    return secret, workspace.pk


def _analyse(alias: str) -> None:
    from django.db import connections

    with psycopg.connect(throw_away.postgres().url(throw_away.DATABASE), autocommit=True) as link:
        link.execute("ANALYZE")
    connections[alias].close()


@contextmanager
def _running(command: list[str], environment: dict[str, str], port: int) -> Iterator[None]:
    with (throw_away.home() / f"bench-{port}.log").open("wb") as log:
        server = subprocess.Popen(
            command, cwd=CLONE, env=environment, stdout=log, stderr=log, start_new_session=True
        )
    try:
        _wait(port, server)
        yield
    finally:
        # `mlflow server` leaves its processes behind unless the whole group is told.
        os.killpg(server.pid, 15)
        server.wait(30)


def _wait(port: int, server: subprocess.Popen[bytes]) -> None:
    for _ in range(1200):
        if server.poll() is not None:
            raise RuntimeError(f"The server on port {port} ended with {server.returncode}.")
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", "/health")
            if connection.getresponse().status == 200:
                return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError(f"The server on port {port} does not answer.")


def _post(side: Side, path: str, body: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(_send(side, "POST", _V2 + path, json.dumps(body).encode()))
    return found


def _send(side: Side, method: str, path: str, body: bytes) -> bytes:
    parts = urlsplit(side.address)
    connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=120)
    connection.request(method, path, body=body, headers=side.headers)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    if answer.status != 200:
        raise RuntimeError(f"{method} {path}: {answer.status} {content[:500]!r}")
    return content


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port
