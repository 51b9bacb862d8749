"""A node as it runs in production, in a temporary folder: real models, sandboxed workers, real
gateway processes. Only the environment of the models is the one that the tests run in."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import httpx

from deployments import assignment, snapshot
from deployments.agent.disk import NodeDisk, verified
from deployments.agent.hub import Hub
from deployments.agent.sandboxed import SandboxedLauncher
from deployments.agent.settings import Settings
from deployments.agent.supervisor import Supervisor

ROOT = Path(__file__).resolve().parents[2]
SECRET = "gh_predict_1_test"
WORKSPACE = "acme"


class Launcher(SandboxedLauncher):
    """The production launcher with an environment that is there already."""

    def environment(self, lock: str) -> Path:
        return Path(sys.executable)


def wait_for(claim: Callable[[], Any], seconds: float = 60.0, what: str = "") -> Any:
    """Return the first truthy value of `claim`; fail after so many seconds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = claim()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError(f"Not within {seconds} s: {what or claim}")


def stored_blobs(folder: Path, blob_dir: Path) -> tuple[snapshot.Blob, ...]:
    """Put a model directory into a blob store, as registering it does."""
    blobs = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        data = path.read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        target = blob_dir / WORKSPACE / "sha256" / digest[:2] / digest[2:4] / digest
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
        blobs.append(snapshot.Blob(str(path.relative_to(folder)), len(data), digest))
    return tuple(blobs)


def signature_of(folder: Path) -> snapshot.Signature:
    """Return the signature as the control plane reads it from the MLmodel file."""
    import yaml

    meta = yaml.safe_load((folder / "MLmodel").read_text())["signature"]
    return snapshot.Signature.from_mlflow(
        json.loads(meta["inputs"]), json.loads(meta["outputs"] or "[]")
    )


class World:
    """Builds snapshots; each one is newer than the one before."""

    def __init__(self, models: dict[str, Path], blob_dir: Path) -> None:
        self.models = models
        self.revision = 0
        self.workers = {
            name: snapshot.WorkerSpec(
                key=f"worker-{name}",
                version_id=100 + number,
                model=name,
                version=number,
                blobs=stored_blobs(folder, blob_dir),
                blob_root=WORKSPACE,
                load="pyfunc" if name.startswith("pyfunc") else "native",
            )
            for number, (name, folder) in enumerate(models.items(), start=1)
        }

    def deployment(
        self,
        name: str,
        stable: str | None,
        candidate: str | None = None,
        *,
        share: int = 0,
        **options: Any,
    ) -> snapshot.Deployment:
        arms = []
        for label, model, points in (
            ("stable", stable, 10_000 - share),
            ("candidate", candidate, share),
        ):
            if model:
                worker = self.workers[model]
                arms.append(
                    snapshot.Arm(
                        label, worker.version_id, worker.version, model, worker.key, points
                    )
                )
        want = [10_000 - share, share] if candidate else [10_000]
        owners = assignment.compress(assignment.grow(assignment.all_stable(), want))
        return snapshot.Deployment(
            name=name,
            id=7,
            workspace_id=1,
            workspace=WORKSPACE,
            revision_id=70,
            revision=self.revision + 1,
            salt="salt-1",
            arms=tuple(arms),
            owners=tuple((arm, count) for arm, count in owners) if arms else (),
            signature=signature_of(self.models[stable]) if stable else snapshot.Signature(),
            **options,
        )

    def snapshot(
        self,
        *deployments: snapshot.Deployment,
        warm: Iterable[str] = (),
        tokens: tuple[snapshot.TokenGrant, ...] = (),
    ) -> snapshot.Snapshot:
        self.revision += 1
        keys = {arm.worker_key for d in deployments for arm in d.arms}
        return snapshot.Snapshot(
            epoch=1,
            revision=self.revision,
            deployments=deployments,
            workers=tuple(w for n, w in self.workers.items() if n in warm or w.key in keys),
            tokens=tokens or (token(SECRET, scopes=("predict", "predict:force")),),
        )


def token(secret: str, **changes: Any) -> snapshot.TokenGrant:
    values: dict[str, Any] = {
        "token_id": "1",
        "deployments": ("*",),
        "workspace_id": 1,
        "scopes": ("predict",),
    }
    return snapshot.TokenGrant(
        sha256=hashlib.sha256(secret.encode()).hexdigest(), **(values | changes)
    )


