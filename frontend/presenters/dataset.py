"""Datasets: the list, and one version with its profile."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.db.models import Q
from django.http import QueryDict
from django.urls import reverse
from django.utils import timezone

from controlplane.access import services as access
from controlplane.core.actor import Actor
from frontend import words
from frontend.presenters.listing import page_of
from registry.models import Dataset, DatasetVersion, Evidence, ModelVersion, VersionDataset


@dataclass(frozen=True)
class Listed:
    name: str
    description: str
    owner: str
    newest: DatasetVersion | None


@dataclass(frozen=True)
class ColumnRow:
    name: str
    type: str
    missing: str
    distinct: str
    least: str
    mean: str
    most: str


@dataclass(frozen=True)
class UsedBy:
    name: str
    role: str
    url: str


def listed(query: QueryDict, *, actor: Actor) -> dict[str, Any]:
    """Return what the list shows; four queries."""
    text = query.get("q", "").strip()[:100]
    rows = access.visible(Dataset.objects.select_related("owner"), actor)
    total = rows.count()
    if text:
        rows = rows.filter(Q(name__icontains=text) | Q(description__icontains=text))
    shown, page = page_of(rows, query, one="dataset")
    newest = {
        version.dataset_id: version
        for version in DatasetVersion.objects.filter(dataset__in=shown)
        .order_by("dataset_id", "-number")
        .distinct("dataset_id")
    }
    return {
        "summary": words.plural(total, "dataset"),
        "filters": {"q": text},
        "rows": [
            Listed(item.name, item.description, str(item.owner), newest.get(item.pk))
            for item in shown
        ],
        "page": page,
    }


def columns(version: DatasetVersion) -> list[ColumnRow]:
    """Return each column with what the sealed profile says of it."""
    return [_column(item) for item in version.profile.get("columns", [])]


def about(version: DatasetVersion) -> list[tuple[str, str]]:
    sealed_at = version.sealed_at
    return [
        ("Owner", str(version.dataset.owner)),
        ("Registered by", str(version.created_by)),
        ("Sealed", words.moment(timezone.localtime(sealed_at)) if sealed_at else "not yet"),
        ("Note", version.note or "none"),
    ]


def used_by(version: DatasetVersion, *, actor: Actor, workspace_key: str) -> list[UsedBy]:
    """Return the visible model versions that were trained or evaluated on it."""
    visible = access.visible(ModelVersion.objects.all(), actor)
    inputs = VersionDataset.objects.filter(
        dataset_version=version, version__in=visible
    ).select_related("version__model")[:20]
    tested = (
        Evidence.objects.filter(dataset_version=version, version__in=visible)
        .select_related("version__model")
        .order_by("version_id")
        .distinct("version_id")[:20]
    )
    found = [(item.version, f"trained on it ({item.role})") for item in inputs]
    found += [(item.version, "evaluated on it") for item in tested]
    return [
        UsedBy(
            f"{item.model.name} {words.version_words(item)}",
            role,
            reverse("pages:version", args=[workspace_key, item.model.name, item.number]),
        )
        for item, role in found
    ]


def _column(item: Mapping[str, Any]) -> ColumnRow:
    numeric = item.get("numeric") or {}
    total = int(item["count"]) + int(item["null"])
    missing = int(item["null"]) + int(item.get("nan", 0))
    share = 100 * missing / total if total else 0.0
    distinct = item.get("distinct")
    return ColumnRow(
        name=str(item["name"]),
        type=str(item["type"]),
        missing=f"{missing:,} ({share:.1f}%)" if missing else "none",
        distinct="not counted" if distinct is None else f"{int(distinct):,}",
        least=_short(numeric.get("minimum") or item.get("minimum")),
        mean=_short(numeric.get("mean")),
        most=_short(numeric.get("maximum") or item.get("maximum")),
    )


def _short(value: str | None) -> str:
    if value is None:
        return ""
    try:
        number = float(value)
    except ValueError:
        return value
    return f"{number:.4g}".replace("-", "−")
