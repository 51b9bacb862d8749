"""What the launcher tells the shim, as JSON through an inherited file descriptor."""

from __future__ import annotations

from typing import TypedDict


class BindPlan(TypedDict):
    """One path of the machine seen inside; ``mode`` is ``ro``, ``rw`` or ``dev``."""

    source: str
    target: str
    mode: str


class RelayPlan(TypedDict):
    """A port on the sandbox's own loopback that leads to one address outside."""

    port: int
    target_host: str
    target_port: int


class Plan(TypedDict):
    """Everything that a sandbox is; sizes in bytes, times in seconds, None means no limit."""

    level: str
    argv: list[str]
    cwd: str
    env: dict[str, str]
    binds: list[BindPlan]
    tmp: str
    own_network: bool
    relays: list[RelayPlan]
    host_names: list[str]
    uid: int
    gid: int
    memory_bytes: int | None
    cpu_seconds: int | None
    file_bytes: int
    processes: int
    open_files: int
    exit_file: str
