"""What a client asks before it does anything: is somebody there, and which MLflow is this."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.views.decorators.http import require_safe

from experiments.mlflow_api import protocol

SERVER_INFO = {
    "store_type": "SqlStore",
    "workspaces_enabled": True,
    "trace_archival_enabled": False,
    # Either would let files pass by the proxy, and so by its hashing and its ledger.
    "multipart_uploads_enabled": False,
    "multipart_downloads_enabled": False,
    "presigned_upload_run_id_supported": False,
    "presigned_upload_model_id_supported": False,
    "features_enabled": {"gateway": False},
}


@require_safe
def health(request: HttpRequest) -> HttpResponse:
    """Answer without a token: load balancers have none."""
    return HttpResponse("OK", content_type="text/plain")


@protocol.door("GET")
def version(request: HttpRequest) -> HttpResponseBase:
    return HttpResponse(settings.MLFLOW_VERSION, content_type="text/plain")


@protocol.door("GET")
def server_info(request: HttpRequest) -> HttpResponseBase:
    return protocol.answer(SERVER_INFO)
