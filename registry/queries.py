"""Reads of the registry: restricted to what the actor may see, joined, ready for a page."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.db.models import Count, Max, OuterRef, Prefetch, Q, QuerySet, Subquery

from controlplane.access import services as access
from controlplane.accounts.models import User
from controlplane.core.actor import Actor
from controlplane.core.errors import NotFound
from controlplane.workflow import services as workflow
from registry import policies, rules, subject
from registry.models import (
    Dataset,
    DatasetVersion,
    Environment,
    Evidence,
    GateResult,
    Model,
    ModelVersion,
    PromotionRequest,
    Review,
    VersionUse,
)
from registry.services import checks, evidence
from registry.services import reviews as reviewing
from registry.states import OPEN_PROMOTION_STATES, PROMOTION

SORTS = {"name": "name", "-name": "-name", "recent": "-updated_at", "attention": "-open_requests"}


def models(actor: Actor) -> QuerySet[Any]:
    """Return the visible models with what a list shows: versions, open requests, what is live."""
    live = VersionUse.objects.filter(
        model=OuterRef("pk"), use="live", ended_at=None, environment__kind="prod"
    )
    return (
        access.visible(Model.objects.filter(is_prompt=False), actor)
        .select_related("owner")
        .annotate(
            newest_number=Max("versions__number"),
            open_requests=Count(
                "promotions", filter=Q(promotions__state__in=OPEN_PROMOTION_STATES), distinct=True
            ),
            live_number=Subquery(live.values("version__number")[:1]),
            live_since=Subquery(live.values("since")[:1]),
        )
    )


def filtered_models(
    actor: Actor, *, text: str = "", tier: str = "", live: str = "", sort: str = ""
) -> QuerySet[Any]:
    """Return the models of ``models()`` that match the filters of the list page."""
    found = models(actor)
    if text:
        found = found.filter(Q(name__icontains=text) | Q(description__icontains=text))
    if tier:
        found = found.filter(risk_tier=tier)
    if live == "yes":
        found = found.filter(live_number__isnull=False)
    elif live == "no":
        found = found.filter(live_number__isnull=True)
    return found.order_by(SORTS.get(sort, "-open_requests"), "name")


def versions(model: Model) -> QuerySet[ModelVersion]:
    return (
        model.versions.select_related("model", "registrant")
        .prefetch_related(
            Prefetch(
                "uses", VersionUse.objects.filter(ended_at=None).select_related("environment")
            ),
            Prefetch("evidence", Evidence.objects.order_by("-created_at")),
            "promotions__environment",
        )
        .order_by("-number")
    )


def datasets(actor: Actor) -> QuerySet[Dataset]:
    newest = DatasetVersion.objects.filter(dataset=OuterRef("pk")).order_by("-number")
    return (
        access.visible(Dataset.objects.all(), actor)
        .select_related("owner")
        .annotate(
            newest_number=Subquery(newest.values("number")[:1]),
            newest_rows=Subquery(newest.values("row_count")[:1]),
            newest_state=Subquery(newest.values("state")[:1]),
            newest_at=Subquery(newest.values("created_at")[:1]),
        )
        .order_by("name")
    )


def dataset(name: str, actor: Actor) -> Dataset:
    """Return one visible dataset.

    Raises:
        NotFound: there is none for this actor.
    """
    found = access.visible(Dataset.objects.filter(name=name), actor).select_related("owner").first()
    if found is None:
        raise NotFound(f"There is no dataset {name!r}.")
    return found


def used_by(version: DatasetVersion) -> list[ModelVersion]:
    return list(version.model_versions.select_related("model").order_by("-id")[:50])


def promotions_visible(actor: Actor) -> QuerySet[PromotionRequest]:
    return access.visible(PromotionRequest.objects.all(), actor).select_related(
        "model", "version__model", "environment", "requester", "replaces__model", "policy"
    )


def filtered_promotions(
    actor: Actor, *, state: str = "open", model: str = "", environment: str = ""
) -> QuerySet[PromotionRequest]:
    """Return promotions by ``state`` (open, closed, all, or one state), newest first."""
    found = promotions_visible(actor)
    if state == "open":
        found = found.filter(state__in=OPEN_PROMOTION_STATES)
    elif state == "closed":
        found = found.exclude(state__in=OPEN_PROMOTION_STATES)
    elif state in PromotionRequest.State.values:
        found = found.filter(state=state)
    if model:
        found = found.filter(model__name=model)
    if environment:
        found = found.filter(environment__key=environment)
    return found.order_by("-number")


def promotion(number: int, actor: Actor) -> PromotionRequest:
    """Return one visible promotion by its number in the actor's workspace.

    Raises:
        NotFound: there is none for this actor.
    """
    found = promotions_visible(actor).filter(number=number).first()
    if found is None:
        raise NotFound(f"There is no promotion PR-{number}.")
    return found


def waiting_for(actor: Actor) -> list[PromotionRequest]:
    """Return the promotions in review that this person's approval would move forward."""
    if not actor.is_human:
        return []
    candidates = (
        access.visible(PromotionRequest.objects.filter(state="in_review"), actor, "review")
        .select_related("model__workspace", "version__model", "environment", "policy", "requester")
        .prefetch_related("gates", "reviews")
        .order_by("expires_at")[:20]
    )
    return [item for item in candidates if not reviewing.standing(item, actor=actor).reasons]


