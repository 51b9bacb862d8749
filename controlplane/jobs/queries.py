"""Jobs as pages and programs read them: restricted to the actor, joined, newest first."""

from __future__ import annotations

from dataclasses import dataclass

from django.db.models import Count, Q, QuerySet

from controlplane.access import services as access
from controlplane.core.actor import Actor
from controlplane.core.clock import now
from controlplane.jobs import queues, recovery, states
from controlplane.jobs.models import Job, JobAttempt, Worker


@dataclass(frozen=True, slots=True)
class QueueStanding:
    """One queue: what the actor sees waiting and running on it, and who serves it."""

    name: str
    waiting: int
    running: int
    workers: tuple[Worker, ...]

    @property
    def slots(self) -> int:
        return sum(worker.slots for worker in self.workers)


def visible_to(
    actor: Actor, *, state: str = "", kind: str = "", queue: str = "", run_id: str = ""
) -> QuerySet[Job]:
    """Return the jobs that the actor may see; empty filters narrow nothing."""
    wanted = {"state": state, "kind": kind, "queue": queue, "run_id": run_id}
    found = access.visible(Job.objects.all(), actor).select_related(
        "workspace", "owner", "created_by"
    )
    return found.filter(**{name: value for name, value in wanted.items() if value}).order_by("-id")


def attempts(job: Job) -> QuerySet[JobAttempt]:
    """Return the attempts of a job, oldest first."""
    return job.attempts.order_by("number")


def ahead_of(job: Job) -> int:
    """Return how many jobs of the same queue will be claimed before this one."""
    return Job.objects.filter(
        Q(priority__gt=job.priority) | Q(priority=job.priority, id__lt=job.pk),
        queue=job.queue,
        state=states.QUEUED,
    ).count()


def living_workers() -> list[Worker]:
    """Return the workers that have been heard of lately."""
    return list(Worker.objects.filter(seen_at__gte=now() - recovery.WORKER_GONE_AFTER))


def standing(actor: Actor) -> list[QueueStanding]:
    """Return every queue of jobs as it stands, in two queries."""
    counted = {
        row["queue"]: (row["waiting"], row["running"])
        for row in access.visible(Job.objects.all(), actor)
        .filter(state__in=sorted(states.ACTIVE))
        .order_by()
        .values("queue")
        .annotate(
            waiting=Count("pk", filter=Q(state=states.QUEUED)),
            running=Count("pk", filter=Q(state__in=sorted(states.HELD))),
        )
    }
    workers = living_workers()
    standings = []
    for name in queues.OF_JOBS:
        waiting, running = counted.get(name, (0, 0))
        serving = tuple(worker for worker in workers if name in worker.queues)
        standings.append(QueueStanding(name, waiting, running, serving))
    return standings
