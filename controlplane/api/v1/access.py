"""Roles, grants, and "ask why"."""

from __future__ import annotations

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ViewSet

from controlplane.access import queries, roles
from controlplane.access import services as access
from controlplane.accounts.models import VERBS
from controlplane.api.idempotency import once_per_key
from controlplane.api.pagination import limit_of, page_of
from controlplane.api.parsing import valid, valid_query
from controlplane.api.v1.accounts import ReasonBody
from controlplane.core.actor import Actor

KINDS = ("workspace", "model", "environment")


class RoleSerializer(serializers.Serializer[Any]):
    name = serializers.CharField()
    title = serializers.CharField()
    verbs = serializers.ListField(child=serializers.CharField())
    is_global = serializers.BooleanField()


class GrantSerializer(serializers.Serializer[Any]):
    grant_id = serializers.UUIDField()
    role = serializers.CharField()
    role_title = serializers.CharField()
    holder_kind = serializers.ChoiceField(choices=("user", "group"))
    holder_id = serializers.IntegerField()
    holder = serializers.CharField()
    object_type = serializers.CharField()
    object_id = serializers.IntegerField()
    object_label = serializers.CharField()
    origin = serializers.CharField()
    reason = serializers.CharField()
    granted_by = serializers.CharField()
    created_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField(allow_null=True)
    last_used_at = serializers.DateTimeField(allow_null=True)
    is_over = serializers.BooleanField()


class GrantPage(serializers.Serializer[Any]):
    results = GrantSerializer(many=True)
    next = serializers.URLField(allow_null=True)


class GrantMade(serializers.Serializer[Any]):
    grant_id = serializers.UUIDField()


@extend_schema_field(OpenApiTypes.STR)
class PlaceField(serializers.Field[Any, Any, Any, Any]):
    """``workspace``, or ``model:17`` and ``environment:2``."""

    def to_internal_value(self, data: Any) -> tuple[str, int | None]:
        kind, _, number = str(data).partition(":")
        if kind not in KINDS or (number and not number.isdecimal()):
            raise serializers.ValidationError("workspace, model:<id> or environment:<id>")
        if not number and kind != "workspace":
            raise serializers.ValidationError(f"{kind}:<id>")
        return kind, int(number) if number else None


class GrantBody(serializers.Serializer[Any]):
    user = serializers.IntegerField()
    role = serializers.ChoiceField(choices=sorted(roles.ROLES))
    on = PlaceField(default="workspace")
    reason = serializers.CharField(max_length=2000)
    expires_at = serializers.DateTimeField(required=False, allow_null=True)


class GrantQuery(serializers.Serializer[Any]):
    user = serializers.IntegerField(required=False)
    on = PlaceField(required=False)


class WhyQuery(serializers.Serializer[Any]):
    user = serializers.IntegerField(required=False, help_text="Without it: the caller.")
    verb = serializers.ChoiceField(choices=(*VERBS, roles.ANY_REVIEW))
    on = PlaceField(default="workspace")


class WhySerializer(serializers.Serializer[Any]):
    allowed = serializers.BooleanField()
    reason = serializers.CharField()
    role = serializers.CharField()
    grant_id = serializers.UUIDField(allow_null=True)


class Roles(ViewSet):
    """What each role may do."""

    open_to_signed_in = frozenset({"list"})

    @extend_schema(responses=RoleSerializer(many=True))
    def list(self, request: Request) -> Response:
        rows = [
            {
                "name": role.name,
                "title": role.title,
                "verbs": sorted(role.verbs),
                "is_global": role.is_global,
            }
            for role in roles.ROLES.values()
        ]
        return Response(RoleSerializer(rows, many=True).data)


class Grants(ViewSet):
    """Who has which role on what, from whom and until when."""

    open_to_signed_in = frozenset({"list", "create", "revoke"})

    @extend_schema(parameters=[GrantQuery], responses=GrantPage)
    def list(self, request: Request) -> Response:
        query = valid_query(GrantQuery, request)
        actor = Actor.from_request(request)
        on = query.get("on")
        page = queries.grants(
            actor,
            user_id=query.get("user"),
            on=_place(actor, on) if on else None,
            cursor=request.query_params.get("cursor"),
            limit=limit_of(request),
        )
        rows = GrantSerializer(page.grants, many=True).data
        return page_of(request, rows, next_cursor=page.next_cursor)

    @extend_schema(request=GrantBody, responses={201: GrantMade})
    @once_per_key()
    def create(self, request: Request) -> Response:
        """Give an account of the workspace a role."""
        body = valid(GrantBody, request)
        actor = Actor.from_request(request)
        grant_id = access.grant(
            actor=actor,
            user=queries.account(actor, body["user"]),
            role=body["role"],
            on=_place(actor, body["on"]),
            reason=body["reason"],
            expires_at=body.get("expires_at"),
        )
        return Response(GrantMade({"grant_id": grant_id}).data, status=201)

    @extend_schema(request=ReasonBody, responses={204: None})
    def revoke(self, request: Request, grant_id: str) -> Response:
        """End the grant at once."""
        body = valid(ReasonBody, request)
        access.revoke(grant_id, actor=Actor.from_request(request), **body)
        return Response(status=204)


class Why(ViewSet):
    """May they, and by which rule?"""

    open_to_signed_in = frozenset({"retrieve"})

    @extend_schema(parameters=[WhyQuery], responses=WhySerializer, operation_id="access_why")
    def retrieve(self, request: Request) -> Response:
        query = valid_query(WhyQuery, request)
        actor = Actor.from_request(request)
        place = _place(actor, query["on"])
        user = queries.account(actor, query.get("user"))
        decision = queries.why(actor, user=user, verb=query["verb"], on=place)
        return Response(WhySerializer(decision).data)


def _place(actor: Actor, place: tuple[str, int | None] | str) -> Any:
    kind, number = (place, None) if isinstance(place, str) else place
    if number is None:
        return queries.workspace_of(actor)
    return queries.carrier(actor, kind, number)
