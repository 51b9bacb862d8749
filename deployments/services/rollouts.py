"""The way of an approved version into service, and back."""

from __future__ import annotations

import logging
import re
import secrets
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.db import transaction

from controlplane.access import services as access
from controlplane.audit import services as audit
from controlplane.core import clock
from controlplane.core.actor import Actor
from controlplane.core.errors import Blocked, Conflict, DomainError, Invalid
from controlplane.workflow import services as workflow
from deployments import queries, rules
from deployments.models import Deployment, Rollout
from deployments.services import revisions, routing
from deployments.states import ACTIVE_ROLLOUT_STATES, DEPLOYMENT, ROLLOUT
from registry.events import PromotionExecuting
from registry.models import Environment, Model, ModelVersion, PromotionRequest
from registry.services import evidence, promotions

log = logging.getLogger(__name__)

_ALL = Rollout.objects.select_related(
    "deployment__model__workspace",
    "deployment__environment",
    "deployment__workspace",
    "version__model",
    "baseline__model",
    "promotion__model",
)
ACK_SECONDS = 3


def begin(event: PromotionExecuting) -> None:
    """A rollout of the approved version is being prepared: nodes load it, nobody reaches it yet."""
    promotion = PromotionRequest.objects.select_related(
        "model__workspace", "environment", "version__model"
    ).get(pk=event.promotion_id)
    deployment = _deployment_of(promotion.model, promotion.environment, actor=event.actor)
    if deployment.rollouts.filter(state__in=ACTIVE_ROLLOUT_STATES).exists():
        raise Blocked(f"Another rollout of {deployment} is still under way.")
    baseline = evidence.live_version(promotion.model_id, promotion.environment)
    rollout = Rollout.objects.create(
        deployment=deployment,
        promotion=promotion,
        version=promotion.version,
        baseline=baseline,
        strategy=promotion.plan["strategy"],
        plan=promotion.plan,
        salt=secrets.token_hex(8),
        step_started_at=clock.now(),
        message="Nodes are loading the new version; nobody reaches it yet.",
    )
    audit.record(
        "rollout.prepare",
        actor=event.actor,
        obj=audit.ref(rollout),
        after={"strategy": rollout.strategy, "version": rollout.version.number},
        digests={"subject": promotion.subject_digest},
    )
    routing.publish()


def tick(*, actor: Actor) -> None:
    """Every active rollout has been looked at once; one that fails does not hold up the others."""
    for rollout_id in Rollout.objects.filter(state__in=ACTIVE_ROLLOUT_STATES).values_list(
        "pk", flat=True
    ):
        try:
            consider(rollout_id, actor=actor)
        except DomainError as error:
            log.warning("rollout_tick_refused rollout=%s why=%s", rollout_id, error.message)
    routing.publish_if_changed()


@transaction.atomic
def consider(rollout_id: int, *, actor: Actor) -> Rollout:
    """Look at one rollout and take the step that is due, if one is."""
    rollout = _locked(rollout_id)
    if rollout.state == Rollout.State.PREPARING:
        return _prepare(rollout, actor=actor)
    if rollout.state in {Rollout.State.RUNNING, Rollout.State.BAKING}:
        return _judge(rollout, actor=actor)
    if rollout.state == Rollout.State.ROLLING_BACK:
        return _confirm_rollback(rollout, actor=actor)
    if rollout.state == Rollout.State.ROLLBACK_FAILED:
        return _retry_rollback(rollout, actor=actor)
    return rollout


@transaction.atomic
def advance(rollout_id: int, *, actor: Actor, expected_step: int | None = None) -> Rollout:
    """The next share of requests reaches the new version, never more than the plan allows.

    Raises:
        Conflict: the rollout is at another step than the one the person saw.
    """
    rollout = _locked(rollout_id)
    with workflow.refusals("rollout.advance", actor=actor, obj=rollout):
        access.require(actor, "operate", rollout)
        _require_step(rollout, expected_step)

    def blockers() -> list[str]:
        if rollout.step + 1 >= len(rollout.plan["steps_basis_points"]):
            return ["It is at the last step of its plan; the bake time decides now."]
        return []

    return _advance(rollout, actor=actor, why="Advanced by hand.", blocked_by=blockers)


