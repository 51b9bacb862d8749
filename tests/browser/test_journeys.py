"""One errand each of an engineer, an approver and an operator, in a browser, start to end.

A broken content policy or anything on the console fails the errand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from controlplane.core.actor import Actor
from deployments.services import revisions, rollouts
from registry.models import PromotionRequest
from registry.services import promotions
from tests import make
from tests.browser.chromium import launched
from tests.rooms import SYSTEM
from tests.streets import Street

pytestmark = [
    pytest.mark.browser,
    pytest.mark.django_db(transaction=True, databases=["default", "ledger"]),
]
SignIn = Callable[[Actor], Page]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with launched() as browser:
        yield browser


@pytest.fixture
def street() -> Street:
    return Street()


@pytest.fixture
def sign_in(chromium: Browser, live_server: Any) -> Iterator[SignIn]:
    complaints: list[str] = []

    def start(actor: Actor) -> Page:
        page = chromium.new_context(viewport={"width": 1440, "height": 900}).new_page()
        page.on(
            "console",
            lambda message: (
                complaints.append(message.text) if message.type in {"error", "warning"} else None
            ),
        )
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(f"{live_server.url}/login/")
        page.fill("[name=username]", make.user_of(actor).username)
        page.fill("[name=password]", make.PASSWORD)
        page.click("button[type=submit]")
        page.wait_for_url("**/w/**")
        return page

    yield start
    # A 4xx answer to a form is part of an errand; Chromium notes it as a failed resource.
    assert [text for text in complaints if "status of 4" not in text] == []


def test_an_engineer_asks_for_a_promotion_and_cannot_decide_it(
    street: Street, sign_in: SignIn
) -> None:
    street.evaluate(street.version)
    page = sign_in(street.engineer)
    page.click("nav >> text=Models")
    page.click("main >> text=reader")
    page.click("main >> text=v1")
    page.click("main .acts >> text=Open a promotion")
    page.select_option("[name=environment]", "production")
    page.fill("[name=reason]", "Reads the second scanner as well.")
    page.click("text=Open the promotion")
    page.wait_for_url("**/promotions/1/")
    promotion = PromotionRequest.objects.get(number=1)
    promotions.check(promotion.pk, actor=SYSTEM)

    page.reload()

    page.wait_for_selector("text=so another person must decide")
    assert page.query_selector("a:has-text('Approve')") is None
    page.goto(page.url + "sign/")
    page.wait_for_url("**/promotions/1/")
    assert promotion.reviews.count() == 0


def test_an_approver_reads_mistypes_and_signs(street: Street, sign_in: SignIn) -> None:
    promotion = street.requested()
    page = sign_in(street.approver)
    page.wait_for_selector("h1:has-text('1 thing needs you')")
    page.click("main >> text=Review")
    page.click(f"text=Approve {promotion.subject_digest[:8]}…")
    page.fill("[name=comment]", "The holdout is the right one.")
    page.fill("[name=password]", "not my password")
    page.click("text=Sign and approve")
    page.wait_for_selector("form [role=alert], form .errors, form [aria-invalid=true]")
    assert page.input_value("[name=comment]") == "The holdout is the right one."
    promotion.refresh_from_db()
    assert promotion.state == "in_review"

    page.fill("[name=password]", make.PASSWORD)
    page.click("text=Sign and approve")

    page.wait_for_selector("text=You approved PR-1.")
    promotion.refresh_from_db()
    assert promotion.state == "approved"
    page.goto(page.url.split("/promotions/")[0] + "/")
    page.wait_for_selector("h1:has-text('Nothing needs you')")


def test_an_operator_stops_a_canary_in_two_clicks(street: Street, sign_in: SignIn) -> None:
    street.live(street.version)
    second = street.register(b"weights 2")
    canary = street.rollout_of(second)
    street.node_says(second, "ready")
    rollouts.consider(canary.pk, actor=SYSTEM)
    page = sign_in(street.operator)
    page.click("nav >> text=Rollouts")
    page.click("main table >> text=reader")
    page.wait_for_url(f"**/rollouts/{canary.pk}/")

    page.click("aside >> text=Roll back")
    page.fill("dialog[open] textarea", "Complaints from the field.")
    page.click("dialog[open] button[type=submit]")

    page.wait_for_selector("text=Complaints from the field.")
    canary.refresh_from_db()
    assert canary.state in {"rolling_back", "rolled_back"}
    assert make.audited(canary, "rollout.roll_back") == 1
    now = revisions.current(canary.deployment)
    assert now is not None
    assert now.stable == street.version
