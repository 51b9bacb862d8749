"""The one place where an exception becomes an answer of the REST door."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Any

from django.core.exceptions import PermissionDenied, RequestDataTooBig, SuspiciousOperation
from django.http import Http404, HttpRequest, JsonResponse
from rest_framework import exceptions
from rest_framework.response import Response
from rest_framework.views import set_rollback

from controlplane.api.authentication import CHALLENGE
from controlplane.api.refusals import record_at_door
from controlplane.core.errors import (
    DomainError,
    Invalid,
    NotFound,
    NotPermitted,
    NotSignedIn,
    TooLarge,
    TooMany,
)

CONTENT_TYPE = "application/problem+json"
log = logging.getLogger(__name__)


class BrokenDown(DomainError):
    """Something that nobody foresaw; the details are in the log under the request's id."""

    code = "internal_error"
    status = 500


class Refused(DomainError):
    """A refusal of the framework's that has no kind of its own in the family."""

    def __init__(self, message: str, *, status: int, code: str) -> None:
        super().__init__(message, code=code)
        self.status = status  # type: ignore[misc]


def handle(error: Exception, context: dict[str, Any]) -> Response:
    """Return the answer to whatever a view raised (DRF's ``EXCEPTION_HANDLER``)."""
    request = context["request"]
    domain = as_domain_error(error)
    if isinstance(domain, BrokenDown):
        log.error(
            "Request %s broke down: %s",
            getattr(request, "request_id", ""),
            type(error).__name__,
            exc_info=error,
        )
    set_rollback()
    record_at_door(request, domain)
    response = Response(problem(domain, request), domain.status, content_type=CONTENT_TYPE)
    for name, value in headers_of(domain, error).items():
        response.headers[name] = value
    return response


def answer(request: HttpRequest, error: DomainError) -> JsonResponse:
    """Return the same answer outside DRF (an address that does not exist, a fault in Django)."""
    return JsonResponse(
        problem(error, request),
        status=error.status,
        content_type=CONTENT_TYPE,
        headers=headers_of(error, error),
    )


def problem(error: DomainError, request: Any) -> dict[str, Any]:
    """Return the body of RFC 9457: the sentence, the code for machines, the request to quote."""
    return {
        **error.details,
        "type": f"urn:gatehouse:problem:{error.error_code}",
        "title": HTTPStatus(error.status).phrase,
        "status": error.status,
        "detail": error.message,
        "code": error.error_code,
        "request_id": getattr(request, "request_id", ""),
    }


def headers_of(domain: DomainError, error: Exception) -> dict[str, str]:
    headers = {}
    if isinstance(domain, NotSignedIn):
        headers["WWW-Authenticate"] = CHALLENGE
    wait = getattr(error, "wait", None)
    if wait is not None:
        headers["Retry-After"] = str(int(wait) + 1)
    return headers


def as_domain_error(error: Exception) -> DomainError:
    """Return the member of our family that says the same; a fault says nothing of itself."""
    if isinstance(error, DomainError):
        return error
    if isinstance(error, exceptions.ValidationError):
        return invalid_fields(error.detail)
    if isinstance(error, exceptions.APIException):
        return _of_framework(error)
    if isinstance(error, Http404):
        return NotFound("There is nothing at this address.")
    if isinstance(error, PermissionDenied):
        return NotPermitted("You may not do this.")
    if isinstance(error, RequestDataTooBig):
        return TooLarge("The body of the request is too large for this address.")
    if isinstance(error, SuspiciousOperation):
        return Invalid("The request cannot be read.")
    return BrokenDown(
        "Gatehouse could not answer this request. What was stored before is unchanged; the "
        "operator finds the cause in the log under this request id."
    )


def invalid_fields(detail: Any) -> Invalid:
    """Return one error that names every field with its sentences, nested ones with dots."""
    fields: dict[str, list[str]] = {}
    _collect(detail, "", fields)
    name, sentences = next(iter(fields.items()), ("", ["The request is not valid."]))
    sentence = sentences[0] if not name else f"{name}: {sentences[0]}"
    return Invalid(sentence, fields=fields)


def _collect(detail: Any, place: str, fields: dict[str, list[str]]) -> None:
    if isinstance(detail, dict):
        for key, inner in detail.items():
            below = "" if key == "non_field_errors" else str(key)
            _collect(inner, ".".join(part for part in (place, below) if part), fields)
    elif isinstance(detail, list):
        for index, inner in enumerate(detail):
            if isinstance(inner, dict):
                _collect(inner, f"{place}.{index}" if place else str(index), fields)
            else:
                _collect(inner, place, fields)
    else:
        fields.setdefault(place, []).append(str(detail))


def _of_framework(error: exceptions.APIException) -> DomainError:
    if isinstance(error, exceptions.NotAuthenticated | exceptions.AuthenticationFailed):
        return NotSignedIn("Sign in first: send a token as Authorization: Bearer gh_…")
    if isinstance(error, exceptions.PermissionDenied):
        return NotPermitted("You may not do this.")
    if isinstance(error, exceptions.NotFound):
        return NotFound("There is nothing at this address.")
    if isinstance(error, exceptions.ParseError):
        return Invalid("The body of the request is not what its content type says.")
    if isinstance(error, exceptions.Throttled):
        return TooMany("Too many requests; wait a little.")
    code = str(error.default_code)
    return Refused(str(error.detail), status=error.status_code, code=code)
