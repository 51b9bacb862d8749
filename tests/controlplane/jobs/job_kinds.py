"""A kind of job for tests: the source and the inputs are files on this machine, and each result
that is recorded leaves one row."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from controlplane.core.errors import Invalid
from controlplane.jobs import kinds
from controlplane.jobs.models import Job
from controlplane.jobs.spec import JobSpec
from controlplane.outbox.models import OutboxMessage

RESULT = "test.result"
SETTLED = "test.settled"


def _prepare(job: Job, spec: JobSpec) -> kinds.Preparation:
    source = spec.extra.get("source")
    if spec.extra.get("refused"):
        raise Invalid("The dataset digits@7 is not there any longer.")
    return kinds.Preparation(
        source=Path(source) if source else None,
        files={name: Path(path) for name, path in spec.extra.get("files", {}).items()},
        environment={"FROM_THE_KIND": "yes"},
        door=bool(spec.extra.get("door")),
    )


def _finish(job: Job, result: kinds.Result) -> Callable[[], None] | None:
    name = job.spec["extra"].get("output")
    if name is None:
        return None
    content = result.read(name, limit_bytes=1000).decode()

    def write() -> None:
        OutboxMessage.objects.create(
            task=RESULT, args=[str(job.pk), content], queue="default", done_at=job.created_at
        )

    return write


def _settled(job: Job) -> None:
    OutboxMessage.objects.create(
        task=SETTLED, args=[str(job.pk), job.state], queue="default", done_at=job.created_at
    )


def register() -> None:
    kinds.register(
        kinds.Kind("bare", prepare=_prepare, finish=_finish, settled=_settled, is_open=True)
    )


def results(job: Job) -> list[str]:
    rows = OutboxMessage.objects.filter(task=RESULT, args__0=str(job.pk))
    return [row.args[1] for row in rows]


def settlements(job: Job) -> list[str]:
    rows = OutboxMessage.objects.filter(task=SETTLED, args__0=str(job.pk))
    return [row.args[1] for row in rows]
