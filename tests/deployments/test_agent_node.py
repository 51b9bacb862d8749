"""An agent with its database: what is published is served and reported, and captured predictions
arrive once."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest

from deployments import snapshot
from deployments.agent.agent import Agent
from deployments.agent.database import connect
from deployments.agent.loader import load
from deployments.agent.settings import Settings
from deployments.gateway.capture import Capture, read_segment
from tests.deployments.serving import Gateway, Launcher, World, wait_for

pytestmark = pytest.mark.processes

PAIR = [[0.0, 1.0]]
Query = Callable[..., list[Any]]


@pytest.fixture(scope="module")
def query(django_db_setup: None) -> Iterator[Query]:
    """Run SQL as the application does."""
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as connection:

        def run(text: str, *values: Any) -> list[Any]:
            cursor = connection.execute(text.encode(), values)
            return cursor.fetchall() if cursor.description else []

        yield run


@pytest.fixture(scope="module")
def settings(blob_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    root = tmp_path_factory.mktemp("agent")
    return Settings(
        node="node-7",
        database_url=os.environ["GATEHOUSE_NODE_DATABASE_URL"],
        database_options="",
        node_dir=root / "node",
        capture_dir=root / "capture",
        blob_dir=blob_dir,
        environment_dir=root / "environments",
        agent_socket=root / "agent.sock",
        replicas=1,
    )


class Running:
    """An agent in a thread of its own, as its process's main thread."""

    def __init__(self, settings: Settings) -> None:
        self.agent = Agent(settings, Launcher(settings.environment_dir))
        self._thread = threading.Thread(target=self.agent.run)
        self._thread.start()

    def stop(self) -> None:
        self.agent.stop()
        self._thread.join(20)
        assert not self._thread.is_alive()


@pytest.fixture(scope="module")
def running(query: Query, settings: Settings) -> Iterator[Running]:
    agent = Running(settings)
    yield agent
    agent.stop()


@pytest.fixture(scope="module")
def gateway(running: Running, settings: Settings) -> Iterator[Gateway]:
    started = Gateway(settings, "seven", {})
    yield started
    started.stop()


def publish(query: Query, source: snapshot.Snapshot, *, sha256: str = "") -> None:
    """Publish as the control plane does: one row and a notification."""
    body = snapshot.dumps(source)
    query(
        "INSERT INTO deployments_routingsnapshot (epoch, revision, body, sha256, created_at) "
        "VALUES (%s, %s, %s, %s, now())",
        source.epoch,
        source.revision,
        body,
        sha256 or snapshot.digest(body),
    )
    query("SELECT pg_notify('gatehouse_routing', '')")


def epoch(world: World, source: snapshot.Snapshot) -> snapshot.Snapshot:
    """Make it newer than what other tests have published in the same database."""
    return replace(source, epoch=9_000)


def acked(query: Query, revision: int) -> bool:
    rows = query(
        "SELECT 1 FROM deployments_gatewayack WHERE gateway = 'gateway:seven' "
        "AND epoch = 9000 AND revision = %s",
        revision,
    )
    return bool(rows)


def newest_state(query: Query, key: str) -> str:
    rows = query(
        "SELECT state FROM deployments_armstatus WHERE node = 'node-7' AND worker_key = %s "
        "ORDER BY id DESC LIMIT 1",
        key,
    )
    return str(rows[0][0]) if rows else ""


def is_ready(query: Query, key: str) -> bool:
    return newest_state(query, key) == "ready"


