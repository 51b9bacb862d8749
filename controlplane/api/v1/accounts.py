"""Who am I, my tokens, the people and service accounts of a workspace."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from controlplane.access import queries
from controlplane.access import services as access
from controlplane.accounts import services as accounts
from controlplane.accounts import tokens
from controlplane.accounts.models import VERBS, ApiToken, User, Workspace
from controlplane.accounts.workspaces import open_to
from controlplane.api.idempotency import once_per_key
from controlplane.api.parsing import valid
from controlplane.core.actor import Actor


class WorkspaceSerializer(serializers.ModelSerializer[Workspace]):
    class Meta:
        model = Workspace
        fields = ("key", "name", "time_zone", "state")


class PersonSerializer(serializers.ModelSerializer[User]):
    class Meta:
        model = User
        fields = ("id", "username", "display_name", "title", "kind", "is_active", "created_at")


class ServiceAccountSerializer(serializers.ModelSerializer[User]):
    owner = PersonSerializer(read_only=True)

    class Meta:
        model = User
        fields = ("id", "username", "display_name", "kind", "owner", "is_active", "created_at")


class MeSerializer(serializers.Serializer[Any]):
    user = PersonSerializer()
    workspace = WorkspaceSerializer(allow_null=True)
    workspaces = WorkspaceSerializer(many=True)
    verbs = serializers.ListField(child=serializers.CharField())
    scopes = serializers.ListField(child=serializers.CharField(), allow_null=True)
    auth = serializers.CharField()
    on_behalf_of = serializers.CharField(allow_null=True)


TOKEN_FIELDS: tuple[str, ...] = (
    "id",
    "kind",
    "name",
    "hint",
    "user",
    "workspace",
    "scopes",
    "created_at",
    "expires_at",
    "revoked_at",
    "last_used_at",
)


class TokenSerializer(serializers.ModelSerializer[ApiToken]):
    user = serializers.CharField(source="user.username")
    workspace = serializers.CharField(source="workspace.key")
    scopes = serializers.ListField(child=serializers.CharField(), allow_null=True)

    class Meta:
        model = ApiToken
        fields = TOKEN_FIELDS


class IssuedTokenSerializer(TokenSerializer):
    secret = serializers.CharField(
        allow_null=True, help_text="Shown now and never again; null in a repeated answer."
    )

    class Meta:
        model = ApiToken
        fields = (*TOKEN_FIELDS, "secret")


class IssueBody(serializers.Serializer[Any]):
    name = serializers.CharField(max_length=100)
    days = serializers.IntegerField(min_value=1, max_value=365, default=30)
    scopes = serializers.ListField(
        child=serializers.ChoiceField(choices=VERBS), required=False, allow_null=True
    )
    user = serializers.IntegerField(
        required=False, help_text="A service account; without it the token is the caller's own."
    )
    kind = serializers.ChoiceField(
        choices=["account", "predict"],
        default="account",
        help_text="account: the REST and MLflow doors. predict: the gateway, and nothing else.",
    )
    deployments = serializers.ListField(
        child=serializers.SlugField(max_length=250),
        required=False,
        default=list,
        help_text="For kind predict: the deployments it opens; empty means all of the workspace.",
    )


class ReasonBody(serializers.Serializer[Any]):
    reason = serializers.CharField(max_length=2000)


class PersonBody(serializers.Serializer[Any]):
    username = serializers.CharField(max_length=100)
    display_name = serializers.CharField(max_length=100)
    password = serializers.CharField(max_length=200, trim_whitespace=False, write_only=True)
    title = serializers.CharField(max_length=100, required=False, allow_blank=True)
    email = serializers.EmailField(required=False, allow_blank=True)


class ServiceAccountBody(serializers.Serializer[Any]):
    username = serializers.CharField(max_length=100)
    display_name = serializers.CharField(max_length=100)
    owner = serializers.IntegerField(help_text="The person who answers for the account.")


class OwnerBody(ReasonBody):
    owner = serializers.IntegerField()


class Me(GenericViewSet[User]):
    """The caller, and what they may do in the workspace they stand in."""

    open_to_signed_in = frozenset({"retrieve"})
    serializer_class = MeSerializer
    pagination_class = None

    @extend_schema(responses=MeSerializer, operation_id="me")
    def retrieve(self, request: Request) -> Response:
        actor = Actor.from_request(request)
        user = queries.account(actor, None)
        workspaces = list(open_to(user))
        here = next((item for item in workspaces if item.pk == actor.workspace_id), None)
        body = {
            "user": user,
            "workspace": here,
            "workspaces": workspaces,
            "verbs": sorted(access.verbs_on(actor, here)) if here else [],
            "scopes": sorted(actor.scopes) if actor.scopes is not None else None,
            "auth": actor.auth,
            "on_behalf_of": actor.on_behalf_of,
        }
        return Response(MeSerializer(body).data)


class Tokens(GenericViewSet[ApiToken]):
    """The caller's tokens; administrators of access also see those of service accounts."""

    open_to_signed_in = frozenset({"list", "create", "revoke"})
    serializer_class = TokenSerializer
    queryset = ApiToken.objects.none()

    @extend_schema(responses=TokenSerializer(many=True))
    def list(self, request: Request) -> Response:
        found = tokens.of_interest_to(Actor.from_request(request))
        page = self.paginate_queryset(found)
        return self.get_paginated_response(TokenSerializer(page, many=True).data)

    @extend_schema(request=IssueBody, responses={201: IssuedTokenSerializer})
    @once_per_key(hide={"secret"})
    def create(self, request: Request) -> Response:
        """Issue a token; its secret stands in this answer and nowhere else."""
        body = valid(IssueBody, request)
        actor = Actor.from_request(request)
        workspace = queries.workspace_of(actor)
        user = queries.account(actor, body.get("user"))
        token, secret = tokens.issue(
            actor=actor,
            user=user,
            workspace=workspace,
            name=body["name"],
            kind="predict" if body["kind"] == "predict" else user.kind,
            lifetime=timedelta(days=body["days"]),
            scopes=body.get("scopes"),
            deployments=body["deployments"],
        )
        data = {**TokenSerializer(token).data, "secret": secret}
        return Response(data, status=201)

    @extend_schema(request=ReasonBody, responses=TokenSerializer)
    def revoke(self, request: Request, token_id: str) -> Response:
        body = valid(ReasonBody, request)
        token = tokens.revoke(token_id, actor=Actor.from_request(request), **body)
        return Response(TokenSerializer(token).data)


