"""Submit, stop and read jobs: what people, programs and other rooms may do with them."""

from __future__ import annotations

import codecs
import logging
import uuid
from dataclasses import dataclass
from functools import partial

from celery import current_app
from django.db import transaction
from kombu.exceptions import OperationalError

from controlplane.access import services as access
from controlplane.accounts import tokens
from controlplane.accounts.models import User, Workspace
from controlplane.audit import services as audit
from controlplane.core.actor import Actor
from controlplane.core.clock import now
from controlplane.core.errors import Invalid, NotFound
from controlplane.jobs import folders, kinds, queues, states
from controlplane.jobs.models import Job
from controlplane.jobs.spec import JobSpec
from controlplane.workflow import services as workflow

logger = logging.getLogger(__name__)
RUN_NEXT = "jobs.run_next"
# A hint that lies about for longer than this is given again anyway.
HINT_SECONDS = 60
MAX_NAME = 200


@dataclass(frozen=True, slots=True)
class LogPart:
    """A piece of an attempt's log. Ask again from ``next`` until ``is_complete``."""

    content: bytes
    next: int
    is_complete: bool
    attempt: int


@transaction.atomic
def submit(
    *,
    actor: Actor,
    workspace: Workspace,
    kind: str,
    queue: str,
    spec: JobSpec,
    name: str,
    run_id: str = "",
    priority: int = 0,
    max_attempts: int = 3,
    owner: User | None = None,
) -> Job:
    """Queue a job; a worker is told once the caller's transaction has committed.

    ``owner`` answers for it; without one that is the human behind the actor.

    Raises:
        NotFound, NotPermitted: the actor may not contribute to the workspace.
        Invalid: unknown kind or queue, a bad name, or the kind refuses the specification.
    """
    with workflow.refusals("job.submit", actor=actor, obj=audit.ref(workspace)):
        if not actor.is_system:
            access.require(actor, "contribute", workspace)
        found = kinds.named(kind)
        _check(queue, name, priority)
        answerable = owner or _human_behind(actor)
        gpus = max(spec.resources.gpus, 1) if queue == queues.GPU else spec.resources.gpus
        if gpus and queue != queues.GPU:
            raise Invalid(
                f"Graphics processors are had on the queue {queues.GPU} only, not on {queue}.",
                fields={"queue": [f"must be {queues.GPU}"]},
            )
        job = Job(
            workspace=workspace,
            name=name.strip(),
            kind=kind,
            queue=queue,
            spec=spec.to_json(),
            priority=priority,
            gpus=gpus,
            memory_mb=spec.resources.memory_mb,
            timeout_seconds=spec.resources.timeout_seconds,
            max_attempts=max_attempts,
            run_id=run_id,
            owner=answerable,
            created_by_id=actor.user_id or answerable.pk,
        )
        job.save(force_insert=True)
        if found.submitted is not None:
            changes = found.submitted(job, spec, actor=actor)
            for field, value in changes.items():
                setattr(job, field, value)
            if changes:
                job.save(update_fields=sorted(changes))
    audit.record(
        "job.submit",
        actor=actor,
        obj=audit.ref(job),
        after={"state": job.state, "kind": kind, "queue": queue, "run": job.run_id},
        digests={"spec": spec.digest},
    )
    transaction.on_commit(partial(hint, queue), robust=True)
    return job


@transaction.atomic
def cancel(job_id: uuid.UUID | str, *, actor: Actor, reason: str) -> Job:
    """Stop a job. Its token ends now; its process is asked to stop within a second or two.

    Whoever submitted it or answers for it may, and who operates the workspace.

    Raises:
        NotFound, NotPermitted, IllegalTransition: as for every step.
    """
    job = _locked(job_id)
    workflow.perform(
        states.JOB,
        job,
        "cancel",
        actor=actor,
        reason=reason,
        changes={
            "finished_at": now(),
            "lease_until": None,
            "error": f"Stopped: {reason}" if reason else "Stopped.",
        },
    )
    tokens.revoke_job_tokens(job.pk, actor=Actor.system("jobs", workspace_id=job.workspace_id))
    job.attempts.filter(number=job.attempt, ended_at__isnull=True).update(
        ended_at=now(), outcome=states.CANCELLED
    )
    kinds.settle(job)
    return job


