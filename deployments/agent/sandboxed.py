"""Workers as sandboxed processes, with the environments that jobs use too."""

from pathlib import Path

from controlplane.jobs import environments, sandbox
from deployments.agent.isolation import Process

WORKER_PROGRAM = Path(__file__).resolve().parent.parent / "worker" / "main.py"


class SandboxedLauncher:
    """Starts workers as sandboxed processes: they see their model, their folder and no network."""

    def __init__(self, environment_dir: Path) -> None:
        self._environment_dir = environment_dir

    def environment(self, lock: str) -> Path:
        return environments.ensure(lock, root=self._environment_dir)

    def launch(
        self, python: Path, arguments: list[str], *, model: Path, run: Path, log: Path
    ) -> Process:
        specification = sandbox.SandboxSpec(
            argv=(str(python), "-I", str(WORKER_PROGRAM), *arguments),
            cwd=run,
            env={
                "HOME": str(run),
                "LANG": "C.UTF-8",
                "PATH": f"{python.parent}:/usr/bin:/bin",
                # One core per worker: more threads than that only wait for each other.
                "OMP_NUM_THREADS": "1",
                "OPENBLAS_NUM_THREADS": "1",
                "MKL_NUM_THREADS": "1",
                "MLFLOW_DISABLE_TELEMETRY": "true",
            },
            writable=(run,),
            readonly=(model, WORKER_PROGRAM),
        )
        with log.open("wb") as output:
            return sandbox.launch(specification, stdout=output)
