"""From what was sent to what a service takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rest_framework.request import Request
from rest_framework.serializers import BaseSerializer, Serializer

from controlplane.api.errors import invalid_fields
from controlplane.core.errors import Invalid


def valid(serializer: type[Serializer[Any]], request: Request) -> dict[str, Any]:
    """Return the validated body.

    Raises:
        Invalid: a field is missing, wrong or unknown; ``fields`` names each.
    """
    return _checked(serializer, request.data)


def valid_query(serializer: type[Serializer[Any]], request: Request) -> dict[str, Any]:
    """Return the validated query of the address; ``cursor`` and ``limit`` are always allowed."""
    query = {
        name: value
        for name, value in request.query_params.dict().items()
        if name not in {"cursor", "limit"}
    }
    return _checked(serializer, query)


def form_of(request: Request) -> Mapping[str, Any]:
    """Return the fields of a multipart form.

    Raises:
        Invalid: the body is no form.
    """
    if not isinstance(request.data, Mapping):
        raise Invalid("The body must be a form of the type multipart/form-data.")
    return request.data


def _checked(serializer: type[Serializer[Any]], data: Any) -> dict[str, Any]:
    if not isinstance(data, Mapping):
        raise Invalid("The body must be a JSON object.")
    bound: BaseSerializer[Any] = serializer(data=data)
    unknown = sorted(set(data) - set(serializer().fields))
    if unknown:
        known = ", ".join(serializer().fields) or "none"
        raise Invalid(
            f"There is no field {unknown[0]!r} here. There are: {known}.",
            fields={name: ["unknown"] for name in unknown},
        )
    if not bound.is_valid():
        raise invalid_fields(bound.errors)
    return dict(bound.validated_data)