@transaction.atomic
def pause(rollout_id: int, *, actor: Actor, reason: str = "") -> Rollout:
    """The shares stay as they are until somebody resumes or rolls back."""
    rollout = _locked(rollout_id)
    return workflow.perform(
        ROLLOUT,
        rollout,
        "pause",
        actor=actor,
        reason=reason,
        changes={"message": reason or "Paused by hand."},
    )


@transaction.atomic
def resume(rollout_id: int, *, actor: Actor) -> Rollout:
    """The step begins anew: counts from before the pause are not mixed with those after."""
    rollout = _locked(rollout_id)
    return workflow.perform(
        ROLLOUT,
        rollout,
        "resume",
        actor=actor,
        changes={"step_started_at": clock.now(), "message": "Resumed; counting anew."},
    )


@transaction.atomic
def roll_back(rollout_id: int, *, actor: Actor, reason: str, cause: str = "rollback") -> Rollout:
    """All requests go to the version from before; nothing is prepared, for it is still warm."""
    rollout = _locked(rollout_id)
    with workflow.refusals("rollout.roll_back", actor=actor, obj=rollout):
        _require_reason(reason)
    return _start_rollback(rollout, actor=actor, reason=reason, cause=cause)


@transaction.atomic
def roll_back_deployment(
    deployment_id: int, *, actor: Actor, reason: str, to_version: int | None = None
) -> Deployment:
    """The deployment serves an earlier version of its rollback set again.

    While a rollout is under way this rolls that back; otherwise the newest member of the rollback
    set, or ``to_version``, becomes stable in one revision. It needs no approval and no check.

    Raises:
        Blocked: there is nothing to go back to. Invalid: no reason, or not in the rollback set.
    """
    deployment = workflow.lock(
        Deployment.objects.select_related("model__workspace", "environment", "workspace"),
        what="deployment",
        pk=deployment_id,
    )
    with workflow.refusals("deployment.roll_back", actor=actor, obj=deployment):
        access.require(actor, "operate", deployment)
        _require_reason(reason)
    active = deployment.rollouts.filter(
        state__in=["preparing", "running", "paused", "baking"]
    ).first()
    if active:
        roll_back(active.pk, actor=actor, reason=reason)
        deployment.refresh_from_db()
        return deployment
    now = revisions.current(deployment)
    live = now.stable if now else None
    with workflow.refusals("deployment.roll_back", actor=actor, obj=deployment):
        target = _rollback_target(deployment, live, to_version)

    def blockers() -> list[str]:
        return [] if target else [f"{deployment} has no earlier version to go back to."]

    workflow.perform(
        DEPLOYMENT,
        deployment,
        "roll_back",
        actor=actor,
        blocked_by=blockers,
        reason=reason,
        facts={"from": live.number if live else None, "to": target.number if target else None},
    )
    revision = revisions.append(
        deployment,
        stable=target,
        salt=secrets.token_hex(8),
        cause="rollback",
        actor=actor,
        reason=reason,
    )
    revisions.settle(deployment, target, actor=actor)
    revisions.note_routing(revision, routing.publish().revision)
    return deployment


def _prepare(rollout: Rollout, *, actor: Actor) -> Rollout:
    state, detail = routing.worker_state(rollout.version)
    waited = clock.now() - rollout.step_started_at
    limit = timedelta(seconds=rollout.plan["prepare_seconds"])
    if state == "failed":
        return _start_rollback(
            rollout, actor=actor, cause="monitor", reason=f"The new version did not load: {detail}"
        )
    if state == "ready":
        return _start(rollout, actor=actor)
    if waited > limit:
        return _start_rollback(
            rollout,
            actor=actor,
            cause="monitor",
            reason=f"The new version was not ready after {limit.seconds} seconds: {detail}",
        )
    return rollout


def _start(rollout: Rollout, *, actor: Actor) -> Rollout:
    workflow.perform(
        ROLLOUT,
        rollout,
        "start",
        actor=actor,
        changes={"step": 0, "step_started_at": clock.now(), "message": ""},
        facts={"share_basis_points": rollout.plan["steps_basis_points"][0]},
    )
    _route_step(rollout, actor=actor)
    return rollout


