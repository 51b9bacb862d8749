"""Deployments and rollouts over REST."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from controlplane.access import services as access
from controlplane.api.pagination import NewestFirst
from controlplane.api.parsing import valid
from controlplane.core.actor import Actor
from deployments import queries
from deployments.api import serializers as shapes
from deployments.services import revisions, rollouts, routing


def _paged(view: APIView, request: Request, rows: Any, serializer: Any) -> Response:
    pages = NewestFirst()
    page: Any = pages.paginate_queryset(rows, request, view=view)
    return pages.get_paginated_response(serializer(page, many=True).data)


class Deployments(APIView):
    open_to_signed_in = frozenset({"get"})

    @extend_schema(
        responses=shapes.DeploymentSerializer(many=True), operation_id="list_deployments"
    )
    def get(self, request: Request) -> Response:
        """List the deployments you may see."""
        rows = queries.deployments(Actor.from_request(request))
        return _paged(self, request, rows, shapes.DeploymentSerializer)


class OneDeployment(APIView):
    open_to_signed_in = frozenset({"get"})

    @extend_schema(responses=shapes.DeploymentSerializer, operation_id="get_deployment")
    def get(self, request: Request, name: str) -> Response:
        """Read one deployment: what it serves now, and on which gateways."""
        return Response(_deployment(queries.deployment(name, Actor.from_request(request))))


class Revisions(APIView):
    open_to_signed_in = frozenset({"get"})

    @extend_schema(responses=shapes.RevisionSerializer(many=True))
    def get(self, request: Request, name: str) -> Response:
        """List what the deployment ran, newest first."""
        found = queries.deployment(name, Actor.from_request(request))
        return _paged(self, request, queries.revisions(found), shapes.RevisionSerializer)


class Predictions(APIView):
    open_to_signed_in = frozenset({"get"})
    ordering = ("-at", "-id")

    @extend_schema(responses=shapes.PredictionSerializer(many=True))
    def get(self, request: Request, name: str) -> Response:
        """List captured predictions with their features, newest first."""
        actor = Actor.from_request(request)
        found = queries.deployment(name, actor)
        access.require(actor, "contribute", found)
        return _paged(self, request, queries.predictions(found), shapes.PredictionSerializer)


class RollBackDeployment(APIView):
    open_to_signed_in = frozenset({"post"})

    @extend_schema(request=shapes.RollBackDeployment, responses=shapes.DeploymentSerializer)
    def post(self, request: Request, name: str) -> Response:
        """Serve an earlier version again; no approval is needed to go back."""
        actor = Actor.from_request(request)
        found = queries.deployment(name, actor)
        rollouts.roll_back_deployment(
            found.pk, actor=actor, **valid(shapes.RollBackDeployment, request)
        )
        return Response(_deployment(queries.deployment(name, actor)))


class Rollouts(APIView):
    open_to_signed_in = frozenset({"get"})

    @extend_schema(responses=shapes.RolloutSerializer(many=True), operation_id="list_rollouts")
    def get(self, request: Request) -> Response:
        """List rollouts, newest first; ``?state=`` narrows the list."""
        rows = queries.rollouts(Actor.from_request(request))
        if request.query_params.get("state"):
            rows = rows.filter(state=request.query_params["state"])
        return _paged(self, request, rows, shapes.RolloutSerializer)


class OneRollout(APIView):
    open_to_signed_in = frozenset({"get"})

    @extend_schema(responses=shapes.RolloutSerializer, operation_id="get_rollout")
    def get(self, request: Request, pk: int) -> Response:
        """Read one rollout with the figures of both arms."""
        return _rollout(request, pk)


class Advance(APIView):
    open_to_signed_in = frozenset({"post"})

    @extend_schema(request=shapes.Advance, responses=shapes.RolloutSerializer)
    def post(self, request: Request, pk: int) -> Response:
        """Send the next share of the plan to the new version."""
        actor = Actor.from_request(request)
        found = queries.rollout(pk, actor)
        rollouts.advance(found.pk, actor=actor, **valid(shapes.Advance, request))
        return _rollout(request, pk)


class Pause(APIView):
    open_to_signed_in = frozenset({"post"})

    @extend_schema(request=shapes.WithReason, responses=shapes.RolloutSerializer)
    def post(self, request: Request, pk: int) -> Response:
        """Hold the shares as they are."""
        actor = Actor.from_request(request)
        found = queries.rollout(pk, actor)
        rollouts.pause(found.pk, actor=actor, **valid(shapes.WithReason, request))
        return _rollout(request, pk)


class Resume(APIView):
    open_to_signed_in = frozenset({"post"})

    @extend_schema(request=shapes.Nothing, responses=shapes.RolloutSerializer)
    def post(self, request: Request, pk: int) -> Response:
        """Begin the step anew."""
        actor = Actor.from_request(request)
        valid(shapes.Nothing, request)
        rollouts.resume(queries.rollout(pk, actor).pk, actor=actor)
        return _rollout(request, pk)


class RollBack(APIView):
    open_to_signed_in = frozenset({"post"})

    @extend_schema(request=shapes.WithReason, responses=shapes.RolloutSerializer)
    def post(self, request: Request, pk: int) -> Response:
        """Send every request back to the version from before."""
        actor = Actor.from_request(request)
        found = queries.rollout(pk, actor)
        rollouts.roll_back(found.pk, actor=actor, **valid(shapes.WithReason, request))
        return _rollout(request, pk)


def _rollout(request: Request, pk: int) -> Response:
    found = queries.rollout(pk, Actor.from_request(request))
    return Response(shapes.RolloutSerializer(found).data)


def _deployment(deployment: Any) -> dict[str, Any]:
    now = revisions.current(deployment)
    return {
        **shapes.DeploymentSerializer(deployment).data,
        "revision": shapes.RevisionSerializer(now).data if now else None,
        "gateways": [
            {"name": name, "routing_revision": seen} for name, seen in routing.gateways().items()
        ],
        "rollback_set": [
            version.number
            for version in revisions.rollback_set(deployment, now.stable if now else None)
        ],
        "figures": [
            queries.as_json(item)
            for item in queries.figures(deployment.pk, now.valid_from).values()
        ]
        if now
        else [],
    }
