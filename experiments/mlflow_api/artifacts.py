"""Upload, download and listing of files, under every address that MLflow's clients use for them."""

from __future__ import annotations

import mimetypes
import re
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath
from urllib.parse import quote

from django.http import (
    FileResponse,
    HttpRequest,
    HttpResponse,
    HttpResponseBase,
    StreamingHttpResponse,
)

from controlplane.core.errors import Invalid, NotFound
from experiments import queries
from experiments.mlflow_api import protocol
from experiments.services import artifacts, sources
from experiments.services.sources import Folder
from registry import blobs
from registry.models import ArtifactBlob
from registry.services import models as registry_models

# What a browser may send through upload-artifact; MLflow's own limit.
SMALL_UPLOAD_BYTES = 10 * 2**20
_RANGE = re.compile(r"bytes=(\d*)-(\d*)\Z")


@protocol.door("GET", "PUT", "DELETE")
def proxied(request: HttpRequest, path: str) -> HttpResponseBase:
    """One file under the artifact proxy, by its full path."""
    folder = _owner(request, path)
    if request.method == "PUT":
        return _upload(request, folder)
    actor, workspace = protocol.actor_of(request), protocol.workspace_of(request)
    if request.method == "DELETE":
        artifacts.delete(folder, actor=actor, workspace=workspace)
        return protocol.answer()
    return _download(request, folder)


@protocol.door("GET")
def proxied_listing(request: HttpRequest) -> HttpResponseBase:
    """What lies below a full path; names only, as MLflow's proxy answers."""
    return _listing(request, _owner(request, request.GET.get("path", "")), _name)


@protocol.door("GET")
def of_run(request: HttpRequest) -> HttpResponseBase:
    """`artifacts/list`: what lies below a path of a run."""
    sent = protocol.parameters(request)
    run_id = protocol.text(sent, "run_id") or protocol.text(sent, "run_uuid", required=True)
    run = queries.run(run_id, workspace=protocol.workspace_of(request).key)
    folder = _inside("run", run_id, protocol.text(sent, "path"))
    return _listing(request, folder, _path, root=run.artifact_root if run else "")


@protocol.door("GET")
def of_logged_model(request: HttpRequest, model_id: str) -> HttpResponseBase:
    sent = protocol.parameters(request)
    folder = _inside("logged_model", model_id, protocol.text(sent, "artifact_directory_path"))
    model = queries.logged_model(model_id, workspace=protocol.workspace_of(request).key)
    return _listing(request, folder, _path, root=model.artifact_root if model else "")


@protocol.door("GET")
def logged_model_file(request: HttpRequest, model_id: str) -> HttpResponseBase:
    sent = protocol.parameters(request)
    path = protocol.text(sent, "artifact_file_path", required=True)
    return _download(request, _inside("logged_model", model_id, path))


@protocol.door("GET")
def run_file(request: HttpRequest) -> HttpResponseBase:
    """`/get-artifact`: one file of a run."""
    sent = protocol.parameters(request)
    run_id = protocol.text(sent, "run_id") or protocol.text(sent, "run_uuid", required=True)
    return _download(request, _inside("run", run_id, protocol.text(sent, "path", required=True)))


@protocol.door("GET")
def version_file(request: HttpRequest) -> HttpResponseBase:
    """`/model-versions/get-artifact`: one file of a version."""
    sent = protocol.parameters(request)
    number = protocol.text(sent, "version", required=True)
    if not number.isdecimal():
        raise Invalid(f"Invalid value {number} for parameter 'version' supplied.")
    workspace = protocol.workspace_of(request)
    version = registry_models.get_version(
        protocol.text(sent, "name", required=True),
        int(number),
        actor=protocol.actor_of(request),
        workspace_id=workspace.pk,
    )
    path = sources.clean_path(protocol.text(sent, "path", required=True))
    folder = sources.folder_of(sources.first_origin(version, workspace))
    if folder is None:
        raise NotFound(f"No such artifact: {path!r}")
    full = f"{folder.path}/{path}" if folder.path else path
    return _download(request, Folder(folder.owner_type, folder.owner_id, full))


@protocol.door("POST")
def small_upload(request: HttpRequest) -> HttpResponseBase:
    """`upload-artifact`: a small file of a run, named in the query."""
    run_id, path = request.GET.get("run_uuid", ""), request.GET.get("path", "")
    if not run_id or not path:
        raise Invalid("Request must specify run_uuid and path.")
    return _upload(request, _inside("run", run_id, path), limit_bytes=SMALL_UPLOAD_BYTES)


@protocol.door("GET")
def trace_file(request: HttpRequest) -> HttpResponseBase:
    """`get-trace-artifact`: the spans of a trace, or an attachment."""
    trace_id, path = request.GET.get("request_id", ""), request.GET.get("path", "")
    if not trace_id:
        raise Invalid('Request must include the "request_id" query parameter.')
    inner = f"attachments/{path}" if path else "traces.json"
    return _download(request, _inside("trace", trace_id, inner))


