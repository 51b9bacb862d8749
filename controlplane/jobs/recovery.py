"""What the scheduler does about jobs: find the lost, remind workers, refuse what never fits."""

from __future__ import annotations

import os
import uuid
from datetime import timedelta

from django.db import transaction
from django.db.models import Q

from controlplane.core.actor import Actor
from controlplane.core.clock import now
from controlplane.jobs import folders, kinds, leases, services, states
from controlplane.jobs.models import Job, Worker
from controlplane.workflow import services as workflow

WORKER_BEAT = timedelta(seconds=10)
WORKER_GONE_AFTER = 3 * WORKER_BEAT
HINT_AGAIN_AFTER = timedelta(seconds=5)
_FORGET_WORKERS_AFTER = timedelta(days=1)
_BATCH = 100


def take_back_expired(*, actor: Actor) -> int:
    """Queue again every job whose worker has been silent for longer than its lease; return how
    many. One whose attempts are used up has failed, unless a program of it ended and only the
    recording is missing."""
    expired = Job.objects.filter(state__in=sorted(states.HELD), lease_until__lt=now())
    return sum(_take_back(key, actor) for key in expired.values_list("pk", flat=True)[:_BATCH])


def remind_workers() -> int:
    """Give the hint again for jobs that wait for longer than a hint takes; return how many."""
    moment = now()
    waiting = list(
        Job.objects.filter(
            Q(hinted_at__isnull=True) | Q(hinted_at__lt=moment - HINT_AGAIN_AFTER),
            state=states.QUEUED,
            created_at__lt=moment - HINT_AGAIN_AFTER / 5,
        )
        .order_by("id")
        .values_list("pk", "queue")[:_BATCH]
    )
    Job.objects.filter(pk__in=[key for key, _ in waiting]).update(hinted_at=moment)
    return sum(services.hint(queue) for _, queue in waiting)


def reject_what_never_fits(*, actor: Actor) -> int:
    """Reject queued jobs that no living worker of their queue could ever run; return how many.

    A queue without any worker is no reason: one may come.
    """
    alive = list(Worker.objects.filter(seen_at__gte=now() - WORKER_GONE_AFTER))
    count = 0
    for job in Job.objects.filter(state=states.QUEUED).order_by("id")[:_BATCH]:
        serving = [worker for worker in alive if job.queue in worker.queues]
        reason = _misfit(job, serving) if serving else ""
        if reason:
            count += _reject(job.pk, reason, actor)
    return count


def sweep() -> int:
    """Delete working folders of jobs that are over; return how many jobs had some."""
    leftovers = folders.with_leftovers()
    over = Job.objects.filter(
        pk__in=leftovers,
        state__in=sorted(states.FINAL),
        finished_at__lt=now() - timedelta(minutes=2),
    ).values_list("pk", flat=True)
    for key in over:
        folders.clean(key)
    Worker.objects.filter(seen_at__lt=now() - _FORGET_WORKERS_AFTER).delete()
    return len(over)


def memory_of_machine_mb() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20


@transaction.atomic
def _take_back(job_id: uuid.UUID, actor: Actor) -> int:
    job = (
        Job.objects.select_for_update(of=("self",), skip_locked=True)
        .select_related("workspace", "owner", "created_by")
        .filter(pk=job_id, state__in=sorted(states.HELD), lease_until__lt=now())
        .first()
    )
    if job is None:
        return 0
    reason = f"The worker {job.worker} has not been heard of since its lease ended."
    leases.lose(job, actor=actor, reason=reason)
    is_recordable = folders.unrecorded(job.pk, before=job.attempt + 1) is not None
    if job.attempt < job.max_attempts or is_recordable:
        leases.requeue(job, actor=actor, reason=reason)
        return 1
    workflow.perform(
        states.JOB,
        job,
        "give_up",
        actor=actor,
        reason=reason,
        changes={
            "finished_at": now(),
            "error": f"Lost {job.attempt} times; the last time: {reason}",
        },
    )
    kinds.settle(job)
    return 1


def _misfit(job: Job, serving: list[Worker]) -> str:
    most_gpus = max(worker.gpus for worker in serving)
    if job.gpus > most_gpus:
        return (
            f"It needs {job.gpus} graphics processors, and the best worker of the queue "
            f"{job.queue} has {most_gpus}."
        )
    most_memory = max(worker.memory_mb for worker in serving)
    if job.memory_mb > most_memory:
        return (
            f"It needs {job.memory_mb:,} MB of memory, and the best worker of the queue "
            f"{job.queue} has {most_memory:,} MB."
        )
    if all(worker.sandbox == "none" for worker in serving):
        return "No worker of its queue has a sandbox to run it in."
    return ""


@transaction.atomic
def _reject(job_id: uuid.UUID, reason: str, actor: Actor) -> int:
    job = (
        Job.objects.select_for_update(of=("self",), skip_locked=True)
        .select_related("workspace")
        .filter(pk=job_id, state=states.QUEUED)
        .first()
    )
    if job is None:
        return 0
    workflow.perform(
        states.JOB,
        job,
        "reject",
        actor=actor,
        reason=reason,
        changes={"error": reason, "finished_at": now()},
    )
    kinds.settle(job)
    return 1