class Node:
    """Supervisor and hub of an agent, without its database, and gateways as processes."""

    def __init__(self, root: Path, blob_dir: Path, *, replicas: int = 1) -> None:
        self.settings = Settings(
            node="node-1",
            database_url="",
            database_options="",
            node_dir=root / "node",
            capture_dir=root / "capture",
            blob_dir=blob_dir,
            environment_dir=root / "environments",
            agent_socket=root / "agent.sock",
            replicas=replicas,
        )
        self.launcher = Launcher(self.settings.environment_dir)
        self.states: list[tuple[str, str, str]] = []
        self.acks: list[tuple[str, int, float]] = []
        self.figures: dict[str, dict[str, Any]] = {}
        self.gateways: list[Gateway] = []
        self.hub = Hub(self.settings.agent_socket, self._heard)
        self.sockets: dict[str, list[str]] = {}
        self.supervisor = Supervisor(
            self.settings,
            self.launcher,
            told=lambda key, state, detail: self.states.append((key, state, detail)),
            moved=self._moved,
        )
        self.hub.start()
        self._thread = threading.Thread(target=self.supervisor.run)
        self._thread.start()

    def _heard(self, gateway: str, message: dict[str, Any]) -> None:
        if message["type"] == "ack":
            self.acks.append((gateway, message["revision"], time.monotonic()))
        else:
            self.figures[gateway] = message["detail"]

    def _moved(self, sockets: dict[str, list[str]]) -> None:
        self.sockets = sockets
        NodeDisk(self.settings.node_dir).save_sockets(sockets)
        self.hub.publish_sockets(sockets)

    def publish(self, source: snapshot.Snapshot) -> None:
        body = snapshot.dumps(source)
        stored = verified(body, snapshot.digest(body))
        self.supervisor.want(source)
        self.hub.publish(stored, self.sockets)
        NodeDisk(self.settings.node_dir).save(stored)

    def publish_and_wait(self, source: snapshot.Snapshot) -> None:
        """Return once the workers are ready and every gateway has acknowledged."""
        self.publish(source)
        self.wait_ready(*(worker.key for worker in source.workers))
        self.wait_acked(source.revision)
        for gateway in self.gateways:
            wait_for(gateway.is_ready, what="gateway ready")

    def wait_ready(self, *keys: str) -> None:
        wait_for(
            lambda: all(key in self.sockets for key in keys), 120, f"{keys} {self.states[-3:]}"
        )

    def wait_acked(self, revision: int) -> None:
        names = {gateway.name for gateway in self.gateways}
        wait_for(lambda: names <= {n for n, r, _ in list(self.acks) if r >= revision}, 10, "acks")

    def start_gateway(self, name: str = "one", **environment: str) -> Gateway:
        gateway = Gateway(self.settings, name, environment)
        self.gateways.append(gateway)
        return gateway

    def worker_pids(self, key: str) -> list[int]:
        return [
            worker.pid
            for group in self.supervisor._replicas.values()
            for worker in group
            if worker.spec.key == key and worker.pid
        ]

    def kill_worker(self, key: str) -> None:
        """Kill the model's own process, inside its sandbox, as the kernel does without memory."""
        processes = self.model_pids(key)
        assert processes
        self.sockets = {known: paths for known, paths in self.sockets.items() if known != key}
        for process in processes:
            os.kill(process, signal.SIGKILL)

    def model_pids(self, key: str) -> list[int]:
        """Return the processes that run the worker program, one per replica."""
        return [descendants(shim)[0] for shim in self.worker_pids(key)]

    def close(self) -> None:
        for gateway in self.gateways:
            gateway.stop()
        self.supervisor.stop()
        self._thread.join()
        self.hub.close()


class Gateway:
    """A gateway process and a client for it."""

    def __init__(self, settings: Settings, name: str, environment: dict[str, str]) -> None:
        self.name = f"gateway:{name}"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self._environment = {
            "PATH": os.environ["PATH"],
            "GATEHOUSE_GATEWAY_NAME": name,
            "GATEHOUSE_GATEWAY_PORT": str(self.port),
            "GATEHOUSE_AGENT_SOCKET": str(settings.agent_socket),
            "GATEHOUSE_CAPTURE_DIR": str(settings.capture_dir),
            "GATEHOUSE_NODE_DIR": str(settings.node_dir),
            **environment,
        }
        self.url = f"http://127.0.0.1:{self.port}"
        self.client = httpx.Client(
            base_url=self.url, headers={"Authorization": f"Bearer {SECRET}"}, timeout=30
        )
        self.process = self.start()

    def start(self) -> subprocess.Popen[bytes]:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "deployments.gateway"], cwd=ROOT, env=self._environment
        )
        wait_for(self.is_live, 20, "gateway live")
        return self.process

    def is_live(self) -> bool:
        assert self.process.poll() is None, "the gateway has ended"
        try:
            return self.client.get("/live").status_code == 200
        except httpx.TransportError:
            return False

    def is_ready(self) -> bool:
        return self.client.get("/ready").status_code == 200

    def predict(self, deployment: str, rows: Any, **headers: str) -> httpx.Response:
        named = {f"Gatehouse-{name.replace('_', '-')}": value for name, value in headers.items()}
        return self.client.post(
            f"/{deployment}/invocations", json={"instances": rows}, headers=named
        )

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        self.client.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def descendants(pid: int) -> list[int]:
    """Return the processes below this one, deepest first."""
    children = [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return [found for child in children for found in (*descendants(child), child)]
