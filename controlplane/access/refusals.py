"""Every refusal leaves an event, in a transaction of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import models

from controlplane.audit import services as audit
from controlplane.core.actor import Actor
from controlplane.core.errors import DomainError


@contextmanager
def refusals(action: str, *, actor: Actor, obj: models.Model | audit.ObjectRef) -> Iterator[None]:
    """Record every DomainError raised inside as a refused ``action``, then let it rise.

    An error that passes several of these is recorded by the innermost only.
    """
    try:
        yield
    except DomainError as error:
        record(action, actor=actor, obj=obj, error=error)
        raise


def record(
    action: str, *, actor: Actor, obj: models.Model | audit.ObjectRef, error: DomainError
) -> None:
    """Record the refusal, unless somebody nearer to its cause has done so."""
    if getattr(error, "is_recorded", False):
        return
    target = obj if isinstance(obj, audit.ObjectRef) else audit.ref(obj)
    audit.record_refusal(action, actor=actor, obj=target, error=error)
    error.is_recorded = True  # type: ignore[attr-defined]
