"""Requests to a real gateway in front of real, sandboxed model processes."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from sklearn.datasets import load_digits

from deployments.assignment import bucket
from deployments.gateway.capture import read_segment
from tests.deployments.serving import SECRET, Node, World, token, wait_for

pytestmark = pytest.mark.processes

DIGITS = load_digits()
NAMES = list(load_digits(as_frame=True).data.columns)
PAIR = [[0.0, 1.0]]


@pytest.fixture(scope="module", autouse=True)
def serving_node(node: Node, world: World) -> None:
    node.start_gateway()
    publish(node, world)


def publish(node: Node, world: World, **changes: Any) -> None:
    """Serve the usual deployments, with some of them changed."""
    usual = {
        "digits": world.deployment("digits", "tree"),
        "pair": world.deployment("pair", "one"),
        "canary": world.deployment("canary", "tree", "logistic", share=10_000, deadline_ms=5_000),
        "ab": world.deployment("ab", "one", "two", share=3_000, failover_to_stable=False),
        "customers": world.deployment("customers", "customers"),
        "small": world.deployment("small", "one", body_limit_bytes=100, row_limit=2),
        "units-only": world.deployment("units-only", "one", unit_required=True),
        "empty": world.deployment("empty", None),
    }
    tokens = (
        token(SECRET, scopes=("predict", "predict:force")),
        token("plain"),
        token("expired", expires_at="2020-01-01T00:00:00+00:00"),
        token("only-pair", deployments=("pair",)),
        token("feedback-only", scopes=("feedback",)),
        token("other-workspace", workspace_id=2),
    )
    deployments = (usual | changes).values()
    node.publish_and_wait(world.snapshot(*deployments, tokens=tokens))


def records(node: Node) -> dict[str, dict[str, Any]]:
    """Return what is captured by now, also in the segment that is still open."""
    found: dict[str, dict[str, Any]] = {}
    for path in sorted(node.settings.capture_dir.glob("*-*")):
        found |= {record["id"]: record for record in read_segment(path)[0]}
    return found


def test_every_form_gets_the_models_own_answers(node: Node) -> None:
    gateway = node.gateways[0]
    rows, truth = DIGITS.data[:5].tolist(), DIGITS.target[:5].tolist()
    forms: list[tuple[str, bytes]] = [
        ("application/json", json.dumps(body).encode())
        for body in (
            {"dataframe_split": {"columns": NAMES, "data": rows}},
            {"dataframe_records": [dict(zip(NAMES, row, strict=True)) for row in rows]},
            {"instances": rows},
            {"inputs": dict(zip(NAMES, map(list, zip(*rows, strict=True)), strict=True))},
        )
    ]
    lines = [",".join(NAMES), *(",".join(map(str, row)) for row in rows)]
    forms.append(("text/csv", "\n".join(lines).encode()))
    for kind, body in forms:
        answer = gateway.client.post(
            "/digits/invocations", content=body, headers={"Content-Type": kind}
        )
        assert answer.status_code == 200, answer.text
        assert answer.json() == {"predictions": truth}


def test_mixed_columns_and_words_travel_unchanged(node: Node) -> None:
    answer = node.gateways[0].client.post(
        "/customers/invocations",
        json={
            "dataframe_records": [
                {"age": 20, "income": 1.0, "city": "Köln"},
                {"city": "Bonn", "age": 50, "income": 40},
            ]
        },
    )
    assert answer.json() == {"predictions": ["low", "high"]}


def test_no_rows_are_answered_with_no_predictions(node: Node) -> None:
    assert node.gateways[0].predict("pair", []).json() == {"predictions": []}


def test_the_answer_says_who_gave_it_and_the_record_is_on_disk_before(
    node: Node, world: World
) -> None:
    answer = node.gateways[0].predict("pair", PAIR, Request_Id="order-7", Unit="customer-1")
    headers = answer.headers
    record = records(node)[headers["gatehouse-prediction-id"]]
    assert answer.json() == {"predictions": [1.0]}
    assert headers["gatehouse-version"] == str(world.workers["one"].version)
    assert (headers["gatehouse-arm"], headers["gatehouse-assignment"]) == ("stable", "single")
    assert headers["gatehouse-request-id"] == "order-7"
    assert "predict;dur=" in headers["server-timing"]
    assert record["features"] == [{"a": 0.0, "b": 1.0}]
    assert record["outputs"] == [1.0]
    assert (record["status"], record["row_count"], record["request_id"]) == (200, 1, "order-7")
    assert record["bucket"] == bucket("salt-1", "customer-1")
    assert record["unit"] and "customer" not in record["unit"]
    assert record["total_us"] >= record["predict_us"] > 0


def test_a_unit_keeps_its_arm_and_others_are_spread(node: Node) -> None:
    gateway = node.gateways[0]
    for number in range(40):
        unit = f"customer-{number}"
        wanted = 2.0 if bucket("salt-1", unit) < 3_000 else 1.0
        answer = gateway.predict("ab", PAIR, Unit=unit)
        assert answer.json() == {"predictions": [wanted]}
        assert answer.headers["gatehouse-assignment"] == "sticky"
    by_chance = [gateway.predict("ab", PAIR) for _ in range(60)]
    assert {answer.headers["gatehouse-assignment"] for answer in by_chance} == {"random"}
    assert {answer.json()["predictions"][0] for answer in by_chance} == {1.0, 2.0}


def test_a_unit_may_hold_any_letters(node: Node) -> None:
    answer = node.gateways[0].client.post(
        "/ab/invocations",
        json={"instances": PAIR},
        headers=[(b"Gatehouse-Unit", "Zoë-客户".encode())],
    )
    record = records(node)[answer.headers["gatehouse-prediction-id"]]
    assert record["bucket"] == bucket("salt-1", "Zoë-客户")


def test_an_arm_is_chosen_only_with_the_scope_for_it(node: Node) -> None:
    gateway = node.gateways[0]
    forced = gateway.predict("ab", PAIR, Arm="candidate", Unit="customer-1")
    assert forced.json() == {"predictions": [2.0]}
    assert forced.headers["gatehouse-assignment"] == "forced"
    plain = gateway.client.post(
        "/ab/invocations",
        json={"instances": PAIR},
        headers={"Authorization": "Bearer plain", "Gatehouse-Arm": "candidate"},
    )
    assert plain.status_code == 403
    assert "lacks the scope predict:force" in plain.json()["message"]


REFUSED: list[tuple[str, dict[str, str], Any, int, str, str]] = [
    ("digits", {"Authorization": ""}, {}, 401, "UNAUTHENTICATED", "Send a prediction token"),
    ("digits", {"Authorization": "Basic x"}, {}, 401, "UNAUTHENTICATED", "Send a prediction token"),
    ("digits", {"Authorization": "Bearer wrong"}, {}, 401, "UNAUTHENTICATED", "unknown here"),
    ("digits", {"Authorization": "Bearer expired"}, {}, 401, "UNAUTHENTICATED", "has expired"),
    (
        "digits",
        {"Authorization": "Bearer only-pair"},
        {},
        403,
        "PERMISSION_DENIED",
        "not for deployment digits",
    ),
    (
        "digits",
        {"Authorization": "Bearer feedback-only"},
        {},
        403,
        "PERMISSION_DENIED",
        "lacks the scope predict",
    ),
    (
        "digits",
        {"Authorization": "Bearer other-workspace"},
        {},
        404,
        "RESOURCE_DOES_NOT_EXIST",
        "There is no deployment 'digits'",
    ),
    ("nowhere", {}, {}, 404, "RESOURCE_DOES_NOT_EXIST", "There is no deployment 'nowhere'"),
    ("empty", {}, {"instances": []}, 503, "NO_LIVE_VERSION", "has no live version"),
    ("units-only", {}, {"instances": PAIR}, 400, "BAD_REQUEST", "send the header Gatehouse-Unit"),
    ("units-only", {"Gatehouse-Unit": ""}, {"instances": PAIR}, 400, "BAD_REQUEST", "who asks"),
    ("ab", {"Gatehouse-Unit": "x" * 257}, {"instances": PAIR}, 400, "BAD_REQUEST", "longer than"),
    ("ab", {"Gatehouse-Arm": "blue"}, {"instances": PAIR}, 400, "BAD_REQUEST", "no arm 'blue'"),
    ("pair", {"Gatehouse-Timeout-Ms": "soon"}, {"instances": PAIR}, 400, "BAD_REQUEST", "whole"),
    ("pair", {}, {"instances": [[1]]}, 400, "BAD_REQUEST", "Row 0 has 1 values"),
    ("small", {}, {"instances": [[1, 2]] * 3}, 413, "REQUEST_TOO_LARGE", "at most 2"),
    ("small", {}, {"instances": [[1, 2]] * 50}, 413, "REQUEST_TOO_LARGE", "at most 100"),
    ("pair", {"Content-Type": "text/plain"}, {}, 415, "UNSUPPORTED_MEDIA_TYPE", "send application"),
]


@pytest.mark.parametrize(("deployment", "headers", "body", "status", "code", "message"), REFUSED)
def test_bad_requests_get_a_sentence_in_mlflows_form(
    node: Node,
    deployment: str,
    headers: dict[str, str],
    body: Any,
    status: int,
    code: str,
    message: str,
) -> None:
    answer = node.gateways[0].client.post(f"/{deployment}/invocations", json=body, headers=headers)
    assert answer.status_code == status, answer.text
    assert answer.json()["error_code"] == code
    assert message in answer.json()["message"]


def test_a_body_that_hides_its_size_is_cut_off(node: Node) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(1_000):
            yield b" " * 4_096

    answer = node.gateways[0].client.post(
        "/small/invocations", content=endless(), headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 413


def test_a_stranger_is_turned_away_before_the_body_is_read(node: Node) -> None:
    with socket.create_connection(("127.0.0.1", node.gateways[0].port), timeout=5) as raw:
        raw.sendall(
            b"POST /pair/invocations HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n"
            b"Expect: 100-continue\r\nAuthorization: Bearer wrong\r\n\r\n"
        )
        assert raw.recv(4_096).startswith(b"HTTP/1.1 401")


def test_health_says_what_serves(node: Node) -> None:
    client = node.gateways[0].client
    assert client.get("/pair/ping").status_code == 200
    assert client.get("/pair/health").status_code == 200
    assert client.get("/empty/ping").json()["error_code"] == "NO_LIVE_VERSION"
    assert client.get("/pair/ping", headers={"Authorization": ""}).status_code == 401
    version = client.get("/ab/version").json()
    assert [arm["share_basis_points"] for arm in version["arms"]] == [7_000, 3_000]
    assert client.get("/ready").json()["ready"] is True
    assert client.get("/live").status_code == 200
    assert client.get("/").status_code == 404
    assert client.get("/pair/invocations").status_code == 405


def test_one_bad_row_fails_its_own_request_only(node: Node) -> None:
    gateway = node.gateways[0]
    good, bad = DIGITS.data[0].tolist(), [None, *DIGITS.data[0].tolist()[1:]]

    def ask(number: int) -> httpx.Response:
        return gateway.predict("canary", [bad if number % 5 == 0 else good], Arm="candidate")

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(ask, range(60)))
    for number, answer in enumerate(answers):
        if number % 5 == 0:
            assert answer.status_code == 500
            assert answer.json()["error_code"] == "MODEL_ERROR"
            assert "contains NaN" in answer.json()["message"]
        else:
            assert answer.json() == {"predictions": [0]}


def test_stable_answers_for_a_candidate_that_cannot_and_the_record_says_so(
    node: Node, world: World
) -> None:
    bad = [None, *DIGITS.data[0].tolist()[1:]]
    answer = node.gateways[0].predict("canary", [bad])
    record = records(node)[answer.headers["gatehouse-prediction-id"]]
    assert answer.json() == {"predictions": [0]}
    assert answer.headers["gatehouse-assignment"] == "failover"
    assert answer.headers["gatehouse-arm"] == "stable"
    assert (record["arm"], record["assignment"], record["status"]) == ("candidate", "failover", 200)
    assert record["version_id"] == world.workers["tree"].version_id
    assert "contains NaN" in record["error"]


def test_a_deployment_answers_no_more_requests_at_once_than_it_may(
    node: Node, world: World
) -> None:
    crowded = world.deployment("pair", "one", max_in_flight=1)
    publish(node, world, pair=crowded)
    gateway = node.gateways[0]
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=5) as slow:
        # A caller who sends half a body holds the one place.
        slow.sendall(
            b"POST /pair/invocations HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n"
            b"Content-Type: application/json\r\nAuthorization: Bearer "
            + SECRET.encode()
            + b"\r\n\r\n{"
        )
        refused = wait_for(lambda: (a := gateway.predict("pair", PAIR)).status_code == 429 and a, 5)
    assert refused.json()["error_code"] == "REQUEST_LIMIT_EXCEEDED"
    assert int(refused.headers["retry-after"]) >= 1
    wait_for(lambda: gateway.predict("pair", PAIR).status_code == 200, 5, "place given back")
    publish(node, world)


def test_a_killed_candidate_is_covered_by_stable_and_comes_back(node: Node, world: World) -> None:
    gateway = node.gateways[0]
    row = [DIGITS.data[3].tolist()]
    key = world.workers["logistic"].key
    assert gateway.predict("canary", row).headers["gatehouse-assignment"] == "single"
    node.kill_worker(key)
    seen = [gateway.predict("canary", row) for _ in range(20)]
    assert {answer.status_code for answer in seen} == {200}
    assert seen[-1].headers["gatehouse-assignment"] == "failover"
    node.wait_ready(key)
    back = wait_for(
        lambda: (a := gateway.predict("canary", row)).headers["gatehouse-arm"] == "candidate" and a
    )
    assert back.json() == {"predictions": [3]}
    assert any(
        k == key and state == "loading" and "started again" in detail
        for k, state, detail in node.states
    )


def test_a_killed_only_worker_gives_503_at_once_until_it_is_back(node: Node, world: World) -> None:
    gateway = node.gateways[0]
    key = world.workers["one"].key
    node.kill_worker(key)
    started = time.monotonic()
    answer = wait_for(
        lambda: (a := gateway.predict("pair", PAIR)).status_code != 200 and a, 5, "an error"
    )
    assert time.monotonic() - started < 2
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert "is being started again" in answer.json()["message"]
    assert gateway.client.get("/ready").status_code == 503
    wait_for(lambda: gateway.predict("pair", PAIR).status_code == 200, 60, "worker back")


def test_a_worker_that_hangs_costs_one_deadline_and_is_replaced(node: Node, world: World) -> None:
    gateway = node.gateways[0]
    key = world.workers["one"].key
    assert gateway.predict("pair", PAIR).status_code == 200
    (pid,) = node.model_pids(key)
    os.kill(pid, signal.SIGSTOP)
    started = time.monotonic()
    first = gateway.predict("pair", PAIR)
    assert (first.status_code, first.json()["error_code"]) == (504, "DEADLINE_EXCEEDED")
    assert 0.9 < time.monotonic() - started < 2
    # From now on nobody waits for it.
    second = wait_for(
        lambda: (a := gateway.predict("pair", PAIR)).status_code == 503 and a, 3, "evicted"
    )
    assert second.elapsed.total_seconds() < 0.5
    wait_for(lambda: gateway.predict("pair", PAIR).status_code == 200, 60, "replaced")
    assert node.model_pids(key) != [pid]


def test_a_caller_may_ask_for_less_time_but_not_harm_others(node: Node, world: World) -> None:
    gateway = node.gateways[0]
    (pid,) = node.model_pids(world.workers["tree"].key)
    os.kill(pid, signal.SIGSTOP)
    try:
        hasty = gateway.predict("digits", [DIGITS.data[0].tolist()], Timeout_Ms="50")
        assert hasty.status_code == 504
    finally:
        os.kill(pid, signal.SIGCONT)
    patient = gateway.predict("digits", [DIGITS.data[0].tolist()])
    assert patient.json() == {"predictions": [0]}
