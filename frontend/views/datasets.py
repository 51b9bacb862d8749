"""Datasets and their sealed versions."""

from __future__ import annotations

from django.http import HttpResponse
from django.views.decorators.http import require_GET

from controlplane.core.errors import NotFound
from frontend.presenters import dataset as presenter
from frontend.views.base import Crumb, PageRequest, page, show, to
from registry.models import DatasetVersion
from registry.services import datasets


@require_GET
@page
def index(request: PageRequest) -> HttpResponse:
    """List datasets with their newest version."""
    context = presenter.listed(request.GET, actor=request.actor)
    return show(request, "datasets/list.html", context, crumbs=[Crumb("Datasets")])


@require_GET
@page
def detail(request: PageRequest, name: str, number: int = 0) -> HttpResponse:
    """Show one version of a dataset: columns, profile, files, use; the newest without a number."""
    reference = f"{name}@{number}" if number else name
    try:
        version = datasets.get_version(
            reference, actor=request.actor, workspace_id=request.workspace.pk
        )
    except NotFound:
        if number:
            raise
        # Nothing is sealed yet: show the newest there is, in the state it is in.
        version = datasets.get_version(
            f"{name}@1", actor=request.actor, workspace_id=request.workspace.pk
        )
    version = DatasetVersion.objects.select_related("dataset__owner", "created_by").get(
        pk=version.pk
    )
    context = {
        "dataset": version.dataset,
        "version": version,
        "columns": presenter.columns(version),
        "files": datasets.files_of(version),
        "about": presenter.about(version),
        "versions": list(version.dataset.versions.all()[:50]),
        "used_by": presenter.used_by(
            version, actor=request.actor, workspace_key=request.workspace.key
        ),
    }
    crumbs = [Crumb("Datasets", to(request, "datasets")), Crumb(f"{name}@{version.number}")]
    return show(request, "datasets/detail.html", context, crumbs=crumbs)
