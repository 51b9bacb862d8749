"""Home is a work list: what needs the reader first, then what moves by itself."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Count, Q
from django.urls import reverse
from django.utils import timezone

from controlplane.access import services as access
from controlplane.accounts.models import User, Workspace
from controlplane.audit import queries as audit
from controlplane.core import clock
from controlplane.core.actor import Actor
from controlplane.jobs import queries as job_queries
from controlplane.jobs import states
from controlplane.jobs.models import Job
from deployments import queries as deployments
from deployments.models import Rollout
from deployments.states import ACTIVE_ROLLOUT_STATES
from frontend import words
from frontend.presenters import history, jobs, serving
from frontend.presenters.promotion_list import open_slots
from frontend.presenters.rollout import RolloutPage
from registry.models import PromotionRequest

REVIEWS = 5
ROLLOUTS = 3
MY_JOBS = 5
SOON = timedelta(hours=24)
_MINE = ("blocked", "changes_requested", "approved")


@dataclass(frozen=True)
class Need:
    """One thing that waits for the reader: what, why, until when, and the way there."""

    title: str
    words: str
    url: str
    button: str
    icon: str
    tone: str = "run"
    due: str = ""
    due_tone: str = ""


@dataclass(frozen=True)
class LedgerLine:
    words: str
    tone: str
    icon: str


def home(actor: Actor, person: User, workspace: Workspace) -> dict[str, Any]:
    """Return the page for one reader; its queries do not grow with the number of records."""
    verbs = access.verbs_on(actor, workspace)
    rollouts = _rollouts(actor, workspace.key)
    mine = _jobs_of(actor, workspace.key)
    needs = [
        *_stuck_rollouts(rollouts, actor),
        *_reviews(actor, workspace.key),
        *_own_requests(actor, workspace.key),
        *_failed_jobs(mine),
    ]
    moving = [item for item in rollouts if item.is_active]
    serving_now = serving.now_serving(actor)
    counts = _job_counts(actor)
    return {
        "title": _title(len(needs)),
        "needs": needs,
        "quiet_words": f"{words.plural(len(moving), 'rollout')} and "
        f"{words.plural(counts['running'], 'job')} are in progress. What needs you appears here.",
        "estate_words": words.plural(len(serving_now), "model").capitalize() + " serving",
        "ledger": _ledger(),
        "may_propose": "propose" in verbs,
        "rollouts": moving[:ROLLOUTS],
        "serving": serving_now,
        "queue_rows": _queue_rows(counts),
        "my_runs": mine,
        "latest": _latest(actor, workspace),
        "audit_url": reverse("pages:audit", args=[workspace.key]) if "audit_read" in verbs else "",
    }


def _title(count: int) -> str:
    if not count:
        return "Nothing needs you"
    return "1 thing needs you" if count == 1 else f"{count} things need you"


def _reviews(actor: Actor, key: str) -> list[Need]:
    """Requests on which the reader's approval would count now."""
    if not actor.is_human:
        return []
    rows = (
        access.visible(
            PromotionRequest.objects.filter(state=PromotionRequest.State.IN_REVIEW), actor, "review"
        )
        .select_related("model", "version", "environment", "policy", "requester")
        .prefetch_related("reviews")
        .order_by("expires_at")[:REVIEWS]
    )
    needs = []
    for item in rows:
        if actor.id in {person["id"] for person in item.contributors}:
            continue
        if any(
            review.reviewer_id == actor.user_id
            and review.verdict == "approve"
            and review.superseded_at is None
            and review.subject_digest == item.subject_digest
            for review in item.reviews.all()
        ):
            continue
        held = access.verbs_on(actor, item)
        slots = [slot for slot in open_slots(item) if f"review_{slot}" in held]
        if not slots:
            continue
        left = item.expires_at - clock.now()
        needs.append(
            Need(
                title=f"Approve {item.model.name} {words.version_words(item.version)} for "
                f"{item.environment.name.lower()}",
                words=f"PR-{item.number} by {item.requester}. All checks passed; your slot "
                f"{slots[0]} is open.",
                url=reverse("pages:promotion", args=[key, item.number]),
                button="Review",
                icon="reviews",
                due=f"{words.duration(left)} left",
                due_tone="warn" if left < SOON else "",
            )
        )
    return needs


