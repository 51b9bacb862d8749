"""The records that the permission table is asked about, made through the services."""

from __future__ import annotations

import io
from typing import Any

from controlplane.audit.models import Event
from controlplane.core.actor import Actor
from controlplane.jobs.models import Job
from deployments.models import Rollout
from experiments.services import runs
from registry import blobs, policies
from registry.services import datasets, environments, promotions
from tests import make
from tests.architecture.permission_table import World, make_world
from tests.rooms import Room


def build() -> World:
    """Return a workspace with one of each: a model with two versions, a dataset, a job, a run,
    a promotion in review, and one that was approved and is being rolled out."""
    room = Room()
    model = room.model
    approved = room.requested()
    room.approve(approved, room.approver)
    promotions.execute(approved.pk, actor=Actor.system("gatekeeper"))
    rollout = Rollout.objects.get(promotion=approved)
    second = room.register(b"weights 2")
    room.evaluate(second)
    staging = environments.by_key(room.workspace.pk, "staging")
    waiting = promotions.check(
        promotions.request(second, staging, actor=room.engineer).pk,
        actor=Actor.system("test"),
    )
    run_id = _run(room)
    return make_world(
        room.workspace,
        model=model,
        version=room.version,
        rollout=rollout,
        deployment=rollout.deployment,
        waiting=waiting,
        dataset=_dataset(room),
        critical_policy=policies.default_source("critical"),
        job=_job(room),
        run_id=run_id,
        experiment_id=_experiment_of(run_id, room),
        event=Event.objects.filter(workspace=room.workspace.pk).order_by("at").first(),
        grant_id=make.give(make.person(workspace=room.workspace), "viewer", room.workspace),
    )


def _dataset(room: Room) -> Any:
    stored = blobs.put(room.workspace.key, io.BytesIO(b"a,b\n1,2\n3,4\n"), limit_bytes=1000)
    return datasets.register_version(
        actor=room.engineer,
        workspace=room.workspace,
        name="rows",
        files=[datasets.UploadedFile("rows.csv", stored)],
    )


def _job(room: Room) -> Job:
    owner = make.user_of(room.engineer)
    return Job.objects.create(
        workspace=room.workspace,
        name="fit",
        kind="training",
        queue="cpu",
        spec={},
        memory_mb=512,
        timeout_seconds=60,
        owner=owner,
        created_by=owner,
    )


def _experiment_of(run_id: str, room: Room) -> int:
    return runs.get(run_id, actor=room.engineer, workspace=room.workspace).experiment_id


def _run(room: Room) -> str:
    return runs.create(
        workspace=room.workspace,
        experiment_name="fits",
        run_name="fit",
        actor=room.engineer,
        tags={},
    )
