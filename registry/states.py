"""Which states the registry's records have, and every way between them."""

from __future__ import annotations

from controlplane.core.states import Direction, StateMachine, Transition

_f = frozenset

VERSION = StateMachine(
    record="version",
    initial="uploading",
    final=_f({"failed", "retired"}),
    transitions=(
        Transition(
            "seal", _f({"uploading"}), "sealed", "version.seal", also_system=True, verb="contribute"
        ),
        Transition(
            "fail", _f({"uploading"}), "failed", "version.fail", also_system=True, verb="contribute"
        ),
        Transition(
            "quarantine",
            _f({"sealed"}),
            "quarantined",
            "version.quarantine",
            verb="operate",
            also_system=True,
            direction=Direction.DOWN,
        ),
        Transition(
            "retire",
            _f({"sealed", "quarantined"}),
            "retired",
            "version.retire",
            verb="configure",
            by_responsible=True,
            direction=Direction.DOWN,
        ),
        Transition(
            "release",
            _f({"quarantined"}),
            "sealed",
            "version.release",
            verb="review_risk",
            needs_human=True,
        ),
    ),
)

OPEN_PROMOTION_STATES = _f(
    {"checking", "blocked", "in_review", "changes_requested", "approved", "executing"}
)
FINAL_PROMOTION_STATES = _f({"completed", "rolled_back", "rejected", "withdrawn", "expired"})
_BEFORE_DECISION = _f({"checking", "blocked", "in_review", "changes_requested"})

PROMOTION = StateMachine(
    record="promotion",
    initial="draft",
    final=FINAL_PROMOTION_STATES,
    transitions=(
        Transition("submit", _f({"draft"}), "checking", "promotion.submit", verb="propose"),
        Transition(
            "check_again",
            _f({"blocked", "changes_requested", "in_review"}),
            "checking",
            "promotion.check_again",
            verb="propose",
            also_system=True,
            label="Run the checks again",
        ),
        Transition("pass_checks", _f({"checking"}), "in_review", "promotion.pass_checks"),
        Transition("block", _f({"checking"}), "blocked", "promotion.block"),
        Transition(
            "request_changes",
            _f({"in_review"}),
            "changes_requested",
            "promotion.request_changes",
            verb="review",
            needs_human=True,
            label="Request changes",
        ),
        Transition(
            "reject",
            _f({"in_review"}),
            "rejected",
            "promotion.reject",
            verb="review",
            needs_human=True,
            label="Reject…",
        ),
        # The vote itself is a Review row; the state moves when every slot has its quorum.
        Transition(
            "approve",
            _f({"in_review"}),
            "approved",
            "promotion.approve",
            verb="review",
            needs_human=True,
            label="Approve and sign…",
        ),
        Transition(
            "withdraw",
            _BEFORE_DECISION | {"draft", "approved"},
            "withdrawn",
            "promotion.withdraw",
            verb="configure",
            by_responsible=True,
            label="Withdraw…",
        ),
        Transition(
            "expire", _BEFORE_DECISION | {"draft", "approved"}, "expired", "promotion.expire"
        ),
        Transition(
            "execute",
            _f({"approved"}),
            "executing",
            "promotion.execute",
            verb="operate",
            by_responsible=True,
            also_system=True,
            direction=Direction.UP,
            label="Start the rollout",
        ),
        Transition("complete", _f({"executing"}), "completed", "promotion.complete"),
        Transition("roll_back", _f({"executing"}), "rolled_back", "promotion.roll_back"),
    ),
)

DATASET_VERSION = StateMachine(
    record="dataset version",
    initial="registering",
    final=_f({"sealed", "rejected"}),
    transitions=(
        Transition(
            "seal",
            _f({"registering"}),
            "sealed",
            "dataset.seal",
            verb="contribute",
            also_system=True,
        ),
        Transition(
            "reject",
            _f({"registering"}),
            "rejected",
            "dataset.reject",
            verb="contribute",
            also_system=True,
        ),
    ),
)
