"""The ledger: what happened, entry by entry, and how well the ledger is."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ViewSet

from controlplane.access.queries import audit_scope
from controlplane.api.pagination import limit_of, page_of
from controlplane.api.parsing import valid_query
from controlplane.audit import queries, services
from controlplane.audit.scopes import AuditScope
from controlplane.core.actor import Actor


class EntrySerializer(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    number = serializers.IntegerField(
        allow_null=True, help_text="Its place in the ledger; null while it is being sealed."
    )
    at = serializers.DateTimeField()
    sentence = serializers.CharField()
    action = serializers.CharField()
    outcome = serializers.ChoiceField(choices=("success", "refused", "failed"))
    actor_id = serializers.CharField()
    actor_kind = serializers.CharField()
    actor_name = serializers.CharField()
    on_behalf_of = serializers.CharField(allow_null=True)
    object_type = serializers.CharField()
    object_id = serializers.CharField()
    object_label = serializers.CharField()
    cause = serializers.CharField()
    code = serializers.CharField()
    reason = serializers.CharField()
    request_id = serializers.CharField()
    before = serializers.JSONField()
    after = serializers.JSONField()
    digests = serializers.DictField(child=serializers.CharField())
    leaf_hash = serializers.CharField()


class EntryPage(serializers.Serializer[Any]):
    results = EntrySerializer(many=True)
    next = serializers.URLField(allow_null=True)


class EntryDetailSerializer(EntrySerializer):
    payload = serializers.CharField(help_text="What is hashed, byte for byte.")
    checkpoint_size = serializers.IntegerField(allow_null=True)
    checkpoint_root = serializers.CharField()
    checkpoint_at = serializers.DateTimeField(allow_null=True)
    note = serializers.CharField()


class EventQuery(serializers.Serializer[Any]):
    object_type = serializers.CharField(required=False)
    object_id = serializers.CharField(required=False)
    actor = serializers.CharField(required=False, help_text="Such as user:7.")
    action = serializers.CharField(required=False, help_text="Such as model.create or model.*")
    outcome = serializers.ChoiceField(choices=("success", "refused", "failed"), required=False)
    since = serializers.DateTimeField(required=False)
    until = serializers.DateTimeField(required=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if ("object_type" in attrs) != ("object_id" in attrs):
            raise serializers.ValidationError("object_type and object_id go together.")
        return attrs


class LastVerifySerializer(serializers.Serializer[Any]):
    at = serializers.DateTimeField()
    is_intact = serializers.BooleanField()
    size = serializers.IntegerField()


class IntegritySerializer(serializers.Serializer[Any]):
    origin = serializers.CharField()
    count = serializers.IntegerField()
    size = serializers.IntegerField()
    root_hash = serializers.CharField(source="root")
    checkpoint_at = serializers.DateTimeField(allow_null=True)
    pending = serializers.IntegerField()
    pending_age_seconds = serializers.FloatField()
    is_sealing = serializers.BooleanField()
    roles_separated = serializers.BooleanField()
    last_verify = LastVerifySerializer(allow_null=True)


class Events(ViewSet):
    """Entries of the ledger, newest first: those of the workspace for who may read them, else
    the caller's own."""

    open_to_signed_in = frozenset({"list", "retrieve"})

    @extend_schema(parameters=[EventQuery], responses=EntryPage)
    def list(self, request: Request) -> Response:
        """Reading others' entries is itself an entry, made before the first one is shown."""
        query = valid_query(EventQuery, request)
        actor = Actor.from_request(request)
        scope = audit_scope(actor)
        cursor = request.query_params.get("cursor")
        if cursor is None:
            _record_reading(actor, scope, request.query_params.dict())
        of = (query["object_type"], query["object_id"]) if "object_type" in query else None
        page = queries.page(
            scope,
            object=of,
            actor_id=query.get("actor"),
            action=query.get("action"),
            outcome=query.get("outcome"),
            since=query.get("since"),
            until=query.get("until"),
            cursor=cursor,
            limit=limit_of(request),
        )
        rows = EntrySerializer(page.entries, many=True).data
        return page_of(request, rows, next_cursor=page.next_cursor)

    @extend_schema(responses=EntryDetailSerializer)
    def retrieve(self, request: Request, event_id: uuid.UUID) -> Response:
        detail = queries.entry(audit_scope(Actor.from_request(request)), event_id)
        body = {**asdict(detail.entry), **asdict(detail)}
        return Response(EntryDetailSerializer(body).data)


class IntegrityView(ViewSet):
    """How well the ledger is."""

    open_to_signed_in = frozenset({"retrieve"})

    @extend_schema(responses=IntegritySerializer, operation_id="audit_integrity")
    def retrieve(self, request: Request) -> Response:
        return Response(IntegritySerializer(queries.integrity()).data)


def _record_reading(actor: Actor, scope: AuditScope, filters: Mapping[str, Any]) -> None:
    if not scope.everything and not scope.workspaces:
        return
    target = services.ObjectRef("ledger", "", "the audit log", actor.workspace_id)
    services.record("audit.read", actor=actor, obj=target, after={"filters": filters})