def test_what_is_published_is_prepared_served_acknowledged_and_captured(
    query: Query, gateway: Gateway, world: World
) -> None:
    source = epoch(world, world.snapshot(world.deployment("pair", "one"), warm=["two"]))
    publish(query, source)
    for worker in source.workers:
        wait_for(partial(is_ready, query, worker.key), 90, "worker ready")
    wait_for(lambda: acked(query, source.revision), 10, "acknowledged")
    wait_for(gateway.is_ready, 10, "ready")
    answer = gateway.predict("pair", PAIR, Unit="customer-1")
    assert answer.json() == {"predictions": [1.0]}
    identity = answer.headers["gatehouse-prediction-id"]
    (row,) = wait_for(
        lambda: query(
            "SELECT deployment, version_id, arm, assignment, status, row_count, features, outputs, "
            "unit, bucket, at > now() - interval '1 minute' FROM deployments_prediction "
            "WHERE id = %s",
            identity,
        ),
        20,
        "prediction loaded",
    )
    assert row[:6] == ("pair", world.workers["one"].version_id, "stable", "single", 200, 1)
    assert row[6:8] == ([{"a": 0.0, "b": 1.0}], [1.0])
    assert row[8] and row[9] is not None and row[10]


def test_a_switch_to_a_warm_version_is_in_force_within_a_second(
    query: Query, gateway: Gateway, world: World
) -> None:
    took = []
    for number in range(10):
        stable, other = (("two", "one"), ("one", "two"))[number % 2]
        source = epoch(world, world.snapshot(world.deployment("pair", stable), warm=[other]))
        started = time.monotonic()
        publish(query, source)
        wait_for(partial(acked, query, source.revision), 5, "acknowledged")
        took.append(time.monotonic() - started)
        assert gateway.predict("pair", PAIR).json() == {
            "predictions": [1.0 if stable == "one" else 2.0]
        }
    assert sorted(took)[len(took) // 2] < 0.5


def test_a_row_with_the_wrong_digest_is_not_served(
    query: Query, gateway: Gateway, world: World
) -> None:
    before = gateway.predict("pair", PAIR).json()
    bad = epoch(world, world.snapshot(world.deployment("pair", "two"), warm=["one"]))
    publish(query, bad, sha256="0" * 64)
    time.sleep(1.5)
    assert not acked(query, bad.revision)
    assert gateway.predict("pair", PAIR).json() == before


def test_a_model_whose_bytes_are_not_those_sealed_is_reported_failed(
    query: Query, gateway: Gateway, world: World
) -> None:
    good = world.workers["tree"]
    other = world.workers["logistic"].blobs[0]
    blobs = (replace(good.blobs[0], sha256=other.sha256), *good.blobs[1:])
    bad = replace(good, key="tampered", blobs=blobs)
    source = epoch(world, world.snapshot(world.deployment("pair", "one"), warm=["two"]))
    missing = replace(bad, key="missing", blobs=(replace(good.blobs[0], sha256="0" * 64),))
    publish(query, replace(source, workers=(*source.workers, bad, missing)))
    wait_for(lambda: newest_state(query, "missing") == "failed", 20, "reported missing")
    details = query(
        "SELECT DISTINCT ON (worker_key) detail FROM deployments_armstatus "
        "WHERE worker_key = 'missing' AND state = 'failed'"
    )
    assert "are not in the blob store" in details[0][0]
    assert gateway.predict("pair", PAIR).status_code == 200


def test_a_version_that_is_wanted_again_while_it_drains_is_ready_at_once(
    query: Query, gateway: Gateway, world: World
) -> None:
    key = world.workers["two"].key
    publish(query, epoch(world, world.snapshot(world.deployment("pair", "one"))))
    # Its last READY must not be taken for true once nobody keeps it warm.
    wait_for(lambda: newest_state(query, key) == "loading", 10, "told that it is let go")
    publish(query, epoch(world, world.snapshot(world.deployment("pair", "one"), warm=["two"])))
    wait_for(lambda: newest_state(query, key) == "ready", 3, "still warm")


def test_the_node_says_that_it_lives(query: Query, gateway: Gateway) -> None:
    def processes() -> set[str]:
        rows = query(
            "SELECT DISTINCT process FROM deployments_nodeheartbeat WHERE node = 'node-7' "
            "AND at > now() - interval '15 seconds'"
        )
        return {row[0] for row in rows}

    wait_for(lambda: processes() == {"agent", "gateway:seven"}, 15, "heartbeats")
    detail = query(
        "SELECT detail FROM deployments_nodeheartbeat WHERE process = 'agent' "
        "ORDER BY id DESC LIMIT 1"
    )[0][0]
    assert detail["gateways"] == ["gateway:seven"]
    assert detail["epoch"] == 9_000


def test_an_agent_that_starts_without_its_database_serves_from_the_disk(
    query: Query, running: Running, gateway: Gateway, settings: Settings, world: World
) -> None:
    source = epoch(world, world.snapshot(world.deployment("pair", "two")))
    publish(query, source)
    wait_for(lambda: acked(query, source.revision), 10, "acknowledged")
    running.stop()
    wait_for(lambda: gateway.predict("pair", PAIR).status_code == 503, 5, "no worker")
    lonely = Running(replace(settings, database_url="postgresql://nobody@127.0.0.1:1/none"))
    try:
        wait_for(lambda: gateway.predict("pair", PAIR).status_code == 200, 60, "served again")
        assert gateway.predict("pair", PAIR).json() == {"predictions": [2.0]}
    finally:
        lonely.stop()


def captured(number: int, **changes: Any) -> dict[str, Any]:
    from controlplane.core.identifiers import uuid7

    return {
        "id": str(uuid7()),
        "at": "2026-05-01T10:00:00+00:00",
        "workspace_id": 1,
        "deployment": "replayed",
        "deployment_id": 7,
        "revision_id": 70,
        "revision": 1,
        "version_id": 101,
        "arm": "stable",
        "assignment": "single",
        "bucket": None,
        "unit": None,
        "status": 200,
        "error": "",
        "request_id": "",
        "row_count": 1,
        "features": [{"a": number}],
        "outputs": [1],
        "queue_us": 1,
        "predict_us": 2,
        "total_us": 3,
        "cache": "off",
    } | changes


def test_a_segment_that_is_loaded_twice_counts_once(
    query: Query, settings: Settings, tmp_path: Path
) -> None:
    capture = Capture(tmp_path, "replay")
    for number in range(500):
        capture.append(captured(number))
    capture.close()
    (segment,) = tmp_path.glob("*.seg")
    copy = segment.read_bytes()
    with connect(settings, "test") as connection:
        assert load(connection, segment) == 500
        assert not segment.exists()
        segment.write_bytes(copy)
        assert load(connection, segment) == 0
    assert query("SELECT count(*) FROM deployments_prediction WHERE deployment = 'replayed'") == [
        (500,)
    ]


def test_a_record_that_the_database_cannot_hold_stops_no_other(
    query: Query, settings: Settings, tmp_path: Path
) -> None:
    capture = Capture(tmp_path, "odd")
    odd = captured(1, deployment="odd", features=[{"a": "nul \u0000 byte"}])
    for record in (captured(0, deployment="odd"), odd, captured(2, deployment="odd")):
        capture.append(record)
    capture.close()
    (segment,) = tmp_path.glob("*.seg")
    with connect(settings, "test") as connection:
        assert load(connection, segment) == 2
    assert odd["id"] in segment.with_suffix(".refused").read_text()
    assert query("SELECT count(*) FROM deployments_prediction WHERE deployment = 'odd'") == [(2,)]


def test_what_is_torn_is_kept_and_the_rest_is_loaded(
    query: Query, settings: Settings, tmp_path: Path
) -> None:
    capture = Capture(tmp_path, "torn")
    for number in range(3):
        capture.append(captured(number, deployment="torn"))
    capture.close()
    (segment,) = tmp_path.glob("*.seg")
    segment.write_bytes(segment.read_bytes()[:-10])
    with connect(settings, "test") as connection:
        assert load(connection, segment) == 2
    torn = segment.with_suffix(".torn")
    assert len(read_segment(torn)[0]) == 2
    assert query("SELECT count(*) FROM deployments_prediction WHERE deployment = 'torn'") == [(2,)]