def get(job_id: uuid.UUID | str, *, actor: Actor) -> Job:
    """Return a job that the actor may see.

    Raises:
        NotFound: there is none, or not for this actor.
    """
    job = (
        access.visible(Job.objects.all(), actor)
        .select_related("workspace", "owner", "created_by")
        .filter(pk=_as_uuid(job_id))
        .first()
    )
    if job is None:
        raise NotFound(f"There is no job {job_id}.")
    return job


def read_log(job: Job, from_byte: int = 0, attempt: int | None = None) -> LogPart:
    """Return the log of an attempt, the newest unless another is asked for, from that byte on.

    A part is at most 256 KiB and ends with a whole line where it can.

    Raises:
        Invalid: the byte is negative.
        NotFound: there is no such attempt.
    """
    number = job.attempt if attempt is None else attempt
    if from_byte < 0:
        raise Invalid("The log begins at byte 0.", fields={"from": ["0 or more"]})
    if attempt is not None and not 1 <= attempt <= job.attempt:
        raise NotFound(f"The job {job} has no attempt {attempt}.")
    folder = folders.of(job.pk, number)
    content, following = folders.read_part(folder.log, from_byte)
    size = folder.log.stat().st_size if folder.log.exists() else 0
    has_ended = job.is_final or number < job.attempt
    if not has_ended:
        # A character that is still being written is read whole the next time.
        cut = _unfinished_character(content)
        content, following = content[: len(content) - cut], following - cut
    return LogPart(content, following, has_ended and following >= size, number)


def hint(queue: str) -> bool:
    """Tell the queue's workers that something waits; a broker that is away is no error.

    The message names the queue and nothing else: the worker claims what is best by then.
    """
    try:
        current_app.send_task(
            RUN_NEXT, args=[queue], queue=queue, expires=HINT_SECONDS, retry=False
        )
    except OperationalError as error:
        logger.warning("job_hint_failed queue=%s error=%s", queue, error)
        return False
    return True


def _unfinished_character(content: bytes) -> int:
    """Return how many bytes at the end begin a UTF-8 character that does not end here."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    decoder.decode(content[-4:])
    return len(decoder.getstate()[0])


def _check(queue: str, name: str, priority: int) -> None:
    if queue not in queues.OF_JOBS:
        known = ", ".join(queues.OF_JOBS)
        raise Invalid(
            f"There is no queue {queue[:60]!r} for jobs; there are: {known}.",
            fields={"queue": ["unknown"]},
        )
    if not name.strip() or len(name) > MAX_NAME:
        sentence = f"A job needs a name of 1 to {MAX_NAME} characters."
        raise Invalid(sentence, fields={"name": [sentence]})
    if not -100 <= priority <= 100:
        sentence = "The priority is a whole number from -100 to 100."
        raise Invalid(sentence, fields={"priority": [sentence]})


def _human_behind(actor: Actor) -> User:
    _, _, number = actor.accountable_id.partition("user:")
    found = User.objects.filter(pk=int(number)).first() if number.isdecimal() else None
    if found is None:
        raise Invalid("A job needs a person who answers for it.", fields={"owner": ["missing"]})
    return found


def _locked(job_id: uuid.UUID | str) -> Job:
    return workflow.lock(Job.objects.select_related("workspace"), what="job", pk=_as_uuid(job_id))


def _as_uuid(value: uuid.UUID | str) -> uuid.UUID:
    try:
        return value if isinstance(value, uuid.UUID) else uuid.UUID(value)
    except ValueError:
        raise NotFound(f"There is no job {str(value)[:60]}.") from None
