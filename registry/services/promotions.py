"""The life of a promotion request, from the wish to the rollout's end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import F

from controlplane.access import services as access
from controlplane.accounts import signatures
from controlplane.accounts.models import Workspace
from controlplane.audit import services as audit
from controlplane.core import clock
from controlplane.core.actor import Actor
from controlplane.core.errors import (
    Blocked,
    Conflict,
    IllegalTransition,
    Invalid,
    NotPermitted,
    StaleSubject,
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
    Review,
)
from registry.services import checks, environments, evidence
from registry.services.models import accountable_user
from registry.states import OPEN_PROMOTION_STATES, PROMOTION

_ALL = PromotionRequest.objects.select_related(
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
    return _ALL.filter(
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
    promotion = _ALL.get(pk=promotion_id)
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


@dataclass(frozen=True, slots=True)
class Standing:
    """Whether this person's approval would count, and if not, why in words."""

    held_slots: frozenset[str]
    open_slots: Mapping[str, int]
    reasons: tuple[str, ...]

    @property
    def slot(self) -> str:
        """Return the slot that the approval would fill, or an empty string."""
        return next((slot for slot in self.open_slots if slot in self.held_slots), "")


def standing(promotion: PromotionRequest, *, actor: Actor) -> Standing:
    """Return what an approval by this actor would mean now."""
    body = policies.from_json(promotion.policy.body)
    votes = _votes(promotion)
    contributors = {item["id"]: item["did"] for item in promotion.contributors}
    missing = rules.open_slots(
        body,
        votes,
        subject_digest=promotion.subject_digest,
        contributors=frozenset(contributors),
    )
    verbs = access.verbs_on(actor, promotion)
    held = frozenset(verb.removeprefix("review_") for verb in verbs if verb.startswith("review_"))
    reasons = rules.reasons_against_vote(
        reviewer_id=actor.id,
        contributors=contributors,
        held_slots=held,
        wanted_slots=frozenset(missing),
        already_approved=any(
            vote.reviewer_id == actor.id
            and vote.verdict == "approve"
            and vote.subject_digest == promotion.subject_digest
            for vote in votes
        ),
    )
    if not actor.is_human:
        reasons = ["Only a person can approve."]
    return Standing(held, missing, tuple(reasons))


def require_may_approve(promotion_id: int, *, actor: Actor, subject_digest: str) -> None:
    """Return when an approval by this actor would count now; refusals are recorded.

    Doors ask this before they ask for the password, so that nobody signs what cannot count.
    """
    promotion = _ALL.get(pk=promotion_id)
    with workflow.refusals("promotion.approve", actor=actor, obj=promotion):
        _require_may_approve(promotion, actor, subject_digest)


@transaction.atomic
def approve(
    promotion_id: int,
    *,
    actor: Actor,
    subject_digest: str,
    signature_id: UUID,
    comment: str = "",
    acknowledged: Sequence[str] = (),
) -> PromotionRequest:
    """The person's approval of exactly this subject counts; with the last one it is approved.

    The signature (password given again for this digest) is spent by it.

    Raises:
        NotPermitted: a contributor, or nobody with an open review slot.
        IllegalTransition: the request is not in review.
        StaleSubject: the digest is not the current one; the sentence says what changed.
    """
    promotion = locked(promotion_id)
    with workflow.refusals("promotion.approve", actor=actor, obj=promotion):
        own = _require_may_approve(promotion, actor, subject_digest)
        _require_acknowledged(promotion, acknowledged)
        signatures.spend(signature_id, actor=actor, subject_digest=subject_digest)
    review = _record_review(
        promotion,
        actor=actor,
        verdict=Review.Verdict.APPROVE,
        slot=own.slot,
        text=comment,
        acknowledged=acknowledged,
    )
    if standing(promotion, actor=actor).open_slots:
        return promotion
    body = policies.from_json(promotion.policy.body)
    now = clock.now()
    workflow.perform(
        PROMOTION,
        promotion,
        "approve",
        actor=actor,
        changes={
            "approved_at": now,
            "approved_until": now + timedelta(hours=body.approval_valid_hours),
        },
        facts={"review": review.pk},
        digests={"subject": promotion.subject_digest},
    )
    if promotion.plan["start"] == "automatic":
        outbox.after_commit("registry.execute_promotion", promotion.pk, queue="promotion")
    return promotion


@transaction.atomic
def request_changes(
    promotion_id: int, *, actor: Actor, subject_digest: str, text: str
) -> PromotionRequest:
    """The requester is told what is missing; after new evidence the checks run again."""
    return _decide(
        promotion_id,
        "request_changes",
        Review.Verdict.REQUEST_CHANGES,
        actor=actor,
        subject_digest=subject_digest,
        text=text,
    )


@transaction.atomic
def reject(promotion_id: int, *, actor: Actor, subject_digest: str, text: str) -> PromotionRequest:
    """The request has ended; the version may ask again with a new one."""
    return _decide(
        promotion_id,
        "reject",
        Review.Verdict.REJECT,
        actor=actor,
        subject_digest=subject_digest,
        text=text,
    )


