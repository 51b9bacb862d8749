"""Every address: pages, REST, the MLflow door, the admin."""

from __future__ import annotations

from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path

from controlplane.doors import door

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
