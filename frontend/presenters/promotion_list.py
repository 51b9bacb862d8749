"""The list of promotions."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Count, Q, QuerySet
from django.http import QueryDict

from controlplane.access import services as access
from controlplane.core.actor import Actor
from frontend import words
from frontend.presenters.listing import Tab, one_of, page_of
from registry import policies, rules
from registry.models import Environment, PromotionRequest
from registry.states import OPEN_PROMOTION_STATES

VIEWS = (
    ("open", "Open"),
    ("review", "Waiting for review"),
    ("mine", "Mine"),
    ("closed", "Closed"),
    ("all", "All"),
)


@dataclass(frozen=True)
class Filters:
    view: str
    q: str
    environment: str

    @property
    def is_narrowed(self) -> bool:
        return bool(self.q or self.environment)

    @property
    def words(self) -> str:
        return ", ".join(filter(None, (self.q, self.environment)))


@dataclass(frozen=True)
class Listed:
    number: int
    model_name: str
    version: str
    environment: str
    risk_tier: str
    state: str
    checks: str
    waits_for: str
    requester: str
    opened_at: datetime


def listed(query: QueryDict, *, actor: Actor) -> dict[str, Any]:
    """Return what the list shows: rows, tabs with counts, the filter as it was understood."""
    visible = access.visible(PromotionRequest.objects.all(), actor)
    chosen = _view_of(actor)
    filters = Filters(
        view=one_of(query.get("view", ""), [key for key, _ in VIEWS], "open"),
        q=query.get("q", "").strip()[:100],
        environment=query.get("environment", "").strip()[:40],
    )
    counts = visible.aggregate(**{key: Count("pk", filter=chosen[key]) for key, _ in VIEWS})
    rows = _narrowed(visible.filter(chosen[filters.view]), filters)
    shown, page = page_of(_joined(rows), query, one="promotion")
    return {
        "summary": f"{words.plural(counts['open'], 'open promotion')}, "
        f"{counts['review']} waiting for review",
        "tabs": [Tab(key, name, counts[key], key == filters.view) for key, name in VIEWS],
        "filters": filters,
        "environments": list(access.visible(Environment.objects.all(), actor)),
        "rows": [_row(item) for item in shown],
        "page": page,
    }


def _view_of(actor: Actor) -> dict[str, Q]:
    return {
        "open": Q(state__in=OPEN_PROMOTION_STATES),
        "review": Q(state=PromotionRequest.State.IN_REVIEW),
        "mine": Q(requester=actor.user_id),
        "closed": ~Q(state__in=[*OPEN_PROMOTION_STATES, "draft"]),
        "all": Q(),
    }


def _narrowed(rows: QuerySet[PromotionRequest], filters: Filters) -> QuerySet[PromotionRequest]:
    if filters.environment:
        rows = rows.filter(environment__key=filters.environment)
    if filters.q:
        number = filters.q.upper().removeprefix("PR-")
        wanted = Q(model__name__icontains=filters.q) | Q(
            requester__display_name__icontains=filters.q
        )
        if number.isdecimal() and len(number) < 10:
            wanted |= Q(number=int(number))
        rows = rows.filter(wanted)
    return rows


def _joined(rows: QuerySet[PromotionRequest]) -> QuerySet[PromotionRequest]:
    return (
        rows.select_related("model", "version", "environment", "policy", "requester")
        .prefetch_related("gates", "reviews")
        .order_by("-number")
    )


def _row(item: PromotionRequest) -> Listed:
    gates = list(item.gates.all())
    passed = sum(gate.outcome == rules.PASS for gate in gates)
    return Listed(
        number=item.number,
        model_name=item.model.name,
        version=words.version_words(item.version),
        environment=item.environment.name,
        risk_tier=item.model.risk_tier,
        state=item.state,
        checks=f"{passed} of {len(gates)}" if gates else "–",
        waits_for=waits_for(item),
        requester=str(item.requester),
        opened_at=item.created_at,
    )


def waits_for(item: PromotionRequest) -> str:
    """Say in two or three words what has to happen next, from what is already loaded."""
    if item.state == PromotionRequest.State.IN_REVIEW:
        return ", ".join(open_slots(item)) or "the last approval"
    return {
        "checking": "checks",
        "blocked": "new evidence",
        "changes_requested": "the requester",
        "approved": "its start",
        "executing": "the rollout",
    }.get(item.state, "")


def open_slots(item: PromotionRequest) -> list[str]:
    """Return the review slots that still miss an approval; asks only what is loaded."""
    votes = [
        rules.Vote(f"user:{word.reviewer_id}", word.verdict, word.subject_digest, word.slot)
        for word in item.reviews.all()
        if word.superseded_at is None
    ]
    missing = rules.open_slots(
        policies.from_json(item.policy.body),
        votes,
        subject_digest=item.subject_digest,
        contributors=frozenset(person["id"] for person in item.contributors),
    )
    return list(missing)
