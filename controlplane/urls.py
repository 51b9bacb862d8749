"""Every address: pages, REST, the MLflow door, the admin."""

from __future__ import annotations

from importlib.util import find_spec

from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path


def door(prefix: str, module: str) -> list[URLPattern | URLResolver]:
    """Return the addresses of one app's door, if that app has one."""
    package = module.rpartition(".")[0]
    if find_spec(package) is None or find_spec(module) is None:
        return []
    return [path(prefix, include(module))]


urlpatterns: list[URLPattern | URLResolver] = [
    path("api/v1/", include("controlplane.api_urls")),
    *door("", "experiments.mlflow_api.urls"),
    path("admin/", admin.site.urls),
    *door("", "frontend.urls"),
]

handler400 = "controlplane.refused.bad_request"
handler403 = "controlplane.refused.forbidden"
handler404 = "controlplane.refused.not_found"
handler500 = "controlplane.refused.failed"