class People(GenericViewSet[User]):
    """The people who belong to the workspace."""

    open_to_signed_in = frozenset({"list", "create", "deactivate"})
    serializer_class = PersonSerializer
    queryset = User.objects.none()

    @extend_schema(responses=PersonSerializer(many=True))
    def list(self, request: Request) -> Response:
        actor = Actor.from_request(request)
        queries.workspace_of(actor)
        page = self.paginate_queryset(queries.people(actor, kind=User.Kind.HUMAN))
        return self.get_paginated_response(PersonSerializer(page, many=True).data)

    @extend_schema(request=PersonBody, responses={201: PersonSerializer})
    @once_per_key()
    def create(self, request: Request) -> Response:
        body = valid(PersonBody, request)
        actor = Actor.from_request(request)
        person = accounts.create_person(actor=actor, workspace=queries.workspace_of(actor), **body)
        return Response(PersonSerializer(person).data, status=201)

    @extend_schema(request=ReasonBody, responses=PersonSerializer)
    def deactivate(self, request: Request, user_id: int) -> Response:
        """Close the account: it can no longer sign in, and its tokens end."""
        body = valid(ReasonBody, request)
        person = accounts.deactivate(user_id, actor=Actor.from_request(request), **body)
        return Response(PersonSerializer(person).data)


class ServiceAccounts(GenericViewSet[User]):
    """The accounts of machines, each with a person who answers for it."""

    open_to_signed_in = frozenset({"list", "create", "hand_over"})
    serializer_class = ServiceAccountSerializer
    queryset = User.objects.none()

    @extend_schema(responses=ServiceAccountSerializer(many=True))
    def list(self, request: Request) -> Response:
        actor = Actor.from_request(request)
        queries.workspace_of(actor)
        page = self.paginate_queryset(queries.people(actor, kind=User.Kind.SERVICE))
        return self.get_paginated_response(ServiceAccountSerializer(page, many=True).data)

    @extend_schema(request=ServiceAccountBody, responses={201: ServiceAccountSerializer})
    @once_per_key()
    def create(self, request: Request) -> Response:
        body = valid(ServiceAccountBody, request)
        actor = Actor.from_request(request)
        workspace = queries.workspace_of(actor)
        owner = queries.account(actor, body.pop("owner"))
        made = accounts.create_service_account(
            actor=actor, owner=owner, workspace=workspace, **body
        )
        return Response(ServiceAccountSerializer(made).data, status=201)

    @extend_schema(request=OwnerBody, responses=ServiceAccountSerializer)
    def hand_over(self, request: Request, user_id: int) -> Response:
        """Let another person answer for the account."""
        body = valid(OwnerBody, request)
        actor = Actor.from_request(request)
        owner = queries.account(actor, body["owner"])
        changed = accounts.hand_over(user_id, actor=actor, owner=owner, reason=body["reason"])
        return Response(ServiceAccountSerializer(changed).data)