def _own_requests(actor: Actor, key: str) -> list[Need]:
    """The reader's own requests that stand still until they do something."""
    rows = access.visible(
        PromotionRequest.objects.filter(requester=actor.user_id, state__in=_MINE), actor
    ).select_related("model", "version", "environment")
    said = {
        "blocked": ("A check stands against it", "bad", "bad", "Open"),
        "changes_requested": ("A reviewer asked for changes", "msg", "warn", "Open"),
        "approved": ("Approved; the rollout has not begun", "rollout", "ok", "Start"),
    }
    return [
        Need(
            title=f"{item.model.name} {words.version_words(item.version)} to "
            f"{item.environment.name.lower()}, PR-{item.number}",
            words=f"{said[item.state][0]}.",
            url=reverse("pages:promotion", args=[key, item.number]),
            button=said[item.state][3],
            icon=said[item.state][1],
            tone=said[item.state][2],
        )
        for item in rows[:REVIEWS]
        if item.state != "approved" or item.plan.get("start") != "automatic"
    ]


def _stuck_rollouts(rollouts: list[RolloutPage], actor: Actor) -> list[Need]:
    return [
        Need(
            title=f"{item.model_name} {item.version} to {item.environment} is "
            f"{words.look_of(item.state).text}",
            words=item.record.message or "It waits for a person.",
            url=item.url,
            button="Open",
            icon="rollout",
            tone="bad" if item.state == "rollback_failed" else "warn",
        )
        for item in rollouts
        if item.state in {"paused", "rollback_failed"}
        and access.can(actor, "operate", item.record).allowed
    ]


def _failed_jobs(mine: list[jobs.JobRow]) -> list[Need]:
    recent = clock.now() - SOON
    return [
        Need(
            title=f"{item.name} failed",
            words=item.words,
            url=item.url,
            button="Open",
            icon="bad",
            tone="bad",
            due=jobs.local_day(item.at),
        )
        for item in mine
        if item.state in {states.FAILED, states.TIMED_OUT} and item.at > recent
    ]


def _rollouts(actor: Actor, key: str) -> list[RolloutPage]:
    rows = deployments.rollouts(actor).filter(state__in=ACTIVE_ROLLOUT_STATES)
    found: list[Rollout] = list(rows.order_by("-pk")[:10])
    return [RolloutPage(item, actor, key) for item in found]


def _jobs_of(actor: Actor, key: str) -> list[jobs.JobRow]:
    rows = access.visible(
        Job.objects.filter(Q(owner=actor.user_id) | Q(created_by=actor.user_id)), actor
    )
    return [jobs.row(job, key) for job in rows.select_related("owner").order_by("-id")[:MY_JOBS]]


def _job_counts(actor: Actor) -> dict[str, int]:
    found: dict[str, int] = access.visible(Job.objects.all(), actor).aggregate(
        running=Count("pk", filter=Q(state__in=states.HELD)),
        waiting=Count("pk", filter=Q(state__in=[states.QUEUED, states.LOST])),
    )
    return found


def _queue_rows(counts: dict[str, int]) -> list[jobs.QueueRow]:
    workers = job_queries.living_workers()
    slots = sum(worker.slots for worker in workers)
    places = f" of {slots} places" if slots else ""
    return [
        jobs.QueueRow("Waiting", words.plural(counts["waiting"], "job")),
        jobs.QueueRow("Running", f"{words.plural(counts['running'], 'job')}{places}"),
        jobs.QueueRow("Workers", f"{len(workers)} listening" if workers else "none listening"),
    ]


def _ledger() -> LedgerLine:
    verified = audit.last_verify()
    if verified is None:
        return LedgerLine("Ledger not verified yet", "mute", "clock")
    at = _clock(verified.at)
    if not verified.is_intact:
        return LedgerLine(f"The ledger does not verify, checked {at}", "bad", "bad")
    return LedgerLine(f"Ledger verified {at}, {verified.size:,} entries", "ok", "shield")


def _latest(actor: Actor, workspace: Workspace) -> list[history.Happening]:
    scope = history.scope_on(actor, workspace)
    return history.told(workspace.key, audit.page(scope, limit=5).entries)


def _clock(moment: datetime) -> str:
    return words.moment(timezone.localtime(moment))
