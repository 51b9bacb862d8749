"""From a claimed job to a program that can be launched: source, inputs, environment, token."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from django.conf import settings

from controlplane.core.actor import Actor
from controlplane.core.errors import Invalid
from controlplane.jobs import archives, environments, gpus, kinds, leases, sandbox
from controlplane.jobs.folders import AttemptFolder
from controlplane.jobs.models import Job
from controlplane.jobs.spec import JobSpec, relative_path

# A client whose server is away waits for about four minutes by itself: too long inside a lease.
_MLFLOW_RETRIES = "5"
_MLFLOW_TIMEOUT_SECONDS = "60"
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def prepare(
    job: Job,
    spec: JobSpec,
    folder: AttemptFolder,
    *,
    lent_gpus: tuple[str, ...],
    note: Callable[[str], None],
    actor: Actor,
) -> sandbox.SandboxSpec:
    """Return the program with all that it may see; ``note`` takes lines for the job's log.

    Raises:
        DomainError: an input or the source is not there any longer.
        ArchiveRefused, EnvironmentUnbuildable, SandboxError: as they say.
    """
    prepared = kinds.named(job.kind).prepare(job, spec)
    if prepared.source is not None:
        count = archives.unpack(prepared.source, folder.work)
        note(f"Source unpacked: {count} files.")
    shown = _show_files(prepared, folder)
    began = time.monotonic()
    python = environments.ensure(spec.lock, root=Path(settings.ENVIRONMENT_DIR), python=spec.python)
    note(f"Environment ready after {time.monotonic() - began:.1f} s.")
    environment = _environment(job, spec, folder, python, lent_gpus) | dict(prepared.environment)
    if prepared.door:
        environment |= _door(job, leases.issue_token(job, actor=actor))
    return sandbox.SandboxSpec(
        argv=_argv(prepared.argv or spec.command, folder.work, python),
        cwd=folder.work,
        env=environment,
        writable=(folder.work,),
        readonly=(*shown, *sandbox.interpreter_paths(python)),
        devices=gpus.device_files() if lent_gpus else (),
        tmp=folder.tmp,
        network="relay" if prepared.door else "none",
        relays=(_relay(),) if prepared.door else (),
        limits=sandbox.Limits(memory_bytes=spec.resources.memory_mb * 2**20),
        exit_file=folder.exit_file,
    )


def _show_files(prepared: kinds.Preparation, folder: AttemptFolder) -> list[sandbox.Bind]:
    """Copy the files of ours that the program reads: its user may not read the originals."""
    shown = []
    for number, (name, source) in enumerate(sorted(prepared.files.items())):
        target = folder.work / relative_path(name, "files")
        copy = folder.files / str(number)
        shutil.copyfile(source, copy)
        copy.chmod(0o444)
        if target.is_dir() or any(parent.is_file() for parent in target.parents):
            raise Invalid(f"The input {name} cannot be shown: the source has something there.")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()
        shown.append(sandbox.Bind(copy, target))
    return shown


def _environment(
    job: Job, spec: JobSpec, folder: AttemptFolder, python: Path, lent_gpus: tuple[str, ...]
) -> dict[str, str]:
    values = {name: str(spec.resources.cpus) for name in _THREAD_VARIABLES}
    values |= dict(spec.environment)
    return values | {
        "PATH": f"{python.parent}:/usr/bin:/bin",
        "HOME": str(folder.work),
        "TMPDIR": "/tmp",  # noqa: S108 - the job's own
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        "VIRTUAL_ENV": str(python.parent.parent),
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "CUDA_VISIBLE_DEVICES": ",".join(lent_gpus),
        "GIT_PYTHON_REFRESH": "quiet",
        "GATEHOUSE_JOB_ID": str(job.pk),
        "GATEHOUSE_ATTEMPT": str(job.attempt),
    }


def _door(job: Job, token: str) -> dict[str, str]:
    return {
        "GATEHOUSE_URL": settings.INTERNAL_URL,
        "GATEHOUSE_TOKEN": token,
        "MLFLOW_TRACKING_URI": settings.INTERNAL_URL,
        "MLFLOW_TRACKING_TOKEN": token,
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": _MLFLOW_RETRIES,
        "MLFLOW_HTTP_REQUEST_TIMEOUT": _MLFLOW_TIMEOUT_SECONDS,
        "MLFLOW_ENABLE_ASYNC_LOGGING": "false",
        **({"MLFLOW_RUN_ID": job.run_id} if job.run_id else {}),
    }


def _relay() -> sandbox.Relay:
    address = urlsplit(settings.INTERNAL_URL)
    port = address.port or (443 if address.scheme == "https" else 80)
    return sandbox.Relay(address.hostname or "127.0.0.1", port)


def _argv(command: tuple[str, ...], work: Path, python: Path) -> tuple[str, ...]:
    program, *words = command
    if program.startswith("/"):
        return tuple(command)
    if "/" in program:
        return (str(work / relative_path(program, "command")), *words)
    for folder in (python.parent, Path("/usr/bin"), Path("/bin")):
        if (folder / program).exists():
            return (str(folder / program), *words)
    raise Invalid(f"The job's environment has no program {program[:60]!r}.")
