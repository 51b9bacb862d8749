"""The review page of one promotion: eight answers, for one reader."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from uuid import UUID

from django.urls import reverse
from django.utils import timezone

from controlplane.access import services as access
from controlplane.audit.names import names_of
from controlplane.core import clock
from controlplane.core.actor import Actor
from controlplane.workflow import services as workflow
from controlplane.workflow.services import AvailableStep
from deployments.models import Rollout
from frontend import words
from frontend.presenters import history, makeup
from frontend.presenters.makeup import DiffRow
from frontend.presenters.plan import PlanStep, guard_sentences, plan_steps, undo_sentences
from frontend.presenters.seals import Sealed, sealed
from registry import rules
from registry.models import Evidence, GateResult, ModelVersion, PromotionRequest, Review
from registry.services import checks, evidence, promotions
from registry.services.checks import Deviation
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
_UNCHECKED = "No check looks at latency, cost or business effect."


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
class Stage:
    name: str
    words: str
    tone: str
    icon: str


@dataclass(frozen=True)
class Check:
    title: str
    outcome: str
    sentence: str
    limit: str


@dataclass(frozen=True)
class ChipWords:
    words: str
    tone: str
    icon: str


@dataclass(frozen=True)
class Excluded:
    who: str
    why: str


@dataclass(frozen=True)
class Replaced:
    words: str
    url: str


@dataclass
class PromotionPage:
    """Everything that the page says; parts that cost queries are read when first asked for."""

    record: PromotionRequest
    actor: Actor
    workspace_key: str
    now: datetime = field(default_factory=clock.now)

    # ── Head ─────────────────────────────────────────────────────────────────────────────

    @property
    def number(self) -> int:
        return self.record.number

    @property
    def state(self) -> str:
        return str(self.record.state)

    @property
    def model_name(self) -> str:
        return self.record.model.name

    @property
    def version(self) -> str:
        return words.version_words(self.record.version)

    @property
    def environment(self) -> str:
        return self.record.environment.name.lower()

    @property
    def alias(self) -> str:
        return self.record.environment.guarded_alias

    @property
    def requester(self) -> str:
        return str(self.record.requester)

    @property
    def reason(self) -> str:
        return self.record.reason

    @property
    def opened_at(self) -> datetime:
        return self.record.created_at

    @property
    def risk_tier(self) -> str:
        return self.record.model.risk_tier

    @property
    def policy(self) -> str:
        return f"policy v{self.record.policy.number}"

    @property
    def digest(self) -> str:
        return self.record.subject_digest

    @property
    def manifest(self) -> str:
        return self.record.version.manifest_sha256

    @property
    def is_open(self) -> bool:
        return self.record.state not in PROMOTION.final

    @property
    def waiting(self) -> timedelta | None:
        if not self.is_decidable:
            return None
        return max(timedelta(seconds=1), self.now - self.record.created_at)

    @property
    def expires_in(self) -> timedelta | None:
        ends = self.record.approved_until if self.state == "approved" else self.record.expires_at
        if not self.is_open or self.state == "executing" or ends is None or ends <= self.now:
            return None
        return ends - self.now

    @property
    def is_decidable(self) -> bool:
        return self.state in {"checking", "blocked", "in_review", "changes_requested"}

    @property
    def replaced(self) -> ModelVersion | None:
        return self.record.replaces

    @property
    def replaces(self) -> Replaced | None:
        if self.replaced is None:
            return None
        url = self._url("version", self.model_name, self.replaced.number)
        return Replaced(words.version_words(self.replaced), url)

    @property
    def candidate_head(self) -> str:
        return f"Candidate {self.version}"

    @property
    def champion_head(self) -> str:
        return f"Champion {words.version_words(self.replaced)}" if self.replaced else "Champion"

    @property
    def url(self) -> str:
        return self._url("promotion", self.number)

    @property
    def model_url(self) -> str:
        return self._url("model", self.model_name)

    @property
    def version_url(self) -> str:
        return self._url("version", self.model_name, self.record.version.number)

    @property
    def closed_because(self) -> str:
        return self.record.closed_because

    @property
    def closed_words(self) -> str:
        return f"This request was {words.look_of(self.state).text}."

    @property
    def closed_tone(self) -> str:
        return "bad" if self.state in {"rejected", "rolled_back"} else "warn"

    @property
    def closed_icon(self) -> str:
        return words.look_of(self.state).icon or "info"

    # ── Verdict strip and stages ─────────────────────────────────────────────────────────

    @cached_property
    def gates(self) -> list[GateResult]:
        return list(self.record.gates.all())

    @property
    def checks(self) -> list[Check]:
        return [
            Check(gate.title, gate.outcome, gate.sentence, _limit_words(gate))
            for gate in self.gates
        ]

    @property
    def passed(self) -> int:
        return sum(gate.outcome == rules.PASS for gate in self.gates)

    @property
    def checks_words(self) -> str:
        if self.state == "checking":
            return "running"
        if not self.gates:
            return "have not run"
        return f"{self.passed} of {len(self.gates)} passed"

    @property
    def check_chips(self) -> list[ChipWords]:
        failed = sum(gate.outcome == rules.FAIL for gate in self.gates)
        unsure = sum(gate.outcome == rules.INCONCLUSIVE for gate in self.gates)
        return [
            *([ChipWords(f"{self.passed} passed", "ok", "check")] if self.passed else []),
            *([ChipWords(f"{unsure} without enough data", "warn", "warn")] if unsure else []),
            *([ChipWords(f"{failed} failed", "bad", "bad")] if failed else []),
        ]

    @cached_property
    def points(self) -> list[Deviation]:
        return checks.deviations(self.record)

    @property
    def deviations(self) -> list[str]:
        return [point.text for point in self.points]

    @property
    def unchecked(self) -> str:
        return _UNCHECKED

    @property
    def my_part(self) -> str:
        if not self.is_decidable:
            return ""
        if self.approve_step and self.approve_step.allowed:
            return f"You may sign as {SIGNS_AS[self.standing.slot]}"
        return ""

    @property
    def stages(self) -> list[Stage]:
        """Registered, checks, review, rollout, live: where the request stands."""
        state, record = self.state, self.record
        steps = [_share(item) for item in record.plan.get("steps_basis_points", [])]
        shares = " → ".join(steps) if len(steps) > 1 else "all at once"
        how = "Canary" if record.plan.get("strategy") == "canary" else "Blue-green"
        review_words = (
            f"{sum(s.given for s in self.slots)} of {sum(s.quorum for s in self.slots)} approvals"
        )
        order = ["checks", "review", "rollout", "live"]
        reached = {
            "draft": 0,
            "checking": 0,
            "blocked": 0,
            "in_review": 1,
            "changes_requested": 1,
            "approved": 2,
            "executing": 2,
            "completed": 4,
        }.get(state)
        if reached is None:
            reached = self._reached_before_end()
        has_ended_badly = state in PROMOTION.final and state != "completed"
        said = {
            "checks": self.checks_words,
            "review": review_words,
            "rollout": shares,
            "live": words.look_of(state).text if state == "completed" else f"{self.environment}",
        }
        names = {"checks": "Checks", "review": "Review", "rollout": how, "live": "Live"}
        stages = [Stage("Registered", _day(record.version.created_at), "ok", "ok")]
        for place, key in enumerate(order):
            if place < reached:
                stages.append(Stage(names[key], said[key], "ok", "ok"))
            elif place == reached and has_ended_badly:
                stages.append(Stage(names[key], words.look_of(state).text, "bad", "bad"))
            elif place == reached:
                icon = "bad" if state == "blocked" else "run"
                stages.append(Stage(names[key], said[key], "bad" if icon == "bad" else "now", icon))
            else:
                stages.append(Stage(names[key], said[key], "next", "wait"))
        return stages

    def _reached_before_end(self) -> int:
        if self.state == "rolled_back":
            return 2
        if self.record.approved_at is not None:
            return 2
        return 1 if self.record.checked_at and self.passed == len(self.gates) else 0

    # ── People ───────────────────────────────────────────────────────────────────────────

    @cached_property
    def standing(self) -> promotions.Standing:
        return promotions.standing(self.record, actor=self.actor)

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

    # ── Make-up, plan, way back, record ──────────────────────────────────────────────────

    @cached_property
    def makeup(self) -> list[DiffRow]:
        version = self.record.version
        run_url = self._url("run", version.run_id) if version.run_id else ""
        return makeup.makeup(version, self.replaced, run_url=run_url, data_url="")

    @property
    def changed_facts(self) -> int:
        return sum(row.is_changed for row in self.makeup)

    @cached_property
    def signature(self) -> list[DiffRow]:
        return makeup.signature_rows(self.record.version, self.replaced)

    @property
    def signature_changes(self) -> int:
        return sum(row.is_changed for row in self.signature) if self.replaced else 0

    @property
    def signature_words(self) -> str:
        if not self.replaced:
            return f"{words.plural(len(self.signature), 'column')}, nothing to compare with"
        return f"{words.plural(self.signature_changes, 'change')}"

    @cached_property
    def evidence(self) -> Evidence | None:
        return evidence.newest(self.record.version)

    @property
    def same_thing(self) -> str:
        newest = self.evidence
        if newest is None:
            return "Nothing has been evaluated yet"
        if newest.manifest_sha256 == self.manifest:
            return f"The evaluated files are these files, {self.manifest[:8]}"
        return "The evaluation belongs to other files"

    @property
    def plan(self) -> list[PlanStep]:
        return plan_steps(self.record.plan)

    @property
    def guards(self) -> list[str]:
        return guard_sentences(self.record.plan, has_live=self.replaced is not None)

    @cached_property
    def rollout_url(self) -> str:
        """The rollout that the approval started; one query once it may exist."""
        if self.state not in {"executing", "completed", "rolled_back"}:
            return ""
        found = Rollout.objects.filter(promotion=self.record).values_list("pk", flat=True).first()
        return self._url("rollout", found) if found else ""

    @property
    def undo(self) -> list[str]:
        return undo_sentences(self.record)

    @cached_property
    def timeline(self) -> list[history.Happening]:
        return history.about(self.actor, self.workspace_key, self.record)

    def act_url(self, name: str) -> str:
        return self._url("promotion_act", self.number, name)

    def _url(self, name: str, *args: object) -> str:
        return reverse(f"pages:{name}", args=[self.workspace_key, *args])


def _limit_words(gate: GateResult) -> str:
    limit = str(gate.facts.get("limit", ""))
    if not limit:
        return ""
    return f"drop ≤ {limit.removeprefix('-')}" if limit.startswith("-") else f"≥ {limit}"


def _share(basis_points: int) -> str:
    return f"{basis_points / 100:g}%"


def _day(moment: datetime) -> str:
    return words.moment(timezone.localtime(moment))
