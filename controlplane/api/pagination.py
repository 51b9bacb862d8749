"""Lists come newest first, a page at a time, with a cursor that stays true while rows arrive."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qsl, urlencode

from rest_framework.exceptions import NotFound as FrameworkNotFound
from rest_framework.pagination import CursorPagination
from rest_framework.request import Request
from rest_framework.response import Response

from controlplane.core.errors import Invalid

DEFAULT_LIMIT = 50
LARGEST_LIMIT = 200


class NewestFirst(CursorPagination):
    """``{"results": [...], "next": address or null}``; ``?limit=`` up to 200.

    Keys of ours grow with time (bigint or UUIDv7), so the key alone is the order; a view whose
    rows are ordered otherwise names ``ordering``.
    """

    page_size = DEFAULT_LIMIT
    page_size_query_param = "limit"
    max_page_size = LARGEST_LIMIT
    ordering = "-pk"

    def get_ordering(self, request: Any, queryset: Any, view: Any) -> tuple[str, ...]:
        ordering = getattr(view, "ordering", self.ordering)
        return (ordering,) if isinstance(ordering, str) else tuple(ordering)

    def decode_cursor(self, request: Any) -> Any:
        try:
            return super().decode_cursor(request)
        except FrameworkNotFound:
            raise _bad_cursor() from None

    def get_paginated_response(self, data: Any) -> Response:
        return Response({"results": data, "next": self.get_next_link()})

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        return {
            "type": "object",
            "required": ["results", "next"],
            "properties": {
                "results": schema,
                "next": {"type": ["string", "null"], "format": "uri"},
            },
        }


def limit_of(request: Request) -> int:
    """Return how many rows the caller asks for.

    Raises:
        Invalid: it is no number from 1 to 200.
    """
    raw = request.query_params.get("limit", str(DEFAULT_LIMIT))
    if not raw.isdecimal() or not 1 <= int(raw) <= LARGEST_LIMIT:
        raise Invalid(
            f"limit is a number from 1 to {LARGEST_LIMIT}.",
            fields={"limit": [f"1 to {LARGEST_LIMIT}"]},
        )
    return int(raw)


def page_of(request: Request, results: Iterable[Any], *, next_cursor: str | None) -> Response:
    """Return a page in the common shape of rows that a service has paged by itself."""
    address = None
    if next_cursor:
        query = dict(parse_qsl(request.META.get("QUERY_STRING", "")))
        address = request.build_absolute_uri(
            f"{request.path}?{urlencode({**query, 'cursor': next_cursor})}"
        )
    return Response({"results": list(results), "next": address})


def _bad_cursor() -> Invalid:
    return Invalid("This cursor was not made here.", fields={"cursor": ["not understood"]})
