"""The thread from an uploaded folder to a registered version: real web server, worker, sandbox,
and the stock MLflow client inside the job."""

from __future__ import annotations

import io
import json
import os
import socket
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pandas as pd  # type: ignore[import-untyped]
import pytest
from sklearn.datasets import load_digits

from tests import make

pytestmark = [
    pytest.mark.processes,
    pytest.mark.django_db(transaction=True, databases=["default", "ledger"]),
]
ROOM = Path(__file__).resolve().parents[2]
EXAMPLE = ROOM / "examples" / "digits"


@pytest.fixture
def portal(tmp_path: Path) -> Iterator[httpx.Client]:
    """The web server and a worker of all queues, as an engineer of a new workspace sees them."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    environment = {
        **os.environ,
        "GATEHOUSE_BIND": f"127.0.0.1:{port}",
        "GATEHOUSE_PUBLIC_URL": url,
        "GATEHOUSE_WEB_PROCESSES": "1",
    }
    commands = {
        "web": ["gunicorn", "-c", "controlplane/local/gunicorn.py", "controlplane.wsgi"],
        "worker": [
            *("celery", "-A", "controlplane.celery", "worker", "--pool", "threads"),
            *("--hostname", "all@test", "-Q", "default,promotion,evaluation,cpu"),
            *("--loglevel", "INFO", "--without-mingle", "--without-gossip"),
        ],
    }
    engineer = make.person("ml_engineer", workspace=make.workspace())
    with ExitStack() as stack:
        for name, command in commands.items():
            log = stack.enter_context((tmp_path / f"{name}.log").open("wb"))
            process = subprocess.Popen(
                [sys.executable, "-m", *command], cwd=ROOM, env=environment, stdout=log, stderr=log
            )
            stack.callback(process.wait)
            stack.callback(process.kill)
        client = httpx.Client(
            base_url=f"{url}/api/v1/", headers=make.bearer(make.token(engineer)), timeout=60
        )
        stack.enter_context(client)
        _until(lambda: _answers(client), tmp_path / "web.log")
        yield client


def test_a_training_job_logs_and_registers_through_the_stock_client(
    portal: httpx.Client, tmp_path: Path
) -> None:
    answer = portal.post("datasets/digits-train/versions/", files={"file": ("train.csv", _csv())})
    assert answer.status_code == 201, answer.text
    _until(
        lambda: portal.get("datasets/digits-train/versions/1/").json()["state"] == "sealed",
        tmp_path / "worker.log",
    )

    spec = {
        "name": "linear",
        "experiment": "digits",
        "command": ["python", "train.py", "--data", "inputs/train/train.csv"],
        "inputs": [{"name": "train", "dataset": "digits-train@1"}],
        "queue": "cpu",
    }
    started = portal.post(
        "training/",
        data={"spec": json.dumps(spec)},
        files={
            "source": ("source.tar.gz", _source()),
            "lock": ("requirements.lock", (EXAMPLE / "requirements.lock").read_bytes()),
        },
    )
    assert started.status_code == 202, started.text
    job, run_id = started.json()["job"], started.json()["run_id"]

    def over() -> bool:
        state: str = portal.get(f"jobs/{job['id']}/").json()["state"]
        return state not in {"queued", "dispatched", "running"}

    _until(over, tmp_path / "worker.log", seconds=240)
    log = portal.get(f"jobs/{job['id']}/log/").json()["content"]
    assert portal.get(f"jobs/{job['id']}/").json()["state"] == "succeeded", log
    assert "fold 4: accuracy" in log
    run = portal.get(f"runs/{run_id}/").json()
    assert run["status"] == "FINISHED"
    assert run["params"]["model"] == "linear"
    version = portal.get("models/digit-reader/versions/1/").json()
    assert (version["state"], version["run_id"]) == ("sealed", run_id)


def _csv() -> bytes:
    digits = load_digits()
    table = pd.DataFrame(digits.data, columns=[f"pixel_{index}" for index in range(64)])
    table["label"] = digits.target
    content: bytes = table.head(400).to_csv(index=False).encode()
    return content


def _source() -> bytes:
    with io.BytesIO() as stream:
        with tarfile.open(fileobj=stream, mode="w:gz") as archive:
            for name in ("train.py", "requirements.lock"):
                archive.add(EXAMPLE / name, name)
        return stream.getvalue()


def _answers(client: httpx.Client) -> Any:
    try:
        return client.get("me/").status_code == 200
    except httpx.TransportError:
        return False


def _until(condition: Callable[[], Any], log: Path, *, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, log.read_text()[-4000:]
        time.sleep(0.2)
