"""Jobs over REST: submit, look, read the log, stop."""

from __future__ import annotations

import re
import time
from typing import Any
from uuid import UUID

from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from controlplane.accounts.models import Workspace
from controlplane.api.idempotency import once_per_key
from controlplane.api.parsing import valid, valid_query
from controlplane.core.actor import Actor
from controlplane.core.errors import Invalid, NotFound
from controlplane.jobs import kinds, queries, services, states
from controlplane.jobs import spec as specs
from controlplane.jobs.models import Job, JobAttempt, Worker
from controlplane.workflow import services as workflow

LONGEST_WAIT_SECONDS = 25
_WAIT = re.compile(r"(?:^|[,;\s])wait=(\d{1,4})")
_LOOK_SECONDS = 0.25
JOB_FIELDS: tuple[str, ...] = (
    *("id", "name", "kind", "queue", "state", "priority", "attempt", "max_attempts", "worker"),
    *("run_id", "owner", "created_by", "exit_code", "error"),
    *("created_at", "started_at", "finished_at"),
)


class JobStepSerializer(serializers.Serializer[Any]):
    name = serializers.CharField()
    label = serializers.CharField()  # type: ignore[assignment]
    allowed = serializers.BooleanField()
    reasons = serializers.ListField(child=serializers.CharField())


class JobSerializer(serializers.ModelSerializer[Job]):
    owner = serializers.CharField(source="owner.username")
    created_by = serializers.CharField(source="created_by.username")

    class Meta:
        model = Job
        fields = JOB_FIELDS


class JobDetailSerializer(JobSerializer):
    spec = serializers.JSONField()
    last_lines = serializers.CharField()
    ahead = serializers.SerializerMethodField(help_text="Jobs that will be claimed before it.")
    steps_available = serializers.SerializerMethodField()

    class Meta(JobSerializer.Meta):
        fields = (*JOB_FIELDS, "spec", "last_lines", "ahead", "steps_available")

    def get_ahead(self, job: Job) -> int:
        return queries.ahead_of(job) if job.state == states.QUEUED else 0

    @extend_schema_field(JobStepSerializer(many=True))
    def get_steps_available(self, job: Job) -> list[dict[str, Any]]:
        actor: Actor = self.context["actor"]
        steps = workflow.available_steps(states.JOB, job, actor)
        return [dict(JobStepSerializer(step).data) for step in steps]


class AttemptSerializer(serializers.ModelSerializer[JobAttempt]):
    class Meta:
        model = JobAttempt
        fields = (
            "number",
            "worker",
            "claimed_at",
            "started_at",
            "ended_at",
            "outcome",
            "exit_code",
            "error",
        )


class WorkerSerializer(serializers.ModelSerializer[Worker]):
    class Meta:
        model = Worker
        fields = ("name", "slots", "gpus", "memory_mb", "sandbox", "started_at", "seen_at")


class QueueSerializer(serializers.Serializer[Any]):
    name = serializers.CharField()
    waiting = serializers.IntegerField()
    running = serializers.IntegerField()
    slots = serializers.IntegerField()
    workers = WorkerSerializer(many=True)


class JobFilter(serializers.Serializer[Any]):
    state = serializers.ChoiceField(sorted(states.JOB.states), required=False)
    kind = serializers.CharField(required=False)
    queue = serializers.CharField(required=False)
    run_id = serializers.CharField(required=False)


class NewJob(serializers.Serializer[Any]):
    kind = serializers.CharField(default="training")
    name = serializers.CharField(max_length=services.MAX_NAME)
    queue = serializers.CharField(default="cpu")
    priority = serializers.IntegerField(default=0)
    spec = serializers.JSONField(
        help_text="command, lock, python, source, inputs, resources, environment, extra"
    )


class Cancel(serializers.Serializer[Any]):
    reason = serializers.CharField(required=False, allow_blank=True, default="", max_length=1000)


class LogFilter(serializers.Serializer[Any]):
    attempt = serializers.IntegerField(required=False, min_value=1)

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        # "from" is a word of Python's and cannot be the name of an attribute.
        return {
            **super().get_fields(),
            "from": serializers.IntegerField(required=False, min_value=0, default=0),
        }


class LogSerializer(serializers.Serializer[Any]):
    content = serializers.CharField(help_text="Bytes that are not UTF-8 are shown as �.")
    next = serializers.IntegerField(help_text="The byte to go on from.")
    is_complete = serializers.BooleanField()
    attempt = serializers.IntegerField()


