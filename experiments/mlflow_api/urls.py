"""Every address of the MLflow door. What is not listed is MLflow's tracking, or refused."""

from __future__ import annotations

import re

from django.http import HttpRequest, HttpResponseBase
from django.urls import Resolver404, URLPattern, path, re_path, resolve

from experiments.mlflow_api import (
    aliases,
    artifacts,
    info,
    mount,
    protocol,
    refused,
    registry,
)

_V2 = "api/2.0/mlflow"
# The user interface's prefix; the same views, so that no door is open under one name only.
_PREFIXES = ("", "ajax-")


@protocol.door()
def merged(request: HttpRequest) -> HttpResponseBase:
    """Answer a path with doubled slashes as the path without them."""
    request.path_info = request.path = re.sub(r"/{2,}", "/", request.path)
    try:
        found = resolve(request.path)
    except Resolver404:
        return refused.response(request.path)
    answer: HttpResponseBase = found.func(request, *found.args, **found.kwargs)
    return answer


def _native(prefix: str) -> list[URLPattern]:
    v2 = f"{prefix}{_V2}"
    models, versions = f"{v2}/registered-models", f"{v2}/model-versions"
    files = f"{prefix}api/2.0/mlflow-artifacts/artifacts"
    return [
        path(f"{models}/create", registry.create_model),
        path(f"{models}/get", registry.get_model),
        path(f"{models}/update", registry.update_model),
        path(f"{models}/rename", registry.rename_model),
        path(f"{models}/delete", registry.delete_model),
        path(f"{models}/search", registry.search_models),
        path(f"{models}/get-latest-versions", registry.get_latest_versions),
        path(f"{models}/set-tag", registry.model_tag),
        path(f"{models}/delete-tag", registry.model_tag),
        path(f"{models}/alias", aliases.alias),
        path(f"{versions}/create", registry.create_version),
        path(f"{versions}/get", registry.get_version),
        path(f"{versions}/update", registry.update_version),
        path(f"{versions}/delete", registry.delete_version),
        path(f"{versions}/search", registry.search_versions),
        path(f"{versions}/get-download-uri", registry.download_uri),
        path(f"{versions}/set-tag", registry.version_tag),
        path(f"{versions}/delete-tag", registry.version_tag),
        path(f"{versions}/transition-stage", aliases.transition_stage),
        path(files, artifacts.proxied_listing),
        path(f"{files}/", artifacts.proxied_listing),
        path(f"{files}/<path:path>", artifacts.proxied),
        path(f"{v2}/artifacts/list", artifacts.of_run),
        path(f"{v2}/upload-artifact", artifacts.small_upload),
        path(f"{v2}/get-trace-artifact", artifacts.trace_file),
        path(f"{prefix}api/3.0/mlflow/get-trace-artifact", artifacts.trace_file),
        path(
            f"{v2}/logged-models/<str:model_id>/artifacts/directories",
            artifacts.of_logged_model,
        ),
        path(f"{v2}/logged-models/<str:model_id>/artifacts/files", artifacts.logged_model_file),
        path(f"{prefix}api/3.0/mlflow/server-info", info.server_info),
    ]


urlpatterns: list[URLPattern] = [
    re_path(r"^(?:ajax-)?api/[23]\.0/.*//", merged),
    re_path(r"^(?:ajax-)?api//", merged),
    path("health", info.health),
    path("version", info.version),
    path("get-artifact", artifacts.run_file),
    path("model-versions/get-artifact", artifacts.version_file),
    *[pattern for prefix in _PREFIXES for pattern in _native(prefix)],
    *[re_path(f"^(?:{pattern})", refused.view) for pattern, _, _ in refused.FEATURES],
    re_path(r"^(?:ajax-)?api/[23]\.0/mlflow/", mount.view),
    re_path(r"^(?:ajax-)?api/[23]\.0/", refused.view),
]
