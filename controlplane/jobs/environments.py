"""Python environments from locks with hashes: built once per lock, shared, never written again.

uv is ours and trusted; what it unpacks is not. It runs in the sandbox under a user of its own
that owns the cache, so that no job can change what another one installs. No Django here.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import re
import secrets
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from controlplane.jobs import sandbox
from controlplane.jobs.sandbox import Bind, SandboxSpec

BUILD_SECONDS = 1800
_MEMORY_BYTES = 8 * 2**30
_TAIL_LINES = 15
_ADDRESS_SETTINGS = ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_INDEX", "UV_EXTRA_INDEX_URL")
_FROM_PIP = {
    "PIP_INDEX_URL": "UV_DEFAULT_INDEX",
    "PIP_EXTRA_INDEX_URL": "UV_INDEX",
    "PIP_FIND_LINKS": "UV_FIND_LINKS",
    "PIP_CERT": "SSL_CERT_FILE",
}
_HANDED_ON = (
    *("SSL_CERT_FILE", "SSL_CERT_DIR"),
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"),
    *("http_proxy", "https_proxy", "all_proxy", "no_proxy"),
)
# Ours to decide: where things lie and which Python is used.
_NOT_HANDED_ON = ("UV_CACHE_DIR", "UV_PROJECT", "UV_PYTHON", "UV_TARGET", "UV_SYSTEM_PYTHON")
_HASH = re.compile(r"--hash[= ]")


class EnvironmentUnbuildable(Exception):
    """The environment cannot be built; the message ends with the last lines that uv wrote."""


def ensure(
    lock_text: str,
    *,
    root: Path,
    python: str = "3.11",
    only_binary: bool = True,
) -> Path:
    """Return the Python of the environment that this lock describes, built if it is not there.

    ``root`` holds all environments and the cache; both must lie on one file system, because the
    environments are hard links into the cache. Two callers with one lock build it once. With
    ``only_binary`` no code of a package runs while it is installed; without it, packages are
    built from source with a cache of their own.

    Raises:
        EnvironmentUnbuildable: a line has no hash, a package is not to be had, or uv failed.
        SandboxError: there is no sandbox to build in.
    """
    require_hashes(lock_text)
    interpreter = find_interpreter(python)
    target = root / key_of(lock_text, interpreter, only_binary=only_binary)
    executable = target / "bin" / "python"
    if target.is_dir():
        return executable
    root.mkdir(parents=True, exist_ok=True)
    root.chmod(0o711)
    with _locked(root / "locks" / target.name):
        if not target.is_dir():
            _build(lock_text, interpreter, target, only_binary=only_binary)
    return executable


def key_of(lock_text: str, interpreter: Path, *, only_binary: bool = True) -> str:
    """Return the name of an environment: the same lock, Python and platform give the same."""
    parts = (
        *("1", normalised(lock_text), str(interpreter.resolve())),
        *(_version_of(interpreter), sysconfig.get_platform(), *platform.libc_ver()),
        "binary" if only_binary else "source",
    )
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


def digest_of(lock_text: str) -> str:
    """Return the digest under which a version keeps its lock."""
    return hashlib.sha256(normalised(lock_text).encode()).hexdigest()


def normalised(lock_text: str) -> str:
    """Return the lock without comments, blank lines and line ends that change nothing."""
    lines = (re.sub(r"(^|\s)#.*$", "", line).rstrip() for line in lock_text.splitlines())
    return "\n".join(line for line in lines if line) + "\n"


def require_hashes(lock_text: str) -> None:
    """See that every requirement is pinned by at least one hash.

    Raises:
        EnvironmentUnbuildable: names the first line that is not, or an option.
    """
    joined = normalised(lock_text).replace("\\\n", " ")
    for line in joined.splitlines():
        requirement = line.strip()
        if not requirement:
            continue
        if requirement.startswith("-"):
            raise EnvironmentUnbuildable(
                f"The lock may hold requirements only, not the option {requirement[:60]!r}."
            )
        if not _HASH.search(requirement):
            raise EnvironmentUnbuildable(
                f"The lock has no hash for {requirement[:60]!r}. Make it with "
                "`uv pip compile --generate-hashes`."
            )


def find_interpreter(version: str) -> Path:
    """Return an installed Python of this version (``3.11``).

    Raises:
        EnvironmentUnbuildable: there is none, or this is not a version.
    """
    if not re.fullmatch(r"3\.\d{1,2}", version):
        raise EnvironmentUnbuildable(f"{version[:20]!r} is not a Python version such as 3.11.")
    if version == f"{sys.version_info.major}.{sys.version_info.minor}":
        return Path(sys._base_executable).resolve()  # type: ignore[attr-defined]
    found = shutil.which(f"python{version}")
    if found is None:
        raise EnvironmentUnbuildable(f"Python {version} is not installed on this machine.")
    return Path(found).resolve()


def index_settings(environ: Mapping[str, str]) -> dict[str, str]:
    """Return what uv must know of the package index. pip's settings count where uv has none."""
    settings = {
        name: value
        for name, value in environ.items()
        if (name.startswith("UV_") and name not in _NOT_HANDED_ON) or name in _HANDED_ON
    }
    for name, ours in _FROM_PIP.items():
        if environ.get(name):
            value = environ[name]
            if ours in {"UV_FIND_LINKS"}:
                value = ",".join(value.split())
            settings.setdefault(ours, value)
    return {name: value for name, value in settings.items() if value}


