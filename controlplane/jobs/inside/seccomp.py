"""A filter on system calls: no mounts, no namespaces, no kernel doors that a job never needs.

Without it a program could make a user namespace of its own and reach, as root in there, parts of
the kernel that are closed to ordinary users. The numbers are the kernel's ABI and never change.
"""

from __future__ import annotations

import os
import struct

from controlplane.jobs.inside import syscalls

_LOAD, _EQUALS, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW = 0x7FFF0000
_EPERM = 0x00050000 | 1
_ENOSYS = 0x00050000 | 38
_NUMBER, _ARCHITECTURE, _ARGUMENT_0 = 0, 4, 16
_NEW_NAMESPACES = 0x7E020000
# unix, inet, inet6, netlink. Others, vsock among them, are not bound to a network namespace.
_SOCKET_FAMILIES = (1, 2, 10, 16)
_X32 = 0x40000000

# Numbers from 424 on are the same everywhere.
_DENIED_COMMON = (
    *(428, 429, 430, 431, 432, 433, 442),  # open_tree … fspick, mount_setattr
    *(425, 426, 427),  # io_uring
)
_DENIED = {
    "x86_64": (
        *(165, 166, 155, 161, 272, 308),  # mount umount2 pivot_root chroot unshare setns
        *(101, 310, 311),  # ptrace process_vm_readv process_vm_writev
        *(248, 249, 250),  # add_key request_key keyctl
        *(321, 298, 323, 304),  # bpf perf_event_open userfaultfd open_by_handle_at
        *(175, 313, 176, 246, 320),  # modules, kexec
        *(167, 168, 169, 163, 164, 172, 173, 179, 103),  # swap reboot acct time io quota syslog
    ),
    "aarch64": (
        *(40, 39, 41, 51, 97, 268),
        *(117, 270, 271),
        *(217, 218, 219),
        *(280, 241, 282, 265),
        *(105, 273, 106, 104, 294),
        *(224, 225, 142, 89, 170, 60, 116),
    ),
}
_PLATFORMS = {
    # machine: (audit architecture, clone, socket)
    "x86_64": (0xC000003E, 56, 41),
    "aarch64": (0xC00000B7, 220, 198),
}
_CLONE3 = 435


def _step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)


def program(machine: str) -> bytes:
    """Return the filter for this machine type, or nothing where we do not know its numbers."""
    if machine not in _PLATFORMS:
        return b""
    architecture, clone, socket = _PLATFORMS[machine]
    steps = [
        _step(_LOAD, _ARCHITECTURE),
        _step(_EQUALS, architecture, 1, 0),
        _step(_RETURN, _EPERM),
        _step(_LOAD, _NUMBER),
    ]
    if machine == "x86_64":
        steps += [_step(_AT_LEAST, _X32, 0, 1), _step(_RETURN, _EPERM)]
    for number in (*_DENIED[machine], *_DENIED_COMMON):
        steps += [_step(_EQUALS, number, 0, 1), _step(_RETURN, _EPERM)]
    # clone3 hides its flags behind a pointer; answered as unknown, the C library uses clone.
    steps += [_step(_EQUALS, _CLONE3, 0, 1), _step(_RETURN, _ENOSYS)]
    steps += [
        _step(_EQUALS, clone, 0, 4),
        _step(_LOAD, _ARGUMENT_0),
        _step(_ANY_BIT, _NEW_NAMESPACES, 0, 1),
        _step(_RETURN, _EPERM),
        _step(_RETURN, _ALLOW),
    ]
    families = [
        _step(_EQUALS, family, 0, 1) + _step(_RETURN, _ALLOW) for family in _SOCKET_FAMILIES
    ]
    steps += [
        _step(_EQUALS, socket, 1, 0),
        _step(_RETURN, _ALLOW),
        _step(_LOAD, _ARGUMENT_0),
        *families,
        _step(_RETURN, _EPERM),
    ]
    return b"".join(steps)


def install() -> None:
    """Filter this process and all it starts, for good."""
    filter_program = program(os.uname().machine)
    if filter_program:
        syscalls.install_filter(filter_program)
