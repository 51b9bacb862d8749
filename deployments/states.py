"""Which states deployments and rollouts have, and every way between them."""

from __future__ import annotations

from controlplane.core.states import Direction, StateMachine, Transition

_f = frozenset

ACTIVE_ROLLOUT_STATES = _f(
    {"preparing", "running", "paused", "baking", "rolling_back", "rollback_failed"}
)
_EXPOSING = _f({"preparing", "running", "paused", "baking"})

ROLLOUT = StateMachine(
    record="rollout",
    initial="preparing",
    final=_f({"succeeded", "rolled_back"}),
    transitions=(
        Transition("start", _f({"preparing"}), "running", "rollout.start", direction=Direction.UP),
        Transition(
            "advance",
            _f({"running"}),
            "running",
            "rollout.advance",
            verb="operate",
            also_system=True,
            direction=Direction.UP,
            label="Advance now…",
        ),
        Transition("bake", _f({"running"}), "baking", "rollout.bake"),
        Transition(
            "succeed", _f({"baking"}), "succeeded", "rollout.succeed", direction=Direction.UP
        ),
        Transition(
            "pause",
            _f({"running"}),
            "paused",
            "rollout.pause",
            verb="operate",
            also_system=True,
            by_responsible=True,
            direction=Direction.DOWN,
            label="Pause",
        ),
        Transition(
            "resume",
            _f({"paused"}),
            "running",
            "rollout.resume",
            verb="operate",
            direction=Direction.UP,
            label="Resume",
        ),
        Transition(
            "roll_back",
            _EXPOSING,
            "rolling_back",
            "rollout.roll_back",
            verb="operate",
            also_system=True,
            by_responsible=True,
            direction=Direction.DOWN,
            label="Roll back now",
        ),
        Transition(
            "confirm_rolled_back",
            _f({"rolling_back"}),
            "rolled_back",
            "rollout.rolled_back",
            direction=Direction.DOWN,
        ),
        Transition(
            "fail_rollback",
            _f({"rolling_back"}),
            "rollback_failed",
            "rollout.fail_rollback",
            direction=Direction.DOWN,
        ),
        Transition(
            "retry_rollback",
            _f({"rollback_failed"}),
            "rolling_back",
            "rollout.retry_rollback",
            verb="operate",
            also_system=True,
            direction=Direction.DOWN,
            label="Try the rollback again",
        ),
    ),
)

DEPLOYMENT = StateMachine(
    record="deployment",
    initial="empty",
    final=_f({"retired"}),
    transitions=(
        Transition("go_live", _f({"empty"}), "live", "deployment.go_live", direction=Direction.UP),
        Transition("empty", _f({"live"}), "empty", "deployment.empty", direction=Direction.DOWN),
        Transition(
            "roll_back",
            _f({"live"}),
            "live",
            "deployment.roll_back",
            verb="operate",
            direction=Direction.DOWN,
            label="Roll back…",
        ),
        Transition(
            "retire",
            _f({"empty"}),
            "retired",
            "deployment.retire",
            verb="configure",
            direction=Direction.DOWN,
        ),
    ),
)
