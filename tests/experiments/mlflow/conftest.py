"""The door as clients meet it: gunicorn with the production configuration, and the stock client."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from pytest_django import DjangoDbBlocker

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from controlplane.accounts.models import Workspace

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def database(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """Rows that are really committed, so that the server sees them; nothing is flushed."""
    with django_db_blocker.unblock():
        yield


@pytest.fixture(scope="session")
def door(django_db_setup: None) -> Iterator[str]:
    """The address of a running server."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": os.environ["DJANGO_SETTINGS_MODULE"],
        "GATEHOUSE_BIND": f"127.0.0.1:{port}",
        "GATEHOUSE_PUBLIC_URL": address,
        "GATEHOUSE_WEB_PROCESSES": "1",
    }
    environment.pop("PYTEST_CURRENT_TEST", None)
    server = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "gunicorn",
            "-c",
            "python:controlplane.local.gunicorn",
            "controlplane.wsgi:application",
        ],
        cwd=ROOT,
        env=environment,
    )
    try:
        _wait_for(address, server)
        yield address
    finally:
        server.terminate()
        server.wait(20)


@dataclass(frozen=True)
class Account:
    """Somebody with a token, and the ways in."""

    address: str
    token: str
    username: str

    def http(self, **headers: str) -> httpx.Client:
        return httpx.Client(
            base_url=self.address,
            headers={"Authorization": f"Bearer {self.token}", **headers},
            timeout=60,
        )


@pytest.fixture
def account(door: str, database: None) -> Callable[..., Account]:
    """Make an account with roles in a workspace, and a token for it."""
    from controlplane.accounts import tokens
    from tests import make

    def make_account(*roles: str, workspace: Workspace, lifetime_hours: int = 1) -> Account:
        user = make.person(*roles, workspace=workspace)
        _, secret = tokens.issue(
            actor=make.setup(),
            user=user,
            workspace=workspace,
            name="test",
            kind="human",
            lifetime=timedelta(hours=lifetime_hours),
        )
        return Account(door, secret, user.username)

    return make_account


@pytest.fixture
def workspace(database: None) -> Workspace:
    from registry.services import environments
    from tests import make

    made = make.workspace()
    environments.ship_defaults(made, actor=make.setup())
    return made


@pytest.fixture
def engineer(account: Callable[..., Account], workspace: Workspace) -> Account:
    return account("ml_engineer", workspace=workspace)


@pytest.fixture
def client(engineer: Account, monkeypatch: pytest.MonkeyPatch) -> Iterator[MlflowClient]:
    """The stock client, signed in as the engineer."""
    with signed_in(engineer, monkeypatch) as made:
        yield made


class signed_in:
    """Everything that mlflow does inside is done as this account."""

    def __init__(self, account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
        self.account, self.monkeypatch = account, monkeypatch

    def __enter__(self) -> MlflowClient:
        import mlflow

        for name in ("MLFLOW_WORKSPACE", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
            self.monkeypatch.delenv(name, raising=False)
        self.monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", self.account.token)
        self.monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        mlflow.set_tracking_uri(self.account.address)
        # The client remembers the experiment of the test before, which is another workspace's.
        mlflow.tracking.fluent._active_experiment_id = None
        os.environ.pop("MLFLOW_EXPERIMENT_ID", None)
        mlflow.set_registry_uri(self.account.address)
        return mlflow.MlflowClient()

    def __exit__(self, *_: object) -> None:
        import mlflow

        while mlflow.active_run():
            mlflow.end_run()


def _wait_for(address: str, server: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        if server.poll() is not None:
            raise RuntimeError(f"The server ended with {server.returncode}.")
        try:
            if httpx.get(f"{address}/health", timeout=2).status_code == 200:
                return
        except httpx.HTTPError:
            time.sleep(0.1)
    raise RuntimeError("The server does not answer.")