@dataclass(frozen=True, slots=True)
class MetricRow:
    """One line of the table of champion and candidate; numbers are Decimals or None."""

    name: str
    title: str
    higher_is_better: bool
    live: Decimal | None
    candidate: Decimal | None
    low: Decimal | None
    high: Decimal | None
    change: Decimal | None
    change_low: Decimal | None
    change_high: Decimal | None
    n: int
    limit: str
    outcome: str
    group: str


@dataclass(frozen=True, slots=True)
class Slot:
    """One place that has to be filled: by whom it was, or how many are missing."""

    slot: str
    quorum: int
    reviews: Sequence[Review]
    missing: int


@dataclass(frozen=True, slots=True)
class ReviewPage:
    """Everything the promotion page shows; the eight answers of a review."""

    promotion: PromotionRequest
    live: ModelVersion | None
    gates: Sequence[GateResult]
    passed: int
    deviations: Sequence[checks.Deviation]
    evidence: Evidence | None
    metrics: Sequence[MetricRow]
    slots: Sequence[Slot]
    standing: reviewing.Standing
    steps: Sequence[workflow.AvailableStep]
    reviews: Sequence[Review]
    contributors: Sequence[tuple[User | None, str, str]]
    datasets: Sequence[tuple[DatasetVersion, str, bool]]
    signature_changes: Sequence[tuple[str, str, str, str]]
    lineage_holes: Sequence[str]
    changed_since_check: Sequence[str]
    unchecked: Sequence[str]

    def step(self, name: str) -> workflow.AvailableStep | None:
        return next((item for item in self.steps if item.name == name), None)


_UNCHECKED = {
    "slice_vs_live": "slices",
    "lineage": "lineage",
    "metric_threshold": "an absolute floor",
    "signature": "the signature",
}


def review_page(number: int, actor: Actor) -> ReviewPage:
    """Return what an approver needs to decide on one promotion, in about a dozen queries."""
    request = promotion(number, actor)
    version = request.version
    live = evidence.live_version(request.model_id, request.environment)
    newest = evidence.newest(version)
    gates = list(request.gates.all())
    own = reviewing.standing(request, actor=actor)
    spoken = list(request.reviews.select_related("reviewer"))
    body = policies.from_json(request.policy.body)
    kinds = {gate.kind for gate in body.gates}
    changed = (
        subject.changes(request.subject, subject.build(request))
        if request.state in {"in_review", "approved", "blocked"}
        else []
    )
    return ReviewPage(
        promotion=request,
        live=live,
        gates=gates,
        passed=sum(gate.outcome == rules.PASS for gate in gates),
        deviations=checks.deviations(request),
        evidence=newest,
        metrics=metric_rows(newest.body if newest else {}, gates),
        slots=_slots(request, body, spoken, own),
        standing=own,
        steps=_steps(request, actor, own, changed),
        reviews=spoken,
        contributors=_people(request),
        datasets=_datasets(version, live),
        signature_changes=signature_changes(live, version),
        lineage_holes=checks.lineage_holes(version),
        changed_since_check=changed,
        unchecked=[words for kind, words in _UNCHECKED.items() if kind not in kinds],
    )


def metric_rows(body: Any, gates: Sequence[GateResult] = ()) -> list[MetricRow]:
    """Return the lines of the table: metrics first, then slices."""
    rows = [
        _metric_row(item, "Metrics", _judging(gates, item["name"]))
        for item in body.get("metrics", [])
    ]
    for item in body.get("slices", []):
        if item.get("candidate") is None:
            continue
        shown = {
            **item,
            "title": item["name"],
            "name": f"slice:{item['name']}",
            "direction": "higher",
        }
        rows.append(_metric_row(shown, "Slices, accuracy", None))
    return rows


