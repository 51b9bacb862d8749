"""A canary on its page: arms, guard, what happens next, and the way back afterwards."""

from __future__ import annotations

import re

import pytest

from deployments.models import Deployment, Prediction, Rollout
from deployments.services import rollouts
from tests.frontend.page_tools import SignIn, as_role, at, text_of
from tests.rooms import SYSTEM
from tests.streets import Street

pytestmark = pytest.mark.django_db(databases=["default", "ledger"])


@pytest.fixture
def street() -> Street:
    return Street()


def canary(street: Street) -> Rollout:
    """Return the canary of a second version at its first step, with the first one live."""
    street.live(street.version)
    second = street.register(b"weights 2")
    rollout = street.rollout_of(second)
    street.node_says(second, "ready")
    return rollouts.consider(rollout.pk, actor=SYSTEM)


def test_a_canary_shows_both_versions_with_requests_errors_and_latency(
    street: Street, browser: SignIn
) -> None:
    rollout = canary(street)
    street.requests(rollout, "stable", good=40)
    street.requests(rollout, "candidate", good=9, bad=1)
    page = text_of(browser(street.approver).get(at(street, f"rollouts/{rollout.pk}/")))
    assert "canary 10%" in page
    assert "v1, 90% of traffic" in page
    row = re.search(r"v2 <span class=\"alias cand\">@candidate</span></th>(.*?)</tr>", page)
    assert row
    assert [">10<" in row[1], ">1<" in row[1], ">10.00%<" in row[1], ">0.9 ms<" in row[1]] == [
        True
    ] * 4
    assert "Rolls back above" in page
    assert "0 of 14" not in page


def test_the_page_says_what_happens_next(street: Street, browser: SignIn) -> None:
    rollout = canary(street)
    page = text_of(browser(street.approver).get(at(street, f"rollouts/{rollout.pk}/")))
    assert "<b>Nothing to do.</b>" in page
    assert "moves to 50% once 100 requests have been answered well" in page


def test_a_rollback_by_the_guard_is_said_first_with_its_reason(
    street: Street, browser: SignIn
) -> None:
    rollout = canary(street)
    street.requests(rollout, "stable", good=900)
    street.requests(rollout, "candidate", good=10, bad=90)
    rollouts.consider(rollout.pk, actor=SYSTEM)
    street.gateway_follows()
    rollouts.consider(rollout.pk, actor=SYSTEM)
    client = browser(street.approver)
    page = text_of(client.get(at(street, f"rollouts/{rollout.pk}/")))
    assert "<b>Rolled back to v1.</b>" in page
    assert "90.0 %" in page
    assert "data-poll" not in page
    review = text_of(client.get(at(street, f"promotions/{rollout.promotion.number}/")))
    assert "This request was rolled back." in review
    assert at(street, f"rollouts/{rollout.pk}/") in review


def test_two_clicks_on_advance_move_one_step(street: Street, browser: SignIn) -> None:
    rollout = canary(street)
    client = browser(street.operator)
    page = text_of(client.get(at(street, f"rollouts/{rollout.pk}/")))
    assert "Send 50% of requests to v2 now?" in page
    address = at(street, f"rollouts/{rollout.pk}/advance/")
    assert client.post(address, {"step": "0"}).status_code == 302
    again = client.post(address, {"step": "0"})
    assert again.status_code == 422
    assert "meanwhile" in text_of(again)
    rollout.refresh_from_db()
    assert rollout.step == 1


def test_pausing_and_resuming_from_the_page(street: Street, browser: SignIn) -> None:
    rollout = canary(street)
    client = browser(street.operator)
    client.post(at(street, f"rollouts/{rollout.pk}/pause/"), {"reason": "Lunch."})
    page = text_of(client.get(at(street, f"rollouts/{rollout.pk}/")))
    assert "Paused; the shares stay as they are." in page
    assert "is paused" in text_of(client.get(at(street)))
    client.post(at(street, f"rollouts/{rollout.pk}/resume/"), {"reason": ""})
    rollout.refresh_from_db()
    assert rollout.state == "running"


def test_what_is_live_goes_back_from_the_page_of_its_rollout(
    street: Street, browser: SignIn
) -> None:
    street.live(street.version)
    finished = street.live(street.register(b"weights 2"))
    client = browser(street.operator)
    page = text_of(client.get(at(street, f"rollouts/{finished.pk}/")))
    assert "Roll back to v1…" in page
    client.post(
        at(street, f"rollouts/{finished.pk}/roll_back_live/"),
        {"reason": "Customers are affected.", "seen": ""},
    )
    revision = Deployment.objects.get().revisions.get(valid_to=None)
    assert revision.stable == street.version
    assert "Roll back to" not in text_of(client.get(at(street, f"rollouts/{finished.pk}/")))


def test_home_and_models_show_what_serves(street: Street, browser: SignIn) -> None:
    rollout = canary(street)
    street.requests(rollout, "stable", good=3, bad=1)
    client = browser(as_role(street, "viewer"))
    home = text_of(client.get(at(street)))
    assert "v1 + v2" in home
    assert f'data-l="Requests">{Prediction.objects.count():,}<' in home
    assert "step 1 of 3 at 10%" in home
    models = text_of(client.get(at(street, "models/?view=live")))
    assert "since" in models
    page = text_of(client.get(at(street, "models/reader/")))
    assert "@production" in page
