"""What the REST door of deployments takes and gives."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from drf_spectacular.utils import extend_schema_serializer
from rest_framework import serializers

from deployments import queries
from deployments.models import Deployment, DeploymentRevision, Prediction, Rollout


class FiguresSerializer(serializers.Serializer[Any]):
    arm = serializers.CharField()
    requests = serializers.IntegerField()
    errors = serializers.IntegerField()  # type: ignore[assignment]
    failovers = serializers.IntegerField()
    error_share = serializers.FloatField(help_text="0 to 1")
    p50_ms = serializers.FloatField()
    p95_ms = serializers.FloatField()


class RevisionSerializer(serializers.ModelSerializer[DeploymentRevision]):
    stable = serializers.SerializerMethodField()
    candidate = serializers.SerializerMethodField()
    promotion = serializers.SerializerMethodField()

    class Meta:
        model = DeploymentRevision
        fields = (
            "number",
            "stable",
            "candidate",
            "candidate_basis_points",
            "cause",
            "reason",
            "promotion",
            "routing_revision",
            "valid_from",
            "valid_to",
        )

    def get_stable(self, revision: DeploymentRevision) -> int | None:
        return revision.stable.number if revision.stable else None

    def get_candidate(self, revision: DeploymentRevision) -> int | None:
        return revision.candidate.number if revision.candidate else None

    def get_promotion(self, revision: DeploymentRevision) -> str | None:
        return str(revision.promotion) if revision.promotion else None


class DeploymentSerializer(serializers.ModelSerializer[Deployment]):
    model = serializers.CharField(source="model.name")
    environment = serializers.CharField(source="environment.key")
    address = serializers.SerializerMethodField()

    class Meta:
        model = Deployment
        fields = ("name", "model", "environment", "state", "address", "deadline_ms", "created_at")

    def get_address(self, deployment: Deployment) -> str:
        return f"{settings.GATEWAY_URL}/{deployment.name}/invocations"


class RolloutSerializer(serializers.ModelSerializer[Rollout]):
    deployment = serializers.CharField(source="deployment.name")
    model = serializers.CharField(source="version.model.name")
    version = serializers.IntegerField(source="version.number")
    baseline = serializers.SerializerMethodField()
    promotion = serializers.CharField(source="promotion.__str__")
    share_basis_points = serializers.IntegerField()
    steps = serializers.SerializerMethodField()
    figures = serializers.SerializerMethodField()

    class Meta:
        model = Rollout
        fields = (
            "id",
            "deployment",
            "model",
            "version",
            "baseline",
            "promotion",
            "strategy",
            "state",
            "step",
            "steps",
            "share_basis_points",
            "message",
            "guard",
            "figures",
            "created_at",
            "step_started_at",
            "finished_at",
        )

    def get_baseline(self, rollout: Rollout) -> int | None:
        return rollout.baseline.number if rollout.baseline else None

    def get_steps(self, rollout: Rollout) -> list[int]:
        return list(rollout.plan["steps_basis_points"])

    def get_figures(self, rollout: Rollout) -> list[dict[str, Any]]:
        if self.parent is not None:  # a list shows no figures: one query per row would be dear
            return []
        found = queries.figures(rollout.deployment_id, rollout.created_at, rollout.finished_at)
        return [queries.as_json(item) for item in found.values()]


class PredictionSerializer(serializers.ModelSerializer[Prediction]):
    class Meta:
        model = Prediction
        fields = (
            "id",
            "at",
            "revision",
            "version_id",
            "arm",
            "assignment",
            "status",
            "error",
            "request_id",
            "row_count",
            "features",
            "outputs",
            "total_us",
        )


class RollBackDeployment(serializers.Serializer[Any]):
    reason = serializers.CharField()
    to_version = serializers.IntegerField(required=False, allow_null=True, default=None)


class Advance(serializers.Serializer[Any]):
    expected_step = serializers.IntegerField(required=False, allow_null=True, default=None)


@extend_schema_serializer(component_name="RolloutReason")
class WithReason(serializers.Serializer[Any]):
    reason = serializers.CharField(required=False, allow_blank=True, default="")


class Nothing(serializers.Serializer[Any]):
    """An empty body."""
