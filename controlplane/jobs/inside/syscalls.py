"""The few Linux calls that Python lacks, through ctypes; each raises OSError with its name."""

from __future__ import annotations

import ctypes
import os
import struct

_libc = ctypes.CDLL(None, use_errno=True)

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_NOSUID, MS_NODEV, MS_NOEXEC = 2, 4, 8
MS_BIND, MS_REC, MS_PRIVATE = 4096, 16384, 1 << 18
MNT_DETACH = 2

MOUNT_ATTR_RDONLY, MOUNT_ATTR_NOSUID, MOUNT_ATTR_NODEV = 1, 2, 4
_SYS_MOUNT_SETATTR = 442
_AT_FDCWD, _AT_RECURSIVE = -100, 0x8000

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_CAPBSET_DROP = 1, 4, 24
_PR_SET_NO_NEW_PRIVS, _PR_SET_CHILD_SUBREAPER = 38, 36
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 47, 4
_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 22, 2
_CAPABILITY_VERSION_3 = 0x20080522
_LAST_CAPABILITY = 63


def _checked(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def unshare(flags: int) -> None:
    _checked(_libc.unshare(flags), "unshare")


def mount(source: str, target: str, kind: str = "", flags: int = 0, options: str = "") -> None:
    result = _libc.mount(
        source.encode(),
        target.encode(),
        kind.encode() or None,
        ctypes.c_ulong(flags),
        options.encode() or None,
    )
    _checked(result, f"mount {source} on {target}")


def restrict_mount(path: str, attributes: int, *, recursive: bool = True) -> None:
    """Add attributes (read-only, nosuid, nodev) to a mount and the mounts below it.

    The flags that a mount has already stay, which a remount in a user namespace must ensure.
    """
    attr = struct.pack("=QQQQ", attributes, 0, 0, 0)
    result = _libc.syscall(
        ctypes.c_long(_SYS_MOUNT_SETATTR),
        ctypes.c_int(_AT_FDCWD),
        path.encode(),
        ctypes.c_uint(_AT_RECURSIVE if recursive else 0),
        attr,
        ctypes.c_size_t(len(attr)),
    )
    _checked(result, f"mount_setattr {path}")


def unmount(path: str) -> None:
    _checked(_libc.umount2(path.encode(), MNT_DETACH), f"umount {path}")


def pivot_root(new: str, put_old: str) -> None:
    # glibc declares no pivot_root on every platform; the C library of this machine exports it.
    _checked(_libc.pivot_root(new.encode(), put_old.encode()), f"pivot_root {new}")


def set_host_name(name: str) -> None:
    _checked(_libc.sethostname(name.encode(), len(name)), "sethostname")


def _prctl(option: int, value: int, third: object = 0) -> int:
    result: int = _libc.prctl(option, ctypes.c_ulong(value), third, 0, 0)
    return result


def die_with_parent(signal_number: int) -> None:
    """Ask for a signal when the parent thread ends. A change of user clears it: call this after."""
    _checked(_prctl(_PR_SET_PDEATHSIG, signal_number), "prctl PDEATHSIG")


def hide_from_debuggers() -> None:
    _checked(_prctl(_PR_SET_DUMPABLE, 0), "prctl DUMPABLE")


def adopt_orphans() -> None:
    _checked(_prctl(_PR_SET_CHILD_SUBREAPER, 1), "prctl CHILD_SUBREAPER")


def forbid_new_privileges() -> None:
    _checked(_prctl(_PR_SET_NO_NEW_PRIVS, 1), "prctl NO_NEW_PRIVS")


def empty_bounding_set() -> None:
    """Take every capability out of what this process could ever gain; needs CAP_SETPCAP."""
    for capability in range(_LAST_CAPABILITY + 1):
        if _prctl(_PR_CAPBSET_DROP, capability) != 0:
            return


def drop_capabilities() -> None:
    """Give up every capability this process has."""
    _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    _checked(_libc.capset(header, b"\0" * 24), "capset")


def install_filter(program: bytes) -> None:
    """Install a seccomp filter for good; needs no privilege after ``forbid_new_privileges``."""
    buffer = ctypes.create_string_buffer(program, len(program))

    class Program(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p)]

    header = Program(len(program) // 8, ctypes.addressof(buffer))
    result = _prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(header))
    _checked(result, "prctl SECCOMP")
