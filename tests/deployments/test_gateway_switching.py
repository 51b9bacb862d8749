"""Switching under load: no request fails, and after the acknowledgement none is answered by the
version before. A gateway that loses everything else goes on."""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass, field

import httpx
import pytest

from deployments import snapshot
from deployments.agent.disk import Stored, verified
from tests.deployments.serving import SECRET, Node, World, wait_for

pytestmark = pytest.mark.processes

PAIR = [[0.0, 1.0]]
SWITCHES = 100


@dataclass
class Seen:
    """What concurrent clients met, and which answer was due for requests sent at a moment."""

    answered: int = 0
    failed: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    # Acknowledged everywhere: (moment, answer); requests sent later may only get this answer.
    due: tuple[float, float] | None = None
    stop: bool = False


async def ask_for_ever(client: httpx.AsyncClient, urls: list[str], seen: Seen) -> None:
    while not seen.stop:
        due, sent = seen.due, time.monotonic()
        answer = await client.post(
            f"{random.choice(urls)}/pair/invocations", json={"instances": PAIR}
        )
        seen.answered += 1
        if answer.status_code != 200:
            seen.failed.append(answer.text)
        elif due is not None and due is seen.due and due[0] <= sent:
            if answer.json()["predictions"] != [due[1]]:
                seen.wrong.append(answer.text)
        elif answer.json()["predictions"] not in ([1.0], [2.0]):
            seen.wrong.append(answer.text)


async def switch_under_load(node: Node, world: World, seen: Seen) -> list[float]:
    urls = [gateway.url for gateway in node.gateways]
    took: list[float] = []
    headers = {"Authorization": f"Bearer {SECRET}"}
    limits = httpx.Limits(max_connections=64, max_keepalive_connections=64)
    async with httpx.AsyncClient(headers=headers, timeout=30, limits=limits) as client:
        clients = [asyncio.create_task(ask_for_ever(client, urls, seen)) for _ in range(16)]
        for number in range(SWITCHES):
            stable, other = (("one", "two"), ("two", "one"))[number % 2]
            started = time.monotonic()
            seen.due = None
            # The other version stays warm, so that the way back prepares nothing.
            source = world.snapshot(world.deployment("pair", stable), warm=[other])
            await asyncio.to_thread(node.publish, source)
            await asyncio.to_thread(node.wait_acked, source.revision)
            took.append(time.monotonic() - started)
            seen.due = (time.monotonic(), 1.0 if stable == "one" else 2.0)
            await asyncio.sleep(0.05)
        seen.stop = True
        await asyncio.gather(*clients)
    return took


def test_a_hundred_switches_lose_no_request_and_leave_no_answer_behind(
    node: Node, world: World
) -> None:
    for name in ("one", "two"):
        node.start_gateway(name)
    node.publish_and_wait(world.snapshot(world.deployment("pair", "one"), warm=["two"]))
    seen = Seen()
    took = asyncio.run(switch_under_load(node, world, seen))
    assert seen.failed == []
    assert seen.wrong == []
    assert seen.answered > SWITCHES * 3
    assert sorted(took)[int(len(took) * 0.9)] < 1.0


def test_a_table_that_is_not_newer_changes_nothing(node: Node, world: World) -> None:
    gateway = node.gateways[0]
    older = world.snapshot(world.deployment("pair", "one"), warm=["two"])
    node.publish_and_wait(world.snapshot(world.deployment("pair", "two"), warm=["one"]))
    node.hub.publish(stored(older), node.sockets)
    time.sleep(0.5)
    assert gateway.predict("pair", PAIR).json() == {"predictions": [2.0]}


def test_a_damaged_table_is_refused(node: Node, world: World) -> None:
    good = stored(world.snapshot(world.deployment("pair", "one"), warm=["two"]))
    node.hub.publish(Stored(good.body.replace("salt-1", "salt-2"), good.sha256, good.order), {})
    time.sleep(0.5)
    assert node.gateways[0].predict("pair", PAIR).json() == {"predictions": [2.0]}


def test_a_gateway_that_starts_without_the_agent_serves_from_the_disk(
    node: Node, world: World
) -> None:
    node.publish_and_wait(world.snapshot(world.deployment("pair", "two"), warm=["one"]))
    gateway = node.gateways[0]
    node.hub.close()
    gateway.kill()
    started = time.monotonic()
    gateway.start()
    wait_for(gateway.is_ready, 10, "ready from the disk")
    assert time.monotonic() - started < 5
    assert gateway.predict("pair", PAIR).json() == {"predictions": [2.0]}


def stored(source: snapshot.Snapshot) -> Stored:
    body = snapshot.dumps(source)
    return verified(body, snapshot.digest(body))
