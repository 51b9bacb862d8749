"""A state machine is a table of transitions; adding a step is adding a row."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from controlplane.core.errors import IllegalTransition


class Direction(StrEnum):
    """What a step does to the exposure of users: up needs an approval, down never does."""

    UP = "up"
    DOWN = "down"
    LEVEL = "level"


@dataclass(frozen=True, slots=True)
class Transition:
    """One permitted step.

    ``verb`` is the access verb a person or service account needs; None means that only the
    product itself takes the step. ``also_system`` opens a step with a verb to the product too,
    ``by_responsible`` to those whom the record names (its requester, its owner), and
    ``needs_human`` keeps service accounts and the product out.
    """

    name: str
    sources: frozenset[str]
    target: str
    audit_action: str
    verb: str | None = None
    also_system: bool = False
    by_responsible: bool = False
    needs_human: bool = False
    direction: Direction = Direction.LEVEL
    label: str = ""


@dataclass(frozen=True, slots=True)
class StateMachine:
    """The states of one kind of record, and every way between them."""

    record: str
    initial: str
    final: frozenset[str]
    transitions: tuple[Transition, ...]

    def named(self, name: str) -> Transition:
        """Return the transition called ``name``.

        Raises:
            KeyError: the table has no such row; that is a mistake in the code.
        """
        for transition in self.transitions:
            if transition.name == name:
                return transition
        raise KeyError(f"The {self.record} table has no transition {name!r}.")

    def step(self, state: str, name: str) -> Transition:
        """Return the transition, if it leads away from ``state``.

        Raises:
            IllegalTransition: the record is in another state; the sentence says which.
        """
        transition = self.named(name)
        if state not in transition.sources:
            wanted = _either(sorted(transition.sources))
            raise IllegalTransition(
                f"Cannot {readable(name)} this {self.record}: it is {readable(state)}, "
                f"and must be {wanted}.",
                state=state,
                step=name,
            )
        return transition

    def from_state(self, state: str) -> tuple[Transition, ...]:
        return tuple(item for item in self.transitions if state in item.sources)

    @property
    def states(self) -> frozenset[str]:
        found = {self.initial, *self.final}
        for transition in self.transitions:
            found |= {transition.target, *transition.sources}
        return frozenset(found)

    def reachable(self) -> frozenset[str]:
        """Return every state that can be reached from the initial one."""
        seen = {self.initial}
        frontier = [self.initial]
        while frontier:
            state = frontier.pop()
            for transition in self.from_state(state):
                if transition.target not in seen:
                    seen.add(transition.target)
                    frontier.append(transition.target)
        return frozenset(seen)


def readable(word: str) -> str:
    return word.replace("_", " ")


def _either(words: Iterable[str]) -> str:
    names = [readable(word) for word in words]
    if len(names) == 1:
        return names[0]
    return ", ".join(names[:-1]) + " or " + names[-1]
