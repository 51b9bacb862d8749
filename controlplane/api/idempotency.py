"""A creating request that is sent twice happens once."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Collection
from datetime import timedelta
from functools import wraps
from typing import Any, TypeVar, cast

from django.core.files.uploadedfile import UploadedFile
from django.db import transaction
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from controlplane.api.models import AnsweredRequest
from controlplane.core.actor import Actor
from controlplane.core.clock import now
from controlplane.core.errors import Conflict, Invalid

HEADER = "Idempotency-Key"
REPLAYED = "Idempotency-Replayed"
KEPT_FOR = timedelta(hours=24)
_KEY = re.compile(r"[\x21-\x7e]{1,100}\Z")

View = TypeVar("View", bound=Callable[..., Response])


def once_per_key(*, hide: Collection[str] = ()) -> Callable[[View], View]:
    """Answer a repeated POST of the same ``Idempotency-Key`` with the first answer.

    The key's row and the view's changes are one transaction: a second request waits for the
    first, and a process that dies leaves neither. A refused request leaves the key free. Fields
    named in ``hide`` (secrets that are shown once) are null in a repeated answer.

    Raises:
        Conflict: the key was used for another request.
        Invalid: the key is not 1 to 100 visible ASCII characters.
    """

    def decorate(view: View) -> View:
        @wraps(view)
        def answer(self: Any, request: Request, *args: Any, **kwargs: Any) -> Response:
            key = request.headers.get(HEADER, "")
            if not key:
                return view(self, request, *args, **kwargs)
            if not _KEY.match(key):
                raise Invalid(f"{HEADER} must be 1 to 100 visible ASCII characters.")
            actor = Actor.from_request(request)
            digest = _digest(request, actor)
            with transaction.atomic():
                row, is_new = _claim(actor, key, digest)
                if not is_new:
                    return _repeat(row, digest)
                response = view(self, request, *args, **kwargs)
                body = json.loads(JSONRenderer().render(response.data) or b"null")
                if isinstance(body, dict):
                    body = {name: None if name in hide else value for name, value in body.items()}
                row.status, row.body = response.status_code, body
                row.save(update_fields=["status", "body"])
            return response

        return cast(View, answer)

    return decorate


def forget_old() -> int:
    """Drop the answers older than a day; return how many. Called by the scheduler."""
    count, _ = AnsweredRequest.objects.filter(created_at__lt=now() - KEPT_FOR).delete()
    return count


def _claim(actor: Actor, key: str, digest: str) -> tuple[AnsweredRequest, bool]:
    """Return the key's row and whether this request is its first; waits for one in progress."""
    mine = AnsweredRequest.objects.filter(actor_id=actor.id, key=key)
    mine.filter(created_at__lt=now() - KEPT_FOR).delete()
    row = AnsweredRequest(actor_id=actor.id, key=key, request_digest=digest)
    # ON CONFLICT waits for the other transaction to end, then does nothing if it committed.
    AnsweredRequest.objects.bulk_create([row], ignore_conflicts=True)
    found = mine.select_for_update().get()
    return found, found.status == 0


def _repeat(row: AnsweredRequest, digest: str) -> Response:
    if row.request_digest != digest:
        raise Conflict(
            f"This {HEADER} was used for another request. Use a new one.",
            code="idempotency_key_reused",
        )
    response = Response(row.body, row.status)
    response.headers[REPLAYED] = "true"
    return response


def _digest(request: Request, actor: Actor) -> str:
    digest = hashlib.sha256()
    for part in (request.method or "", request.get_full_path(), str(actor.workspace_id)):
        digest.update(part.encode() + b"\x00")
    content_type = (request.content_type or "").split(";")[0]
    if content_type in {"application/json", "multipart/form-data", ""}:
        for name, value in sorted(_fields(request.data)):
            digest.update(name.encode() + b"\x00" + _of_value(value) + b"\x00")
    else:
        # A streamed body is read once, by the view; its length stands for it.
        digest.update(request.headers.get("Content-Length", "").encode())
    return digest.hexdigest()


def _fields(data: Any) -> list[tuple[str, Any]]:
    if hasattr(data, "lists"):
        return [(name, values) for name, values in data.lists()]
    if isinstance(data, dict):
        return list(data.items())
    return [("", data)]


def _of_value(value: Any) -> bytes:
    if isinstance(value, list) and any(isinstance(item, UploadedFile) for item in value):
        return b"\x01".join(_of_value(item) for item in value)
    if isinstance(value, UploadedFile):
        inner = hashlib.sha256()
        for chunk in value.chunks():
            inner.update(chunk)
        value.seek(0)
        return inner.digest()
    return json.dumps(value, sort_keys=True, default=str).encode()
