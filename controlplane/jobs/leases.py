"""Who runs a job: claimed, kept alive and ended here, under a lease and a fencing token.

Only workers call this. A worker that comes late, with the token of an earlier claim, is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet

from controlplane.accounts import tokens
from controlplane.accounts.models import ApiToken
from controlplane.core.actor import Actor
from controlplane.core.clock import now
from controlplane.core.errors import Conflict
from controlplane.jobs import kinds, states
from controlplane.jobs.models import Job, JobAttempt
from controlplane.workflow import services as workflow

_TOKEN_RESERVE = timedelta(hours=1)


class LeaseLost(Conflict):
    """The job is no longer this worker's: stopped, or given to another one."""

    code = "lease_lost"


@dataclass(frozen=True, slots=True)
class Ending:
    """How a program ended; ``step`` is the row of the state table."""

    step: str
    exit_code: int | None = None
    error: str = ""
    last_lines: str = ""


@transaction.atomic
def claim(
    queues: Collection[str], *, worker: str, free_gpus: int, memory_mb: int, actor: Actor
) -> Job | None:
    """Take the best job that waits on one of the queues and fits; None if there is none.

    Best is the highest priority, then the oldest. Two workers never take the same one, and
    neither waits for the other.
    """
    job = (
        Job.objects.select_for_update(of=("self",), skip_locked=True)
        .select_related("workspace", "owner", "created_by")
        .filter(
            state=states.QUEUED,
            queue__in=list(queues),
            gpus__lte=free_gpus,
            memory_mb__lte=memory_mb,
        )
        .order_by("-priority", "id")
        .first()
    )
    if job is None:
        return None
    moment = now()
    workflow.perform(
        states.JOB,
        job,
        "dispatch",
        actor=actor,
        changes={
            "attempt": job.attempt + 1,
            "fencing_token": job.fencing_token + 1,
            "worker": worker,
            "lease_until": moment + timedelta(seconds=settings.JOB_DISPATCH_SECONDS),
            "error": "",
        },
        facts={"attempt": job.attempt + 1, "worker": worker},
    )
    JobAttempt.objects.create(
        job=job,
        number=job.attempt,
        fencing_token=job.fencing_token,
        worker=worker,
        claimed_at=moment,
    )
    return job


def heartbeat(job: Job) -> bool:
    """Extend the lease; False when the job is no longer this worker's."""
    until = now() + timedelta(seconds=settings.JOB_LEASE_SECONDS)
    return _held(job).update(lease_until=until) == 1


def is_held(job: Job) -> bool:
    """Return whether the job is still this worker's."""
    return _held(job).exists()


@transaction.atomic
def issue_token(job: Job, *, actor: Actor) -> str:
    """Return the secret of a token for this attempt; it ends with the attempt."""
    _lock(job)
    _, secret = tokens.issue(
        actor=actor,
        user=job.created_by,
        workspace=job.workspace,
        name=f"Job {job.name}"[:80] + f", attempt {job.attempt}",
        kind=ApiToken.Kind.JOB,
        lifetime=timedelta(seconds=job.timeout_seconds) + _TOKEN_RESERVE,
        job_id=job.pk,
        on_behalf_of=job.owner.actor_id,
    )
    return secret


@transaction.atomic
def start(job: Job, *, actor: Actor) -> Job:
    """The program is about to run.

    Raises:
        LeaseLost: the job is another's by now.
    """
    current = _lock(job)
    moment = now()
    workflow.perform(
        states.JOB,
        current,
        "start",
        actor=actor,
        changes={
            "started_at": moment,
            "lease_until": moment + timedelta(seconds=settings.JOB_LEASE_SECONDS),
        },
    )
    _attempt(current).update(started_at=moment)
    return current


@transaction.atomic
def end(job: Job, ending: Ending, *, actor: Actor, write: Callable[[], None] | None = None) -> Job:
    """Record how it ended. ``write`` runs in the same transaction: both happen, once, or neither.

    Raises:
        LeaseLost: the job is another's by now; nothing was written.
    """
    current = _lock(job)
    if write is not None:
        write()
    changes: dict[str, Any] = {
        "finished_at": now(),
        "lease_until": None,
        "exit_code": ending.exit_code,
        "error": ending.error,
        "last_lines": ending.last_lines,
    }
    workflow.perform(
        states.JOB,
        current,
        ending.step,
        actor=actor,
        changes=changes,
        reason=ending.error,
        facts={"attempt": current.attempt, "exit_code": ending.exit_code},
    )
    _close(current, current.state, exit_code=ending.exit_code, error=ending.error)
    tokens.revoke_job_tokens(current.pk, actor=actor)
    kinds.settle(current)
    return current


@transaction.atomic
def give_back(job: Job, *, actor: Actor, reason: str) -> Job:
    """The worker stops, the job does not: it is queued again, and the attempt is not charged.

    Raises:
        LeaseLost: the job is another's by now.
    """
    current = _lock(job)
    lose(current, actor=actor, reason=reason)
    return requeue(current, actor=actor, reason=reason, is_charged=False)


def lose(job: Job, *, actor: Actor, reason: str) -> None:
    """Take a locked job from its worker: its lease, and the token of its attempt, end."""
    workflow.perform(
        states.JOB,
        job,
        "lose",
        actor=actor,
        reason=reason,
        changes={"lease_until": None},
        facts={"attempt": job.attempt, "worker": job.worker},
    )
    _close(job, states.LOST, error=reason)
    tokens.revoke_job_tokens(job.pk, actor=actor)


def requeue(job: Job, *, actor: Actor, reason: str, is_charged: bool = True) -> Job:
    """Put a locked, lost job back into its queue."""
    return workflow.perform(
        states.JOB,
        job,
        "requeue",
        actor=actor,
        reason=reason,
        changes={
            "worker": "",
            "hinted_at": None,
            "max_attempts": job.max_attempts + (0 if is_charged else 1),
        },
    )


def _held(job: Job) -> QuerySet[Job]:
    return Job.objects.filter(
        pk=job.pk, fencing_token=job.fencing_token, state__in=sorted(states.HELD)
    )


def _lock(job: Job) -> Job:
    current = workflow.lock(
        Job.objects.select_related("workspace", "owner", "created_by"), what="job", pk=job.pk
    )
    if current.fencing_token != job.fencing_token or current.state not in states.HELD:
        raise LeaseLost(f"The job {job} is no longer held by attempt {job.attempt}.")
    return current


def _attempt(job: Job) -> QuerySet[JobAttempt]:
    return JobAttempt.objects.filter(job=job, number=job.attempt)


def _close(job: Job, outcome: str, *, exit_code: int | None = None, error: str = "") -> None:
    _attempt(job).update(ended_at=now(), outcome=outcome, exit_code=exit_code, error=error)
