"""Refusals and failures as pages: what happened, what was kept, what to do."""

from __future__ import annotations

from http import HTTPStatus
from urllib.parse import urlencode

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render

from controlplane.core.errors import Conflict, DomainError, NotFound, NotPermitted, NotSignedIn

_HEADINGS = {
    HTTPStatus.BAD_REQUEST: "This could not be read",
    HTTPStatus.FORBIDDEN: "You may not do this",
    HTTPStatus.NOT_FOUND: "There is nothing here for you",
    HTTPStatus.CONFLICT: "This cannot be done now",
    HTTPStatus.INTERNAL_SERVER_ERROR: "Something broke on our side",
}


def answer(request: HttpRequest, error: DomainError) -> HttpResponse:
    """Return the refusal as a page, or as a fragment for HTMX; unknown people go and sign in."""
    if isinstance(error, NotSignedIn):
        return to_sign_in(request)
    reasons = [str(reason) for reason in error.details.get("reasons", [])]
    return page(
        request,
        error.status,
        sentence=error.message,
        reasons=[reason for reason in reasons if reason != error.message],
        code=error.error_code,
    )


def page(
    request: HttpRequest,
    status: int,
    *,
    sentence: str,
    reasons: list[str] | None = None,
    code: str = "",
) -> HttpResponse:
    """Return an error page of that status with one sentence for a person."""
    known = status if status in _HEADINGS else _nearest(status)
    context = {
        "status": status,
        "heading": _HEADINGS[HTTPStatus(known)],
        "sentence": sentence,
        "reasons": reasons or [],
        "code": code,
        "request_id": request.headers.get("X-Request-Id", ""),
    }
    is_fragment = bool(getattr(request, "htmx", False))
    template = "errors/_fragment.html" if is_fragment else f"errors/{known}.html"
    return render(request, template, context, status=status)


def to_sign_in(request: HttpRequest) -> HttpResponse:
    """Return the way to the sign-in page, which leads back here afterwards."""
    back = (
        request.headers.get("HX-Current-URL", "") if _is_htmx(request) else request.get_full_path()
    )
    address = f"{settings.LOGIN_URL}?{urlencode({'next': back})}" if back else settings.LOGIN_URL
    if _is_htmx(request):
        # A fragment cannot sign anybody in: the whole page goes there.
        response = HttpResponse(status=HTTPStatus.NO_CONTENT)
        response.headers["HX-Redirect"] = address
        return response
    return HttpResponseRedirect(address)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    return page(request, 400, sentence="The address or the form is not in the expected shape.")


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    return answer(request, NotPermitted(str(exception) or "Your roles do not allow this."))


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    return answer(
        request,
        NotFound("This page does not exist, or you may not know that it does."),
    )


def failed(request: HttpRequest) -> HttpResponse:
    return page(
        request,
        500,
        sentence="The portal could not answer this request. What was stored before is unchanged.",
    )


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    return answer(
        request,
        Conflict(
            "This form was opened before you signed in, or its page is too old. Nothing was "
            "changed. Open the page again and repeat it.",
            code="form_expired",
        ),
    )


def _nearest(status: int) -> int:
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return HTTPStatus.INTERNAL_SERVER_ERROR
    return HTTPStatus.BAD_REQUEST


def _is_htmx(request: HttpRequest) -> bool:
    return bool(getattr(request, "htmx", False))
