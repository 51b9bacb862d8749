"""Jobs over REST."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from controlplane.accounts.models import User, Workspace
from controlplane.core.actor import Actor
from controlplane.jobs import folders, kinds, leases
from controlplane.jobs.models import Job
from tests import make
from tests.controlplane.jobs.job_tools import submit

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "ledger"])
SPEC = {"command": ["true"], "resources": {"memory_mb": 256}}
WORKER = Actor.system("worker")


@pytest.fixture
def headers(engineer: User) -> dict[str, str]:
    return make.bearer(make.token(engineer))


def _post(client: Client, path: str, body: dict[str, Any], headers: dict[str, str]) -> Any:
    return client.post(f"/api/v1/{path}", body, content_type="application/json", headers=headers)


def _get(client: Client, path: str, headers: dict[str, str]) -> Any:
    return client.get(f"/api/v1/{path}", headers=headers)


def _running(job: Job) -> Job:
    claimed = leases.claim([job.queue], worker="one", free_gpus=0, memory_mb=10_000, actor=WORKER)
    assert claimed is not None
    folders.of(claimed.pk, 1).make()
    return leases.start(claimed, actor=WORKER)


def test_a_job_is_submitted_listed_read_and_stopped(
    client: Client, headers: dict[str, str], workspace: Workspace, engineer: User
) -> None:
    answer = _post(client, "jobs/", {"kind": "bare", "name": "try", "spec": SPEC}, headers)
    assert answer.status_code == 201, answer.content
    job = answer.json()
    assert (job["state"], job["queue"], job["owner"]) == ("queued", "cpu", engineer.username)
    assert job["steps_available"] == [
        {"name": "cancel", "label": "Stop", "allowed": True, "reasons": []}
    ]
    submit(make.acting(engineer), workspace, "true", queue="evaluation")
    listed = _get(client, "jobs/?queue=cpu", headers).json()["results"]
    assert [row["id"] for row in listed] == [job["id"]]
    queues = {
        row["name"]: row["waiting"] for row in _get(client, "queues/", headers).json()["results"]
    }
    assert queues == {"cpu": 1, "gpu": 0, "evaluation": 1}

    stopped = _post(client, f"jobs/{job['id']}/cancel/", {"reason": "no need"}, headers)
    assert (stopped.status_code, stopped.json()["state"]) == (200, "cancelled")
    again = _post(client, f"jobs/{job['id']}/cancel/", {}, headers)
    assert (again.status_code, again.json()["code"]) == (409, "illegal_transition")


def test_the_same_request_twice_queues_one_job(
    client: Client, headers: dict[str, str], workspace: Workspace
) -> None:
    keyed = {**headers, "Idempotency-Key": "a-key"}
    body = {"kind": "bare", "name": "once", "spec": SPEC}
    first, second = (_post(client, "jobs/", body, keyed) for _ in range(2))
    assert first.json()["id"] == second.json()["id"]
    assert Job.objects.count() == 1


@pytest.mark.parametrize(
    ("body", "status", "sentence"),
    [
        ({"kind": "bare", "name": "x", "spec": {}}, 400, "The command is a list of words"),
        ({"kind": "odd", "name": "x", "spec": SPEC}, 400, "There is no kind of job 'odd'"),
        ({"kind": "closed", "name": "x", "spec": SPEC}, 400, "is started by Gatehouse itself"),
        ({"kind": "bare", "spec": SPEC}, 400, "name"),
    ],
)
def test_a_wrong_job_is_a_problem_with_a_sentence(
    client: Client,
    headers: dict[str, str],
    workspace: Workspace,
    body: dict[str, Any],
    status: int,
    sentence: str,
) -> None:
    kinds.register(kinds.Kind("closed", prepare=lambda job, spec: kinds.Preparation()))
    answer = _post(client, "jobs/", body, headers)
    assert answer.status_code == status
    assert sentence in answer.json()["detail"]
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert not Job.objects.exists()


def test_jobs_of_another_workspace_do_not_exist(
    client: Client, actor: Actor, workspace: Workspace
) -> None:
    job = submit(actor, workspace, "true")
    stranger = make.bearer(make.token(make.person("operator", workspace=make.workspace())))
    assert _get(client, "jobs/", stranger).json()["results"] == []
    for path in (f"jobs/{job.pk}/", f"jobs/{job.pk}/log/", f"jobs/{job.pk}/attempts/"):
        assert _get(client, path, stranger).status_code == 404
    assert _post(client, f"jobs/{job.pk}/cancel/", {}, stranger).status_code == 404
    assert _get(client, "jobs/", {}).status_code == 401


def test_the_log_comes_in_parts_and_never_cuts_a_character(
    client: Client, headers: dict[str, str], actor: Actor, workspace: Workspace
) -> None:
    job = _running(submit(actor, workspace, "true"))
    log = folders.of(job.pk, 1).log
    log.write_bytes("größer\n".encode()[:3])
    first = _get(client, f"jobs/{job.pk}/log/", headers).json()
    assert first == {"content": "gr", "next": 2, "is_complete": False, "attempt": 1}
    log.write_bytes("größer\n".encode())
    second = _get(client, f"jobs/{job.pk}/log/?from=2", headers).json()
    assert second["content"] == "ößer\n"
    leases.end(job, leases.Ending("succeed", exit_code=0), actor=WORKER)
    last = _get(client, f"jobs/{job.pk}/log/?from={second['next']}", headers).json()
    assert (last["content"], last["is_complete"]) == ("", True)
    assert _get(client, f"jobs/{job.pk}/log/?from=-1", headers).status_code == 400
    assert _get(client, f"jobs/{job.pk}/log/?attempt=2", headers).status_code == 404
    attempts = _get(client, f"jobs/{job.pk}/attempts/", headers).json()["results"]
    assert [(row["number"], row["outcome"], row["exit_code"]) for row in attempts] == [
        (1, "succeeded", 0)
    ]
