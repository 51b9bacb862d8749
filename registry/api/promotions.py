"""Promotions: ask, look, decide."""

from __future__ import annotations

import re
import time
from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from controlplane.accounts import signatures
from controlplane.api.idempotency import once_per_key
from controlplane.api.parsing import valid
from controlplane.core.actor import Actor
from registry import queries
from registry.api import serializers as shapes
from registry.api.records import paged, version_of
from registry.models import PromotionRequest
from registry.services import environments, promotions, reviews

LONGEST_WAIT_SECONDS = 25
_POLL_SECONDS = 0.25


class Promotions(APIView):
    open_to_signed_in = frozenset({"get", "post"})

    @extend_schema(
        parameters=[
            OpenApiParameter("state", description="open (default), closed, all, or one state"),
            OpenApiParameter("model"),
            OpenApiParameter("environment"),
        ],
        responses=shapes.PromotionSerializer(many=True),
        operation_id="list_promotions",
    )
    def get(self, request: Request) -> Response:
        """List promotions, newest first."""
        query = request.query_params
        rows = queries.filtered_promotions(
            Actor.from_request(request),
            state=query.get("state", "open"),
            model=query.get("model", ""),
            environment=query.get("environment", ""),
        ).select_related("model__workspace")
        return paged(self, request, rows, shapes.PromotionSerializer)

    @extend_schema(request=shapes.RequestPromotion, responses={201: shapes.PromotionPageSerializer})
    @once_per_key()
    def post(self, request: Request) -> Response:
        """Ask for a version to be promoted; its checks start at once."""
        actor = Actor.from_request(request)
        body = valid(shapes.RequestPromotion, request)
        version = version_of(request, body["model"], body["version"])
        environment = environments.by_key(actor.workspace_id or 0, body["environment"])
        promotion = promotions.request(
            version,
            environment,
            actor=actor,
            reason=body["reason"],
            link=body["link"],
            strategy=body["strategy"],
        )
        return Response(_shown(promotion.number, actor), status=201)


class OnePromotion(APIView):
    open_to_signed_in = frozenset({"get"})

    @extend_schema(
        parameters=[
            OpenApiParameter(
                "seen",
                description="With `Prefer: wait=25`: answer when the state "
                "is no longer this one, or when the wait is over.",
            ),
        ],
        responses=shapes.PromotionPageSerializer,
        operation_id="get_promotion",
    )
    def get(self, request: Request, number: int) -> Response:
        """Read a promotion with its checks, evidence and reviews."""
        actor = Actor.from_request(request)
        promotion = queries.promotion(number, actor)
        seen = request.query_params.get("seen", "")
        deadline = time.monotonic() + wait_seconds(request)
        while seen and promotion.state == seen and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
            promotion = PromotionRequest.objects.only("state").get(pk=promotion.pk)
        return Response(_shown(number, actor))


class Step(APIView):
    """One step of a promotion; each has an address of its own."""

    open_to_signed_in = frozenset({"post"})

    def answer(self, request: Request, number: int) -> Response:
        return Response(_shown(number, Actor.from_request(request)))

    def found(self, request: Request, number: int) -> PromotionRequest:
        return queries.promotion(number, Actor.from_request(request))


class Approve(Step):
    @extend_schema(request=shapes.Approve, responses=shapes.PromotionPageSerializer)
    def post(self, request: Request, number: int) -> Response:
        """Approve exactly the subject you read; the password is your signature."""
        actor = Actor.from_request(request)
        body = valid(shapes.Approve, request)
        promotion = self.found(request, number)
        reviews.require_may_approve(
            promotion.pk, actor=actor, subject_digest=body["subject_digest"]
        )
        signature = signatures.sign(
            actor=actor, password=body["password"], subject_digest=body["subject_digest"]
        )
        reviews.approve(
            promotion.pk,
            actor=actor,
            subject_digest=body["subject_digest"],
            signature_id=signature.pk,
            comment=body["comment"],
            acknowledged=body["acknowledged"],
        )
        return self.answer(request, number)


class RequestChanges(Step):
    @extend_schema(request=shapes.Decide, responses=shapes.PromotionPageSerializer)
    def post(self, request: Request, number: int) -> Response:
        """Tell the requester what is missing."""
        reviews.request_changes(
            self.found(request, number).pk,
            actor=Actor.from_request(request),
            **valid(shapes.Decide, request),
        )
        return self.answer(request, number)


class Reject(Step):
    @extend_schema(request=shapes.Decide, responses=shapes.PromotionPageSerializer)
    def post(self, request: Request, number: int) -> Response:
        """End the request with a reason."""
        reviews.reject(
            self.found(request, number).pk,
            actor=Actor.from_request(request),
            **valid(shapes.Decide, request),
        )
        return self.answer(request, number)


class Comment(Step):
    @extend_schema(request=shapes.Say, responses={201: shapes.PromotionPageSerializer})
    @once_per_key()
    def post(self, request: Request, number: int) -> Response:
        """Take part in the discussion; it decides nothing."""
        reviews.comment(
            self.found(request, number).pk,
            actor=Actor.from_request(request),
            **valid(shapes.Say, request),
        )
        return Response(_shown(number, Actor.from_request(request)), status=201)


class Withdraw(Step):
    @extend_schema(request=shapes.WithReason, responses=shapes.PromotionPageSerializer)
    def post(self, request: Request, number: int) -> Response:
        """Take the request back."""
        promotions.withdraw(
            self.found(request, number).pk,
            actor=Actor.from_request(request),
            **valid(shapes.WithReason, request),
        )
        return self.answer(request, number)


class CheckAgain(Step):
    @extend_schema(request=shapes.Nothing, responses=shapes.PromotionPageSerializer)
    def post(self, request: Request, number: int) -> Response:
        """Run the checks once more, on the newest evidence."""
        valid(shapes.Nothing, request)
        promotions.check_again(self.found(request, number).pk, actor=Actor.from_request(request))
        return self.answer(request, number)


class Execute(Step):
    @extend_schema(request=shapes.Nothing, responses=shapes.PromotionPageSerializer)
    def post(self, request: Request, number: int) -> Response:
        """Start the rollout of an approved promotion."""
        valid(shapes.Nothing, request)
        promotions.execute(self.found(request, number).pk, actor=Actor.from_request(request))
        return self.answer(request, number)


def wait_seconds(request: Request) -> int:
    """Return how long the caller is willing to wait (RFC 7240 ``Prefer: wait=…``), at most 25 s."""
    found = re.search(r"\bwait=(\d+)", request.headers.get("Prefer", ""))
    return min(int(found[1]), LONGEST_WAIT_SECONDS) if found else 0


def _shown(number: int, actor: Actor) -> dict[str, Any]:
    return dict(shapes.PromotionPageSerializer(queries.review_page(number, actor)).data)
