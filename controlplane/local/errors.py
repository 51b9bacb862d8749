"""The one error of set-up: a sentence for the person at the terminal."""

from __future__ import annotations


class SetupError(Exception):
    """Set-up cannot go on; the message is one line that says what to do."""
