"""What each database role may do, on the database that the product's own SQL prepared."""

from __future__ import annotations

import os

import psycopg
import pytest
from django.core.management import call_command
from django.db import DatabaseError, connections, transaction
from pytest_django import Settings

from controlplane.accounts.models import Workspace
from controlplane.database import readiness
from controlplane.database.roles import ALL_ROLES, LOGIN_ROLES, missing_roles, roles_sql
from controlplane.local import throw_away


def _connect(role: str) -> psycopg.Connection[tuple[object, ...]]:
    variable = f"GATEHOUSE_{role.removeprefix('gh_').upper()}_DATABASE_URL"
    return psycopg.connect(os.environ.get(variable, os.environ["DATABASE_URL"]))


@pytest.mark.django_db
@pytest.mark.parametrize("role", LOGIN_ROLES)
def test_each_role_signs_in_as_itself(role: str) -> None:
    with _connect(role) as connection:
        assert connection.execute("SELECT session_user, current_user").fetchone() == (role, role)


@pytest.mark.django_db
def test_the_application_uses_tables_and_may_not_change_them() -> None:
    table = Workspace._meta.db_table
    with connections["default"].cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM {table}")
    for statement in (
        f"DROP TABLE {table}",
        f"TRUNCATE {table} CASCADE",
        "CREATE TABLE public.mine (id int)",
        "CREATE TABLE mlflow.mine (id int)",
        "CREATE TABLE ledger.mine (id int)",
        "CREATE SCHEMA mine",
        "SET ROLE gh_migrate",
        "SET ROLE gh_owner",
    ):
        refused = pytest.raises(DatabaseError, match=r"permission denied|must be owner")
        with refused, transaction.atomic(), connections["default"].cursor() as cursor:
            cursor.execute(statement)


@pytest.mark.django_db
@pytest.mark.parametrize("role", ["gh_sealer", "gh_auditor", "gh_eraser"])
def test_roles_of_the_ledger_cannot_read_the_products_tables(role: str) -> None:
    with _connect(role) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute(f"SELECT * FROM {Workspace._meta.db_table}")


@pytest.mark.django_db
def test_running_the_sql_again_changes_nothing() -> None:
    server = throw_away.postgres()
    roles_and_grants = (
        "SELECT rolname, rolcanlogin, rolsuper, rolcreatedb FROM pg_roles "
        "WHERE rolname LIKE 'gh%' ORDER BY 1"
    )
    with psycopg.connect(server.url(throw_away.DATABASE), autocommit=True) as connection:
        before = connection.execute(roles_and_grants).fetchall()
        connection.execute(roles_sql().encode())
        assert connection.execute(roles_and_grants).fetchall() == before
    assert [name for name, *_ in before] == sorted(ALL_ROLES)
    assert ("gh_owner", False, False, False) in before


@pytest.mark.django_db
def test_one_login_takes_the_roles_on_where_they_have_none_of_their_own() -> None:
    server = throw_away.postgres()
    with psycopg.connect(server.url(), autocommit=True) as connection:
        connection.execute("CREATE ROLE single LOGIN PASSWORD 'only-one'")
        connection.execute("CREATE DATABASE other")
    with psycopg.connect(server.url("other"), autocommit=True) as connection:
        connection.execute(roles_sql(login="single").encode())
    address = server.url("other", user="single", password="only-one")
    for role in LOGIN_ROLES:
        with psycopg.connect(address, options=f"-c role={role}") as connection:
            assert connection.execute("SELECT current_user").fetchone() == (role,)
    with (
        psycopg.connect(address, options="-c role=gh_app") as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute("CREATE TABLE public.mine (id int)")


@pytest.mark.django_db
def test_the_product_says_which_roles_are_missing() -> None:
    readiness.require_roles()
    assert readiness.roles_are_separated()
    assert missing_roles(["gh_app", "gh_migrate"]) == [
        *("gh_owner", "gh_sealer", "gh_auditor", "gh_eraser", "gh_node")
    ]


@pytest.mark.django_db
def test_an_unreachable_database_is_a_sentence(settings: Settings) -> None:
    settings.DATABASE_URL = "postgresql://gh_app@127.0.0.1:1/gatehouse"
    with pytest.raises(readiness.DatabaseNotReady, match=r"^The database cannot be reached: "):
        readiness.require_roles()


@pytest.mark.django_db(transaction=True)
def test_what_a_test_commits_is_gone_afterwards_part_one() -> None:
    Workspace.objects.create(key="left-behind", name="Left behind")


@pytest.mark.django_db(transaction=True)
def test_what_a_test_commits_is_gone_afterwards_part_two() -> None:
    assert not Workspace.objects.filter(key="left-behind").exists()


@pytest.mark.django_db(transaction=True, databases=["default", "ledger", "migrate"])
def test_migrating_again_changes_nothing() -> None:
    call_command("gatehouse_migrate", verbosity=0)
