"""A rollout as it moves: steps, arms, guard, and what happens next."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property

from django.urls import reverse
from django.utils import timezone

from controlplane.core import clock
from controlplane.core.actor import Actor
from deployments import queries
from deployments.models import DeploymentRevision, Rollout
from deployments.states import ACTIVE_ROLLOUT_STATES
from frontend import svg, words
from frontend.presenters import history
from frontend.presenters.rollout_charts import Chart, charts
from frontend.presenters.rollout_guards import Guard, guards
from registry.models import Review

NO_FIGURES = queries.ArmFigures("", 0, 0, 0, 0.0, 0.0)


@dataclass(frozen=True)
class StepRow:
    share: str
    words: str
    detail: str
    tone: str
    progress: float = 0.0


@dataclass(frozen=True)
class Arm:
    """One version's part in the traffic, with its figures as words."""

    version: str
    role_name: str
    alias_role: str
    line: str
    share: str
    basis_points: int
    requests: str
    errors: str
    error_rate: str
    p50: str
    p95: str


@dataclass(frozen=True)
class Banner:
    tone: str
    icon: str
    strong: str
    text: str


@dataclass
class RolloutPage:
    """Everything the page says about one rollout; figures are counted when first asked for."""

    record: Rollout
    actor: Actor
    workspace_key: str
    now: datetime = field(default_factory=clock.now)

    # ── Head ─────────────────────────────────────────────────────────────────────────────

    @property
    def id(self) -> int:
        return self.record.pk

    @property
    def model_name(self) -> str:
        return self.record.deployment.model.name

    @property
    def version(self) -> str:
        return words.version_words(self.record.version)

    @property
    def environment(self) -> str:
        return self.record.deployment.environment.name.lower()

    @property
    def replaces(self) -> str:
        return words.version_words(self.record.baseline) if self.record.baseline else ""

    @property
    def replaces_url(self) -> str:
        if self.record.baseline is None:
            return ""
        return self._url("version", self.model_name, self.record.baseline.number)

    @property
    def promotion(self) -> object:
        return self.record.promotion

    @property
    def strategy(self) -> str:
        return "canary" if self.record.strategy == "canary" else "blue-green"

    @property
    def state(self) -> str:
        return str(self.record.state)

    @property
    def is_active(self) -> bool:
        return self.record.state in ACTIVE_ROLLOUT_STATES

    @property
    def look(self) -> words.Look:
        look = words.look_of(self.state, "rollout")
        if self.state == "running":
            return words.Look(
                f"{self.strategy} {self.share_at(self.record.step)}", "run", "rollout"
            )
        return look

    @cached_property
    def approvers(self) -> str:
        reviews = Review.objects.filter(
            promotion=self.record.promotion_id, verdict="approve", superseded_at=None
        ).select_related("reviewer")
        return ", ".join(str(review.reviewer) for review in reviews)

    @property
    def banner(self) -> Banner | None:
        """What a person must know first: it went back, stands still, or could not go back."""
        target = self.replaces or "no version"
        if self.state == "rolled_back":
            return Banner(
                "bad",
                "undo",
                f"Rolled back to {target}.",
                self.record.message or "Nobody said why.",
            )
        if self.state in {"rolling_back", "rollback_failed"}:
            look = words.look_of(self.state)
            strong = f"{look.text.capitalize()} to {target}."
            return Banner(look.tone, look.icon, strong, self.record.message)
        if self.state == "paused":
            return Banner(
                "warn", "pause", "Paused; the shares stay as they are.", self.record.message
            )
        return None

    # ── Steps ────────────────────────────────────────────────────────────────────────────

    @property
    def _shares(self) -> list[int]:
        return [int(item) for item in self.record.plan["steps_basis_points"]]

    def share_at(self, step: int) -> str:
        return f"{self._shares[min(step, len(self._shares) - 1)] / 100:g}%"

    @property
    def _hold(self) -> timedelta:
        seconds = "bake_seconds" if self.state == "baking" else "step_seconds"
        return timedelta(seconds=float(self.record.plan[seconds]))

    @property
    def _elapsed(self) -> timedelta:
        return self.now - self.record.step_started_at

    @property
    def steps(self) -> list[StepRow]:
        """The shares of the plan, and the watching that ends it."""
        rows = [self._step_row(place) for place in range(len(self._shares))]
        watch = words.duration(float(self.record.plan["bake_seconds"]))
        if self.state == "baking":
            left = max(timedelta(0), self._hold - self._elapsed)
            rows.append(
                StepRow(
                    "Watch",
                    f"Watching, {words.duration(left)} left",
                    self._counted(),
                    "now",
                    self._elapsed / self._hold if self._hold else 1.0,
                )
            )
        else:
            tone = "done" if self.state == "succeeded" else "next"
            warm = f"{self.replaces} stays warm" if self.replaces else "the guard stays on"
            rows.append(StepRow("Watch", f"for {watch}", warm, tone))
        return rows

    def _step_row(self, place: int) -> StepRow:
        share, here = self.share_at(place), self.record.step
        is_past = place < here or self.state in {"baking", "succeeded"}
        if is_past:
            return StepRow(share, "done", "", "done")
        if place > here or self.state == "preparing":
            wait = words.duration(float(self.record.plan["step_seconds"]))
            is_last = place == len(self._shares) - 1
            rest = "the rest" if place else "all at once"
            return StepRow(share, rest if is_last else f"for {wait}", "", "next")
        if self.state in {"running", "paused"}:
            left = max(timedelta(0), self._hold - self._elapsed)
            said = f"Holding, {words.duration(left)} left" if left else "Waiting for requests"
            if self.state == "paused":
                said = "Paused"
            progress = min(1.0, self._elapsed / self._hold) if self._hold else 1.0
            since = words.moment(timezone.localtime(self.record.step_started_at))
            return StepRow(share, said, f"since {since}, {self._counted()}", "now", progress)
        return StepRow(share, "ended here", "", "next")

    def _counted(self) -> str:
        return words.plural(self.figures["candidate"].requests, "request")

    @property
    def segments(self) -> list[svg.StepState]:
        """The steps as bars; what was left when it went back is red."""
        states: list[svg.StepState] = []
        for place in range(len(self._shares)):
            if place < self.record.step or self.state in {"baking", "succeeded"}:
                states.append("done")
            elif place > self.record.step or self.state == "preparing":
                states.append("next")
            else:
                states.append("now" if self.is_active and "roll" not in self.state else "failed")
        return states

    @property
    def step_words(self) -> str:
        if self.state in {"running", "paused"}:
            step = self.record.step
            return f"step {step + 1} of {len(self._shares)} at {self.share_at(step)}"
        return words.look_of(self.state, "rollout").text

    @property
    def place_words(self) -> str:
        replaced = f"replaces {self.replaces}" if self.replaces else "first version"
        return f"{replaced} in {self.environment}"

    @property
    def next_strong(self) -> str:
        if self.state in {"preparing", "running", "baking", "rolling_back"}:
            return "Nothing to do."
        return "Waits for a person." if self.state in {"paused", "rollback_failed"} else ""

    @property
    def next_words(self) -> str:
        """One sentence on what happens next, and when."""
        back = (
            f"All requests are back on {self.replaces}."
            if self.replaces
            else "Nothing serves here."
        )
        if self.state == "running":
            return self._next_while_running()
        due = words.moment(timezone.localtime(self.record.step_started_at + self._hold))
        return {
            "preparing": f"Nodes load {self.version} and try it. No request reaches it yet.",
            "paused": "Resume counts this step anew; rolling back is always possible.",
            "baking": f"It is complete at {due} if the guard stays inside its limits.",
            "rolling_back": "Every gateway confirms that it routes by the old table.",
            "rollback_failed": "A gateway has not confirmed yet; Gatehouse tries again.",
            "succeeded": f"{self.version} serves all requests, and aliases have followed.",
            "rolled_back": back,
        }.get(self.state, "")

    def _next_while_running(self) -> str:
        is_last = self.record.step == len(self._shares) - 1
        target = "watching" if is_last else self.share_at(self.record.step + 1)
        if self._elapsed < self._hold:
            due = words.moment(
                timezone.localtime(self.record.step_started_at + self._hold), seconds=True
            )
            return f"Gatehouse moves to {target} at {due} if the guard stays inside its limits."
        least = int(self.record.plan["guard"]["minimum_requests"])
        return f"Gatehouse moves to {target} once {least:,} requests have been answered well."

    # ── Figures ──────────────────────────────────────────────────────────────────────────

    @cached_property
    def figures(self) -> dict[str, queries.ArmFigures]:
        """Counts per arm since the step began; the only arm of a first version is its own."""
        found = queries.figures(
            self.record.deployment_id, self.record.step_started_at, self.record.finished_at
        )
        candidate = found.get("candidate", NO_FIGURES)
        if self.record.baseline_id is None or self.state in {"baking", "succeeded"}:
            candidate = _joined(candidate, found.get("stable", NO_FIGURES))
            return {"candidate": candidate, "stable": NO_FIGURES}
        return {"candidate": candidate, "stable": found.get("stable", NO_FIGURES)}

    @property
    def arms_words(self) -> str:
        since = words.moment(timezone.localtime(self.record.step_started_at), seconds=True)
        return f"since {since}, when this step began"

    @cached_property
    def arms(self) -> list[Arm]:
        share = self.record.share_basis_points
        arms = []
        if self.record.baseline is not None:
            arms.append(self._arm("stable", self.replaces, 10_000 - share))
        arms.append(self._arm("candidate", self.version, share))
        return arms

    def _arm(self, name: str, version: str, share: int) -> Arm:
        found = self.figures[name]
        is_candidate = name == "candidate"
        has_any = found.requests > 0
        return Arm(
            version=version,
            role_name="candidate" if is_candidate else "champion",
            alias_role="cand" if is_candidate else "",
            line="cand" if is_candidate else "champ",
            share=f"{share / 100:g}%",
            basis_points=share,
            requests=f"{found.requests:,}",
            errors=f"{found.errors:,}",
            error_rate=words.number(100 * found.error_share, digits=2, unit="%")
            if has_any
            else "–",
            p50=words.number(found.p50_ms, digits=1, unit="ms") if has_any else "–",
            p95=words.number(found.p95_ms, digits=1, unit="ms") if has_any else "–",
        )

    @property
    def traffic(self) -> list[Arm]:
        return self.arms if self.is_active else []

    @property
    def assignment_words(self) -> str:
        return "The same unit always reaches the same version while the share stays or grows."

    @cached_property
    def charts(self) -> list[Chart]:
        return charts(self.record, self.version, self.replaces, self.arms)

    @property
    def guards(self) -> list[Guard]:
        return guards(self.record, self.figures["candidate"])

    @property
    def guards_words(self) -> str:
        return "judged every two seconds" if self.is_active else "as last judged"

    @property
    def words(self) -> str:
        """One line for lists: what it waits for, and how it stands."""
        found = self.figures["candidate"]
        return f"{self.next_words} {found.errors:,} of {found.requests:,} requests failed."

    @cached_property
    def timeline(self) -> list[history.Happening]:
        return history.about(self.actor, self.workspace_key, self.record)

    @property
    def started_at(self) -> datetime:
        return self.record.created_at

    @property
    def promotion_number(self) -> int:
        return self.record.promotion.number

    @property
    def url(self) -> str:
        return self._url("rollout", self.record.pk)

    @property
    def no_acts_words(self) -> str:
        if self.is_active:
            return "You may watch. Steering needs the role operator on this model or environment."
        return "This rollout has ended."

    def act_url(self, name: str) -> str:
        return self._url("rollout_act", self.record.pk, name)

    def _url(self, name: str, *args: object) -> str:
        return reverse(f"pages:{name}", args=[self.workspace_key, *args])


def _joined(first: queries.ArmFigures, second: queries.ArmFigures) -> queries.ArmFigures:
    """Add counts of two arms that are the same version; percentiles of the busier one hold."""
    busier = max(first, second, key=lambda item: item.requests)
    return queries.ArmFigures(
        "candidate",
        first.requests + second.requests,
        first.errors + second.errors,
        first.failovers + second.failovers,
        busier.p50_ms,
        busier.p95_ms,
    )


def is_current(revision: DeploymentRevision | None, rollout: Rollout) -> bool:
    """Say whether a finished rollout's version is what the deployment still runs."""
    return revision is not None and revision.stable_id == rollout.version_id
