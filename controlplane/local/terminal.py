"""What the person at the terminal reads: one line per step, with the seconds since the start."""

from __future__ import annotations

import sys
import time

_started = time.monotonic()


def say(text: str = "") -> None:
    """Write one line at once, even into a pipe."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def step(text: str) -> None:
    """Write what has just become true."""
    say(f"{time.monotonic() - _started:6.1f} s  {text}")
