"""The life of a promotion request, from the wish to the rollout's end."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import F

from controlplane.access import services as access
from controlplane.accounts.models import Workspace
from controlplane.core import clock
from controlplane.core.actor import Actor
from controlplane.core.errors import (
    Blocked,
    Conflict,
    IllegalTransition,
    Invalid,
)
from controlplane.core.events import publish
from controlplane.outbox import services as outbox
from controlplane.workflow import services as workflow
from registry import policies, rules, subject
from registry.events import PromotionExecuting
from registry.models import (
    Environment,
    ModelVersion,
    Policy,
    PromotionRequest,
)
from registry.services import checks, environments, evidence
from registry.services.models import accountable_user
from registry.states import OPEN_PROMOTION_STATES, PROMOTION

PROMOTIONS = PromotionRequest.objects.select_related(
    "model__workspace", "version__model", "environment", "policy", "requester"
)


def request(
    version: ModelVersion,
    environment: Environment,
    *,
    actor: Actor,
    reason: str = "",
    link: str = "",
    strategy: str = "",
) -> PromotionRequest:
    """A promotion of the version is open and its checks are on their way.

    Raises:
        Blocked: the version is not sealed, the environment not active, or it has no policy.
        Conflict: another request for this model and environment is open, or it is live already.
    """
    with workflow.refusals("promotion.request", actor=actor, obj=version):
        access.require(actor, "propose", version)
        policy = _require_open_road(version, environment)
        body = policies.from_json(policy.body)
        live = evidence.live_version(version.model_id, environment)
        if live and live.pk == version.pk:
            raise Conflict(f"{version} is live in {environment.name} already.")
        plan = _plan(body, strategy, has_live=live is not None)
        try:
            with transaction.atomic():
                promotion = _create(
                    version,
                    environment,
                    policy,
                    body,
                    plan,
                    live,
                    actor=actor,
                    reason=reason,
                    link=link,
                )
                workflow.perform(
                    PROMOTION,
                    promotion,
                    "submit",
                    actor=actor,
                    reason=reason,
                    facts={"version": version.number, "environment": environment.key},
                )
                outbox.after_commit("registry.check_promotion", promotion.pk, queue="promotion")
        except IntegrityError:
            other = open_request(version.model_id, environment)
            named = f"{other} (version {other.version.number})" if other else "Another request"
            raise Conflict(
                f"{named} asks for {version.model.name} in {environment.name} already. "
                "Decide or withdraw it first.",
                promotion=str(other) if other else None,
            ) from None
    return promotion


def open_request(model_id: int, environment: Environment) -> PromotionRequest | None:
    return PROMOTIONS.filter(
        model=model_id, environment=environment, state__in=OPEN_PROMOTION_STATES
    ).first()


def request_from_alias(
    version: ModelVersion, environment: Environment, *, actor: Actor
) -> tuple[PromotionRequest, bool]:
    """Return the request that setting a guarded alias stands for, and whether it was made now.

    The same call again returns the same request. Another version than the open one's is refused
    with the number of the request that is open.
    """
    present = open_request(version.model_id, environment)
    if present and present.version_id == version.pk:
        return present, False
    made = request(
        version, environment, actor=actor, reason=f"Set alias {environment.guarded_alias}."
    )
    return made, True


def check(promotion_id: int, *, actor: Actor) -> PromotionRequest:
    """Every gate of the policy has its outcome, and the request is in review or blocked.

    Files are hashed before the transaction. Safe to run twice: a request that is not being
    checked stays as it is.
    """
    promotion = PROMOTIONS.get(pk=promotion_id)
    if promotion.state != PromotionRequest.State.CHECKING:
        return promotion
    damaged = checks.damaged_files(promotion.version)
    with transaction.atomic():
        promotion = locked(promotion_id)
        if promotion.state != PromotionRequest.State.CHECKING:
            return promotion
        body = policies.from_json(promotion.policy.body)
        outcomes = checks.record(promotion, body, damaged=damaged, at=clock.now())
        standing = [item for item in outcomes if item.outcome != rules.PASS]
        promotion.subject = subject.build(promotion)
        changes: dict[str, Any] = {
            "subject": promotion.subject,
            "subject_digest": subject.digest(promotion.subject),
            "checked_at": clock.now(),
            "replaces": evidence.live_version(promotion.model_id, promotion.environment),
            "contributors": _contributors(promotion),
        }
        return workflow.perform(
            PROMOTION,
            promotion,
            "block" if standing else "pass_checks",
            actor=actor,
            changes=changes,
            reason=standing[0].sentence if standing else "",
            facts={"passed": len(outcomes) - len(standing), "gates": len(outcomes)},
            digests={"subject": changes["subject_digest"]},
            cause="policy",
        )


@transaction.atomic
def check_again(promotion_id: int, *, actor: Actor, reason: str = "") -> PromotionRequest:
    """The checks run once more, on what is there now."""
    promotion = locked(promotion_id)
    workflow.perform(PROMOTION, promotion, "check_again", actor=actor, reason=reason)
    outbox.after_commit("registry.check_promotion", promotion.pk, queue="promotion")
    return promotion


def recheck_open(version_id: int, *, actor: Actor) -> None:
    """New evidence came: every open request for the version that waits for it is checked again."""
    waiting = PromotionRequest.objects.filter(
        version=version_id, state__in=["blocked", "in_review"]
    ).values_list("pk", flat=True)
    for promotion_id in waiting:
        try:
            check_again(promotion_id, actor=actor, reason="New evidence was attached.")
        except IllegalTransition:
            continue  # decided in the meantime: the decision stands on what it was read on


@transaction.atomic
def withdraw(promotion_id: int, *, actor: Actor, reason: str) -> PromotionRequest:
    """The request has ended by the wish of those who made it."""
    promotion = locked(promotion_id)
    return workflow.perform(
        PROMOTION,
        promotion,
        "withdraw",
        actor=actor,
        reason=reason,
        changes={"closed_at": clock.now(), "closed_because": reason or "Withdrawn."},
    )


@transaction.atomic
def execute(promotion_id: int, *, actor: Actor) -> PromotionRequest:
    """The rollout begins. Everything that was true at the approval must still be true.

    Raises:
        Blocked: the approval has run out, the subject changed, a gate no longer passes, the
            environment is not active, or the policy became stricter.
    """
    promotion = locked(promotion_id)

    def blockers() -> list[str]:
        return checks.reasons_against_start(promotion, now=clock.now())

    workflow.perform(
        PROMOTION,
        promotion,
        "execute",
        actor=actor,
        blocked_by=blockers,
        digests={"subject": promotion.subject_digest},
    )
    publish(PromotionExecuting(promotion.pk, actor))
    return promotion


@transaction.atomic
def complete(promotion_id: int, *, actor: Actor) -> PromotionRequest:
    """The rollout succeeded: the version is live, and guarded aliases have followed."""
    promotion = locked(promotion_id)
    return workflow.perform(
        PROMOTION, promotion, "complete", actor=actor, changes={"closed_at": clock.now()}
    )


@transaction.atomic
def mark_rolled_back(promotion_id: int, *, actor: Actor, reason: str) -> PromotionRequest:
    """The rollout ended where it began."""
    promotion = locked(promotion_id)
    return workflow.perform(
        PROMOTION,
        promotion,
        "roll_back",
        actor=actor,
        reason=reason,
        changes={"closed_at": clock.now(), "closed_because": reason},
    )


def expire_due(*, actor: Actor) -> int:
    """Requests and approvals whose time is over have expired; return how many."""
    now = clock.now()
    due = PromotionRequest.objects.filter(
        state__in=["checking", "blocked", "in_review", "changes_requested"], expires_at__lte=now
    ) | PromotionRequest.objects.filter(state="approved", approved_until__lte=now)
    count = 0
    for promotion_id in list(due.values_list("pk", flat=True)):
        with transaction.atomic():
            promotion = locked(promotion_id)
            if "expire" not in {step.name for step in PROMOTION.from_state(promotion.state)}:
                continue
            what = "approval" if promotion.state == "approved" else "request"
            workflow.perform(
                PROMOTION,
                promotion,
                "expire",
                actor=actor,
                cause="schedule",
                changes={"closed_at": now, "closed_because": f"The {what} was not used in time."},
            )
            count += 1
    return count


def locked(promotion_id: int) -> PromotionRequest:
    """Return the request with its row locked until the transaction ends."""
    return workflow.lock(PROMOTIONS, what="promotion", pk=promotion_id)


def _require_open_road(version: ModelVersion, environment: Environment) -> Policy:
    if environment.workspace_id != version.model.workspace_id:
        raise Invalid("The environment belongs to another workspace.")
    if version.state != ModelVersion.State.SEALED:
        raise Blocked(f"{version} is {version.state}; only a sealed version can be promoted.")
    if environment.state != Environment.State.ACTIVE:
        raise Blocked(f"{environment.name} is {environment.state}; nothing goes up there now.")
    return environments.require_policy(environment, version.model.risk_tier)


def _plan(body: policies.PolicyBody, strategy: str, *, has_live: bool) -> dict[str, Any]:
    """Return how the version would go in: what the policy says, or the strategy asked for."""
    chosen = strategy or (body.rollout.strategy if has_live else body.rollout.first_strategy)
    if chosen not in policies.parsing.STRATEGIES:
        known = ", ".join(policies.parsing.STRATEGIES)
        raise Invalid(f"{chosen!r} is not a rollout strategy; use {known}.")
    if chosen == "canary" and not has_live:
        raise Invalid(
            "A canary needs a live version to compare with. The first version goes in blue-green."
        )
    plan = dict(body.to_json()["rollout"])
    del plan["first_strategy"]
    plan["strategy"] = chosen
    if chosen == "blue_green":
        plan["steps_basis_points"] = [10_000]
    return plan


def _create(
    version: ModelVersion,
    environment: Environment,
    policy: Policy,
    body: policies.PolicyBody,
    plan: dict[str, Any],
    live: ModelVersion | None,
    *,
    actor: Actor,
    reason: str,
    link: str,
) -> PromotionRequest:
    workspace = version.model.workspace_id
    Workspace.objects.filter(pk=workspace).update(
        next_promotion_number=F("next_promotion_number") + 1
    )
    number = Workspace.objects.values_list("next_promotion_number", flat=True).get(pk=workspace)
    promotion = PromotionRequest(
        workspace_id=workspace,
        number=number - 1,
        model=version.model,
        version=version,
        environment=environment,
        policy=policy,
        replaces=live,
        requester=accountable_user(actor),
        reason=reason,
        link=link,
        plan=plan,
        expires_at=clock.now() + timedelta(hours=body.request_expires_hours),
    )
    promotion.contributors = _contributors(promotion, extra=[actor.id])
    promotion.subject = subject.build(promotion)
    promotion.subject_digest = subject.digest(promotion.subject)
    promotion.save()
    return promotion


def _contributors(promotion: PromotionRequest, extra: Sequence[str] = ()) -> list[dict[str, str]]:
    """Return who had a hand in it and what they did; whoever is in it once stays in it."""
    found = {item["id"]: item["did"] for item in promotion.contributors}
    for actor_id in promotion.version.contributors:
        found.setdefault(actor_id, "trained or registered this version")
    for actor_id in [f"user:{promotion.requester_id}", *extra]:
        found.setdefault(actor_id, "requested this promotion")
    return [{"id": key, "did": found[key]} for key in sorted(found)]
