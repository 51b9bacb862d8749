"""One byte string for one value, so that a digest means the same everywhere.

RFC 8785 (JCS) restricted to what needs no judgement: keys of ``[a-z0-9_]``, integers within
±(2**53 − 1), no floats (decimals travel as strings), strings in NFC without U+0000 or lone
surrogates. Inside that profile Python's own encoder gives the same bytes as RFC 8785.
"""

import hashlib
import json
import re
import unicodedata
from typing import Any

_KEY = re.compile(r"[a-z0-9_]+\Z")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_LARGEST = 2**53 - 1


class NotCanonical(ValueError):
    """The value lies outside the profile; the message names the place and the reason."""


def dumps(value: Any) -> bytes:
    """Return the canonical bytes of ``value``.

    Raises:
        NotCanonical: a key, number or string is outside the profile.
    """
    _check(value, "$")
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def digest(value: Any) -> str:
    """Return the SHA-256 of the canonical bytes, as 64 hexadecimal digits."""
    return hashlib.sha256(dumps(value)).hexdigest()


def _check(value: Any, place: str) -> None:
    if value is None or isinstance(value, bool):
        return
    if isinstance(value, int):
        if abs(value) > _LARGEST:
            raise NotCanonical(f"{place}: the integer {value} is beyond 2**53 − 1.")
    elif isinstance(value, str):
        _check_text(value, place)
    elif isinstance(value, dict):
        for key, inner in value.items():
            if not isinstance(key, str) or not _KEY.match(key):
                raise NotCanonical(f"{place}: the key {key!r} is not of the form [a-z0-9_]+.")
            _check(inner, f"{place}.{key}")
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            _check(inner, f"{place}[{index}]")
    else:
        raise NotCanonical(f"{place}: {type(value).__name__} has no canonical form.")


def _check_text(text: str, place: str) -> None:
    if "\x00" in text:
        raise NotCanonical(f"{place}: the text holds U+0000.")
    # Most texts are plain, and every event is checked when written and when verified.
    if text.isascii():
        return
    if _SURROGATE.search(text):
        raise NotCanonical(f"{place}: the text holds a lone surrogate.")
    if not unicodedata.is_normalized("NFC", text):
        raise NotCanonical(f"{place}: the text is not in normal form C.")
