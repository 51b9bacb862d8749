"""The review page of one promotion: eight answers, for one reader."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from django.utils import timezone

from deployments.models import Rollout
from frontend import words
from frontend.presenters import history, makeup
from frontend.presenters.makeup import DiffRow
from frontend.presenters.plan import PlanStep, guard_sentences, plan_steps, undo_sentences
from frontend.presenters.promotion_people import SIGNS_AS, PromotionPeople
from registry import rules
from registry.models import Evidence, GateResult
from registry.services import evidence
from registry.states import PROMOTION

_UNCHECKED = "No check looks at latency, cost or business effect."


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


class PromotionPage(PromotionPeople):
    """Everything that the page says; parts that cost queries are read when first asked for."""

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


def _limit_words(gate: GateResult) -> str:
    limit = str(gate.facts.get("limit", ""))
    if not limit:
        return ""
    return f"drop ≤ {limit.removeprefix('-')}" if limit.startswith("-") else f"≥ {limit}"


def _share(basis_points: int) -> str:
    return f"{basis_points / 100:g}%"


def _day(moment: datetime) -> str:
    return words.moment(timezone.localtime(moment))
