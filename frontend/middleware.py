"""What every page answer carries, and how a refusal becomes a page."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

from controlplane.api.refusals import record_at_door
from controlplane.core.errors import DomainError
from frontend.views.errors import answer

# One constant, so that a proxy can check it. The hash is that of the empty string: Plotly adds an
# empty <style> and fills it through the CSSOM; nothing else inline is let through.
POLICY = (
    "default-src 'none'; "
    "script-src 'self'; "
    "style-src 'self' 'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='; "
    "img-src 'self' data: blob:; "
    "font-src 'self'; "
    "connect-src 'self'; "
    "form-action 'self'; "
    "base-uri 'none'; "
    "frame-ancestors 'none'"
)

# These doors translate their own errors.
OTHER_DOORS = ("/api/", "/ajax-api/")

GetResponse = Callable[[HttpRequest], HttpResponse]


class ContentSecurityPolicyMiddleware:
    """Adds the content policy, unless a page that needs a wider one has set its own.

    A page and its fragments share addresses, so caches must tell them apart (`Vary`).
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        response.headers.setdefault("Content-Security-Policy", POLICY)
        if response.headers.get("Content-Type", "").startswith("text/html"):
            _vary_on(response, "HX-Request")
            _vary_on(response, "Cookie")
            # Pages show personal data: shared computers must not keep them.
            response.headers.setdefault("Cache-Control", "no-store")
        return response


class DomainErrorMiddleware:
    """Turns a refusal raised by a page into a page or, for HTMX, into a fragment."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        if not isinstance(error, DomainError) or request.path.startswith(OTHER_DOORS):
            return None
        record_at_door(request, error)
        return answer(request, error)


def _vary_on(response: HttpResponse, header: str) -> None:
    known = [name.strip() for name in response.headers.get("Vary", "").split(",") if name.strip()]
    if header.lower() not in {name.lower() for name in known}:
        response.headers["Vary"] = ", ".join([*known, header])
