"""The list of models: what is live, what is on the way, how the leading metric moved."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db.models import Count, Exists, F, Max, OuterRef, Q, QuerySet
from django.http import QueryDict

from controlplane.access import services as access
from controlplane.core.actor import Actor
from frontend import words
from frontend.presenters import scorecard
from frontend.presenters.listing import Tab, one_of, page_of
from registry.models import Evidence, Model, ModelVersion, PromotionRequest, VersionUse
from registry.states import OPEN_PROMOTION_STATES

VIEWS = (
    ("all", "All"),
    ("live", "In production"),
    ("attention", "Needs attention"),
    ("mine", "Mine"),
)
SORTS = (("attention", "attention"), ("name", "name"), ("changed", "last change"))
TREND_LENGTH = 12
_NEEDS_ATTENTION = ("blocked", "in_review", "changes_requested")


@dataclass(frozen=True)
class Filters:
    view: str
    q: str
    tier: str
    sort: str

    @property
    def is_narrowed(self) -> bool:
        return bool(self.q or self.tier or self.view != "all")

    @property
    def words(self) -> str:
        view = dict(VIEWS)[self.view].lower() if self.view != "all" else ""
        tier = f"{self.tier} risk" if self.tier else ""
        return ", ".join(filter(None, (view, self.q, tier)))


@dataclass(frozen=True)
class Listed:
    name: str
    description: str
    owner: str
    risk_tier: str
    changed_at: datetime
    live: ModelVersion | None
    live_since: datetime | None
    newest: ModelVersion | None
    promotion: PromotionRequest | None
    metric: str = ""
    trend: list[float] = field(default_factory=list)
    trend_words: str = ""


def listed(query: QueryDict, *, actor: Actor) -> dict[str, Any]:
    """Return what the list shows; seven queries, however many models there are."""
    visible = access.visible(Model.objects.filter(is_prompt=False), actor)
    chosen = _view_of(actor)
    filters = Filters(
        view=one_of(query.get("view", ""), [key for key, _ in VIEWS], "all"),
        q=query.get("q", "").strip()[:100],
        tier=one_of(query.get("tier", ""), Model.RiskTier.values),
        sort=one_of(query.get("sort", ""), [key for key, _ in SORTS], "attention"),
    )
    counts = visible.aggregate(**{key: Count("pk", filter=chosen[key]) for key, _ in VIEWS})
    rows = visible.filter(chosen[filters.view]).select_related("owner")
    if filters.tier:
        rows = rows.filter(risk_tier=filters.tier)
    if filters.q:
        rows = rows.filter(
            Q(name__icontains=filters.q)
            | Q(description__icontains=filters.q)
            | Q(owner__display_name__icontains=filters.q)
        )
    shown, page = page_of(_sorted(rows, filters.sort), query, one="model")
    return {
        "summary": f"{words.plural(counts['all'], 'model')}, {counts['live']} in production, "
        f"{counts['attention']} waiting for somebody",
        "tabs": [Tab(key, name, counts[key], key == filters.view) for key, name in VIEWS],
        "filters": filters,
        "tiers": Model.RiskTier.values,
        "sorts": SORTS,
        "rows": _rows(shown),
        "page": page,
    }


def _view_of(actor: Actor) -> dict[str, Q]:
    live = VersionUse.objects.filter(
        model=OuterRef("pk"), use=VersionUse.Use.LIVE, ended_at=None, environment__kind="prod"
    )
    waiting = PromotionRequest.objects.filter(model=OuterRef("pk"), state__in=_NEEDS_ATTENTION)
    return {
        "all": Q(),
        "live": Q(Exists(live)),
        "attention": Q(Exists(waiting)),
        "mine": Q(owner=actor.user_id),
    }


def _sorted(rows: QuerySet[Model], sort: str) -> QuerySet[Model]:
    if sort == "name":
        return rows.order_by("name")
    rows = rows.annotate(changed_at=Max("versions__created_at"))
    newest_first = F("changed_at").desc(nulls_last=True)
    if sort == "changed":
        return rows.order_by(newest_first, "name")
    waiting = PromotionRequest.objects.filter(model=OuterRef("pk"), state__in=_NEEDS_ATTENTION)
    return rows.annotate(waits=Exists(waiting)).order_by("-waits", newest_first, "name")


def _rows(models: list[Model]) -> list[Listed]:
    uses = {
        use.model_id: use
        for use in VersionUse.objects.filter(
            model__in=models, use=VersionUse.Use.LIVE, ended_at=None, environment__kind="prod"
        ).select_related("version")
    }
    newest = {
        version.model_id: version
        for version in ModelVersion.objects.filter(model__in=models)
        .order_by("model_id", "-number")
        .distinct("model_id")
    }
    requests = {
        item.model_id: item
        for item in PromotionRequest.objects.filter(
            model__in=models, state__in=OPEN_PROMOTION_STATES
        ).order_by("number")
    }
    trends = _trends(models)
    found = []
    for model in models:
        use = uses.get(model.pk)
        title, values = trends.get(model.pk, ("", []))
        version = newest.get(model.pk)
        found.append(
            Listed(
                name=model.name,
                description=model.description,
                owner=str(model.owner),
                risk_tier=model.risk_tier,
                changed_at=version.created_at if version else model.created_at,
                live=use.version if use else None,
                live_since=use.since if use else None,
                newest=version,
                promotion=requests.get(model.pk),
                metric=f"{title} {values[-1]:.4f}" if values else "",
                trend=values,
                trend_words=f"{title} from {values[0]:.4f} to {values[-1]:.4f} over "
                f"{words.plural(len(values), 'version')}"
                if values
                else "",
            )
        )
    return found


def _trends(models: list[Model]) -> dict[int, tuple[str, list[float]]]:
    """Return each model's leading metric over its newest evaluated versions, oldest first."""
    rows = (
        Evidence.objects.filter(
            version__model__in=models, kind="evaluation", attested_by_client=False
        )
        .select_related("version")
        .order_by("version_id", "-created_at", "-id")
        .distinct("version_id")
    )
    points: dict[int, list[tuple[int, str, float]]] = {}
    for evidence in rows:
        leading = scorecard.primary(evidence)
        if leading:
            version = evidence.version
            points.setdefault(version.model_id, []).append(
                (version.number, leading[0], float(leading[1]))
            )
    trends = {}
    for model_id, found in points.items():
        newest = sorted(found)[-TREND_LENGTH:]
        trends[model_id] = (newest[-1][1], [value for _, _, value in newest])
    return trends
