"""Events between apps that do not know each other: published in the transaction, joined in
``controlplane.wiring``."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any, TypeVar

Event = TypeVar("Event")
_listeners: dict[type[Any], list[Callable[[Any], None]]] = defaultdict(list)


def listen(event_type: type[Event], listener: Callable[[Event], None]) -> None:
    """Call ``listener`` with every event of this type, in the transaction that publishes it."""
    if listener not in _listeners[event_type]:
        _listeners[event_type].append(listener)


def publish(event: object) -> None:
    """Tell every listener now; whatever one raises undoes the whole change."""
    for listener in _listeners[type(event)]:
        listener(event)
