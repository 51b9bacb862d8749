"""Datasets, models, versions, environments and policies."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from drf_spectacular.utils import extend_schema
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from controlplane.accounts.models import Workspace
from controlplane.api.idempotency import once_per_key
from controlplane.api.pagination import NewestFirst
from controlplane.api.parsing import form_of, valid
from controlplane.core.actor import Actor
from controlplane.core.errors import NotFound
from registry import blobs, queries
from registry.api import serializers as shapes
from registry.services import datasets, environments, models


def here(request: Request) -> Workspace:
    """Return the workspace that the caller stands in."""
    return Workspace.objects.get(pk=Actor.from_request(request).workspace_id or 0)


def paged(view: APIView, request: Request, rows: Any, serializer: Any) -> Response:
    """Return one page of rows, newest first."""
    pages = NewestFirst()
    page: Any = pages.paginate_queryset(rows, request, view=view)
    return pages.get_paginated_response(serializer(page, many=True).data)


class Datasets(APIView):
    open_to_signed_in = frozenset({"get"})

    @extend_schema(responses=shapes.DatasetSerializer(many=True), operation_id="list_datasets")
    def get(self, request: Request) -> Response:
        """List the datasets you may see."""
        rows = queries.datasets(Actor.from_request(request))
        return paged(self, request, rows, shapes.DatasetSerializer)


class OneDataset(APIView):
    open_to_signed_in = frozenset({"get"})

    @extend_schema(responses=shapes.DatasetVersionSerializer(many=True))
    def get(self, request: Request, name: str) -> Response:
        """List the versions of a dataset."""
        found = queries.dataset(name, Actor.from_request(request))
        rows = found.versions.select_related("dataset", "created_by")
        return paged(self, request, rows, shapes.DatasetVersionSerializer)


class DatasetVersions(APIView):
    open_to_signed_in = frozenset({"post"})
    parser_classes = (MultiPartParser,)

    @extend_schema(
        request={
            "multipart/form-data": {
                "type": "object",
                "properties": {
                    "file": {"type": "array", "items": {"type": "string", "format": "binary"}},
                    "note": {"type": "string"},
                    "description": {"type": "string"},
                },
            }
        },
        responses={201: shapes.DatasetVersionSerializer},
    )
    @once_per_key()
    def post(self, request: Request, name: str) -> Response:
        """Upload the files of a new version. It is profiled, and seals itself."""
        workspace = here(request)
        uploads = request.FILES.getlist("file")
        datasets.require_may_register(
            actor=Actor.from_request(request),
            workspace=workspace,
            name=name,
            paths=[upload.name or "" for upload in uploads],
        )
        files = [
            datasets.UploadedFile(
                upload.name or "",
                blobs.put(workspace.key, _chunks(upload), limit_bytes=settings.UPLOAD_LIMIT_BYTES),
            )
            for upload in uploads
        ]
        version = datasets.register_version(
            actor=Actor.from_request(request),
            workspace=workspace,
            name=name,
            files=files,
            note=str(form_of(request).get("note", "")),
            description=str(form_of(request).get("description", "")),
        )
        return Response(shapes.DatasetVersionSerializer(version).data, status=201)


class OneDatasetVersion(APIView):
    open_to_signed_in = frozenset({"get"})

    @extend_schema(responses=shapes.DatasetVersionSerializer, operation_id="get_dataset_version")
    def get(self, request: Request, name: str, number: int) -> Response:
        """Read one version with its schema and profile."""
        actor = Actor.from_request(request)
        version = datasets.get_version(
            f"{name}@{number}", actor=actor, workspace_id=actor.workspace_id or 0
        )
        return Response(shapes.DatasetVersionSerializer(version).data)


class Models(APIView):
    open_to_signed_in = frozenset({"get", "post"})

    @extend_schema(responses=shapes.ModelSerializer(many=True), operation_id="list_models")
    def get(self, request: Request) -> Response:
        """List the models you may see; ``?q=``, ``?tier=`` and ``?live=yes|no`` narrow the list."""
        query = request.query_params
        rows = queries.filtered_models(
            Actor.from_request(request),
            text=query.get("q", ""),
            tier=query.get("tier", ""),
            live=query.get("live", ""),
        )
        return paged(self, request, rows, shapes.ModelSerializer)

    @extend_schema(request=shapes.CreateModel, responses={201: shapes.ModelSerializer})
    @once_per_key()
    def post(self, request: Request) -> Response:
        """Register a model: the name under which versions are offered."""
        actor = Actor.from_request(request)
        model = models.create_model(
            actor=actor, workspace=here(request), **valid(shapes.CreateModel, request)
        )
        return Response(_model(model.name, actor), status=201)


class OneModel(APIView):
    open_to_signed_in = frozenset({"get", "patch"})

    @extend_schema(responses=shapes.ModelSerializer, operation_id="get_model")
    def get(self, request: Request, name: str) -> Response:
        """Read one model."""
        return Response(_model(name, Actor.from_request(request)))

    @extend_schema(request=shapes.UpdateModel, responses=shapes.ModelSerializer)
    def patch(self, request: Request, name: str) -> Response:
        """Change the description, or raise the risk tier."""
        actor = Actor.from_request(request)
        model = models.get_model(name, actor=actor, workspace_id=actor.workspace_id or 0)
        models.update_model(model, actor=actor, **valid(shapes.UpdateModel, request))
        return Response(_model(name, actor))


class Versions(APIView):
    open_to_signed_in = frozenset({"get"})

    @extend_schema(responses=shapes.VersionSerializer(many=True), operation_id="list_versions")
    def get(self, request: Request, name: str) -> Response:
        """List the versions of a model."""
        actor = Actor.from_request(request)
        model = models.get_model(name, actor=actor, workspace_id=actor.workspace_id or 0)
        rows = model.versions.select_related("model", "registrant")
        return paged(self, request, rows, shapes.VersionSerializer)


class OneVersion(APIView):
    open_to_signed_in = frozenset({"get"})

    @extend_schema(responses=shapes.VersionSerializer, operation_id="get_version")
    def get(self, request: Request, name: str, number: int) -> Response:
        """Read one version with its manifest."""
        return Response(shapes.VersionSerializer(version_of(request, name, number)).data)


class VersionEvidence(APIView):
    open_to_signed_in = frozenset({"get"})

    @extend_schema(responses=shapes.EvidenceSerializer(many=True))
    def get(self, request: Request, name: str, number: int) -> Response:
        """List the evidence about a version."""
        version = version_of(request, name, number)
        rows = version.evidence.select_related("dataset_version__dataset", "baseline")
        return paged(self, request, rows, shapes.EvidenceSerializer)


class Environments(APIView):
    open_to_signed_in = frozenset({"get"})

    @extend_schema(responses=shapes.EnvironmentSerializer(many=True))
    def get(self, request: Request) -> Response:
        """List the environments."""
        rows = queries.environments(Actor.from_request(request))
        return paged(self, request, rows, shapes.EnvironmentSerializer)


class Policies(APIView):
    open_to_signed_in = frozenset({"get", "post"})

    @extend_schema(responses=shapes.PolicySerializer(many=True))
    def get(self, request: Request, key: str) -> Response:
        """List every version of the environment's policies."""
        rows = _environment(request, key).policies.select_related("environment")
        return paged(self, request, rows, shapes.PolicySerializer)

    @extend_schema(request=shapes.ActivatePolicy, responses={201: shapes.PolicySerializer})
    @once_per_key()
    def post(self, request: Request, key: str) -> Response:
        """Activate a stricter policy. A laxer one needs two people and is refused."""
        policy = environments.activate_policy(
            _environment(request, key).pk,
            actor=Actor.from_request(request),
            **valid(shapes.ActivatePolicy, request),
        )
        return Response(shapes.PolicySerializer(policy).data, status=201)


def version_of(request: Request, name: str, number: int) -> Any:
    """Return the version the address names, if the caller may see it."""
    actor = Actor.from_request(request)
    return models.get_version(name, number, actor=actor, workspace_id=actor.workspace_id or 0)


def _environment(request: Request, key: str) -> Any:
    found = queries.environments(Actor.from_request(request)).filter(key=key).first()
    if found is None:
        raise NotFound(f"There is no environment {key!r}.")
    return found


def _model(name: str, actor: Actor) -> Any:
    found = queries.models(actor).filter(name=name).first()
    if found is None:
        raise NotFound(f"There is no model named {name!r}.")
    return shapes.ModelSerializer(found).data


def _chunks(upload: UploadedFile[bytes]) -> Iterator[bytes]:
    yield from upload.chunks()
