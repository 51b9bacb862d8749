"""Ask for a promotion and follow it to its end; no terminal in here, so scripts can use it too."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from gatehouse_cli.client import LONGEST_WAIT_SECONDS, Client, part
from gatehouse_cli.errors import Exit, Problem, Unreachable

Promotion = Mapping[str, Any]
# States in which nothing moves before somebody acts; ``--wait`` ends there.
_OUTCOMES = {
    "completed": Exit.DONE,
    "rejected": Exit.REJECTED,
    "changes_requested": Exit.CHANGES_REQUESTED,
    "expired": Exit.EXPIRED_OR_WITHDRAWN,
    "withdrawn": Exit.EXPIRED_OR_WITHDRAWN,
    "blocked": Exit.GATE_FAILED,
    "rolled_back": Exit.ROLLED_BACK,
}
# A server that restarts is back by then; a wait for people should survive that.
_PATIENCE_SECONDS = 120
_PAUSE_SECONDS = 2.0


def ask(
    client: Client,
    model: str,
    version: int,
    environment: str,
    *,
    reason: str = "",
    link: str = "",
    strategy: str = "",
) -> tuple[Promotion, bool]:
    """Return the promotion of this version, and whether it was opened now.

    An open request for the same version is returned instead of a second one. A version that is
    live already has its last completed promotion returned.

    Raises:
        Problem: the server refuses, or another version's request is open.
    """
    body = {
        "model": model,
        "version": version,
        "environment": environment,
        "reason": reason,
        "link": link,
        "strategy": strategy,
    }
    try:
        return client.create("promotions", body), True
    except Problem as problem:
        if problem.status != 409:
            raise
        present = _present(client, model, version, environment)
        if present is None:
            raise
        return present, False


def follow(
    client: Client,
    promotion: Promotion,
    *,
    timeout_seconds: float,
    changed: Callable[[Promotion], None] = lambda promotion: None,
    trouble: Callable[[str], None] = lambda sentence: None,
) -> Promotion:
    """Return the promotion as it is when it needs nobody's waiting any more, or when time is over.

    ``changed`` is called with each new state, the present one first; ``trouble`` with a sentence
    when the server cannot be reached for a while.
    """
    deadline = time.monotonic() + timeout_seconds
    address = f"promotions/{promotion['number']}"
    changed(promotion)
    while outcome(promotion) is Exit.STILL_WAITING:
        left = deadline - time.monotonic()
        if left <= 0:
            break
        seen = str(promotion["state"])
        promotion = _patiently(
            lambda seen=seen, left=left: client.poll(  # type: ignore[misc]
                address, seen=seen, wait_seconds=min(LONGEST_WAIT_SECONDS, left)
            ),
            until=min(deadline, time.monotonic() + _PATIENCE_SECONDS),
            trouble=trouble,
        )
        if promotion["state"] != seen:
            changed(promotion)
    return promotion


def outcome(promotion: Promotion) -> Exit:
    """Return the exit status that stands for the promotion's state."""
    return _OUTCOMES.get(str(promotion["state"]), Exit.STILL_WAITING)


def failed_gates(promotion: Promotion) -> list[str]:
    """Return what each check that stands in the way says."""
    return [
        f"{gate['title']}: {gate['sentence']}"
        for gate in promotion.get("gates", [])
        if gate["outcome"] not in {"pass", "waived"}
    ]


def missing_reviews(promotion: Promotion) -> list[str]:
    """Return the review slots that are still open, in words."""
    return [
        f"{slot['slot']} ({slot['missing']} of {slot['quorum']})"
        for slot in promotion.get("slots", [])
        if slot["missing"]
    ]


def _present(client: Client, model: str, version: int, environment: str) -> Promotion | None:
    """Return the request that already stands for this version: open, or completed and live."""
    narrowed = {"model": model, "environment": environment}
    for row in client.pages("promotions", params={"state": "open", **narrowed}):
        if row["version"] == version:
            return client.get(f"promotions/{row['number']}")  # type: ignore[no-any-return]
    for row in client.pages("promotions", params={"state": "completed", **narrowed}, limit=20):
        if row["version"] == version and _is_live(client, model, version, environment):
            return client.get(f"promotions/{row['number']}")  # type: ignore[no-any-return]
    return None


def _is_live(client: Client, model: str, version: int, environment: str) -> bool:
    for row in client.pages("deployments"):
        if (row["model"], row["environment"]) == (model, environment):
            revision = client.get(f"deployments/{part(row['name'])}")["revision"]
            return bool(revision and revision["stable"] == version)
    return False


def _patiently(
    ask_server: Callable[[], Promotion], *, until: float, trouble: Callable[[str], None]
) -> Promotion:
    """Return the answer; a server that is away for a moment is asked again until then."""
    has_said = False
    while True:
        try:
            return ask_server()
        except (Unreachable, Problem) as error:
            is_passing = isinstance(error, Unreachable) or error.is_passing
            if not is_passing or time.monotonic() >= until:
                raise
            if not has_said:
                trouble(f"{error.message} Asking again.")
                has_said = True
        time.sleep(_PAUSE_SECONDS)
