"""Who must sign a promotion, who has, who may not and why; and what this reader may do."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from uuid import UUID

from controlplane.access import services as access
from controlplane.audit.names import names_of
from controlplane.workflow import services as workflow
from controlplane.workflow.services import AvailableStep
from frontend import words
from frontend.presenters.promotion_facts import PromotionFacts
from frontend.presenters.seals import Sealed, sealed
from registry import rules
from registry.models import Review
from registry.services import checks, reviews
from registry.states import PROMOTION

SLOT_TITLES = {
    "ml": "ML review",
    "risk": "Risk review",
    "business": "Business owner",
    "ops": "Operations",
}
SIGNS_AS = {
    "ml": "ML reviewer",
    "risk": "risk reviewer",
    "business": "business owner",
    "ops": "operations reviewer",
}


@dataclass(frozen=True)
class Vote:
    who: str
    words: str
    at: datetime
    seal: Sealed | None


@dataclass(frozen=True)
class Slot:
    name: str
    title: str
    quorum: int
    missing: int
    votes: list[Vote]
    who_can: str

    @property
    def given(self) -> int:
        return self.quorum - self.missing


@dataclass(frozen=True)
class Said:
    who: str
    at: datetime
    slot: str
    verdict: str
    text: str
    note: str
    seal: Sealed | None


@dataclass(frozen=True)
class Excluded:
    who: str
    why: str


class PromotionPeople(PromotionFacts):
    """The part of the page about people."""

    @cached_property
    def standing(self) -> reviews.Standing:
        return reviews.standing(self.record, actor=self.actor)

    @cached_property
    def steps(self) -> dict[str, AvailableStep]:
        blockers = {
            "approve": lambda: self.standing.reasons,
            "reject": self._reasons_against_deciding,
            "request_changes": self._reasons_against_deciding,
            "execute": lambda: checks.reasons_against_start(self.record, now=self.now),
        }
        found = workflow.available_steps(PROMOTION, self.record, self.actor, blockers=blockers)
        return {step.name: step for step in found}

    @property
    def approve_step(self) -> AvailableStep | None:
        return self.steps.get("approve")

    @property
    def why_not_approve(self) -> str:
        """The reason that a reader can do something about: their own hand in it comes first."""
        own = self._own_part()
        if own:
            return own
        step = self.approve_step
        return step.reasons[0] if step and step.reasons else ""

    def _own_part(self) -> str:
        mine = {item["id"]: item["did"] for item in self.record.contributors}
        did = mine.get(self.actor.id)
        return f"You {did}, so another person must decide." if did else ""

    def _reasons_against_deciding(self) -> list[str]:
        """A contributor decides nothing; whoever holds a slot may, even when theirs is filled."""
        own = self._own_part()
        if own:
            return [own]
        return [] if self.standing.held_slots else list(self.standing.reasons)

    @cached_property
    def _reviews(self) -> list[Review]:
        return list(self.record.reviews.all())

    @cached_property
    def _seals(self) -> dict[UUID | None, Sealed]:
        return sealed(self.workspace_key, (review.event_id for review in self._reviews))

    @cached_property
    def slots(self) -> list[Slot]:
        contributors = frozenset(item["id"] for item in self.record.contributors)
        slots = []
        for wanted in self.record.policy.body["reviews"]:
            name = str(wanted["slot"])
            counted = [
                review
                for review in self._reviews
                if review.slot == name
                and review.superseded_at is None
                and review.verdict == Review.Verdict.APPROVE
                and self._status(review, contributors) == "counted"
            ]
            missing = max(0, int(wanted["quorum"]) - len({r.reviewer_id for r in counted}))
            slots.append(
                Slot(
                    name=name,
                    title=SLOT_TITLES[name],
                    quorum=int(wanted["quorum"]),
                    missing=missing,
                    votes=[
                        Vote(
                            str(r.reviewer), "approved at", r.voted_at, self._seals.get(r.event_id)
                        )
                        for r in counted
                    ],
                    who_can=self._who_can(name, contributors) if missing and self.is_open else "",
                )
            )
        return slots

    def _who_can(self, slot: str, contributors: frozenset[str]) -> str:
        people = [
            person
            for person in access.people_with(f"review_{slot}", self.record)
            if person.actor_id not in contributors
        ]
        if not people:
            return "Nobody else holds this slot. An administrator can grant it."
        named = ["you" if person.pk == self.actor.user_id else str(person) for person in people[:3]]
        more = f" and {len(people) - 3} more" if len(people) > 3 else ""
        return f"Open for {', '.join(named)}{more}."

    def _status(self, review: Review, contributors: frozenset[str]) -> str:
        vote = rules.Vote(
            f"user:{review.reviewer_id}", review.verdict, review.subject_digest, review.slot
        )
        return rules.vote_status(vote, subject_digest=self.digest, contributors=contributors)

    @cached_property
    def excluded(self) -> list[Excluded]:
        names = names_of(item["id"] for item in self.record.contributors)
        return [
            Excluded(
                "You" if item["id"] == self.actor.id else names[item["id"]],
                f"{item['did'][0].upper()}{item['did'][1:]}.",
            )
            for item in self.record.contributors
        ]

    @cached_property
    def reviews(self) -> list[Said]:
        contributors = frozenset(item["id"] for item in self.record.contributors)
        notes = {"stale": "for earlier content, no longer counts", "conflicted": "does not count"}
        said = []
        for review in self._reviews:
            status = self._status(review, contributors)
            note = "" if review.verdict == Review.Verdict.COMMENT else notes.get(status, "")
            said.append(
                Said(
                    who=str(review.reviewer),
                    at=review.voted_at,
                    slot=SLOT_TITLES.get(review.slot, ""),
                    verdict=review.verdict,
                    text=review.text,
                    note="superseded by a later word" if review.superseded_at else note,
                    seal=self._seals.get(review.event_id),
                )
            )
        return said

    @property
    def decision_heading(self) -> str:
        if not self.is_decidable:
            return "Decision"
        if self.approve_step and self.approve_step.allowed:
            return "Your approval is needed"
        return {
            "checking": "Checks come first",
            "blocked": "A check stands against it",
            "changes_requested": "Changes were requested",
        }.get(self.state, "Who must sign")

    @property
    def effect(self) -> str:
        plan = self.record.plan
        missing = sum(slot.missing for slot in self.slots)
        start = "starts at once" if plan.get("start") == "automatic" else "can then be started"
        how = "canary" if plan.get("strategy") == "canary" else "blue-green switch"
        if missing > 1:
            return f"After {words.plural(missing - 1, 'further approval')} the {how} {start}."
        return f"This is the last approval: the {how} {start}."