@transaction.atomic
def comment(promotion_id: int, *, actor: Actor, text: str) -> Review:
    """The discussion has one more remark; it decides nothing."""
    promotion = locked(promotion_id)
    with workflow.refusals("promotion.comment", actor=actor, obj=promotion):
        access.require(actor, "view", promotion)
        if not actor.is_human:
            raise NotPermitted("Only people take part in the discussion.")
        if not text.strip():
            raise Invalid("Write something.", fields={"text": ["Write something."]})
    return _record_review(
        promotion, actor=actor, verdict=Review.Verdict.COMMENT, slot="", text=text, acknowledged=()
    )


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
    return workflow.lock(_ALL, what="promotion", pk=promotion_id)


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


def _require_may_approve(
    promotion: PromotionRequest, actor: Actor, subject_digest: str
) -> Standing:
    access.require(actor, "view", promotion)
    own = _require_reviewer(promotion, actor)
    PROMOTION.step(promotion.state, "approve")
    _require_current(promotion, subject_digest)
    if own.reasons:
        raise Blocked(own.reasons[0], reasons=list(own.reasons))
    return own


def _require_reviewer(promotion: PromotionRequest, actor: Actor) -> Standing:
    own = standing(promotion, actor=actor)
    contributors = {item["id"]: item["did"] for item in promotion.contributors}
    if actor.id in contributors:
        raise NotPermitted(
            f"You {contributors[actor.id]}, so another person must decide.",
            code="separation_of_duties",
        )
    if not actor.is_human or not own.held_slots:
        raise NotPermitted(own.reasons[0])
    return own


def _require_current(promotion: PromotionRequest, seen: str) -> None:
    now = subject.build(promotion)
    if seen == promotion.subject_digest == subject.digest(now):
        return
    changed = subject.changes(promotion.subject, now)
    what = f"{' and '.join(changed)} changed" if changed else "the request changed"
    raise StaleSubject(
        f"What you read is no longer what would be decided: {what}. Read it again; nothing was "
        "recorded as your decision.",
        current=promotion.subject_digest,
        changed=changed,
    )


def _require_acknowledged(promotion: PromotionRequest, acknowledged: Sequence[str]) -> None:
    if promotion.model.risk_tier not in {"high", "critical"}:
        return
    open_points = [
        item.key for item in checks.deviations(promotion) if item.key not in acknowledged
    ]
    if open_points:
        raise Blocked(
            f"For a model of {promotion.model.risk_tier} risk tick each point to look at first; "
            f"{len(open_points)} are open.",
            reasons=open_points,
        )


def _decide(
    promotion_id: int,
    step: str,
    verdict: Review.Verdict,
    *,
    actor: Actor,
    subject_digest: str,
    text: str,
) -> PromotionRequest:
    promotion = locked(promotion_id)
    with workflow.refusals(f"promotion.{step}", actor=actor, obj=promotion):
        access.require(actor, "view", promotion)
        own = _require_reviewer(promotion, actor)
        PROMOTION.step(promotion.state, step)
        _require_current(promotion, subject_digest)
        missing = rules.reasons_against_text(text)
        if missing:
            raise Invalid(missing[0], fields={"text": missing})
    slot = own.slot or next(iter(sorted(own.held_slots)))
    _record_review(promotion, actor=actor, verdict=verdict, slot=slot, text=text, acknowledged=())
    changes = {"closed_at": clock.now(), "closed_because": text} if step == "reject" else {}
    return workflow.perform(
        PROMOTION,
        promotion,
        step,
        actor=actor,
        reason=text,
        changes=changes,
        digests={"subject": promotion.subject_digest},
    )


def _record_review(
    promotion: PromotionRequest,
    *,
    actor: Actor,
    verdict: Review.Verdict,
    slot: str,
    text: str,
    acknowledged: Sequence[str],
) -> Review:
    if verdict != Review.Verdict.COMMENT:
        promotion.reviews.filter(reviewer=actor.user_id, superseded_at=None).exclude(
            verdict=Review.Verdict.COMMENT
        ).update(superseded_at=clock.now())
    action = "promotion.comment" if verdict == Review.Verdict.COMMENT else f"review.{verdict.value}"
    event_id = audit.record(
        action,
        actor=actor,
        obj=audit.ref(promotion),
        after={"verdict": verdict.value, "slot": slot, "acknowledged": list(acknowledged)},
        reason=text,
        digests={"subject": promotion.subject_digest},
    )
    return Review.objects.create(
        promotion=promotion,
        reviewer_id=actor.user_id or 0,
        reviewer_kind=actor.kind.value,
        slot=slot,
        verdict=verdict,
        subject_digest=promotion.subject_digest,
        text=text,
        acknowledged=list(acknowledged),
        event_id=event_id,
    )


def _votes(promotion: PromotionRequest) -> list[rules.Vote]:
    return [
        rules.Vote(f"user:{review.reviewer_id}", review.verdict, review.subject_digest, review.slot)
        for review in promotion.reviews.filter(superseded_at=None)
    ]
