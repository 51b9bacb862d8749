"""Addresses that do not exist and faults outside every view, in the words of their door."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse

from controlplane.api import errors
from controlplane.core.errors import Invalid, NotFound, NotPermitted
from frontend.views import errors as pages

_REST = "/api/v1/"


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    if _is_rest(request):
        return errors.answer(request, Invalid("The request cannot be read."))
    return pages.bad_request(request, exception)


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    if _is_rest(request):
        return errors.answer(request, NotPermitted("You may not do this."))
    return pages.forbidden(request, exception)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    if _is_rest(request):
        return errors.answer(request, NotFound("There is nothing at this address."))
    return pages.not_found(request, exception)


def failed(request: HttpRequest) -> HttpResponse:
    if _is_rest(request):
        return errors.answer(request, errors.as_domain_error(Exception()))
    return pages.failed(request)


def _is_rest(request: HttpRequest) -> bool:
    return request.path_info.startswith(_REST)
