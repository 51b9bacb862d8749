"""The palette's answers: only what the reader may see, acts first."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from django.db.models import Q
from django.urls import reverse

from controlplane.access import services as access
from controlplane.accounts.models import User, Workspace
from controlplane.core.actor import Actor
from controlplane.jobs.models import Job
from frontend import words
from frontend.shell import PLACES
from registry.models import Dataset, Model, ModelVersion, PromotionRequest

EACH = 5


@dataclass(frozen=True)
class Hit:
    text: str
    url: str
    note: str = ""


@dataclass(frozen=True)
class HitGroup:
    name: str
    items: list[Hit]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def groups(text: str, *, actor: Actor, workspace: Workspace) -> list[HitGroup]:
    """Return what matches, at most five of a kind; without words, the pages and open requests."""
    text = text.strip()[:100]
    found = [
        HitGroup("Actions", _acts(text, actor, workspace)),
        HitGroup("Models", _models(text, actor, workspace)),
        HitGroup("Versions", _versions(text, actor, workspace)),
        HitGroup("Runs and jobs", _jobs(text, actor, workspace)),
        HitGroup("Datasets", _datasets(text, actor, workspace)),
        HitGroup("People", _people(text, actor, workspace)),
        HitGroup("Entries", _entries(text, workspace)),
        HitGroup("Pages", _pages(text, workspace)),
    ]
    return [group for group in found if group.items]


def _acts(text: str, actor: Actor, workspace: Workspace) -> list[Hit]:
    rows = access.visible(PromotionRequest.objects.all(), actor).select_related(
        "model", "version", "environment"
    )
    number = text.upper().removeprefix("PR-")
    if number.isdecimal() and text:
        rows = rows.filter(number=int(number[:9]))
    else:
        rows = rows.filter(state="in_review", model__name__icontains=text)
    return [
        Hit(
            f"PR-{item.number} · {item.model.name} {words.version_words(item.version)} "
            f"to {item.environment.name.lower()}",
            reverse("pages:promotion", args=[workspace.key, item.number]),
            words.look_of(item.state).text,
        )
        for item in rows.order_by("-number")[:EACH]
    ]


def _models(text: str, actor: Actor, workspace: Workspace) -> list[Hit]:
    rows = access.visible(Model.objects.filter(name__icontains=text, is_prompt=False), actor)
    return [
        Hit(item.name, reverse("pages:model", args=[workspace.key, item.name]), item.risk_tier)
        for item in rows.order_by("name")[:EACH]
    ]


def _versions(text: str, actor: Actor, workspace: Workspace) -> list[Hit]:
    if not text:
        return []
    name, _, number = text.rpartition(" ")
    wanted = Q(run_id__startswith=text) | Q(manifest_sha256__startswith=text)
    if name and number.removeprefix("v").isdecimal():
        wanted |= Q(model__name__icontains=name, number=int(number.removeprefix("v")[:9]))
    rows = access.visible(ModelVersion.objects.filter(wanted), actor).select_related("model")
    return [
        Hit(
            f"{item.model.name} {words.version_words(item)}",
            reverse("pages:version", args=[workspace.key, item.model.name, item.number]),
            words.look_of(item.state).text,
        )
        for item in rows.order_by("-pk")[:EACH]
    ]


def _jobs(text: str, actor: Actor, workspace: Workspace) -> list[Hit]:
    if not text:
        return []
    rows = access.visible(
        Job.objects.filter(Q(name__icontains=text) | Q(run_id__startswith=text)), actor
    )
    return [
        Hit(
            item.name,
            reverse("pages:job", args=[workspace.key, item.pk]),
            words.look_of(item.state, "job").text,
        )
        for item in rows.order_by("-pk")[:EACH]
    ]


def _datasets(text: str, actor: Actor, workspace: Workspace) -> list[Hit]:
    rows = access.visible(Dataset.objects.filter(name__icontains=text), actor)
    return [
        Hit(item.name, reverse("pages:dataset", args=[workspace.key, item.name]))
        for item in rows.order_by("name")[:EACH]
        if text
    ]


def _people(text: str, actor: Actor, workspace: Workspace) -> list[Hit]:
    if len(text) < 2 or not access.can(actor, "audit_read", workspace).allowed:
        return []
    rows = User.objects.filter(
        Q(username__icontains=text) | Q(display_name__icontains=text),
        memberships__workspace=workspace,
    )
    log = reverse("pages:audit", args=[workspace.key])
    return [
        Hit(str(item), f"{log}?actor={item.actor_id}", "their entries")
        for item in rows.order_by("username")[:EACH]
    ]


def _entries(text: str, workspace: Workspace) -> list[Hit]:
    number = text.replace(",", "").removeprefix("#")
    if not number.isdecimal() or len(number) > 12:
        return []
    url = reverse("pages:audit_number", args=[workspace.key, int(number)])
    return [Hit(f"Ledger entry {int(number):,}", url)]


def _pages(text: str, workspace: Workspace) -> list[Hit]:
    return [
        Hit(place.name, reverse(f"pages:{place.page}", args=[workspace.key]), f"g {place.key}")
        for _, places in PLACES
        for place in places
        if text.lower() in place.name.lower()
    ][: EACH if text else 20]