def _owner(request: HttpRequest, path: str) -> Folder:
    """Return the owner that a full path names; the path inside it is checked."""
    workspace = protocol.workspace_of(request)
    clean = sources.clean_path(path.rstrip("/"))
    folder = sources.parse_artifact_path(clean, workspace)
    if folder is None:
        raise NotFound(f"No such artifact: {clean!r}")
    return folder


def _inside(owner_type: str, owner_id: str, path: str) -> Folder:
    inner = path.strip("/") if path.endswith("/") else path
    return Folder(owner_type, owner_id, sources.clean_path(inner) if inner else "")


def _upload(
    request: HttpRequest, folder: Folder, *, limit_bytes: int | None = None
) -> HttpResponseBase:
    if not folder.path:
        raise Invalid("The path names no file.")
    announced, chunks = _body(request)
    artifacts.put(
        folder,
        chunks,
        actor=protocol.actor_of(request),
        workspace=protocol.workspace_of(request),
        announced_bytes=announced,
        limit_bytes=limit_bytes,
    )
    return protocol.answer()


def _body(request: HttpRequest) -> tuple[int | None, Iterator[bytes]]:
    """Return the announced length, where there is one, and the body in chunks."""
    announced = request.META.get("CONTENT_LENGTH", "")
    if announced:
        return int(announced), iter(lambda: request.read(blobs.CHUNK_BYTES), b"")
    if "chunked" not in request.headers.get("Transfer-Encoding", "").lower():
        return 0, iter(())
    # Django reads no further than the announced length, and here there is none.
    stream = request.environ["wsgi.input"]  # type: ignore[attr-defined]
    return None, iter(lambda: stream.read(blobs.CHUNK_BYTES), b"")


def _listing(
    request: HttpRequest,
    folder: Folder,
    naming: Callable[[artifacts.Entry], str],
    *,
    root: str = "",
) -> HttpResponseBase:
    found = artifacts.listing(
        folder, actor=protocol.actor_of(request), workspace=protocol.workspace_of(request)
    )
    files = [
        {"path": naming(entry), "is_dir": True}
        if entry.is_folder
        else {"path": naming(entry), "is_dir": False, "file_size": entry.size_bytes}
        for entry in found
    ]
    return protocol.answer({"files": files, **({"root_uri": root} if root else {})})


def _path(entry: artifacts.Entry) -> str:
    return entry.path


def _name(entry: artifacts.Entry) -> str:
    return PurePosixPath(entry.path).name


def _download(request: HttpRequest, folder: Folder) -> HttpResponseBase:
    if not folder.path:
        raise Invalid("The path names no file.")
    workspace = protocol.workspace_of(request)
    blob = artifacts.find(folder, actor=protocol.actor_of(request), workspace=workspace)
    wanted = _range(request.headers.get("Range", ""), blob.size)
    response: HttpResponseBase
    if wanted is None:
        response = FileResponse(blobs.open_blob(workspace.key, blob.sha256))
        response["Content-Length"] = str(blob.size)
    elif wanted == (0, 0):
        response = HttpResponse(status=416)
        response["Content-Range"] = f"bytes */{blob.size}"
        return response
    else:
        start, stop = wanted
        response = StreamingHttpResponse(
            blobs.iterate(workspace.key, blob.sha256, start=start, stop=stop), status=206
        )
        response["Content-Range"] = f"bytes {start}-{stop - 1}/{blob.size}"
        response["Content-Length"] = str(stop - start)
    return _as_attachment(response, blob)


def _as_attachment(response: HttpResponseBase, blob: ArtifactBlob) -> HttpResponseBase:
    """Nothing a model's author uploaded may run as a page of this origin."""
    name = PurePosixPath(blob.path).name
    response["Content-Type"] = mimetypes.guess_type(name)[0] or "application/octet-stream"
    response["Content-Disposition"] = f"attachment; filename*=UTF-8''{quote(name, safe='')}"
    response["X-Content-Type-Options"] = "nosniff"
    response["Accept-Ranges"] = "bytes"
    response["ETag"] = f'"{blob.sha256}"'
    return response


def _range(header: str, size: int) -> tuple[int, int] | None:
    """Return (start, end exclusive) of a single range; (0, 0) if it cannot be satisfied.

    Anything else than one range is answered with the whole file, as the standard allows.
    """
    found = _RANGE.match(header)
    if not found or (not found[1] and not found[2]):
        return None
    if not found[1]:
        length = min(int(found[2]), size)
        return (size - length, size) if length else (0, 0)
    start = int(found[1])
    stop = min(int(found[2]) + 1, size) if found[2] else size
    return (start, stop) if start < stop else (0, 0)