def _judge(rollout: Rollout, *, actor: Actor) -> Rollout:
    candidate, stable = queries.counts_of_step(rollout)
    state, detail = routing.worker_state(rollout.version)
    decision = rules.decide(
        rules.RolloutFacts(
            state=rollout.state,
            step=rollout.step,
            plan=rollout.plan,
            step_started_at=rollout.step_started_at,
            now=clock.now(),
            has_stable=rollout.baseline_id is not None,
            candidate=candidate,
            stable=stable,
            worker_state=state,
            worker_detail=detail,
        )
    )
    if decision.guard and decision.guard != rollout.guard:
        rollout.guard = decision.guard
        rollout.save(update_fields=["guard", "updated_at"])
    return _MOVES[decision.move](rollout, actor, decision.sentence)


def _advance(rollout: Rollout, *, actor: Actor, why: str, blocked_by: Any = ()) -> Rollout:
    steps = rollout.plan["steps_basis_points"]
    following = min(rollout.step + 1, len(steps) - 1)
    workflow.perform(
        ROLLOUT,
        rollout,
        "advance",
        actor=actor,
        blocked_by=blocked_by,
        reason=why,
        changes={"step": following, "step_started_at": clock.now(), "message": why, "guard": {}},
        facts={"step": following, "share_basis_points": steps[following]},
        cause="human" if actor.is_human else "monitor",
    )
    _route_step(rollout, actor=actor)
    return rollout


def _bake(rollout: Rollout, actor: Actor, why: str) -> Rollout:
    return workflow.perform(
        ROLLOUT,
        rollout,
        "bake",
        actor=actor,
        reason=why,
        changes={"step_started_at": clock.now(), "message": why},
    )


def _succeed(rollout: Rollout, actor: Actor, why: str) -> Rollout:
    """The version is stable; aliases follow, and the one from before stays warm as the way back."""
    deployment = _locked_deployment(rollout)
    workflow.perform(
        ROLLOUT,
        rollout,
        "succeed",
        actor=actor,
        reason=why,
        changes={"finished_at": clock.now(), "message": why},
    )
    revision = revisions.append(
        deployment,
        stable=rollout.version,
        salt=rollout.salt,
        cause="rollout",
        actor=actor,
        promotion=rollout.promotion,
    )
    revisions.settle(deployment, rollout.version, actor=actor)
    _publish(rollout, revision)
    promotions.complete(rollout.promotion_id, actor=actor)
    return rollout


def _pause_undecided(rollout: Rollout, actor: Actor, why: str) -> Rollout:
    return workflow.perform(
        ROLLOUT,
        rollout,
        "pause",
        actor=actor,
        reason=why,
        cause="monitor",
        changes={"message": why},
    )


def _start_rollback(rollout: Rollout, *, actor: Actor, reason: str, cause: str) -> Rollout:
    workflow.perform(
        ROLLOUT,
        rollout,
        "roll_back",
        actor=actor,
        reason=reason,
        changes={"message": reason, "step_started_at": clock.now()},
        facts={"to": rollout.baseline.number if rollout.baseline else None},
        cause=cause if cause == "monitor" else "",
    )
    deployment = _locked_deployment(rollout)
    revision = revisions.append(
        deployment,
        stable=rollout.baseline,
        salt=rollout.salt,
        cause=cause,
        actor=actor,
        promotion=rollout.promotion,
        reason=reason,
    )
    if rollout.baseline is None and deployment.state == Deployment.State.LIVE:
        workflow.perform(
            DEPLOYMENT, deployment, "empty", actor=Actor.system("rollouts"), reason=reason
        )
    _publish(rollout, revision)
    return rollout


def _confirm_rollback(rollout: Rollout, *, actor: Actor) -> Rollout:
    if routing.acknowledged_everywhere(rollout.routing_revision) or not _was_exposed(rollout):
        workflow.perform(
            ROLLOUT,
            rollout,
            "confirm_rolled_back",
            actor=actor,
            changes={"finished_at": clock.now()},
            facts={"gateways": len(routing.gateways())},
        )
        promotions.mark_rolled_back(rollout.promotion_id, actor=actor, reason=rollout.message)
        return rollout
    if clock.now() - rollout.step_started_at > timedelta(seconds=ACK_SECONDS):
        return workflow.perform(
            ROLLOUT,
            rollout,
            "fail_rollback",
            actor=actor,
            reason=f"Not every gateway confirmed the rollback within {ACK_SECONDS} seconds.",
        )
    return rollout


