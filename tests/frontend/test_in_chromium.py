"""What only a browser can prove: the content policy, the palette, keys, dialogs and live parts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection
from playwright.sync_api import Browser, Page, sync_playwright

from controlplane.core.actor import Actor
from deployments.models import Rollout
from experiments.services import runs
from registry.services import promotions
from tests import make
from tests.rooms import Room

pytestmark = [
    pytest.mark.browser,
    pytest.mark.django_db(transaction=True, databases=["default", "ledger"]),
]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    # Playwright runs a loop in this thread; the records that a test makes are still made in order.
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "1"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox"]
        )
        yield browser
        browser.close()
    del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]


class Visit:
    """One person in one window; whatever the page complains about is kept."""

    def __init__(self, browser: Browser, address: str, room: Room, actor: Actor) -> None:
        self.address, self.room = address, room
        self.page: Page = browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
        self.complaints: list[str] = []
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.goto(f"{address}/login/?next={self.at('')}")
        self.page.fill("[name=username]", make.user_of(actor).username)
        self.page.fill("[name=password]", make.PASSWORD)
        self.page.click("button[type=submit]")
        self.page.wait_for_url(f"**{self.at('')}")

    def at(self, page: str) -> str:
        return f"/w/{self.room.workspace.key}/{page}"

    def go(self, page: str) -> Page:
        self.page.goto(self.address + self.at(page))
        return self.page

    def _hear(self, message: Any) -> None:
        if message.type in {"error", "warning"}:
            self.complaints.append(message.text)


@pytest.fixture
def visit(chromium: Browser, live_server: Any, room: Room) -> Iterator[Any]:
    made: list[Visit] = []

    def start(actor: Actor) -> Visit:
        made.append(Visit(chromium, live_server.url, room, actor))
        return made[-1]

    yield start
    for one in made:
        one.page.context.close()
        assert one.complaints == []


def test_no_page_breaks_the_content_policy_or_complains(room: Room, visit: Any) -> None:
    room.requested()
    reader = visit(room.approver)
    for page in ("", "models/", "models/reader/", "promotions/1/", "promotions/1/sign/",
                 "queue/", "runs/", "audit/", "me/", "datasets/", "rollouts/"):  # fmt: skip
        reader.go(page)
        for width in (1440, 390):
            reader.page.set_viewport_size({"width": width, "height": 900})
            assert reader.page.evaluate("document.documentElement.scrollWidth") <= width, page
        assert reader.page.evaluate("document.fonts.check('16px Plex')"), page


def test_the_palette_opens_by_key_finds_and_leads_there(room: Room, visit: Any) -> None:
    room.requested()
    reader = visit(room.approver)
    page = reader.go("queue/")
    page.keyboard.press("Control+k")
    page.keyboard.type("reader")
    page.wait_for_selector("#palette [role=option] mark")
    page.keyboard.press("Enter")
    page.wait_for_url("**/promotions/1/")


def test_two_letters_go_to_a_page_and_one_switches_the_theme(room: Room, visit: Any) -> None:
    reader = visit(room.approver)
    page = reader.go("")
    page.keyboard.press("t")
    assert page.get_attribute("html", "data-theme") in {"dark", "light"}
    page.keyboard.press("g")
    page.keyboard.press("m")
    page.wait_for_url("**/models/")
    assert page.get_attribute("html", "data-theme") in {"dark", "light"}


def test_a_filter_answers_while_typing_and_stands_in_the_address(room: Room, visit: Any) -> None:
    reader = visit(room.approver)
    page = reader.go("models/")
    page.keyboard.press("/")
    page.keyboard.type("zzz")
    page.wait_for_selector("text=No model matches")
    page.wait_for_url("**q=zzz**")


def test_a_dialog_asks_before_a_request_is_rejected(room: Room, visit: Any) -> None:
    promotion = room.requested()
    reader = visit(room.approver)
    page = reader.go("promotions/1/")
    page.click("aside >> text=Reject…")
    assert page.evaluate("document.activeElement.tagName") == "TEXTAREA"
    page.keyboard.type("The second scanner is not in the holdout.")
    page.click("dialog[open] button[type=submit]")
    page.wait_for_selector("text=This request was rejected.")
    promotion.refresh_from_db()
    assert promotion.state == "rejected"


def test_an_approval_is_signed_in_the_browser(room: Room, visit: Any) -> None:
    promotion = room.requested()
    reader = visit(room.approver)
    page = reader.go("promotions/1/")
    page.click(f"aside >> text=Approve {promotion.subject_digest[:8]}…")
    page.fill("[name=password]", make.PASSWORD)
    page.click(f"text=Sign and approve {promotion.subject_digest[:8]}")
    page.wait_for_selector("text=You approved PR-1.")
    promotion.refresh_from_db()
    assert promotion.state == "approved"


def test_a_moving_rollout_renews_itself_until_it_ends(room: Room, visit: Any) -> None:
    promotion = room.requested()
    room.approve(promotion, room.approver)
    promotions.execute(promotion.pk, actor=Actor.system("gatekeeper"))
    rollout = Rollout.objects.get(promotion=promotion)
    reader = visit(room.approver)
    page = reader.go(f"rollouts/{rollout.pk}/")
    page.wait_for_selector("text=Nodes load v1 and try it.")
    page.wait_for_selector("text=live, updated")
    Rollout.objects.filter(pk=rollout.pk).update(state="rolled_back", message="The guard said so.")
    page.wait_for_selector("text=The guard said so.", timeout=10_000)
    assert page.query_selector("[data-poll]") is None


def test_an_address_of_the_mlflow_client_arrives_after_signing_in(
    room: Room, chromium: Browser, live_server: Any
) -> None:
    page = chromium.new_context().new_page()
    page.goto(f"{live_server.url}/#/models/reader/versions/1")
    page.wait_for_selector("[name=username]")
    page.fill("[name=username]", make.user_of(room.approver).username)
    page.fill("[name=password]", make.PASSWORD)
    page.click("button[type=submit]")
    page.wait_for_url("**/models/reader/versions/1/")
    page.context.close()


def test_a_finished_runs_chart_is_drawn_under_the_policy_in_both_themes(
    room: Room, visit: Any
) -> None:
    run_id = runs.create(
        workspace=room.workspace, experiment_name="digits", run_name="forest", actor=room.engineer
    )
    with connection.cursor() as cursor:
        for step in range(30):
            cursor.execute(
                "INSERT INTO mlflow.metrics (key, value, timestamp, run_uuid, step, is_nan) "
                "VALUES ('loss', %s, 1, %s, %s, false)",
                [1 / (step + 1), run_id, step],
            )
        cursor.execute(
            "INSERT INTO mlflow.latest_metrics (key, value, timestamp, step, is_nan, run_uuid) "
            "VALUES ('loss', 0.03, 1, 29, false, %s)",
            [run_id],
        )
    reader = visit(room.approver)
    page = reader.go(f"runs/{run_id}/")
    page.wait_for_selector("figure[data-ready] .plot .main-svg")
    line = "document.querySelector('.plot .scatterlayer .js-line').style.stroke"
    before = page.evaluate(line)
    page.keyboard.press("t")
    page.wait_for_function(f"{line} !== '{before}'")
