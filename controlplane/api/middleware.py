"""Every request gets an identity before anything else looks at it."""

from __future__ import annotations

import re
from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

from controlplane.access.memory import remembering
from controlplane.core.identifiers import uuid7

HEADER = "X-Request-Id"
_SAFE = re.compile(r"[A-Za-z0-9._:-]{1,64}\Z")
_LONGEST_AGENT = 200


class RequestIdentityMiddleware:
    """Put ``request_id``, ``client_ip`` and ``client_agent`` on the request, the id on the answer.

    A caller's own id is kept when it is harmless, so that its logs and ours can be joined. What
    access was asked is remembered until the answer is made.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        given = request.META.get("HTTP_X_REQUEST_ID", "")
        request_id = given if _SAFE.match(given) else str(uuid7())
        request.META["HTTP_X_REQUEST_ID"] = request_id
        request.request_id = request_id  # type: ignore[attr-defined]
        request.client_ip = request.META.get("REMOTE_ADDR", "")  # type: ignore[attr-defined]
        agent = request.META.get("HTTP_USER_AGENT", "")[:_LONGEST_AGENT]
        request.client_agent = agent  # type: ignore[attr-defined]
        with remembering():
            response = self.get_response(request)
        response.headers[HEADER] = request_id
        return response
