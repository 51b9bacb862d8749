"""Nobody is kept out: axe finds nothing on the pages of the thread, in both themes and widths."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from playwright.sync_api import Browser, Page

from controlplane.core.actor import Actor
from deployments.services import rollouts
from experiments.services import runs
from tests import make
from tests.browser.chromium import launched
from tests.rooms import SYSTEM
from tests.streets import Street

pytestmark = [
    pytest.mark.browser,
    pytest.mark.django_db(transaction=True, databases=["default", "ledger"]),
]

AXE = Path(settings.BASE_DIR) / "node_modules" / "axe-core" / "axe.min.js"
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
THEMES = ("light", "dark")
WIDTHS = (1440, 390)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with launched() as browser:
        yield browser


def test_axe_finds_nothing_in_either_theme_at_either_width(
    chromium: Browser, live_server: Any
) -> None:
    street, pages = _street_with_everything()
    found = []
    for theme in THEMES:
        page = _signed_in(chromium, live_server.url, street.approver, theme)
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 900})
            for name, path in pages.items():
                answer = page.goto(f"{live_server.url}/w/{street.workspace.key}/{path}")
                assert answer and answer.status == 200, name
                page.evaluate(AXE.read_text())
                result = page.evaluate("rules => axe.run({runOnly: rules})", RULES)
                assert len(result["passes"]) > 20, name
                for violation in result["violations"]:
                    where = [node["target"] for node in violation["nodes"]][:3]
                    found.append(f"{name} {theme} {width}: {violation['id']} at {where}")
        page.context.close()
    assert found == []


def _street_with_everything() -> tuple[Street, dict[str, str]]:
    """Return a street with a live version, a canary under way, and a request in review."""
    street = Street()
    street.live(street.version)
    second = street.register(b"weights 2")
    canary = street.rollout_of(second)
    street.node_says(second, "ready")
    rollouts.consider(canary.pk, actor=SYSTEM)
    street.requests(canary, "stable", good=80)
    street.requests(canary, "candidate", good=18, bad=2)
    rollouts.consider(canary.pk, actor=SYSTEM)
    rollouts.roll_back(canary.pk, actor=street.operator, reason="Too many refusals.")
    street.gateway_follows()
    rollouts.consider(canary.pk, actor=SYSTEM)
    street.version = street.register(b"weights 3")
    difference = {"value": "0.01", "low": "0.00", "high": "0.02", "n": 400}
    street.evaluate(street.version, difference=difference)
    asked = street.requested()
    run = runs.create(
        workspace=street.workspace,
        experiment_name="digits",
        run_name="first",
        actor=street.engineer,
    )
    return street, {
        "home": "",
        "promotion": f"promotions/{asked.number}/",
        "sign": f"promotions/{asked.number}/sign/",
        "rollout": f"rollouts/{canary.pk}/",
        "run": f"runs/{run}/",
    }


def _signed_in(browser: Browser, address: str, actor: Actor, theme: Any) -> Page:
    page = browser.new_context(color_scheme=theme).new_page()
    page.goto(f"{address}/login/")
    page.fill("[name=username]", make.user_of(actor).username)
    page.fill("[name=password]", make.PASSWORD)
    page.click("button[type=submit]")
    page.wait_for_url("**/w/**")
    return page
