"""What every route of the door shares: who is asking, in which workspace, and errors in JSON.

A stock client retries 408, 429, 500, 502, 503 and 504 for minutes, writes included; falls back to
older routes on ENDPOINT_NOT_FOUND; and shows ``message`` to its user.
"""

from __future__ import annotations

import base64
import binascii
import json
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import lru_cache, wraps
from typing import Any, Concatenate, ParamSpec, cast

from django.http import (
    HttpRequest,
    HttpResponse,
    HttpResponseBase,
    JsonResponse,
    UnreadablePostError,
)
from django.views.decorators.csrf import csrf_exempt

from controlplane.accounts import tokens
from controlplane.accounts.models import Workspace
from controlplane.api.refusals import record_at_door
from controlplane.core.actor import Actor
from controlplane.core.errors import (
    Conflict,
    DomainError,
    Invalid,
    NotSignedIn,
    StaleSubject,
)
from controlplane.core.identifiers import uuid7

WORKSPACE_HEADER = "X-MLFLOW-WORKSPACE"
Parameters = ParamSpec("Parameters")
View = Callable[Concatenate[HttpRequest, Parameters], HttpResponseBase]
_log = logging.getLogger(__name__)
_LONGEST_IGNORED_BODY_BYTES = 2**20
_HOW_TO_SIGN_IN = (
    "Set MLFLOW_TRACKING_TOKEN to an API token, or MLFLOW_TRACKING_USERNAME and "
    "MLFLOW_TRACKING_PASSWORD to a user name and an API token."
)
# The REST door's status to MLflow's code and status.
_BY_STATUS: Mapping[int, tuple[str, int]] = {
    400: ("INVALID_PARAMETER_VALUE", 400),
    401: ("UNAUTHENTICATED", 401),
    403: ("PERMISSION_DENIED", 403),
    404: ("RESOURCE_DOES_NOT_EXIST", 404),
    413: ("INVALID_PARAMETER_VALUE", 413),
    429: ("REQUEST_LIMIT_EXCEEDED", 429),
    503: ("TEMPORARILY_UNAVAILABLE", 503),
}


class MlflowError(DomainError):
    """An answer whose MLflow code does not follow from the kind of refusal."""

    def __init__(self, message: str, code: str, http_status: int, **details: Any) -> None:
        super().__init__(message, code=code.lower(), **details)
        self.mlflow_code = code
        self.http_status = http_status


def error(code: str, message: str, status: int, **details: Any) -> JsonResponse:
    """Return an error as MLflow writes it."""
    body = {"error_code": code, "message": message, **details}
    response = JsonResponse(body, status=status, json_dumps_params={"ensure_ascii": False})
    if status == 401:
        response["WWW-Authenticate"] = 'Basic realm="Gatehouse"'
    return response


def refusal(raised: DomainError) -> JsonResponse:
    """Return what a client of MLflow is told about a refusal."""
    if isinstance(raised, MlflowError):
        return error(raised.mlflow_code, raised.message, raised.http_status, **raised.details)
    if isinstance(raised, StaleSubject):
        return error("RESOURCE_CONFLICT", raised.message, 409)
    if isinstance(raised, Conflict):
        return error("RESOURCE_ALREADY_EXISTS", raised.message, 400)
    if raised.error_code == "illegal_transition":
        return error("INVALID_PARAMETER_VALUE", raised.message, 400)
    if raised.status == 409:
        reasons = raised.details.get("reasons", [])
        return error("PERMISSION_DENIED", raised.message, 403, reasons=reasons)
    code, status = _BY_STATUS.get(raised.status, ("INTERNAL_ERROR", 500))
    return error(code, raised.message, status)


def unexpected(request_id: str) -> JsonResponse:
    """Return the answer to a mistake of ours; what went wrong stands in the log only."""
    message = f"Gatehouse could not answer this request. Its id is {request_id}."
    return error("INTERNAL_ERROR", message, 500, request_id=request_id)


def door(*methods: str) -> Callable[[View[Parameters]], View[Parameters]]:
    """Let a view be called with ``methods``, by a known actor, with errors in MLflow's JSON.

    Inside, ``request.actor`` and ``request.workspace`` are set.
    """

    def decorate(view: View[Parameters]) -> View[Parameters]:
        @csrf_exempt
        @wraps(view)
        def wrapper(
            request: HttpRequest, *args: Parameters.args, **kwargs: Parameters.kwargs
        ) -> HttpResponseBase:
            if methods and request.method not in methods:
                allowed = ", ".join(methods)
                return error("BAD_REQUEST", f"Use {allowed} for {request.path}.", 405)
            try:
                enter(request)
                return view(request, *args, **kwargs)
            except DomainError as raised:
                record_at_door(request, raised)
                return refusal(raised)
            except Exception:
                request_id = request_id_of(request)
                _log.exception("mlflow_door_failed request_id=%s path=%s", request_id, request.path)
                return unexpected(request_id)
            finally:
                _read_rest(request)

        return cast("View[Parameters]", wrapper)

    return decorate