def _retry_rollback(rollout: Rollout, *, actor: Actor) -> Rollout:
    """Publish again; the gateways that were silent may be back."""
    workflow.perform(
        ROLLOUT, rollout, "retry_rollback", actor=actor, changes={"step_started_at": clock.now()}
    )
    _publish(rollout, None)
    return rollout


def _was_exposed(rollout: Rollout) -> bool:
    return rollout.deployment.revisions.filter(
        promotion=rollout.promotion, candidate=rollout.version
    ).exists()


def _route_step(rollout: Rollout, *, actor: Actor) -> None:
    deployment = _locked_deployment(rollout)
    if deployment.state == Deployment.State.EMPTY:
        workflow.perform(DEPLOYMENT, deployment, "go_live", actor=Actor.system("rollouts"))
    revision = revisions.append(
        deployment,
        stable=rollout.baseline,
        candidate=rollout.version,
        candidate_basis_points=rollout.share_basis_points,
        salt=rollout.salt,
        cause="rollout",
        actor=actor,
        promotion=rollout.promotion,
    )
    _publish(rollout, revision)


def _publish(rollout: Rollout, revision: Any) -> None:
    row = routing.publish()
    rollout.routing_revision = row.revision
    rollout.save(update_fields=["routing_revision", "updated_at"])
    if revision is not None:
        revisions.note_routing(revision, row.revision)


def _deployment_of(model: Model, environment: Environment, *, actor: Actor) -> Deployment:
    name = re.sub(r"[^a-z0-9]+", "-", f"{model.name}-{environment.key}".lower()).strip("-")
    if Deployment.objects.filter(name=name).exclude(model=model, environment=environment).exists():
        name = f"{model.workspace.key}-{name}"
    deployment, created = Deployment.objects.get_or_create(
        model=model,
        environment=environment,
        defaults={"name": name, "workspace": model.workspace},
    )
    if created:
        audit.record(
            "deployment.create", actor=actor, obj=audit.ref(deployment), after={"name": name}
        )
    return workflow.lock(
        Deployment.objects.select_related("model__workspace", "environment", "workspace"),
        what="deployment",
        pk=deployment.pk,
    )


def _rollback_target(
    deployment: Deployment, live: ModelVersion | None, to_version: int | None
) -> ModelVersion | None:
    choices = revisions.rollback_set(deployment, live)
    if to_version is None:
        return choices[0] if choices else None
    for version in choices:
        if version.number == to_version:
            return version
    known = ", ".join(str(version.number) for version in choices) or "none"
    raise Invalid(f"Version {to_version} is not in the rollback set; there are: {known}.")


def _require_reason(reason: str) -> None:
    if not reason.strip():
        raise Invalid("Say why it goes back.", fields={"reason": ["Say why it goes back."]})


def _require_step(rollout: Rollout, expected: int | None) -> None:
    if expected is not None and expected != rollout.step:
        raise Conflict(
            f"The rollout is at step {rollout.step + 1}, not {expected + 1}: it moved meanwhile."
        )


def _locked(rollout_id: int) -> Rollout:
    return workflow.lock(_ALL, what="rollout", pk=rollout_id)


def _locked_deployment(rollout: Rollout) -> Deployment:
    return workflow.lock(
        Deployment.objects.select_related("model__workspace", "environment", "workspace"),
        what="deployment",
        pk=rollout.deployment_id,
    )


_MOVES: dict[rules.Move, Callable[[Rollout, Actor, str], Rollout]] = {
    rules.Move.WAIT: lambda rollout, actor, why: rollout,
    rules.Move.ADVANCE: lambda rollout, actor, why: _advance(rollout, actor=actor, why=why),
    rules.Move.BAKE: _bake,
    rules.Move.SUCCEED: _succeed,
    rules.Move.PAUSE: _pause_undecided,
    rules.Move.ROLL_BACK: lambda rollout, actor, why: _start_rollback(
        rollout, actor=actor, reason=why, cause="monitor"
    ),
}
