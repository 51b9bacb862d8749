"""Who said what about a promotion: approvals that count, rejections, changes asked for, remarks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from django.db import transaction

from controlplane.access import services as access
from controlplane.accounts import signatures
from controlplane.audit import services as audit
from controlplane.core import clock
from controlplane.core.actor import Actor
from controlplane.core.errors import Blocked, Invalid, NotPermitted, StaleSubject
from controlplane.outbox import services as outbox
from controlplane.workflow import services as workflow
from registry import policies, rules, subject
from registry.models import PromotionRequest, Review
from registry.services import checks
from registry.services.promotions import PROMOTIONS, locked
from registry.states import PROMOTION


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
    promotion = PROMOTIONS.get(pk=promotion_id)
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
