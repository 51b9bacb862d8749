"""The scheduler's tick: every concern has its turn, and one process ticks at a time."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import timedelta

import pytest
from django.db import connection

from controlplane.accounts.models import Workspace
from controlplane.core.actor import Actor
from controlplane.core.clock import now
from controlplane.jobs import leases, ticks
from controlplane.jobs.management.commands import scheduler
from controlplane.jobs.models import Job
from tests.controlplane.jobs.job_tools import ROOM, submit


@pytest.fixture
def concerns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ticks, "_concerns", {})


@pytest.mark.usefixtures("concerns")
def test_one_concern_that_fails_does_not_keep_the_others_from_their_turn() -> None:
    done: list[str] = []
    ticks.register("first", lambda: done.append("first"))
    ticks.register("broken", lambda: 1 // 0)
    ticks.register("last", lambda: done.append("last"))
    assert ticks.run() == ["broken"]
    assert done == ["first", "last"]


@pytest.mark.usefixtures("concerns")
def test_a_rare_concern_waits_for_its_time() -> None:
    done: list[str] = []
    ticks.register("often", lambda: done.append("often"))
    ticks.register("rarely", lambda: done.append("rarely"), every=timedelta(hours=1))
    for _ in range(3):
        ticks.run()
    assert sorted(done) == ["often", "often", "often", "rarely"]


@pytest.mark.processes
@pytest.mark.django_db(transaction=True, databases=["default", "ledger"])
def test_only_the_holder_of_the_lock_ticks(actor: Actor, workspace: Workspace) -> None:
    job = submit(actor, workspace, "true")
    leases.claim(["cpu"], worker="gone", free_gpus=0, memory_mb=9000, actor=Actor.system("worker"))
    Job.objects.filter(pk=job.pk).update(lease_until=now() - timedelta(minutes=1))
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", [scheduler.LOCK])
        _tick()
        job.refresh_from_db()
        assert job.state == "dispatched"
        cursor.execute("SELECT pg_advisory_unlock(%s)", [scheduler.LOCK])
    _tick()
    job.refresh_from_db()
    assert job.state == "queued"


def _tick() -> None:
    subprocess.run(
        [sys.executable, "manage.py", "scheduler", "--once"],
        cwd=ROOM,
        env=dict(os.environ),
        check=True,
        timeout=60,
    )