class Jobs(GenericViewSet[Job]):
    """Work that waits, runs or is over."""

    open_to_signed_in = frozenset(
        {"list", "create", "retrieve", "cancel", "log", "attempts", "queues"}
    )
    queryset = Job.objects.none()
    serializer_class = JobSerializer

    @extend_schema(operation_id="list_jobs", parameters=[JobFilter])
    def list(self, request: Request) -> Response:
        """List the jobs you may see, newest first."""
        found = queries.visible_to(Actor.from_request(request), **valid_query(JobFilter, request))
        page = self.paginate_queryset(found)
        return self.get_paginated_response(JobSerializer(page, many=True).data)

    @extend_schema(operation_id="submit_job", request=NewJob, responses={201: JobDetailSerializer})
    @once_per_key()
    def create(self, request: Request) -> Response:
        """Queue a job as it is. Its source has been uploaded before and is named by its digest."""
        actor = Actor.from_request(request)
        body = valid(NewJob, request)
        if not kinds.named(body["kind"]).is_open:
            raise Invalid(
                f"A job of the kind {body['kind']} is started by Gatehouse itself.",
                fields={"kind": ["not open"]},
            )
        job = services.submit(
            actor=actor,
            workspace=_workspace_of(actor),
            **{**body, "spec": specs.parse(body["spec"])},
        )
        return Response(_detail(job, actor), status=201)

    @extend_schema(operation_id="get_job", responses=JobDetailSerializer)
    def retrieve(self, request: Request, job_id: UUID) -> Response:
        """Read one job, with what you may do with it."""
        actor = Actor.from_request(request)
        return Response(_detail(services.get(job_id, actor=actor), actor))

    @extend_schema(operation_id="cancel_job", request=Cancel, responses=JobDetailSerializer)
    def cancel(self, request: Request, job_id: UUID) -> Response:
        """Stop a job that waits or runs."""
        actor = Actor.from_request(request)
        services.get(job_id, actor=actor)
        services.cancel(job_id, actor=actor, **valid(Cancel, request))
        return Response(_detail(services.get(job_id, actor=actor), actor))

    @extend_schema(
        operation_id="read_job_log",
        parameters=[
            OpenApiParameter("from", int, description="The byte to begin at."),
            OpenApiParameter("attempt", int, description="The newest, unless one is named."),
            OpenApiParameter(
                "Prefer", str, OpenApiParameter.HEADER, description="wait=25: until there is news."
            ),
        ],
        responses=LogSerializer,
    )
    def log(self, request: Request, job_id: UUID) -> Response:
        """Read the log from a byte on, at most 256 KiB at once."""
        actor = Actor.from_request(request)
        query = valid_query(LogFilter, request)
        deadline = time.monotonic() + _seconds_to_wait(request)
        while True:
            job = services.get(job_id, actor=actor)
            part = services.read_log(job, query["from"], query.get("attempt"))
            if part.content or part.is_complete or time.monotonic() >= deadline:
                break
            time.sleep(_LOOK_SECONDS)
        text = part.content.decode(errors="replace")
        return Response(
            {
                "content": text,
                "next": part.next,
                "is_complete": part.is_complete,
                "attempt": part.attempt,
            }
        )

    @extend_schema(operation_id="list_job_attempts", responses=AttemptSerializer(many=True))
    def attempts(self, request: Request, job_id: UUID) -> Response:
        """List every attempt of a job, oldest first."""
        job = services.get(job_id, actor=Actor.from_request(request))
        rows = AttemptSerializer(queries.attempts(job), many=True).data
        return Response({"results": rows, "next": None})

    @extend_schema(operation_id="list_queues", responses=QueueSerializer(many=True))
    def queues(self, request: Request) -> Response:
        """Say what waits and runs on each queue, and which workers serve it."""
        found = queries.standing(Actor.from_request(request))
        return Response({"results": QueueSerializer(found, many=True).data, "next": None})


def _workspace_of(actor: Actor) -> Workspace:
    found = Workspace.objects.filter(pk=actor.workspace_id or 0).first()
    if found is None:
        raise NotFound("You belong to no workspace that a job could run in.")
    return found


def _detail(job: Job, actor: Actor) -> dict[str, Any]:
    return dict(JobDetailSerializer(job, context={"actor": actor}).data)


def _seconds_to_wait(request: Request) -> int:
    found = _WAIT.search(request.headers.get("Prefer", ""))
    return min(int(found[1]), LONGEST_WAIT_SECONDS) if found else 0
