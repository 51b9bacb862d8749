"""How the agent starts foreign code: the seam between supervision and the sandbox."""

from pathlib import Path
from typing import Protocol


class Process(Protocol):
    """A running worker; what `subprocess.Popen` offers of it."""

    pid: int

    def poll(self) -> int | None: ...
    def kill(self) -> None: ...
    def terminate(self) -> None: ...
    def wait(self, timeout: float | None = None) -> int: ...


class Launcher(Protocol):
    """Builds environments and starts workers in them."""

    def environment(self, lock: str) -> Path:
        """Return the Python of the environment with this lock, building it when needed."""
        ...

    def launch(
        self, python: Path, arguments: list[str], *, model: Path, run: Path, log: Path
    ) -> Process:
        """Start the worker program with `run` as its folder; `model` it may only read."""
        ...
