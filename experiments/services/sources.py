"""Where the files of a version lie: MLflow's source addresses, read as folders of ours.

A source is ``models:/m-<id>``, ``runs:/<id>/<path>``, ``mlflow-artifacts:/…`` below the run's root,
or ``models:/<name>/<version>``. Local paths and foreign schemes are never followed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from controlplane.accounts.models import Workspace
from controlplane.core.errors import Invalid
from experiments import queries
from registry.models import ModelVersion

PROMPT_PLACEHOLDERS = frozenset({"prompt-template", "dummy-source"})
_MODEL_ID = re.compile(r"/?(m-[0-9a-f]{32})\Z")
_ARTIFACT_ROUTE = "/api/2.0/mlflow-artifacts/artifacts/"
_ROOT = re.compile(
    r"(?:workspaces/(?P<workspace>[^/]+)/)?(?P<experiment>\d+)/"
    r"(?:models/(?P<model>[^/]+)|traces/(?P<trace>[^/]+)|(?P<run>[^/]+))/artifacts(?:/(?P<path>.*))?\Z"
)


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder of a run, logged model or trace; ``path`` has no slash at either end."""

    owner_type: str
    owner_id: str
    path: str
    experiment_id: int | None = None


def clean_path(path: str) -> str:
    """Return an artifact path that is safe to keep: relative, and free of tricks.

    ``path`` is decoded once already. A second decoding by somebody else must find nothing either.

    Raises:
        Invalid: it leaves its root, is absolute, or holds a character that some reader of paths
            takes for something else.
    """
    parts = path.split("/")
    further = [_fully_unquoted(part) for part in parts]
    is_bad = (
        len(path) > 1000
        or any(part in {"", ".", ".."} for part in [*parts, *further])
        or any("/" in part or "\\" in part for part in further)
        or any(character in path for character in "#?")
        or any(ord(letter) < 32 or ord(letter) == 127 for part in further for letter in part)
        or re.match(r"[A-Za-z]:", path)
    )
    if is_bad:
        raise Invalid(f"Invalid path: {path[:200]!r}")
    return path


def parse_artifact_path(path: str, workspace: Workspace) -> Folder | None:
    """Return the owner and the path inside it of a path of the artifact proxy.

    None if it names another workspace or lies outside any owner's root.
    """
    found = _ROOT.match(path)
    if found is None or (found["workspace"] or workspace.key) != workspace.key:
        return None
    inner = (found["path"] or "").strip("/")
    experiment = int(found["experiment"]) if len(found["experiment"]) < 10 else -1
    for owner_type, name in (("logged_model", "model"), ("trace", "trace"), ("run", "run")):
        if found[name]:
            return Folder(owner_type, found[name], inner, experiment)
    return None


def locate(source: str, *, workspace: Workspace, run_id: str, logged_model_id: str) -> Folder:
    """Return the folder a client registers from, after checking that its ids own it.

    Raises:
        Invalid: the source is local, of a foreign scheme, or not below the run or logged model
            that is named; worded as MLflow words it.
    """
    _refuse_tricks(source)
    parts = urlsplit(source)
    if parts.scheme == "models" and not parts.netloc and (found := _MODEL_ID.match(parts.path)):
        if found[1] != logged_model_id:
            raise _not_owner(source, "model_id")
        return Folder("logged_model", logged_model_id, "")
    if parts.scheme == "runs" and not parts.netloc:
        owner, _, path = parts.path.lstrip("/").partition("/")
        if logged_model_id:
            raise _not_owner(source, "model_id")
        if not run_id or owner != run_id:
            raise _not_owner(source, "run_id")
        return Folder("run", run_id, path.strip("/"))
    if path := _proxied(source):
        wanted = ("logged_model", logged_model_id) if logged_model_id else ("run", run_id)
        folder = parse_artifact_path(path, workspace)
        if folder is None or (folder.owner_type, folder.owner_id) != wanted:
            raise _not_owner(source, "model_id" if logged_model_id else "run_id")
        return folder
    raise Invalid(
        f"Invalid model version source: '{source}'. Register from a logged model (models:/m-…), a "
        "run (runs:/…) or another version (models:/name/version); local paths and other stores "
        "are not read."
    )


def is_model_version(source: str) -> bool:
    """Say whether the source names a registered model, by version or alias."""
    parts = urlsplit(source)
    return parts.scheme == "models" and not _MODEL_ID.match(parts.path)


def folder_of(version: ModelVersion) -> Folder | None:
    """Return where a version's files lie, or None for one that was copied from another version."""
    parts = urlsplit(version.source)
    if version.logged_model_id and not is_model_version(version.source):
        return Folder("logged_model", version.logged_model_id, _below_root(version.source))
    if parts.scheme == "runs":
        return Folder("run", version.run_id, parts.path.lstrip("/").partition("/")[2].strip("/"))
    if _proxied(version.source):
        return Folder("run", version.run_id, _below_root(version.source))
    return None


def download_uri(version: ModelVersion, workspace: Workspace) -> str:
    """Return the address from which a client fetches the files of a version."""
    version = first_origin(version, workspace)
    folder = folder_of(version)
    root = ""
    if folder and folder.owner_type == "logged_model":
        model = queries.logged_model(folder.owner_id, workspace=workspace.key)
        root = model.artifact_root if model else ""
    elif folder:
        run = queries.run(folder.owner_id, workspace=workspace.key)
        root = run.artifact_root if run else ""
    if not folder or not root:
        return version.source
    return f"{root}/{folder.path}" if folder.path else root


def first_origin(version: ModelVersion, workspace: Workspace) -> ModelVersion:
    """Return the version whose folder holds the files: itself, or the one it was copied from."""
    origin = _origin(version, workspace)
    return first_origin(origin, workspace) if origin else version


def _origin(version: ModelVersion, workspace: Workspace) -> ModelVersion | None:
    """Return the version that this one was copied from, if it was."""
    if not is_model_version(version.source):
        return None
    name, _, number = urlsplit(version.source).path.strip("/").rpartition("/")
    if not number.isdecimal():
        return None
    return (
        ModelVersion.objects.filter(model__workspace=workspace, model__name=name, number=number)
        .exclude(pk=version.pk)
        .select_related("model")
        .first()
    )


def _proxied(source: str) -> str:
    """Return the path inside the artifact proxy, or an empty string."""
    parts = urlsplit(source)
    if parts.scheme == "mlflow-artifacts":
        return parts.path.lstrip("/")
    if parts.scheme in {"http", "https"} and _ARTIFACT_ROUTE in parts.path:
        return parts.path.split(_ARTIFACT_ROUTE, 1)[1]
    return ""


def _below_root(source: str) -> str:
    found = _ROOT.match(_proxied(source))
    return (found["path"] or "").strip("/") if found else ""


def _refuse_tricks(source: str) -> None:
    plain = _fully_unquoted(source)
    if "\x00" in plain or any(part == ".." for part in re.split(r"[/\\]", plain)):
        raise Invalid(
            f"Invalid model version source: '{source}'. If supplying a source as an http, https, "
            "local file path, ftp, objectstore, or mlflow-artifacts uri, an absolute path must be "
            "provided without relative path references present. Please provide an absolute path."
        )


def _fully_unquoted(text: str) -> str:
    while (plain := unquote(text)) != text:
        text = plain
    return text


def _not_owner(source: str, parameter: str) -> Invalid:
    return Invalid(
        f"Invalid model version source: '{source}'. The {parameter} request parameter must "
        "identify the resource that contains the source."
    )
