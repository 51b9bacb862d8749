"""Change the state of a record: one order of questions, one place, one audit event.

Visible (404), permitted (403), state (409), rules (409), then the change and its event in the
caller's transaction. Any other order would tell strangers what state a record is in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from django.core.exceptions import ObjectDoesNotExist
from django.db import models, transaction

from controlplane.access import services as access
from controlplane.access.refusals import refusals
from controlplane.audit import services as audit
from controlplane.core.actor import Actor
from controlplane.core.errors import Blocked, NotFound, NotPermitted
from controlplane.core.states import Direction, StateMachine, Transition, readable

__all__ = ["AvailableStep", "available_steps", "lock", "perform", "refusals"]

Record = TypeVar("Record", bound=models.Model)
Reasons = Iterable[str] | Callable[[], Iterable[str]]


@dataclass(frozen=True, slots=True)
class AvailableStep:
    """A step that leads away from the present state, and whether this actor may take it now.

    ``allowed`` is False when a person lacks the right or a rule stands against it; ``reasons``
    says why in sentences. A step the actor has no right to is listed with ``permitted=False``.
    """

    name: str
    label: str
    direction: Direction
    permitted: bool
    allowed: bool
    reasons: tuple[str, ...]


def lock(queryset: models.QuerySet[Record], *, what: str, **wanted: Any) -> Record:
    """Return the row, locked until the transaction ends.

    Raises:
        NotFound: there is none.
    """
    try:
        return queryset.select_for_update(of=("self",)).get(**wanted)
    except ObjectDoesNotExist:
        named = ", ".join(str(value) for value in wanted.values())
        raise NotFound(f"There is no {what} {named}.") from None


def perform(
    machine: StateMachine,
    record: Record,
    step: str,
    *,
    actor: Actor,
    blocked_by: Reasons = (),
    changes: Mapping[str, Any] | None = None,
    reason: str = "",
    digests: Mapping[str, str] | None = None,
    cause: str = "",
    facts: Mapping[str, Any] | None = None,
) -> Record:
    """Take ``step``: the record is in its new state, saved, and the ledger holds the event.

    The caller owns the transaction and holds the row's lock. ``changes`` are further fields set
    with the state; ``facts`` go into the event's ``after`` beside it. A refusal is recorded in
    the ledger in a transaction of its own, so that it survives the caller's rollback.

    Raises:
        NotFound, NotPermitted, IllegalTransition, Blocked: as the module says.
    """
    if not transaction.get_connection().in_atomic_block:
        raise RuntimeError("perform() belongs in the caller's transaction, with the row locked.")
    transition = machine.named(step)
    with refusals(transition.audit_action, actor=actor, obj=record):
        _require(transition, record, actor)
        machine.step(_state(record), step)
        reasons = _sentences(blocked_by)
        if reasons:
            raise Blocked(
                f"Cannot {readable(step)} {_named(machine, record)}: {reasons[0]}", reasons=reasons
            )
    before = {"state": _state(record)}
    record.state = transition.target  # type: ignore[attr-defined]
    fields = {"state"}
    for name, value in (changes or {}).items():
        setattr(record, name, value)
        fields.add(name)
    if any(field.name == "updated_at" for field in record._meta.concrete_fields):
        fields.add("updated_at")
    record.save(update_fields=sorted(fields))
    audit.record(
        transition.audit_action,
        actor=actor,
        obj=audit.ref(record),
        before=before,
        after={"state": transition.target, **(facts or {})},
        reason=reason,
        cause=cause or actor.cause,
        digests=dict(digests or {}),
    )
    return record


def available_steps(
    machine: StateMachine,
    record: models.Model,
    actor: Actor,
    *,
    blockers: Mapping[str, Callable[[], Iterable[str]]] | None = None,
) -> list[AvailableStep]:
    """Ask the questions of ``perform`` without acting: this is what draws every button."""
    steps = []
    for transition in machine.from_state(_state(record)):
        if transition.verb is None and not transition.needs_human and not actor.is_system:
            continue
        refusal = _refusal(transition, record, actor)
        reasons: list[str] = [refusal] if refusal else []
        if not refusal and blockers and transition.name in blockers:
            reasons = list(blockers[transition.name]())
        steps.append(
            AvailableStep(
                name=transition.name,
                label=transition.label or readable(transition.name).capitalize(),
                direction=transition.direction,
                permitted=not refusal,
                allowed=not reasons,
                reasons=tuple(reasons),
            )
        )
    return steps


def _require(transition: Transition, record: models.Model, actor: Actor) -> None:
    if not actor.is_system and not access.can(actor, "view", record).allowed:
        raise NotFound(f"There is no {record._meta.verbose_name} {record}.")
    refusal = _refusal(transition, record, actor)
    if refusal:
        raise NotPermitted(refusal)


def _refusal(transition: Transition, record: models.Model, actor: Actor) -> str:
    """Return why the actor may never take this step, or an empty string."""
    step = readable(transition.name)
    if transition.needs_human and not actor.is_human:
        return f"Only a person may {step}; {actor.label or actor.id} is not one."
    if actor.is_system:
        if transition.verb is None or transition.also_system:
            return ""
        return f"Gatehouse itself does not {step}."
    if transition.by_responsible and actor.id in _responsible(record):
        return ""
    if transition.verb is None:
        return f"Only Gatehouse itself may {step}."
    decision = access.can(actor, transition.verb, record)
    return "" if decision.allowed else decision.reason


def _responsible(record: models.Model) -> frozenset[str]:
    ids: frozenset[str] = record.responsible_ids()  # type: ignore[attr-defined]
    return ids


def _state(record: models.Model) -> str:
    return str(record.state)  # type: ignore[attr-defined]


def _named(machine: StateMachine, record: models.Model) -> str:
    return f"{machine.record} {record}"


def _sentences(reasons: Reasons) -> list[str]:
    return list(reasons() if callable(reasons) else reasons)