@dataclass(frozen=True, slots=True)
class _Site:
    """The folders of one build. Inside, ``environment`` is seen under its final name ``target``,
    which scripts and pyvenv.cfg remember."""

    target: Path
    environment: Path
    scratch: Path
    cache: Path
    lock: Path
    interpreter: Path


def _build(lock_text: str, interpreter: Path, target: Path, *, only_binary: bool) -> None:
    root = target.parent
    work = root / "building" / f"{target.name}-{secrets.token_hex(4)}"
    site = _Site(
        target=target,
        environment=work / "environment",
        scratch=work / "scratch",
        # Packages that build themselves run their own code: their cache goes with the work.
        cache=root / "cache" if only_binary else work / "cache",
        lock=work / "lock.txt",
        interpreter=interpreter,
    )
    for folder in (site.environment, site.scratch, site.cache):
        folder.mkdir(parents=True, exist_ok=True)
    site.lock.write_text(normalised(lock_text))
    site.lock.chmod(0o644)
    try:
        _uv(site, "venv", "--allow-existing", "--python", str(interpreter), str(target))
        binary = ("--only-binary", ":all:") if only_binary else ()
        _uv(
            site,
            *("pip", "sync", "--require-hashes", "--allow-empty-requirements", *binary),
            *("--python", str(target / "bin" / "python"), str(site.lock)),
            settings=index_settings(os.environ),
        )
        _compile(site)
        site.environment.rename(target)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _uv(site: _Site, *arguments: str, settings: Mapping[str, str] | None = None) -> None:
    uv = find_uv()
    _run(
        site,
        (str(uv), arguments[0], "--quiet", *arguments[1:]),
        env={
            **(settings or {}),
            "UV_CACHE_DIR": str(site.cache),
            "UV_LINK_MODE": "hardlink",
            "UV_PYTHON_DOWNLOADS": "never",
            "UV_NO_CONFIG": "1",
            "UV_NO_PROGRESS": "1",
        },
        writable=(site.cache,),
        readonly=(uv, site.lock, *_local_paths(settings or {})),
        network="none" if settings is None else "index",
    )


def _compile(site: _Site) -> None:
    """Write the bytecode now, because jobs see the environment read-only.

    By the bare interpreter: the environment's own would run what packages put into .pth files.
    """
    libraries = site.target / "lib"
    program = (str(site.interpreter), "-I", "-S", "-m", "compileall", "-q", "-j", "2")
    # Some packages ship files for other Pythons; what cannot be compiled is not imported either.
    _run(site, (*program, "-x", r"/tests?/", str(libraries)), may_fail=True)


def _run(
    site: _Site,
    argv: tuple[str, ...],
    *,
    env: Mapping[str, str] | None = None,
    writable: tuple[Path, ...] = (),
    readonly: tuple[Path, ...] = (),
    network: sandbox.Network = "none",
    may_fail: bool = False,
) -> None:
    spec = SandboxSpec(
        argv=argv,
        cwd=site.scratch,
        env={"PATH": "/usr/bin:/bin", "HOME": str(site.scratch), "LANG": "C.UTF-8", **(env or {})},
        writable=(Bind(site.environment, site.target), site.scratch, *writable),
        readonly=(*readonly, *sandbox.interpreter_paths(site.interpreter)),
        tmp=site.scratch,
        network=network,
        limits=sandbox.Limits(memory_bytes=_MEMORY_BYTES, open_files=65_536),
        account="build",
    )
    process = sandbox.launch(spec, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        output, _ = process.communicate(timeout=BUILD_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise EnvironmentUnbuildable(
            f"The environment was not ready after {BUILD_SECONDS // 60} minutes."
        ) from None
    if process.returncode != 0 and not may_fail:
        lines = output.decode(errors="replace").strip().splitlines()[-_TAIL_LINES:]
        raise EnvironmentUnbuildable(
            "The environment cannot be built from its lock:\n" + "\n".join(lines)
        )


def find_uv() -> Path:
    """Return the uv that this installation brought, or the one on the path.

    Raises:
        EnvironmentUnbuildable: there is none.
    """
    beside = Path(sys.prefix) / "bin" / "uv"
    found = str(beside) if beside.exists() else shutil.which("uv")
    if found is None:
        raise EnvironmentUnbuildable("uv is not installed; it builds the environments of jobs.")
    return Path(found).resolve()


def _local_paths(settings: Mapping[str, str]) -> Iterator[Path]:
    """Yield folders and files that the settings name and uv must be able to read."""
    for name, value in settings.items():
        if name in _ADDRESS_SETTINGS or name == "UV_FIND_LINKS":
            for part in re.split(r"[\s,]+", value):
                address = urlsplit(part.partition("=")[2] if "=file:" in part else part)
                if address.scheme == "file":
                    # An index in `…/simple` links to files that lie beside it.
                    path = Path(unquote(address.path))
                    yield from _existing(path.parent if path.name == "simple" else path)
                elif not address.scheme:
                    yield from _existing(Path(part))
        elif name in {"SSL_CERT_FILE", "SSL_CERT_DIR"}:
            yield from _existing(Path(value))


def _existing(path: Path) -> Iterator[Path]:
    # What lies in /usr and /etc/ssl/certs is seen by every sandbox.
    if path.is_absolute() and path.exists() and not path.is_relative_to("/etc/ssl/certs"):
        yield path


def _version_of(interpreter: Path) -> str:
    if interpreter == Path(sys._base_executable).resolve():  # type: ignore[attr-defined]
        return platform.python_version()
    done = subprocess.run(
        [str(interpreter), "-I", "-S", "-c", "import platform; print(platform.python_version())"],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
