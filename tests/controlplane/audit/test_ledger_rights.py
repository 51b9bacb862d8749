"""What each database role is refused: the ledger does not rest on the application's good will."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from controlplane.audit.payloads import compose
from controlplane.local import throw_away
from tests.controlplane.audit import ledgers
from tests.controlplane.audit.ledgers import Ledger

ROLES = ("app", "sealer", "auditor", "eraser", "node", "migrate")
_MONTH = "event_{month}"

HOSTILE = (
    "UPDATE ledger.event SET outcome = 'success'",
    "DELETE FROM ledger.event",
    "TRUNCATE ledger.event",
    f"UPDATE ledger.{_MONTH} SET outcome = 'success'",
    f"DELETE FROM ledger.{_MONTH}",
    f"TRUNCATE ledger.{_MONTH}",
    "UPDATE ledger.leaf SET leaf_hash = sha256('')",
    "DELETE FROM ledger.leaf",
    "TRUNCATE ledger.leaf",
    "UPDATE ledger.node SET hash = sha256('')",
    "DELETE FROM ledger.node",
    "UPDATE ledger.checkpoint SET note = ''",
    "DELETE FROM ledger.checkpoint",
    "TRUNCATE ledger.checkpoint CASCADE",
    "UPDATE ledger.log SET origin = 'mine'",
    "DELETE FROM ledger.log",
    "UPDATE ledger.personal SET value = '\"x\"'",
    "TRUNCATE ledger.personal",
)
# What gh_migrate could do as a member of the owner: deploys only, and verification finds it.
HOSTILE_BESIDE_MIGRATE = (
    "INSERT INTO ledger.event (id, at, payload) VALUES (gen_random_uuid(), now(), '{}')",
    f"INSERT INTO ledger.{_MONTH} (id, at, payload) VALUES (gen_random_uuid(), now(), '{{}}')",
    "INSERT INTO ledger.personal VALUES (gen_random_uuid(), 'ip', sha256('')::bytea, '')",
    "INSERT INTO ledger.log VALUES ('mine')",
    "ALTER TABLE ledger.event DISABLE TRIGGER ALL",
    "ALTER TABLE ledger.event DETACH PARTITION ledger.event_{month}",
    "DROP TABLE ledger.leaf",
    "DROP TRIGGER arrive ON ledger.event",
    "CREATE OR REPLACE FUNCTION ledger.refuse() RETURNS trigger LANGUAGE plpgsql "
    "AS 'BEGIN RETURN NEW; END'",
    "CREATE TABLE ledger.mine (id integer)",
    "ALTER FUNCTION ledger.refuse() OWNER TO CURRENT_USER",
    "SET ROLE gh_owner",
)
# The three statements that are somebody's work, and whose.
ALLOWED = {
    "sealer": ("DELETE FROM ledger.pending", "INSERT INTO ledger.node VALUES (8, 9, sha256(''))"),
    "eraser": ("DELETE FROM ledger.personal",),
}


@pytest.fixture(scope="module")
def ledger(servers: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ledger]:
    made = ledgers.make(tmp_path_factory.mktemp("sealer"))
    with made.connect("app") as connection:
        ledgers.append(connection, ledgers.event(actor=ledgers.ANA, reason="Because"))
    made.seal()
    made.append(ledgers.event())
    with made.as_superuser() as connection:
        connection.execute("INSERT INTO ledger.node VALUES (8, 0, sha256(''))")
    yield made
    made.drop()


def _refused(ledger: Ledger, role: str, statement: str) -> bool:
    with ledger.connect(role) as connection, connection.transaction(force_rollback=True):
        month = connection.execute("SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYY_MM')").fetchone()
        assert month is not None
        try:
            connection.execute(statement.replace("{month}", month[0]).encode())
        except psycopg.errors.InsufficientPrivilege:
            return True
    return False


@pytest.mark.parametrize("role", ROLES)
def test_no_role_changes_what_is_written(ledger: Ledger, role: str) -> None:
    assert [text for text in HOSTILE if not _refused(ledger, role, text)] == []


@pytest.mark.parametrize("role", [role for role in ROLES if role != "migrate"])
def test_no_working_role_gets_round_the_function_or_the_triggers(ledger: Ledger, role: str) -> None:
    assert [text for text in HOSTILE_BESIDE_MIGRATE if not _refused(ledger, role, text)] == []


@pytest.mark.parametrize("role", ROLES[:-1])
@pytest.mark.parametrize("statement", [text for texts in ALLOWED.values() for text in texts])
def test_the_sealer_and_the_eraser_alone_do_their_work(
    ledger: Ledger, role: str, statement: str
) -> None:
    assert _refused(ledger, role, statement) is (statement not in ALLOWED.get(role, ()))


@pytest.mark.parametrize("role", ["node", "sealer"])
def test_machines_speak_for_the_product_only(ledger: Ledger, role: str) -> None:
    forged = compose("promotion.approve", actor=ledgers.ANA, obj=ledgers.MODEL)
    with (
        ledger.connect(role) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege, match="speaks for the product only"),
    ):
        ledgers.append(connection, forged)


def test_a_login_that_takes_a_role_on_is_held_to_it(ledger: Ledger) -> None:
    """Without logins of their own the roles are taken on with ``-c role=``."""
    forged = compose("promotion.approve", actor=ledgers.ANA, obj=ledgers.MODEL)
    url = throw_away.postgres().url(ledger.name) + "&options=-c%20role%3Dgh_node"
    with psycopg.connect(url, autocommit=True) as connection:
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="role gh_node speaks"):
            ledgers.append(connection, forged)
        ledgers.append(connection, ledgers.event())
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("SELECT FROM ledger.event")


def test_the_auditor_writes_nothing(ledger: Ledger) -> None:
    with (
        ledger.connect("auditor") as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        ledgers.append(connection, ledgers.event())
