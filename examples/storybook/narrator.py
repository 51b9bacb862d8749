"""Say what happens, with the seconds since the story began; and wait for things, not for ever."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from typing import TypeVar

Found = TypeVar("Found")

_began = time.monotonic()
_lock = threading.Lock()
POLL_SECONDS = 0.4


class StoryError(Exception):
    """The story cannot go on; the message says where it stopped and what to look at."""


def tell(sentence: str, *, who: str = "") -> None:
    """Print one line of the story."""
    name = f"{who:<9}" if who else ""
    with _lock:
        sys.stdout.write(f"{time.monotonic() - _began:5.1f} s  {name}{sentence}\n")
        sys.stdout.flush()


def wait_for(what: str, look: Callable[[], Found | None], *, seconds: float) -> Found:
    """Return what ``look`` finds once it finds something.

    Raises:
        StoryError: it found nothing in that time.
    """
    deadline = time.monotonic() + seconds
    while (found := look()) is None:
        if time.monotonic() > deadline:
            raise StoryError(f"Waited {seconds:g} seconds in vain for {what}.")
        time.sleep(POLL_SECONDS)
    return found