def signature_changes(
    old: ModelVersion | None, new: ModelVersion
) -> list[tuple[str, str, str, str]]:
    """Return (mark, column, before, after) for inputs that differ; mark is +, − or ~."""
    before, after = _columns(old), _columns(new)
    found = []
    for name in sorted({*before, *after}):
        was, now = before.get(name, ""), after.get(name, "")
        if was != now:
            found.append(("+" if not was else "−" if not now else "~", name, was, now))
    return found


def environments(actor: Actor) -> QuerySet[Environment]:
    return access.visible(Environment.objects.all(), actor).order_by("order", "key")


def _steps(
    request: PromotionRequest, actor: Actor, own: reviewing.Standing, changed: Sequence[str]
) -> list[workflow.AvailableStep]:
    stale = [f"Since the checks {' and '.join(changed)} changed; check again."] if changed else []
    contributors = {item["id"]: item["did"] for item in request.contributors}
    conflict = (
        [f"You {contributors[actor.id]}, so another person must decide."]
        if actor.id in contributors
        else []
    )
    return workflow.available_steps(
        PROMOTION,
        request,
        actor,
        blockers={
            "approve": lambda: [*own.reasons, *stale],
            "reject": lambda: conflict,
            "request_changes": lambda: conflict,
        },
    )


def _slots(
    request: PromotionRequest,
    body: policies.PolicyBody,
    reviews: Sequence[Review],
    own: reviewing.Standing,
) -> list[Slot]:
    contributors = {item["id"] for item in request.contributors}
    return [
        Slot(
            slot=wanted.slot,
            quorum=wanted.quorum,
            reviews=[
                review
                for review in reviews
                if review.slot == wanted.slot
                and review.verdict == Review.Verdict.APPROVE
                and review.superseded_at is None
                and review.subject_digest == request.subject_digest
                and f"user:{review.reviewer_id}" not in contributors
            ],
            missing=own.open_slots.get(wanted.slot, 0),
        )
        for wanted in body.reviews
    ]


def _people(request: PromotionRequest) -> list[tuple[User | None, str, str]]:
    """Return (user, actor id, what they did) for everybody whose approval does not count."""
    ids = [int(item["id"][5:]) for item in request.contributors if item["id"].startswith("user:")]
    users = {user.actor_id: user for user in User.objects.filter(pk__in=ids)}
    return [(users.get(item["id"]), item["id"], item["did"]) for item in request.contributors]


def _datasets(
    version: ModelVersion, live: ModelVersion | None
) -> list[tuple[DatasetVersion, str, bool]]:
    """Return (dataset version, role, is new compared with what is live)."""
    known = set(live.datasets.values_list("pk", flat=True)) if live else set()
    return [
        (item.dataset_version, item.role, item.dataset_version_id not in known)
        for item in version.inputs.select_related("dataset_version__dataset").order_by("role")
    ]


def _metric_row(item: Any, group: str, gate: GateResult | None) -> MetricRow:
    candidate, live, difference = item.get("candidate"), item.get("live"), item.get("difference")
    return MetricRow(
        name=item["name"],
        title=item["title"],
        higher_is_better=item.get("direction", "higher") == "higher",
        live=_number(live, "value"),
        candidate=_number(candidate, "value"),
        low=_number(candidate, "low"),
        high=_number(candidate, "high"),
        change=_number(difference, "value"),
        change_low=_number(difference, "low"),
        change_high=_number(difference, "high"),
        n=int(item.get("n") or (candidate or {}).get("n") or 0),
        limit=str(gate.facts.get("limit", "")) if gate else "",
        outcome=gate.outcome if gate else "",
        group=group,
    )


def _judging(gates: Sequence[GateResult], metric: str) -> GateResult | None:
    """Return the gate that compares this metric with the live version, by the policy's naming."""
    for gate in gates:
        wanted = metric in gate.name or gate.name.startswith(metric.split("_")[0])
        if gate.kind == "metric_vs_live" and wanted:
            return gate
    return None


def _columns(version: ModelVersion | None) -> dict[str, str]:
    inputs = (version.signature.get("inputs") or []) if version else []
    found = {}
    for index, column in enumerate(_parsed(inputs)):
        kind = column.get("type", "")
        optional = "" if column.get("required", True) else ", optional"
        found[str(column.get("name", index))] = f"{kind}{optional}"
    return found


def _parsed(value: Any) -> list[dict[str, Any]]:
    parsed = json.loads(value) if isinstance(value, str) else value
    return list(parsed) if isinstance(parsed, list) else []


def _number(estimate: Any, key: str) -> Decimal | None:
    return Decimal(estimate[key]) if estimate and estimate.get(key) is not None else None
