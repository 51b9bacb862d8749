"""A model's page and a version's page."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db.models import QuerySet
from django.http import QueryDict
from django.urls import reverse
from django.utils import timezone
from django.utils.safestring import SafeString

from controlplane.core.actor import Actor
from frontend import svg, words
from frontend.presenters import scorecard
from frontend.presenters.listing import page_of
from frontend.words import Look
from registry.models import (
    Alias,
    Environment,
    Evidence,
    Model,
    ModelVersion,
    PromotionRequest,
    VersionUse,
)
from registry.states import OPEN_PROMOTION_STATES

CHARTED = 12
METRIC_COLUMNS = 2


@dataclass(frozen=True)
class NamedAlias:
    """`role` is "" for what is live, "cand" for what is on the way, "plain" for the rest."""

    name: str
    role: str


@dataclass(frozen=True)
class EnvironmentCard:
    name: str
    words: str
    version: str = ""
    url: str = ""
    alias: str = ""
    role: str = ""
    chip: Look | None = None


@dataclass(frozen=True)
class MetricValue:
    name: str
    words: str


@dataclass(frozen=True)
class VersionRow:
    number: int
    words: str
    state: str
    aliases: list[NamedAlias]
    metrics: list[MetricValue]
    data: str
    registrant: str
    created_at: datetime


@dataclass(frozen=True)
class Chart:
    title: str
    wide: SafeString
    narrow: SafeString
    words: str


@dataclass(frozen=True)
class Fact:
    name: str
    value: str
    url: str = ""


@dataclass(frozen=True)
class UseRow:
    words: str
    since: datetime
    icon: str
    tone: str


@dataclass(frozen=True)
class ModelPage:
    """What a model's page shows, read for one workspace key."""

    model: Model
    environments: list[EnvironmentCard]
    versions: list[VersionRow]
    page: Any
    metric_names: list[str]
    chart: Chart | None
    promotion: PromotionRequest | None
    about: list[tuple[str, str]]
    load_alias: str
    newest: ModelVersion | None = field(default=None)


def model_page(model: Model, query: QueryDict, *, workspace_key: str) -> ModelPage:
    """Return the page of a model; nine queries, however many versions there are."""
    versions: QuerySet[ModelVersion] = model.versions.select_related("registrant").prefetch_related(
        "inputs__dataset_version__dataset"
    )
    shown, page = page_of(versions, query, one="version", size=25)
    evidence = scorecard.newest_evidence(shown)
    names = _metric_titles(list(evidence.values()))
    promotion = (
        PromotionRequest.objects.filter(model=model, state__in=OPEN_PROMOTION_STATES)
        .select_related("version", "environment")
        .first()
    )
    aliases = aliases_by_version(model, promotion)
    uses = list(
        VersionUse.objects.filter(model=model, ended_at=None).select_related(
            "version", "environment"
        )
    )
    environments = list(Environment.objects.filter(workspace=model.workspace_id))
    return ModelPage(
        model=model,
        environments=_cards(model, environments, uses, promotion, workspace_key),
        versions=[
            VersionRow(
                number=version.number,
                words=words.version_words(version),
                state=version.state,
                aliases=aliases.get(version.pk, []),
                metrics=_metric_values(evidence.get(version.pk), names),
                data=", ".join(str(item.dataset_version) for item in version.inputs.all()),
                registrant=str(version.registrant),
                created_at=version.created_at,
            )
            for version in shown
        ],
        page=page,
        metric_names=names,
        chart=_chart(shown, evidence),
        promotion=promotion,
        about=[
            ("Owner", str(model.owner)),
            ("Risk", model.risk_tier),
            ("State", model.state),
            ("Created", f"{timezone.localtime(model.created_at):%d %b %Y}"),
            ("Tags", ", ".join(f"{key}={value}" for key, value in model.tags.items()) or "none"),
        ],
        load_alias=next(
            (item.guarded_alias for item in environments if item.kind == "prod"), "latest"
        ),
        newest=next((item for item in shown if item.state == ModelVersion.State.SEALED), None),
    )


def aliases_by_version(
    model: Model, promotion: PromotionRequest | None
) -> dict[int, list[NamedAlias]]:
    """Return every alias with its part: guarded ones follow what is live; two queries."""
    found: dict[int, list[NamedAlias]] = {}
    live = VersionUse.objects.filter(model=model, use=VersionUse.Use.LIVE, ended_at=None)
    for version_id, name in live.values_list("version_id", "environment__guarded_alias"):
        found.setdefault(version_id, []).append(NamedAlias(name, ""))
    free = Alias.objects.filter(model=model, ended_at=None).order_by("name")
    for version_id, name in free.values_list("version_id", "name"):
        on_the_way = promotion is not None and promotion.version_id == version_id
        found.setdefault(version_id, []).append(NamedAlias(name, "cand" if on_the_way else "plain"))
    return found


