"""Guessing is slow: after a few wrong passwords, none is looked at for a while."""

from __future__ import annotations

import hashlib

from django.core.cache import cache

from controlplane.core.errors import TooMany

WRONG_ALLOWED = 8
WINDOW_SECONDS = 300


def require_patience(*, who: str, ip: str) -> None:
    """Return while the account has fewer wrong passwords from this address than allowed.

    Counted per account and address, so that a stranger elsewhere cannot lock somebody out.

    Raises:
        TooMany: too many in the last five minutes.
    """
    if int(cache.get(_key(who, ip), 0)) >= WRONG_ALLOWED:
        raise TooMany(
            f"{WRONG_ALLOWED} wrong passwords in a row: wait {WINDOW_SECONDS // 60} minutes, "
            "then try again."
        )


def note_wrong(*, who: str, ip: str) -> None:
    key = _key(who, ip)
    if not cache.add(key, 1, WINDOW_SECONDS):
        cache.incr(key)


def note_right(*, who: str, ip: str) -> None:
    cache.delete(_key(who, ip))


def _key(who: str, ip: str) -> str:
    return "wrong-password:" + hashlib.sha256(f"{who}\x00{ip}".encode()).hexdigest()
