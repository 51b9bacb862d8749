"""A file system with nothing in it but what the plan names.

Everything is bound into a fresh tmpfs, which becomes the root; the machine's own root is then
let go of, so that data folders, home folders and sockets are not forbidden but absent.
"""

from __future__ import annotations

import os
from pathlib import Path

from controlplane.jobs.inside import syscalls
from controlplane.jobs.inside.plan import BindPlan, Plan

# Only a place to mount on: the folder itself is covered in this namespace alone.
_BASE = "/tmp"  # noqa: S108
_OLD, _NEW = "/old", "/new"
_ETC = (
    *("ld.so.cache", "ld.so.conf", "ld.so.conf.d", "alternatives", "localtime"),
    *("ssl/certs", "ssl/openssl.cnf", "ca-certificates", "pki", "mime.types", "fonts"),
)
_ETC_WITH_NETWORK = ("resolv.conf", "hosts", "nsswitch.conf", "gai.conf", "host.conf")
_DEVICES = ("null", "zero", "full", "random", "urandom")
_SHARED_MEMORY_BYTES = 1 << 30


def enter(plan: Plan) -> None:
    """Make the new root and enter it. This process must have a mount namespace of its own."""
    syscalls.mount("none", "/", flags=syscalls.MS_REC | syscalls.MS_PRIVATE)
    _tmpfs(_BASE, mode="755")
    Path(_BASE + _OLD).mkdir()
    Path(_BASE + _NEW).mkdir()
    syscalls.pivot_root(_BASE, _BASE + _OLD)
    os.chdir("/")
    _tmpfs(_NEW, mode="755")
    _system_folders()
    _etc(plan)
    _devices()
    _process_folder()
    if plan["tmp"]:
        _bind({"source": plan["tmp"], "target": "/tmp", "mode": "rw"})  # noqa: S108
    else:
        Path(_NEW, "tmp").mkdir()
        _tmpfs(_NEW + "/tmp", mode="1777")  # noqa: S108
    # Parents first, or a parent would cover what was bound below it.
    for item in sorted(plan["binds"], key=lambda bind: bind["target"].count("/")):
        _bind(item)
    syscalls.restrict_mount(_NEW, syscalls.MOUNT_ATTR_RDONLY, recursive=False)
    syscalls.unmount(_OLD)
    os.chdir(_NEW)
    syscalls.pivot_root(".", ".")
    syscalls.unmount(".")
    os.chdir("/")


def _tmpfs(target: str, *, mode: str, size: int | None = None) -> None:
    options = f"mode={mode}" + (f",size={size}" if size else "")
    syscalls.mount("tmpfs", target, "tmpfs", syscalls.MS_NOSUID | syscalls.MS_NODEV, options)


def _system_folders() -> None:
    """/usr, and /bin, /lib and the like as this distribution has them: links or folders."""
    _bind({"source": "/usr", "target": "/usr", "mode": "ro"})
    for name in ("bin", "sbin", "lib", "lib32", "lib64"):
        outside = Path(_OLD, name)
        if outside.is_symlink():
            Path(_NEW, name).symlink_to(outside.readlink())
        elif outside.is_dir():
            _bind({"source": f"/{name}", "target": f"/{name}", "mode": "ro"})


def _etc(plan: Plan) -> None:
    etc = Path(_NEW, "etc")
    etc.mkdir()
    for name in (*_ETC, *(() if plan["own_network"] else _ETC_WITH_NETWORK)):
        if Path(_OLD, "etc", name).exists():
            _bind({"source": f"/etc/{name}", "target": f"/etc/{name}", "mode": "ro"})
    uid, gid = plan["uid"], plan["gid"]
    (etc / "passwd").write_text(
        f"root:x:0:0:root:/nonexistent:/bin/false\njob:x:{uid}:{gid}:job:{plan['cwd']}:/bin/sh\n"
    )
    (etc / "group").write_text(f"root:x:0:\njob:x:{gid}:\n")
    if plan["own_network"]:
        names = " ".join(["localhost", *plan["host_names"]])
        (etc / "hosts").write_text(f"127.0.0.1 {names}\n")
        (etc / "nsswitch.conf").write_text("passwd: files\ngroup: files\nhosts: files\n")


def _devices() -> None:
    Path(_NEW, "dev").mkdir()
    for name in _DEVICES:
        _bind({"source": f"/dev/{name}", "target": f"/dev/{name}", "mode": "dev"})
    for name, target in (("fd", "fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")):
        Path(_NEW, "dev", name).symlink_to(f"/proc/self/{target}")
    shared = Path(_NEW, "dev", "shm")
    shared.mkdir()
    _tmpfs(str(shared), mode="1777", size=_SHARED_MEMORY_BYTES)


def _process_folder() -> None:
    """/proc of the new process namespace; it stays empty where the machine forbids mounting it."""
    target = Path(_NEW, "proc")
    target.mkdir()
    flags = syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC
    try:
        syscalls.mount("proc", str(target), "proc", flags)
    except PermissionError:
        # A container whose /proc is partly covered lets no user namespace mount a whole one.
        return


def _bind(item: BindPlan) -> None:
    source, target = Path(_OLD + item["source"]), Path(_NEW + item["target"])
    if source.is_dir():
        target.mkdir(parents=True, exist_ok=True)
    elif not target.exists() and not target.is_symlink():
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()
    # Recursive, because a user namespace may not uncover what is mounted below.
    syscalls.mount(str(source), str(target), flags=syscalls.MS_BIND | syscalls.MS_REC)
    attributes = syscalls.MOUNT_ATTR_NOSUID
    if item["mode"] != "dev":
        attributes |= syscalls.MOUNT_ATTR_NODEV
    if item["mode"] == "ro":
        attributes |= syscalls.MOUNT_ATTR_RDONLY
    syscalls.restrict_mount(str(target), attributes)
