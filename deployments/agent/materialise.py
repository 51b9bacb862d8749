"""Model bytes from the content-addressed store to a folder that a worker may read.

Every file is hashed again while it is copied: what is served is what was sealed.
"""

import hashlib
import json
import os
import shutil
from dataclasses import asdict
from pathlib import Path, PurePosixPath

from deployments.snapshot import Blob, WorkerSpec

_CHUNK = 1 << 20


class NotMaterialised(Exception):
    """A file is missing or is not what was sealed; the message is a sentence."""


def identity(spec: WorkerSpec) -> str:
    """Return a short name for exactly this worker, safe as a folder name."""
    text = json.dumps(asdict(spec), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def model_folder(spec: WorkerSpec, *, blob_dir: Path, models_dir: Path) -> Path:
    """Return the folder that holds the model's files, copying and verifying them when needed.

    Raises:
        NotMaterialised: a file is missing, has another digest, or would leave the folder.
    """
    target = models_dir / identity(spec)
    if target.is_dir():
        return target
    models_dir.mkdir(parents=True, exist_ok=True)
    fresh = models_dir / f".{target.name}.{os.getpid()}"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir()
    for blob in spec.blobs:
        _copy(blob, blob_path(blob_dir, spec.blob_root, blob.sha256), _inside(fresh, blob.path))
    for path in (fresh, *fresh.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    fresh.rename(target)
    return target


def lock_text(spec: WorkerSpec, folder: Path, *, blob_dir: Path) -> str:
    """Return the lock of the model's environment.

    It lies in the blob store under its digest; a version without one has it among its own files.

    Raises:
        NotMaterialised: it is not there, or its digest is not the one of the version.
    """
    path = folder / spec.lock_path
    if spec.environment:
        path = blob_path(blob_dir, spec.blob_root, spec.environment)
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise NotMaterialised(
            f"The lock of {spec.model} version {spec.version} is not in the blob store."
            if spec.environment
            else f"{spec.model} version {spec.version} has no lock, and no {spec.lock_path}."
        ) from error
    if spec.environment and hashlib.sha256(data).hexdigest() != spec.environment:
        raise NotMaterialised(
            f"The lock of {spec.model} version {spec.version} is not the one that was sealed."
        )
    return data.decode()


def blob_path(blob_dir: Path, workspace: str, sha256: str) -> Path:
    """Return where the store keeps these bytes."""
    return blob_dir / workspace / "sha256" / sha256[:2] / sha256[2:4] / sha256


def _inside(folder: Path, path: str) -> Path:
    parts = PurePosixPath(path).parts
    if not parts or PurePosixPath(path).is_absolute() or ".." in parts:
        raise NotMaterialised(f"The file name {path!r} would leave the model's folder.")
    target = folder.joinpath(*parts)
    target.parent.mkdir(parents=True, exist_ok=True)
    return target


def _copy(blob: Blob, source: Path, target: Path) -> None:
    digest = hashlib.sha256()
    try:
        with source.open("rb") as read, target.open("xb") as write:
            while chunk := read.read(_CHUNK):
                digest.update(chunk)
                write.write(chunk)
            write.flush()
            os.fsync(write.fileno())
    except FileNotFoundError as error:
        raise NotMaterialised(f"The bytes of {blob.path} are not in the blob store.") from error
    except FileExistsError as error:
        raise NotMaterialised(f"The file {blob.path} is listed twice.") from error
    if digest.hexdigest() != blob.sha256:
        raise NotMaterialised(f"The bytes of {blob.path} are not those that were sealed.")
