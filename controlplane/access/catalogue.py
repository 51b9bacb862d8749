"""Which classes carry grants, and how every governed class hangs below them.

A governed class has ``access_parents``: the foreign keys that lead to what stands above it. A
grant on anything above an object counts for the object.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from django.core.exceptions import FieldDoesNotExist
from django.db import models

from controlplane.accounts.models import Workspace


@dataclass(frozen=True, slots=True)
class Tables:
    """The two grant tables of one class."""

    user: type[models.Model]
    group: type[models.Model]


@dataclass(frozen=True, slots=True)
class Above:
    """One class at or above a governed class; ``path`` leads there, "pk" for itself."""

    path: str
    model: type[models.Model]


@dataclass(frozen=True, slots=True)
class Source:
    """One grant table that counts for a governed class, and from where it is reached.

    ``holder`` is the field that names who holds it, ``held_by`` the lookup to one user.
    """

    above: Above
    table: type[models.Model]
    holder: str
    held_by: str


_tables: dict[type[models.Model], Tables] = {}


def grants_for(
    model: type[models.Model], *, user: type[models.Model], group: type[models.Model]
) -> None:
    """Let grants be given on objects of this class, kept in these two tables."""
    _tables[model] = Tables(user=user, group=group)
    grant_tables_above.cache_clear()


def tables() -> dict[type[models.Model], Tables]:
    """Return every class that carries grants, with its tables."""
    return dict(_tables)


def tables_of(model: type[models.Model]) -> Tables | None:
    return _tables.get(model)


def carrier_named(name: str) -> type[models.Model] | None:
    """Return the class that carries grants under this name (``workspace``, ``model``…)."""
    return next((model for model in _tables if model._meta.model_name == name), None)


@cache
def above(model: type[models.Model]) -> tuple[Above, ...]:
    """Return the class itself and everything above it, nearest first.

    Raises:
        TypeError: the class is not governed (it has no ``access_parents``).
    """
    found: dict[str, Above] = {}
    frontier = [Above("pk", model)]
    while frontier:
        place = frontier.pop(0)
        if place.path in found:
            continue
        found[place.path] = place
        for parent in _parents(place.model):
            path = parent if place.path == "pk" else f"{place.path}__{parent}"
            frontier.append(Above(path, _target(place.model, parent)))
    return tuple(found.values())


@cache
def grant_tables_above(model: type[models.Model]) -> tuple[Source, ...]:
    """Return the grant tables of the class and of everything above it, nearest first."""
    sources = []
    for place in above(model):
        found = _tables.get(place.model)
        if found is not None:
            sources.append(Source(place, found.user, "user", "user"))
            sources.append(Source(place, found.group, "group", "group__user"))
    return tuple(sources)


@cache
def workspace_path(model: type[models.Model]) -> str:
    """Return the lookup from the class to its workspace.

    Raises:
        TypeError: nothing above it is a workspace.
    """
    for place in above(model):
        if place.model is Workspace:
            return place.path
    raise TypeError(f"{model.__name__} belongs to no workspace.")


def _parents(model: type[models.Model]) -> tuple[str, ...]:
    parents: Any = getattr(model, "access_parents", None)
    if parents is None:
        raise TypeError(f"{model.__name__} has no access_parents, so access cannot be decided.")
    return tuple(str(parent).replace(".", "__") for parent in parents)


def _target(model: type[models.Model], path: str) -> type[models.Model]:
    for part in path.split("__"):
        try:
            target = model._meta.get_field(part).related_model
        except FieldDoesNotExist:
            raise TypeError(f"{model.__name__}.access_parents names no field {part!r}.") from None
        if target is None or isinstance(target, str):
            raise TypeError(f"{model.__name__}.{part} is no foreign key.")
        model = target
    return model
