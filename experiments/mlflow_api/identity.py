"""Who acts in this request, for signatures of MLflow's that have no room for an actor.

Set and reset by the bridge in ``mount``, nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from controlplane.core.actor import Actor

USER_TAG = "mlflow.user"
CLIENT_USER_TAG = "mlflow.client_user"
_actor: ContextVar[Actor | None] = ContextVar("mlflow_door_actor", default=None)


@contextmanager
def acting_as(actor: Actor) -> Iterator[None]:
    token = _actor.set(actor)
    try:
        yield
    finally:
        _actor.reset(token)


def acting() -> Actor:
    """Return the actor of this request.

    Raises:
        RuntimeError: MLflow's store was called outside the bridge; that is a mistake in the code.
    """
    actor = _actor.get()
    if actor is None:
        raise RuntimeError("MLflow's store was called without an actor.")
    return actor


def true_key(key: str) -> str:
    """Return where a client's tag is kept: who ran it is ours to say, what it claims is kept."""
    return CLIENT_USER_TAG if key == USER_TAG else key


def with_true_user(tags: dict[str, str], name: str) -> dict[str, str]:
    """Return the tags with our name for the user; the client's word is kept beside it."""
    kept = {true_key(key): value for key, value in tags.items()}
    return {**kept, USER_TAG: name}
