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
    distance: int


_tables: dict[type[models.Model], Tables] = {}


def grants_for(
    model: type[models.Model], *, user: type[models.Model], group: type[models.Model]
) -> None:
    """Let grants be given on objects of this class, kept in these two tables."""
    _tables[model] = Tables(user=user, group=group)
    carriers_above.cache_clear()


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
    frontier = [Above("pk", model, 0)]
    while frontier:
        place = frontier.pop(0)
        if place.path in found:
            continue
        found[place.path] = place
        for parent in _parents(place.model):
            path = parent if place.path == "pk" else f"{place.path}__{parent}"
            frontier.append(Above(path, _target(place.model, parent), place.distance + 1))
    return tuple(found.values())


@cache
def carriers_above(model: type[models.Model]) -> tuple[tuple[Above, Tables], ...]:
    """Return the places at or above the class that carry grants, nearest first."""
    return tuple((place, _tables[place.model]) for place in above(model) if place.model in _tables)


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
