"""Every test run has its own PostgreSQL and Redis, prepared exactly as an installation is.

There is no second "test database": the servers are thrown away, so the database that the roles
and migrations make is the one under test, and a process that a test starts sees the same rows.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pytest_django import DjangoDbBlocker

from controlplane.local import throw_away
from tests import emptying


@pytest.fixture(scope="session")
def servers() -> Iterator[throw_away.Servers]:
    """PostgreSQL with the product's roles, and Redis."""
    with throw_away.Servers() as running:
        yield running


@pytest.fixture(scope="session")
def django_db_setup(
    servers: throw_away.Servers,
    django_test_environment: None,
    django_db_blocker: DjangoDbBlocker,
) -> Iterator[None]:
    """All schemas, made through the role that makes them in production."""
    from django.core.management import call_command
    from django.db import connections

    with django_db_blocker.unblock():
        if servers.has_schemas:
            # Nothing to change, but what follows every migration may have: permissions, groups.
            call_command("migrate", verbosity=0)
        else:
            call_command("gatehouse_migrate", verbosity=0)
            connections.close_all()
            servers.keep_schemas()
        emptying.instead_of_flush()
        yield
        connections.close_all()
