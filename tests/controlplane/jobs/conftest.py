from __future__ import annotations

import pytest

from controlplane.accounts.models import User, Workspace
from controlplane.core.actor import Actor
from tests import make
from tests.controlplane.jobs import job_kinds


@pytest.fixture(autouse=True)
def bare_kind() -> None:
    job_kinds.register()


@pytest.fixture
def workspace(db: None) -> Workspace:
    return make.workspace()


@pytest.fixture
def engineer(workspace: Workspace) -> User:
    return make.person("ml_engineer", workspace=workspace)


@pytest.fixture
def actor(engineer: User) -> Actor:
    return make.acting(engineer)
