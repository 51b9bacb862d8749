"""What the state tables promise, proven over the tables that the product runs on."""

from __future__ import annotations

import pytest

from controlplane.audit import actions
from controlplane.core.states import Direction, StateMachine
from controlplane.jobs import states as job_states
from deployments import states as deployment_states
from registry import states as registry_states

MACHINES = {
    machine.record: machine
    for machine in (
        registry_states.VERSION,
        registry_states.PROMOTION,
        registry_states.DATASET_VERSION,
        deployment_states.ROLLOUT,
        deployment_states.DEPLOYMENT,
        job_states.JOB,
    )
}
each_machine = pytest.mark.parametrize("machine", MACHINES.values(), ids=MACHINES.keys())


def reachable(machine: StateMachine, start: str, *, without: frozenset[str]) -> set[str]:
    """Return the states that can be reached from ``start`` without passing through ``without``."""
    seen, frontier = {start}, [start]
    while frontier:
        for step in machine.from_state(frontier.pop()):
            if step.target not in seen and step.target not in without:
                seen.add(step.target)
                frontier.append(step.target)
    return seen


@each_machine
def test_every_state_can_be_reached(machine: StateMachine) -> None:
    assert machine.reachable() == machine.states


@each_machine
def test_every_state_can_come_to_an_end(machine: StateMachine) -> None:
    for state in machine.states:
        assert reachable(machine, state, without=frozenset()) & machine.final, state


@each_machine
def test_every_step_has_a_sentence_in_the_audit_catalogue(machine: StateMachine) -> None:
    for step in machine.transitions:
        actions.require_known(step.audit_action)


@each_machine
def test_names_of_steps_are_unique(machine: StateMachine) -> None:
    names = [step.name for step in machine.transitions]
    assert len(names) == len(set(names))


def test_nothing_executes_without_an_approval() -> None:
    promotion = registry_states.PROMOTION
    assert "executing" in promotion.reachable()
    assert "executing" not in reachable(promotion, "draft", without=frozenset({"approved"}))


def test_nothing_is_approved_without_having_been_checked_and_read() -> None:
    promotion = registry_states.PROMOTION
    for gate in ("checking", "in_review"):
        assert "approved" not in reachable(promotion, "draft", without=frozenset({gate}))


def test_no_rollout_succeeds_without_baking() -> None:
    rollout = deployment_states.ROLLOUT
    assert "succeeded" not in reachable(rollout, "preparing", without=frozenset({"baking"}))


def test_every_exposing_state_of_a_rollout_can_go_down_with_the_right_to_operate_alone() -> None:
    rollout = deployment_states.ROLLOUT
    for state in ("preparing", "running", "paused", "baking"):
        down = [
            step
            for step in rollout.from_state(state)
            if step.direction is Direction.DOWN and step.target == "rolling_back"
        ]
        assert [step.verb for step in down] == ["operate"]
        assert all(step.also_system for step in down)


def test_only_people_decide_and_never_the_product() -> None:
    for name in ("approve", "reject", "request_changes"):
        step = registry_states.PROMOTION.named(name)
        assert step.needs_human
        assert not step.also_system