def _cards(
    model: Model,
    environments: list[Environment],
    uses: list[VersionUse],
    promotion: PromotionRequest | None,
    key: str,
) -> list[EnvironmentCard]:
    cards = []
    live = {use.environment_id: use for use in uses if use.use == VersionUse.Use.LIVE}
    for environment in sorted(environments, key=lambda item: -item.order):
        use = live.get(environment.pk)
        if use is None:
            cards.append(EnvironmentCard(environment.name, "Nothing is live here yet."))
            continue
        cards.append(
            EnvironmentCard(
                name=environment.name,
                words=f"since {words.moment(timezone.localtime(use.since))}",
                version=words.version_words(use.version),
                url=reverse("pages:version", args=[key, model.name, use.version.number]),
                alias=environment.guarded_alias,
                chip=words.look_of("live"),
            )
        )
        if environment.kind == "prod":
            cards.append(_rollback_card(model, environment, uses, key))
    if promotion:
        version = promotion.version
        cards.insert(
            1 if cards else 0,
            EnvironmentCard(
                name="Next",
                words=f"PR-{promotion.number} to {promotion.environment.name.lower()}",
                version=words.version_words(version),
                url=reverse("pages:promotion", args=[key, promotion.number]),
                chip=words.look_of(promotion.state, "promotion"),
            ),
        )
    return cards


def _rollback_card(
    model: Model, environment: Environment, uses: list[VersionUse], key: str
) -> EnvironmentCard:
    ways = [
        use
        for use in uses
        if use.use == VersionUse.Use.ROLLBACK_SET and use.environment_id == environment.pk
    ]
    if not ways:
        return EnvironmentCard("Rollback target", "No earlier version was stable here.")
    target = max(ways, key=lambda use: use.since)
    return EnvironmentCard(
        name="Rollback target",
        words=f"one of {len(ways)} earlier versions that were stable here"
        if len(ways) > 1
        else "the version from before",
        version=words.version_words(target.version),
        url=reverse("pages:version", args=[key, model.name, target.version.number]),
        chip=words.Look("warm", "", "server"),
    )


def _metric_titles(evidence: list[Evidence]) -> list[str]:
    if not evidence:
        return []
    newest = max(evidence, key=lambda item: item.created_at)
    return [str(metric["title"]) for metric in newest.body["metrics"][:METRIC_COLUMNS]]


def _metric_values(evidence: Evidence | None, names: list[str]) -> list[MetricValue]:
    known = {metric["title"]: metric for metric in evidence.body["metrics"]} if evidence else {}
    return [
        MetricValue(
            name,
            words.number(float(known[name]["candidate"]["value"]), digits=4)
            if name in known
            else "no data",
        )
        for name in names
    ]


def _chart(shown: list[ModelVersion], evidence: dict[int, Evidence]) -> Chart | None:
    """Draw the leading metric over the versions that were evaluated on the newest holdout."""
    known = [
        (version, leading, evidence[version.pk])
        for version in reversed(shown)
        if version.pk in evidence and (leading := scorecard.primary(evidence[version.pk]))
    ]
    if len(known) < 2:
        return None
    newest = known[-1]
    title, holdout = newest[1][0], newest[2].dataset_version_id
    known = [
        item for item in known if item[1][0] == title and item[2].dataset_version_id == holdout
    ]
    if len(known) < 2:
        return None

    def draw(count: int, width: int) -> SafeString:
        chosen = known[-count:]
        points = [(float(place), float(item[1][1])) for place, item in enumerate(chosen)]
        band = [
            (float(place), float(item[1][2]), float(item[1][3]))
            for place, item in enumerate(chosen)
        ]
        return svg.line_chart(
            [svg.Line("candidate", points, band=band, dots=True)],
            label=f"{title} for {words.plural(len(chosen), 'version')}, from "
            f"{points[0][1]:.4f} to {points[-1][1]:.4f}",
            y_words=lambda value: f"{value:.3g}",
            x_words=[
                (float(place), words.version_words(item[0])) for place, item in enumerate(chosen)
            ],
            width=width,
            height=190,
        )

    return Chart(
        title=title,
        wide=draw(CHARTED, 720),
        narrow=draw(6, 330),
        words=f"All evaluated on {newest[2].dataset_version or 'the same rows'}. "
        "The band is the 95% interval.",
    )


def lineage(version: ModelVersion, *, workspace_key: str, actor: Actor) -> list[Fact]:
    """Return where a version comes from, each part with its page; one query."""

    def url(name: str, *args: object) -> str:
        return reverse(f"pages:{name}", args=[workspace_key, *args])

    facts = [
        Fact(
            f"Data ({item.role})",
            str(item.dataset_version),
            url(
                "dataset_version",
                item.dataset_version.dataset.name,
                item.dataset_version.number,
            ),
        )
        for item in version.inputs.select_related("dataset_version__dataset")
    ] or [Fact("Data", "not recorded")]
    if version.run_id:
        facts.append(Fact("Run", version.run_id[:8], url("run", version.run_id)))
    else:
        facts.append(Fact("Run", "not recorded"))
    if version.job_id:
        facts.append(Fact("Job", str(version.job_id)[:8], url("job", version.job_id)))
    facts += [
        Fact("Code", version.commit[:12] or "not recorded"),
        Fact("Environment", version.lock_sha256[:12] or "not recorded"),
        Fact("Registered by", str(version.registrant)),
    ]
    return facts


def uses_of(version: ModelVersion) -> list[UseRow]:
    """Return where the version is live or a way back; one query."""
    rows = VersionUse.objects.filter(version=version, ended_at=None).select_related("environment")
    return [
        UseRow(
            words=f"live in {use.environment.name.lower()}"
            if use.use == VersionUse.Use.LIVE
            else f"rollback target in {use.environment.name.lower()}",
            since=use.since,
            icon="check" if use.use == VersionUse.Use.LIVE else "server",
            tone="ok" if use.use == VersionUse.Use.LIVE else "mute",
        )
        for use in rows
    ]
