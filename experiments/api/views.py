"""Training, runs and evaluations over REST."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from controlplane.access import services as access
from controlplane.accounts.models import Workspace
from controlplane.api.idempotency import once_per_key
from controlplane.api.pagination import limit_of, page_of
from controlplane.api.parsing import form_of, valid
from controlplane.core.actor import Actor
from controlplane.core.errors import Invalid
from controlplane.jobs import spec as specs
from controlplane.jobs.models import Job
from experiments.api import serializers as shapes
from experiments.services import evaluations, runs, training
from registry.services import datasets, environments, models

LARGEST_LOCK_BYTES = 2 * 2**20
_OWN_FIELDS = {"name", "experiment", "queue", "timeout_seconds", "memory_mb", "priority"}


class Training(APIView):
    open_to_signed_in = frozenset({"post"})
    parser_classes = (MultiPartParser,)

    @extend_schema(
        request={
            "multipart/form-data": {
                "type": "object",
                "required": ["source", "lock", "spec"],
                "properties": {
                    "source": {
                        "type": "string",
                        "format": "binary",
                        "description": "A tar of the folder with the script.",
                    },
                    "lock": {
                        "type": "string",
                        "format": "binary",
                        "description": "A requirements file with hashes.",
                    },
                    "spec": {
                        "type": "string",
                        "description": "JSON: name, experiment, command, "
                        "inputs, queue, environment, timeout_seconds, memory_mb.",
                    },
                },
            }
        },
        responses={202: shapes.StartedTraining},
    )
    @once_per_key()
    def post(self, request: Request) -> Response:
        """Queue a training job; its MLflow run exists at once."""
        actor = Actor.from_request(request)
        workspace = _here(actor)
        access.require(actor, "contribute", workspace)
        body = _spec_of(request)
        own = {name: body.pop(name) for name in _OWN_FIELDS & set(body)}
        source = _file(request, "source")
        resources = {key: own[key] for key in ("timeout_seconds", "memory_mb") if key in own}
        # Read before the source is stored: what cannot be run is not kept.
        parsed = specs.parse(
            {
                **body,
                "lock": _lock_of(request),
                "source": None,
                "resources": {**body.get("resources", {}), **resources},
            }
        )
        stored = training.upload_source(
            workspace, source.chunks(), limit_bytes=settings.UPLOAD_LIMIT_BYTES
        )
        job = training.start(
            actor=actor,
            workspace=workspace,
            spec=replace(parsed, source=specs.TarSource(stored.sha256)),
            name=str(own.get("name") or "training"),
            experiment=str(own.get("experiment") or "Default jobs"),
            queue=str(own.get("queue") or "cpu"),
            priority=_whole(own.get("priority", 0), "priority"),
        )
        url = f"{settings.PUBLIC_URL}/w/{workspace.key}/runs/{job.run_id}/"
        shown = shapes.StartedTraining({"run_id": job.run_id, "job": job, "url": url})
        return Response(shown.data, status=202)


class Runs(APIView):
    open_to_signed_in = frozenset({"get"})

    @extend_schema(
        parameters=[OpenApiParameter("experiment", int), OpenApiParameter("cursor")],
        responses=shapes.RunSerializer(many=True),
        operation_id="list_runs",
    )
    def get(self, request: Request) -> Response:
        """List runs, newest first."""
        actor = Actor.from_request(request)
        limit = limit_of(request)
        experiment = request.query_params.get("experiment", "")
        found = runs.page(
            actor=actor,
            workspace=_here(actor),
            experiment_id=_whole(experiment, "experiment") if experiment else None,
            before=_position(request.query_params.get("cursor", "")),
            limit=limit,
        )
        following = None
        if len(found) == limit and found[-1].started_at:
            milliseconds = int(found[-1].started_at.timestamp() * 1000)
            following = f"{milliseconds}-{found[-1].id}"
        rows = shapes.RunSerializer(found, many=True).data
        return page_of(request, rows, next_cursor=following)


class OneRun(APIView):
    open_to_signed_in = frozenset({"get"})

    @extend_schema(responses=shapes.RunPageSerializer, operation_id="get_run")
    def get(self, request: Request, run_id: str) -> Response:
        """Read one run with its parameters, newest metrics, and the job that made it."""
        actor = Actor.from_request(request)
        found = runs.get(run_id, actor=actor, workspace=_here(actor))
        job = Job.objects.filter(run_id=run_id, kind=training.KIND).first()
        return Response(shapes.RunPageSerializer({"run": found, "job": job}).data)


class MetricHistory(APIView):
    open_to_signed_in = frozenset({"get"})

    @extend_schema(responses=shapes.MetricSerializer(many=True))
    def get(self, request: Request, run_id: str, key: str) -> Response:
        """Read every value of one metric, in the order of the steps."""
        actor = Actor.from_request(request)
        found = runs.metric_history(run_id, key, actor=actor, workspace=_here(actor))
        return Response(shapes.MetricSerializer(found, many=True).data)


class Evaluations(APIView):
    open_to_signed_in = frozenset({"post"})

    @extend_schema(request=shapes.RequestEvaluation, responses={202: shapes.JobOfRun})
    @once_per_key()
    def post(self, request: Request, name: str, number: int) -> Response:
        """Queue an evaluation on a sealed holdout, paired with what is live."""
        actor = Actor.from_request(request)
        body = valid(shapes.RequestEvaluation, request)
        here = actor.workspace_id or 0
        version = models.get_version(name, number, actor=actor, workspace_id=here)
        job = evaluations.request(
            version,
            datasets.get_version(body["dataset"], actor=actor, workspace_id=here),
            actor=actor,
            label=body["label"],
            slice_column=body["slice"],
            environment=environments.by_key(here, body["environment"])
            if body["environment"]
            else None,
        )
        return Response(shapes.JobOfRun(job).data, status=202)


def _here(actor: Actor) -> Workspace:
    return Workspace.objects.get(pk=actor.workspace_id or 0)


def _spec_of(request: Request) -> dict[str, Any]:
    try:
        body = json.loads(str(form_of(request).get("spec", "")) or "null")
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise Invalid("The field “spec” must hold a JSON object.", fields={"spec": ["not JSON"]})
    return body


def _file(request: Request, name: str) -> UploadedFile[bytes]:
    found = request.FILES.get(name)
    if not isinstance(found, UploadedFile):
        raise Invalid(f"Send the file “{name}”.", fields={name: ["missing"]})
    return found


def _lock_of(request: Request) -> str:
    lock = _file(request, "lock")
    if (lock.size or 0) > LARGEST_LOCK_BYTES:
        raise Invalid("The lock is larger than 2 MiB.", fields={"lock": ["too large"]})
    try:
        return str(lock.read().decode())
    except UnicodeDecodeError:
        raise Invalid("The lock is not text.", fields={"lock": ["not UTF-8"]}) from None


def _whole(value: object, field: str) -> int:
    try:
        return int(str(value))
    except ValueError:
        raise Invalid(f"{field} is a whole number.", fields={field: ["not a number"]}) from None


def _position(cursor: str) -> tuple[int, str] | None:
    milliseconds, _, run_id = cursor.partition("-")
    if not cursor:
        return None
    if not milliseconds.isdecimal() or not run_id.isalnum():
        raise Invalid("This cursor was not made here.", fields={"cursor": ["not understood"]})
    return int(milliseconds), run_id
