"""Lists: filters that live in the address, saved views as tabs, pages of rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db.models import QuerySet
from django.http import QueryDict

PAGE_SIZE = 50


@dataclass(frozen=True)
class Tab:
    key: str
    name: str
    count: int
    is_current: bool


@dataclass(frozen=True)
class Page:
    """Where in a list the reader is; `older` and `newer` are page numbers or cursors.

    Behind a cursor there is no way one page back: `is_later` offers the first page instead.
    """

    words: str
    older: str = ""
    newer: str = ""
    is_later: bool = False


def page_of(
    rows: QuerySet[Any], query: QueryDict, *, one: str, many: str = "", size: int = PAGE_SIZE
) -> tuple[list[Any], Page]:
    """Return one page of a queryset and its foot. One row more than shown tells of a next page."""
    number = whole(query.get("page", ""), least=1)
    first = (number - 1) * size
    found = list(rows[first : first + size + 1])
    shown = found[:size]
    last = first + len(shown)
    words = f"{first + 1:,} to {last:,}" if shown else f"no {many or one + 's'} here"
    has_more = len(found) > size
    if number == 1 and not has_more:
        words = f"{len(shown)} {one if len(shown) == 1 else many or one + 's'}"
    return shown, Page(
        words=words,
        older=str(number + 1) if has_more else "",
        newer=str(number - 1) if number > 1 else "",
    )


def whole(text: str, *, least: int = 0, most: int = 1_000_000) -> int:
    """Return the number in a query, within bounds; nonsense is the least one."""
    return min(most, max(least, int(text))) if text.isdecimal() and len(text) < 17 else least


def one_of(text: str, known: tuple[str, ...] | list[str], default: str = "") -> str:
    """Return a choice from a query if it is one that exists."""
    return text if text in known else default
