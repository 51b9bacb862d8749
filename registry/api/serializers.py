"""What the registry's REST door takes and gives."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from rest_framework import serializers

from registry.models import (
    Dataset,
    DatasetVersion,
    Environment,
    Evidence,
    GateResult,
    Model,
    ModelVersion,
    Policy,
    PromotionRequest,
    Review,
)


class DatasetSerializer(serializers.ModelSerializer[Dataset]):
    owner = serializers.CharField(source="owner.username")
    newest_version = serializers.IntegerField(source="newest_number", read_only=True)

    class Meta:
        model = Dataset
        fields = ("name", "description", "owner", "newest_version", "created_at")


class DatasetVersionSerializer(serializers.ModelSerializer[DatasetVersion]):
    reference = serializers.CharField(source="__str__", read_only=True)
    rows = serializers.IntegerField(source="row_count", allow_null=True)
    created_by = serializers.CharField(source="created_by.username")

    class Meta:
        model = DatasetVersion
        fields = (
            "reference",
            "number",
            "state",
            "note",
            "rows",
            "size_bytes",
            "digest",
            "schema",
            "profile",
            "created_by",
            "created_at",
            "sealed_at",
        )


class ModelSerializer(serializers.ModelSerializer[Model]):
    owner = serializers.CharField(source="owner.username")
    newest_version = serializers.IntegerField(source="newest_number", read_only=True)
    live_version = serializers.IntegerField(source="live_number", read_only=True, allow_null=True)

    class Meta:
        model = Model
        fields = (
            "name",
            "description",
            "owner",
            "risk_tier",
            "state",
            "tags",
            "newest_version",
            "live_version",
            "created_at",
            "updated_at",
        )


class CreateModel(serializers.Serializer[Any]):
    name = serializers.CharField(max_length=200)
    description = serializers.CharField(required=False, allow_blank=True, default="")
    risk_tier = serializers.ChoiceField(
        choices=Model.RiskTier.choices, default=Model.RiskTier.MEDIUM.value
    )


class UpdateModel(serializers.Serializer[Any]):
    description = serializers.CharField(required=False, allow_blank=True)
    risk_tier = serializers.ChoiceField(choices=Model.RiskTier.choices, required=False)


class VersionSerializer(serializers.ModelSerializer[ModelVersion]):
    model = serializers.CharField(source="model.name")
    registrant = serializers.CharField(source="registrant.username")
    reference = serializers.SerializerMethodField()

    class Meta:
        model = ModelVersion
        fields = (
            "reference",
            "model",
            "number",
            "state",
            "description",
            "tags",
            "run_id",
            "source",
            "manifest",
            "manifest_sha256",
            "size_bytes",
            "signature",
            "flavours",
            "lock_sha256",
            "file_verdict",
            "registrant",
            "created_at",
            "sealed_at",
        )

    def get_reference(self, version: ModelVersion) -> str:
        return f"{version.model.name}@{version.number}"


class EvidenceSerializer(serializers.ModelSerializer[Evidence]):
    dataset = serializers.SerializerMethodField()
    baseline = serializers.SerializerMethodField()

    class Meta:
        model = Evidence
        fields = (
            "id",
            "kind",
            "suite",
            "dataset",
            "baseline",
            "body",
            "digest",
            "manifest_sha256",
            "job_id",
            "attested_by_client",
            "created_at",
        )

    def get_dataset(self, evidence: Evidence) -> str | None:
        return str(evidence.dataset_version) if evidence.dataset_version else None

    def get_baseline(self, evidence: Evidence) -> int | None:
        return evidence.baseline.number if evidence.baseline else None


class EnvironmentSerializer(serializers.ModelSerializer[Environment]):
    class Meta:
        model = Environment
        fields = ("key", "name", "kind", "state", "guarded_alias")


class PolicySerializer(serializers.ModelSerializer[Policy]):
    environment = serializers.CharField(source="environment.key")

    class Meta:
        model = Policy
        fields = (
            "environment",
            "risk_tier",
            "number",
            "state",
            "source",
            "body",
            "digest",
            "created_at",
        )


class ActivatePolicy(serializers.Serializer[Any]):
    risk_tier = serializers.ChoiceField(choices=Model.RiskTier.choices)
    source = serializers.CharField(  # type: ignore[assignment]
        help_text="The policy as YAML.", max_length=100_000
    )
    reason = serializers.CharField(min_length=3)


class GateSerializer(serializers.ModelSerializer[GateResult]):
    class Meta:
        model = GateResult
        fields = ("name", "title", "kind", "outcome", "sentence", "facts", "computed_at")


class ReviewSerializer(serializers.ModelSerializer[Review]):
    reviewer = serializers.CharField(source="reviewer.username")

    class Meta:
        model = Review
        fields = ("reviewer", "slot", "verdict", "text", "subject_digest", "voted_at", "event_id")


class SlotSerializer(serializers.Serializer[Any]):
    slot = serializers.CharField()
    quorum = serializers.IntegerField()
    missing = serializers.IntegerField()


class DeviationSerializer(serializers.Serializer[Any]):
    key = serializers.CharField()
    text = serializers.CharField()


class StepSerializer(serializers.Serializer[Any]):
    name = serializers.CharField()
    allowed = serializers.BooleanField()
    reasons = serializers.ListField(child=serializers.CharField())


class PromotionSerializer(serializers.ModelSerializer[PromotionRequest]):
    """A promotion as a list shows it."""

    reference = serializers.CharField(source="__str__", read_only=True)
    model = serializers.CharField(source="model.name")
    version = serializers.IntegerField(source="version.number")
    environment = serializers.CharField(source="environment.key")
    requester = serializers.CharField(source="requester.username")
    replaces = serializers.SerializerMethodField()
    url = serializers.SerializerMethodField()

    class Meta:
        model = PromotionRequest
        fields = (
            "reference",
            "number",
            "model",
            "version",
            "environment",
            "replaces",
            "state",
            "requester",
            "reason",
            "link",
            "subject_digest",
            "plan",
            "closed_because",
            "created_at",
            "updated_at",
            "expires_at",
            "approved_until",
            "closed_at",
            "url",
        )

    def get_replaces(self, promotion: PromotionRequest) -> int | None:
        return promotion.replaces.number if promotion.replaces else None

    def get_url(self, promotion: PromotionRequest) -> str:
        return address_of(promotion)


class PromotionPageSerializer(serializers.Serializer[Any]):
    """A promotion with everything an approver reads (registry.queries.ReviewPage)."""

    promotion = PromotionSerializer()
    gates = GateSerializer(many=True)
    deviations = DeviationSerializer(many=True)
    slots = SlotSerializer(many=True)
    reviews = ReviewSerializer(many=True)
    evidence = EvidenceSerializer(allow_null=True)
    steps = StepSerializer(many=True)

    def to_representation(self, page: Any) -> dict[str, Any]:
        shown = super().to_representation(page)
        return {**shown.pop("promotion"), **shown}


class RequestPromotion(serializers.Serializer[Any]):
    model = serializers.CharField(max_length=200)
    version = serializers.IntegerField(min_value=1)
    environment = serializers.CharField(max_length=40)
    reason = serializers.CharField(required=False, allow_blank=True, default="")
    link = serializers.URLField(required=False, allow_blank=True, default="")
    strategy = serializers.CharField(required=False, allow_blank=True, default="", max_length=16)


class Approve(serializers.Serializer[Any]):
    subject_digest = serializers.CharField(min_length=64, max_length=64)
    password = serializers.CharField(trim_whitespace=False)
    comment = serializers.CharField(required=False, allow_blank=True, default="")
    acknowledged = serializers.ListField(
        child=serializers.CharField(), required=False, default=list
    )


class Decide(serializers.Serializer[Any]):
    subject_digest = serializers.CharField(min_length=64, max_length=64)
    text = serializers.CharField(allow_blank=True)


class Say(serializers.Serializer[Any]):
    text = serializers.CharField(allow_blank=True)


class WithReason(serializers.Serializer[Any]):
    reason = serializers.CharField(required=False, allow_blank=True, default="")


class Nothing(serializers.Serializer[Any]):
    """An empty body."""


def address_of(promotion: PromotionRequest) -> str:
    """Return the address of the promotion's page."""
    key = promotion.model.workspace.key
    return f"{settings.PUBLIC_URL}/w/{key}/promotions/{promotion.number}/"
