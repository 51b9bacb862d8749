"""The second version gets a quarter of the requests, a second scanner starts, the guard decides."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from storybook.cast import Cast
from storybook.narrator import POLL_SECONDS, StoryError, wait_for
from storybook.reviews import Promotion, Review, stay
from storybook.scanners import SECOND_SCANNERS_GAIN, Digit, Scanner

Rollout = Mapping[str, Any]
_REPLAYS_PER_SECOND = 80
_GUARD_SECONDS = 45
_UNDER_WAY = {"preparing", "running"}


def play(
    cast: Cast, version: int, scanner: Scanner, *, fresh: list[Digit], replay: list[Digit]
) -> None:
    """The version goes in as a canary, meets rows that it cannot read, and is taken back."""
    review = Review(cast)
    promotion = review.ask(version, reason="Curves instead of lines: one point better.")
    if promotion["state"] == "in_review":
        promotion = review.approve(promotion, comment="Better on the holdout; watch the canary.")
    if promotion["state"] in {"approved", "executing"}:
        _expose(cast, promotion, scanner, fresh=fresh, replay=replay)
        promotion = stay(cast.ci, promotion, while_in={"approved", "executing"}, seconds=20)
    if promotion["state"] != "rolled_back":
        raise StoryError(f"{promotion['reference']} is {promotion['state']}, not rolled back.")
    cast.ci.says(f"{promotion['reference']} is rolled back; version {promotion['replaces']} serves")


def _expose(
    cast: Cast, promotion: Promotion, scanner: Scanner, *, fresh: list[Digit], replay: list[Digit]
) -> None:
    rollout = wait_for(
        "the canary to get its first requests",
        lambda: _started(cast, promotion),
        seconds=_GUARD_SECONDS,
    )
    if rollout["state"] != "running":
        raise StoryError(
            f"The canary is {rollout['state']} before the second scanner came: {rollout['message']}"
        )
    share = rollout["share_basis_points"] / 100
    cast.ci.says(f"canary: {share:g} % of requests reach version {rollout['version']}")
    if fresh:
        scanner.tell(f"the other held-out digits, each once: {scanner.send(fresh)}")
    scanner.tell(
        f"a second scanner with {SECOND_SCANNERS_GAIN:g} times the gain arrives "
        "(replay of the same digits)"
    )
    with _leaving(cast, rollout) as has_left:
        answers = scanner.send(
            itertools.islice(itertools.cycle(replay), _REPLAYS_PER_SECOND * _GUARD_SECONDS),
            gain=SECOND_SCANNERS_GAIN,
            prefix="replay-",
            per_second=_REPLAYS_PER_SECOND,
            until=has_left.is_set,
        )
    scanner.tell(
        f"replay: {answers}; for {answers.stood_in} that the new version could not read, the live "
        "one stood in"
    )
    rollout = cast.engineer.call.get(f"rollouts/{rollout['id']}")
    if rollout["state"] in _UNDER_WAY:
        raise StoryError(f"The guard did not decide in {_GUARD_SECONDS} s: {rollout['message']}")
    cast.ci.says(f"the guard takes it back: {rollout['message']}")


def _started(cast: Cast, promotion: Promotion) -> Rollout | None:
    """Return the promotion's rollout once it is more than prepared."""
    for rollout in cast.engineer.call.pages("rollouts", limit=20):
        if rollout["promotion"] == promotion["reference"] and rollout["state"] != "preparing":
            found: Rollout = cast.engineer.call.get(f"rollouts/{rollout['id']}")
            return found
    return None


@contextmanager
def _leaving(cast: Cast, rollout: Rollout) -> Iterator[threading.Event]:
    """Yield an event that is set as soon as the rollout no longer runs."""
    has_left, is_over = threading.Event(), threading.Event()

    def watch() -> None:
        while not is_over.wait(POLL_SECONDS):
            now = cast.engineer.call.get(f"rollouts/{rollout['id']}")
            if now["state"] not in _UNDER_WAY:
                has_left.set()
                return

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield has_left
    finally:
        is_over.set()
        watcher.join()
