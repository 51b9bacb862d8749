"""The road to production is prepared, and the first scanner starts to send digits."""

from __future__ import annotations

import time
from pathlib import Path

from gatehouse_cli.errors import Problem

from storybook.cast import Cast
from storybook.narrator import POLL_SECONDS
from storybook.reviews import ENVIRONMENT
from storybook.scanners import Digit, Scanner
from storybook.training import MODEL

DEPLOYMENT = f"{MODEL}-{ENVIRONMENT}"
POLICY = Path(__file__).with_name("policy.yaml")
FIRST_DIGITS = 400
_QUIET_SECONDS = 4


def prepare(cast: Cast) -> None:
    """The environment's policy for this risk is the demo's."""
    source = POLICY.read_text()
    address = f"environments/{ENVIRONMENT}/policies"
    for policy in cast.admin.call.pages(address):
        if policy["risk_tier"] == "low" and policy["state"] == "active":
            if policy["source"].strip() == source.strip():
                return
            break
    cast.admin.call.create(
        address,
        {"risk_tier": "low", "source": source, "reason": "All checks, and rollouts in seconds."},
    )
    cast.admin.says(f"activates the policy that guards {ENVIRONMENT}")


def scanner(cast: Cast) -> Scanner:
    """Return a scanner with a prediction token of its own, for this deployment only."""
    token = cast.engineer.call.create(
        "tokens",
        {"name": "digit scanner", "kind": "predict", "days": 1, "deployments": [DEPLOYMENT]},
    )
    opened = Scanner(cast.gateway_url, DEPLOYMENT, token["secret"])
    opened.wait_until_open()
    return opened


def let_record_settle(cast: Cast) -> None:
    """Wait, in a story that was interrupted, until its last requests are on record."""
    newest = _newest(cast)
    quiet_since = time.monotonic()
    deadline = quiet_since + 20
    while newest and time.monotonic() < min(deadline, quiet_since + _QUIET_SECONDS):
        time.sleep(POLL_SECONDS)
        if (now := _newest(cast)) != newest:
            newest, quiet_since = now, time.monotonic()


def not_yet_read(cast: Cast, scanner: Scanner, digits: list[Digit]) -> list[Digit]:
    """Return the digits that no request has carried yet, now or in an interrupted story."""
    rows = cast.engineer.call.pages(f"deployments/{DEPLOYMENT}/predictions")
    seen = {row["request_id"] for row in rows}
    seen |= scanner.sent  # the newest may still be on their way into the database
    return [digit for digit in digits if digit.id not in seen]


def read_first_digits(scanner: Scanner, fresh: list[Digit]) -> None:
    """Most of the digits are read by the live version; the rest is kept for the canary."""
    first = [digit for digit in fresh if int(digit.id.rpartition("-")[2]) < FIRST_DIGITS]
    if first:
        scanner.tell(f"held-out digits, each once: {scanner.send(first)}")


def _newest(cast: Cast) -> str:
    """Return the newest captured prediction's id, or nothing where there is none yet."""
    try:
        rows = cast.engineer.call.pages(f"deployments/{DEPLOYMENT}/predictions", limit=1)
        return next((str(row["id"]) for row in rows), "")
    except Problem as problem:
        if problem.status != 404:  # before the first rollout there is no deployment
            raise
        return ""
