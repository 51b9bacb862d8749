"""Submitting, claiming, losing and stopping jobs, as PostgreSQL sees it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection

from controlplane.accounts.models import ApiToken, User, Workspace
from controlplane.core.actor import Actor
from controlplane.core.clock import now
from controlplane.core.errors import IllegalTransition, Invalid, NotFound, NotPermitted
from controlplane.jobs import leases, queues, recovery, services, spec, states
from controlplane.jobs.leases import Ending, LeaseLost
from controlplane.jobs.models import Job, Worker
from tests import make
from tests.controlplane.jobs import job_kinds
from tests.controlplane.jobs.job_tools import submit

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "ledger"])
WORKER = Actor.system("worker")
SCHEDULER = Actor.system("scheduler")


def claim(*names: str, worker: str = "one", gpus: int = 0, memory_mb: int = 64_000) -> Job | None:
    return leases.claim(
        names or ("cpu",), worker=worker, free_gpus=gpus, memory_mb=memory_mb, actor=WORKER
    )


def claimed(job: Job) -> Job:
    found = claim(job.queue, gpus=8)
    assert found is not None
    assert found.pk == job.pk
    return found


def actions_on(job: Job) -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT action FROM ledger.event WHERE object_type = 'job' AND object_id = %s "
            "ORDER BY seq",
            [str(job.pk)],
        )
        return [row[0] for row in cursor.fetchall()]


def expire(job: Job) -> None:
    Job.objects.filter(pk=job.pk).update(lease_until=now() - timedelta(seconds=1))


def test_a_submitted_job_waits_and_names_who_answers_for_it(
    actor: Actor, engineer: User, workspace: Workspace
) -> None:
    job = submit(actor, workspace, "true")
    assert (job.state, job.owner, job.created_by) == ("queued", engineer, engineer)
    assert actions_on(job) == ["job.submit"]


def test_a_service_accounts_job_is_answered_for_by_its_owner(workspace: Workspace) -> None:
    owner = make.person("ml_engineer", workspace=workspace)
    robot = make.service_account("ci", workspace=workspace, owner=owner)
    job = submit(make.acting(robot), workspace, "true")
    assert (job.owner, job.created_by) == (owner, robot)


def test_a_viewer_cannot_submit_and_a_stranger_learns_nothing(workspace: Workspace) -> None:
    with pytest.raises(NotPermitted):
        submit(make.acting(make.person("viewer", workspace=workspace)), workspace, "true")
    stranger = make.person("ml_engineer", workspace=make.workspace())
    with pytest.raises(NotFound):
        submit(make.acting(stranger), workspace, "true")
    assert not Job.objects.exists()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"kind": "unheard-of"}, "There is no kind of job 'unheard-of'"),
        ({"queue": "promotion"}, "There is no queue 'promotion' for jobs"),
        ({"name": " "}, "A job needs a name"),
        ({"priority": 101}, "from -100 to 100"),
        ({"resources": {"gpus": 1}}, "on the queue gpu only"),
    ],
)
def test_a_job_that_makes_no_sense_is_refused_with_a_sentence(
    actor: Actor, workspace: Workspace, change: dict[str, Any], sentence: str
) -> None:
    parsed = spec.parse({"command": ["true"], "resources": change.pop("resources", {})})
    given = {"kind": "bare", "queue": "cpu", "name": "a job"} | change
    with pytest.raises(Invalid, match=sentence):
        services.submit(actor=actor, workspace=workspace, spec=parsed, **given)


def test_the_best_job_is_claimed_first_priority_before_age(
    actor: Actor, workspace: Workspace
) -> None:
    old, new, urgent = (
        submit(actor, workspace, "true", name=name, priority=priority)
        for name, priority in (("old", 0), ("new", 0), ("urgent", 5))
    )
    order = [claim(), claim(), claim(), claim()]
    assert [job and job.name for job in order] == ["urgent", "old", "new", None]
    assert [job.fencing_token for job in (old, new, urgent)] == [0, 0, 0]


def test_two_workers_never_claim_the_same_job(actor: Actor, workspace: Workspace) -> None:
    jobs = {submit(actor, workspace, "true").pk for _ in range(12)}

    def work(name: int) -> list[Any]:
        found = []
        while (job := claim(worker=f"worker {name}")) is not None:
            found.append(job.pk)
        connection.close()
        return found

    with ThreadPoolExecutor(4) as pool:
        claims = [key for found in pool.map(work, range(4)) for key in found]
    assert len(claims) == 12
    assert set(claims) == jobs


def test_a_worker_claims_only_what_it_serves_and_can_hold(
    actor: Actor, workspace: Workspace
) -> None:
    submit(actor, workspace, "true", queue=queues.EVALUATION)
    assert claim("cpu") is None
    submit(actor, workspace, "true", resources={"memory_mb": 2000})
    assert claim("cpu", memory_mb=1000) is None
    graphic = submit(actor, workspace, "true", queue=queues.GPU)
    assert graphic.gpus == 1
    assert claim("gpu", gpus=0) is None
    assert claim("gpu", gpus=1) == graphic


def test_a_job_succeeds_and_its_token_ends_with_it(actor: Actor, workspace: Workspace) -> None:
    job = claimed(submit(actor, workspace, "true"))
    leases.issue_token(job, actor=WORKER)
    token = ApiToken.objects.get(job_id=job.pk)
    assert (token.kind, token.on_behalf_of) == ("job", actor.id)
    leases.start(job, actor=WORKER)
    written: list[str] = []
    done = leases.end(
        job, Ending("succeed", exit_code=0), actor=WORKER, write=lambda: written.append("once")
    )
    token.refresh_from_db()
    assert (done.state, done.exit_code, written) == ("succeeded", 0, ["once"])
    assert token.revoked_at is not None
    assert job_kinds.settlements(job) == ["succeeded"]
    assert actions_on(job) == ["job.submit", "job.dispatch", "job.start", "job.succeed"]
    attempt = job.attempts.get()
    assert (attempt.outcome, attempt.worker) == ("succeeded", "one")


def test_a_job_whose_worker_is_silent_goes_on_elsewhere_and_the_late_one_is_refused(
    actor: Actor, workspace: Workspace
) -> None:
    first = claimed(submit(actor, workspace, "true"))
    leases.issue_token(first, actor=WORKER)
    leases.start(first, actor=WORKER)
    assert leases.heartbeat(first)
    assert recovery.take_back_expired(actor=SCHEDULER) == 0
    expire(first)

    assert recovery.take_back_expired(actor=SCHEDULER) == 1
    assert not ApiToken.objects.filter(job_id=first.pk, revoked_at__isnull=True).exists()
    second = claimed(first)

    assert (second.attempt, second.fencing_token) == (2, 2)
    assert not leases.heartbeat(first)
    written: list[str] = []
    for late in (
        lambda: leases.start(first, actor=WORKER),
        lambda: leases.issue_token(first, actor=WORKER),
        lambda: leases.end(
            first, Ending("succeed"), actor=WORKER, write=lambda: written.append("late")
        ),
    ):
        with pytest.raises(LeaseLost):
            late()
    assert written == []
    assert [row.outcome for row in second.attempts.all()] == ["lost", ""]


def test_a_job_that_is_lost_too_often_has_failed(actor: Actor, workspace: Workspace) -> None:
    job = submit(actor, workspace, "true")
    for _ in range(job.max_attempts):
        expire(claimed(job))
        recovery.take_back_expired(actor=SCHEDULER)
    job.refresh_from_db()
    assert job.state == "failed"
    assert job.error.startswith("Lost 3 times; the last time: The worker one has not been heard of")
    assert job_kinds.settlements(job) == ["failed"]


def test_a_worker_that_leaves_gives_its_job_back_uncharged(
    actor: Actor, workspace: Workspace
) -> None:
    job = claimed(submit(actor, workspace, "true"))
    leases.start(job, actor=WORKER)
    back = leases.give_back(job, actor=WORKER, reason="The worker was stopped.")
    assert (back.state, back.attempt, back.max_attempts) == ("queued", 1, 4)


@pytest.mark.parametrize("held", [False, True])
def test_whoever_submitted_a_job_can_stop_it(
    actor: Actor, workspace: Workspace, held: bool
) -> None:
    job = submit(actor, workspace, "true")
    if held:
        job = claimed(job)
        leases.issue_token(job, actor=WORKER)
    stopped = services.cancel(job.pk, actor=actor, reason="wrong data")
    assert (stopped.state, stopped.error) == ("cancelled", "Stopped: wrong data")
    assert not leases.heartbeat(job)
    assert not ApiToken.objects.filter(job_id=job.pk, revoked_at__isnull=True).exists()
    with pytest.raises(IllegalTransition, match="it is cancelled"):
        services.cancel(job.pk, actor=actor, reason="again")


def test_who_may_stop_a_job_of_somebody_else(actor: Actor, workspace: Workspace) -> None:
    job = submit(actor, workspace, "true")
    colleague = make.acting(make.person("ml_engineer", workspace=workspace))
    with pytest.raises(NotPermitted):
        services.cancel(job.pk, actor=colleague, reason="")
    foreign = make.acting(make.person("operator", workspace=make.workspace()))
    with pytest.raises(NotFound):
        services.cancel(job.pk, actor=foreign, reason="")
    with pytest.raises(NotFound):
        services.get(job.pk, actor=foreign)
    operator = make.acting(make.person("operator", workspace=workspace))
    assert services.cancel(job.pk, actor=operator, reason="").state == "cancelled"


def test_a_job_that_no_worker_can_ever_run_is_rejected_with_the_reason(
    actor: Actor, workspace: Workspace
) -> None:
    graphic = submit(actor, workspace, "true", queue=queues.GPU)
    assert recovery.reject_what_never_fits(actor=SCHEDULER) == 0
    Worker.objects.create(
        name="compute",
        queues=["cpu", "gpu"],
        slots=1,
        gpus=0,
        memory_mb=1000,
        sandbox="root",
        started_at=now(),
        seen_at=now(),
    )
    large = submit(actor, workspace, "true", resources={"memory_mb": 2000})
    small = submit(actor, workspace, "true")
    assert recovery.reject_what_never_fits(actor=SCHEDULER) == 2
    for job in (graphic, large, small):
        job.refresh_from_db()
    assert [job.state for job in (graphic, large, small)] == ["rejected", "rejected", "queued"]
    assert graphic.error == (
        "It needs 1 graphics processors, and the best worker of the queue gpu has 0."
    )
    assert "2,000 MB of memory" in large.error


def test_every_state_of_a_job_can_be_reached_and_final_ones_are_final() -> None:
    assert states.JOB.reachable() == states.JOB.states
    for state in states.FINAL:
        assert states.JOB.from_state(state) == ()


def test_the_database_refuses_a_state_that_the_table_does_not_know(
    actor: Actor, workspace: Workspace
) -> None:
    from django.db import IntegrityError

    job = submit(actor, workspace, "true")
    with pytest.raises(IntegrityError):
        Job.objects.filter(pk=job.pk).update(state="half-done")
