"""The bytes of an event: what is hashed, and what stands beside it because it may be erased."""

from __future__ import annotations

import hashlib
import json
import os
import re
import unicodedata
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Any

from controlplane.audit import actions
from controlplane.core import canonical_json, clock
from controlplane.core.actor import Actor
from controlplane.core.identifiers import uuid7

SHAPE = 1
OUTCOMES = ("success", "refused", "failed")
PERSONAL = ("reason", "ip", "agent")
MASK = "•"
_LONGEST_TEXT = 2_000
_LARGEST = 2**53 - 1
_KEY = re.compile(r"[a-z0-9_]+\Z")
_SECRET_KEY = re.compile(r"(\A|_)(passwords?|secrets?|credentials?|private_key|api_key)\Z")
_SECRET_VALUE = re.compile(r"gh_[a-z]+_[0-9A-Za-z-]+_[0-9A-Za-z_-]{20,}")
_NOT_TEXT = re.compile(r"[\x00\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class ObjectRef:
    """What an event is about: plain copies, so that it outlives the record."""

    type: str
    id: str
    label: str
    workspace_id: int | None


@dataclass(frozen=True, slots=True)
class NewEvent:
    """An event ready for ``SELECT ledger.audit_append(payload, personal)`` on any connection."""

    id: uuid.UUID
    payload: str
    personal: str


def compose(
    action: str,
    *,
    actor: Actor,
    obj: ObjectRef,
    outcome: str = "success",
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    reason: str = "",
    cause: str = "",
    digests: Mapping[str, str] | None = None,
    code: str = "",
    workspace_id: int | None = None,
) -> NewEvent:
    """Return the event's canonical bytes and the personal values that it commits to.

    Raises:
        UnknownAction: the catalogue has no such action.
        ValueError: the outcome is none of the three.
    """
    actions.require_known(action)
    if outcome not in OUTCOMES:
        raise ValueError(f"An event ends in one of {', '.join(OUTCOMES)}, not {outcome!r}.")
    event_id = uuid7()
    workspace = obj.workspace_id if workspace_id is None else workspace_id
    payload: dict[str, Any] = {
        "v": SHAPE,
        "id": str(event_id),
        "at": timestamp(clock.now()),
        "action": action,
        "outcome": outcome,
        "actor": {
            "id": actor.id,
            "kind": actor.kind.value,
            "auth": actor.auth,
            "on_behalf_of": actor.on_behalf_of,
        },
        "object": {"type": obj.type, "id": _text(obj.id), "label": _text(obj.label)},
        "workspace": workspace,
        "before": plain(before or {}),
        "after": plain(after or {}),
        "cause": cause or actor.cause,
        "request": actor.request_id,
        "digests": plain(digests or {}),
        "code": code,
    }
    values = {"reason": _text(reason), "ip": _text(actor.ip), "agent": _text(actor.agent)}
    personal = []
    for path in PERSONAL:
        payload[path] = None
        if values[path]:
            salt = os.urandom(16)
            encoded = canonical_json.dumps(values[path])
            payload[path] = {"commit": commitment(salt, encoded)}
            personal.append({"path": path, "salt": salt.hex(), "value": encoded.decode()})
    return NewEvent(event_id, canonical_json.dumps(payload).decode(), json.dumps(personal))


def timestamp(moment: datetime) -> str:
    """Return the moment in UTC with six decimals, the one form that events use."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


def commitment(salt: bytes, encoded: bytes) -> str:
    """Return what stands in the event for a personal value; says nothing without the salt."""
    return hashlib.sha256(b"\x02" + salt + encoded).hexdigest()


def leaf_hash(payload: str) -> bytes:
    """Return the event's leaf in the tree (RFC 6962 section 2.1)."""
    return hashlib.sha256(b"\x00" + payload.encode()).digest()


def parse(payload: str) -> dict[str, Any]:
    """Return the event that stored bytes hold.

    Raises:
        NotCanonical: other bytes would mean the same, so that these prove nothing.
    """
    try:
        content = _DECODER.decode(payload)
    except (ValueError, RecursionError) as error:
        raise canonical_json.NotCanonical(str(error)) from error
    if not isinstance(content, dict):
        raise canonical_json.NotCanonical("it is not an object")
    if _ENCODER.encode(content) != payload:
        raise canonical_json.NotCanonical("it is not written in the canonical form")
    # Keys and numbers were checked while reading; texts are left. A verification reads millions.
    if not payload.isascii() or r"\u0000" in payload:
        canonical_json.dumps(content)
    return content


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        raise ValueError("a key appears twice")
    for key in content:
        if not _KEY.match(key):
            raise ValueError(f"the key {key!r} is not of the form [a-z0-9_]+")
    return content


def _whole_number(text: str) -> int:
    number = int(text)
    if abs(number) > _LARGEST:
        raise ValueError(f"the integer {text} is beyond 2**53 − 1")
    return number


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is not a whole number")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object,
    parse_int=_whole_number,
    parse_float=_no_number,
    parse_constant=_no_number,
)
_ENCODER = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
)


def plain(value: Any) -> Any:
    """Return the value inside the canonical profile, secrets masked and long texts cut.

    Numbers that are not whole become strings, as do moments and identifiers. A mapping with
    keys beyond ``[a-z0-9_]`` becomes a list of names and values.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, Enum):
        return plain(value.value)
    if isinstance(value, int):
        return value if abs(value) <= _LARGEST else str(value)
    if isinstance(value, datetime):
        return timestamp(value) if value.tzinfo else value.isoformat()
    if isinstance(value, Mapping):
        return _mapping(value)
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if isinstance(value, set | frozenset):
        return sorted((plain(inner) for inner in value), key=canonical_json.dumps)
    return _shortened(_SECRET_VALUE.sub(MASK, _text(str(value))))


def _mapping(value: Mapping[Any, Any]) -> Any:
    items = {_text(str(key)): inner for key, inner in value.items()}
    masked = {
        key: MASK if _SECRET_KEY.search(key.lower()) and inner else plain(inner)
        for key, inner in items.items()
    }
    if all(_KEY.match(key) for key in masked):
        return masked
    return [{"name": key, "value": masked[key]} for key in sorted(masked)]


def _text(text: str) -> str:
    """Return the text as the profile wants it; what no text may hold is shown as U+FFFD."""
    if text.isascii() and "\x00" not in text:
        return text
    return unicodedata.normalize("NFC", _NOT_TEXT.sub("\ufffd", text))


def _shortened(text: str) -> str:
    if len(text) <= _LONGEST_TEXT:
        return text
    # Cutting can tear a composed character: what is left is brought to normal form again.
    kept = unicodedata.normalize("NFC", text[:_LONGEST_TEXT])
    return f"{kept}… ({len(text)} characters)"
