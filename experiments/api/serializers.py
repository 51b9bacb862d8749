"""What the REST door of experiments takes and gives."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers


class MetricSerializer(serializers.Serializer[Any]):
    key = serializers.CharField()
    value = serializers.FloatField(allow_null=True)
    step = serializers.IntegerField()
    at = serializers.DateTimeField()


class RunSerializer(serializers.Serializer[Any]):
    run_id = serializers.CharField(source="id")
    name = serializers.CharField()
    experiment = serializers.CharField()
    experiment_id = serializers.IntegerField()
    user = serializers.CharField()
    status = serializers.CharField()
    started_at = serializers.DateTimeField(allow_null=True)
    ended_at = serializers.DateTimeField(allow_null=True)
    params = serializers.DictField(child=serializers.CharField())
    tags = serializers.DictField(child=serializers.CharField())
    metrics = MetricSerializer(many=True)


class JobOfRun(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    name = serializers.CharField()
    kind = serializers.CharField()
    queue = serializers.CharField()
    state = serializers.CharField()
    attempt = serializers.IntegerField()
    exit_code = serializers.IntegerField(allow_null=True)
    error = serializers.CharField()
    run_id = serializers.CharField()


class RunPageSerializer(serializers.Serializer[Any]):
    run = RunSerializer()
    job = JobOfRun(allow_null=True)

    def to_representation(self, page: Any) -> dict[str, Any]:
        shown = super().to_representation(page)
        return {**shown["run"], "job": shown["job"]}


class StartedTraining(serializers.Serializer[Any]):
    run_id = serializers.CharField()
    job = JobOfRun()
    url = serializers.CharField()


class RequestEvaluation(serializers.Serializer[Any]):
    dataset = serializers.CharField(help_text="name@number")
    label = serializers.CharField()  # type: ignore[assignment]
    slice = serializers.CharField(required=False, allow_blank=True, default="")
    environment = serializers.CharField(required=False, allow_blank=True, default="production")
