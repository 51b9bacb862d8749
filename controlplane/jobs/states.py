"""The states of a job, and every way between them."""

from __future__ import annotations

from controlplane.core.states import StateMachine, Transition

QUEUED, DISPATCHED, RUNNING = "queued", "dispatched", "running"
SUCCEEDED, FAILED, TIMED_OUT = "succeeded", "failed", "timed_out"
LOST, CANCELLED, REJECTED = "lost", "cancelled", "rejected"

# A worker holds a lease on it.
HELD = frozenset({DISPATCHED, RUNNING})
ACTIVE = frozenset({QUEUED, DISPATCHED, RUNNING, LOST})
FINAL = frozenset({SUCCEEDED, FAILED, TIMED_OUT, CANCELLED, REJECTED})


def _step(name: str, sources: frozenset[str], target: str, action: str) -> Transition:
    return Transition(name=name, sources=sources, target=target, audit_action=action)


JOB = StateMachine(
    record="job",
    initial=QUEUED,
    final=FINAL,
    transitions=(
        _step("reject", frozenset({QUEUED}), REJECTED, "job.reject"),
        _step("dispatch", frozenset({QUEUED}), DISPATCHED, "job.dispatch"),
        _step("start", frozenset({DISPATCHED}), RUNNING, "job.start"),
        _step("succeed", frozenset({RUNNING}), SUCCEEDED, "job.succeed"),
        # From dispatched: its environment or its inputs cannot be prepared.
        _step("fail", HELD, FAILED, "job.fail"),
        _step("time_out", frozenset({RUNNING}), TIMED_OUT, "job.time_out"),
        _step("lose", HELD, LOST, "job.lose"),
        _step("requeue", frozenset({LOST}), QUEUED, "job.requeue"),
        _step("give_up", frozenset({LOST}), FAILED, "job.fail"),
        Transition(
            name="cancel",
            sources=ACTIVE,
            target=CANCELLED,
            audit_action="job.cancel",
            verb="operate",
            also_system=True,
            by_responsible=True,
            label="Stop",
        ),
    ),
)