def enter(request: HttpRequest) -> None:
    """Set ``request.actor`` and ``request.workspace``.

    Raises:
        NotSignedIn: no token, or one that is unknown, expired or revoked.
        NotFound: the workspace does not exist or the actor does not belong to it.
    """
    key = request.headers.get(WORKSPACE_HEADER, "").strip()
    actor = tokens.authenticate(
        _secret(request),
        workspace=key,
        request_id=request_id_of(request),
        ip=request.META.get("REMOTE_ADDR", ""),
        agent=request.headers.get("User-Agent", "")[:200],
    )
    request.actor = actor  # type: ignore[attr-defined]
    request.workspace = _workspace(cast("int", actor.workspace_id))  # type: ignore[attr-defined]


def actor_of(request: HttpRequest) -> Actor:
    return Actor.from_request(request)


def workspace_of(request: HttpRequest) -> Workspace:
    workspace: Workspace = request.workspace  # type: ignore[attr-defined]
    return workspace


def request_id_of(request: HttpRequest) -> str:
    """Return the id that the middleware gave the request, or a new one."""
    return str(getattr(request, "request_id", "") or uuid7())


def parameters(request: HttpRequest) -> dict[str, Any]:
    """Return what was sent, from the query or the JSON body, as MLflow's own server reads it.

    Names in camelCase mean the same as in snake_case, and a body may be JSON in a JSON string.

    Raises:
        Invalid: the body is not a JSON object.
    """
    if request.method == "GET" and request.GET:
        return {
            key: values if len(values) > 1 else values[0] for key, values in request.GET.lists()
        }
    try:
        body = json.loads(request.body or b"{}")
        if isinstance(body, str):
            body = json.loads(body)
    except (ValueError, UnicodeDecodeError):
        raise Invalid("The body is not valid JSON.") from None
    if not isinstance(body, dict):
        raise Invalid("The body must be a JSON object.")
    spelled: dict[str, Any] = {}
    for key, value in body.items():
        name = _snake(key)
        if name in spelled:
            raise Invalid(f"Request specifies both '{name}' and '{key}'; provide only one of them.")
        spelled[name] = value
    return spelled


def text(sent: Mapping[str, Any], name: str, *, required: bool = False, default: str = "") -> str:
    """Return one text parameter.

    Raises:
        Invalid: it is missing or no text; worded as MLflow words it.
    """
    value = sent.get(name)
    if value is None or (value == "" and required):
        if required:
            raise Invalid(
                f"Missing value for required parameter '{name}'. See the API docs for more "
                "information about request parameters."
            )
        return default
    if isinstance(value, bool | list | dict):
        raise Invalid(
            f"Invalid value {json.dumps(value)} for parameter '{name}' supplied: Hint: Value was "
            f"of type '{type(value).__name__}'. See the API docs for more information about "
            "request parameters."
        )
    return str(value)


def texts(sent: Mapping[str, Any], name: str) -> list[str]:
    """Return a repeated text parameter; a single value counts as a list of one."""
    value = sent.get(name)
    if value is None:
        return []
    items = value if isinstance(value, list) else [value]
    if not all(isinstance(item, str) for item in items):
        raise Invalid(f"Invalid value for parameter '{name}' supplied: it must be a list of text.")
    return items


def whole_number(sent: Mapping[str, Any], name: str, *, default: int, largest: int) -> int:
    """Return a positive whole number up to ``largest``.

    Raises:
        Invalid: it is something else.
    """
    value = sent.get(name)
    if value is None or value == "":
        return default
    try:
        number = int(value)
    except (TypeError, ValueError):
        number = 0
    if isinstance(value, bool) or not 1 <= number <= largest:
        raise Invalid(
            f"Invalid value {value} for parameter '{name}' supplied: it must be a positive "
            f"integer, at most {largest}."
        )
    return number


def answer(body: Mapping[str, Any] | None = None) -> HttpResponse:
    """Return 200 with a JSON body."""
    return HttpResponse(json.dumps(body or {}), content_type="application/json")


def _read_rest(request: HttpRequest) -> None:
    """Read what is left of a short body that nobody wanted.

    Otherwise the server closes the connection after its answer, and a client that keeps
    connections loses its next request. A long body is not worth it.
    """
    announced = request.META.get("CONTENT_LENGTH") or "0"
    if 0 < int(announced) <= _LONGEST_IGNORED_BODY_BYTES:
        with suppress(UnreadablePostError):
            while request.read(65_536):
                pass


@lru_cache(maxsize=1000)
def _workspace(pk: int) -> Workspace:
    """Return a workspace for its key and number, which never change; nothing else is read of it."""
    return Workspace.objects.only("key").get(pk=pk)


def _secret(request: HttpRequest) -> str:
    scheme, _, value = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer" and value.strip():
        return value.strip()
    if scheme.lower() == "basic":
        return _from_basic(value)
    raise NotSignedIn(f"This needs an API token. {_HOW_TO_SIGN_IN}")


def _from_basic(value: str) -> str:
    """Return the token of a Basic header; it stands where the password would."""
    try:
        name, separator, secret = base64.b64decode(value, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        raise NotSignedIn(f"The Basic header cannot be read. {_HOW_TO_SIGN_IN}") from None
    if not separator or not secret.startswith("gh_"):
        raise NotSignedIn(
            f"The password of {name[:100]!r} is not an API token; account passwords are not "
            f"accepted here. {_HOW_TO_SIGN_IN}"
        )
    return secret


def _snake(key: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in key)
