"""Ledgers of their own, in databases beside the shared one, so that they can be broken."""

from __future__ import annotations

import secrets
import subprocess
from pathlib import Path
from typing import Any

import psycopg
from django.conf import settings

from controlplane.audit import connections
from controlplane.audit.payloads import NewEvent, ObjectRef, compose
from controlplane.audit.sealer import Sealer
from controlplane.audit.sealer_files import VERIFIER_FILE, SealerFiles, read_trusted_keys
from controlplane.audit.verify import Report, verify
from controlplane.core.actor import Actor, ActorKind
from controlplane.database.roles import roles_sql
from controlplane.local import throw_away
from controlplane.local.postgres import binaries
from controlplane.settings import environment

# Bound here: a test points the product's own connections at a ledger of its own.
_of_role = connections.parameters
SCHEMA = Path(connections.__file__).parent / "migrations" / "ledger.sql"
MODEL = ObjectRef("model", "7", "churn", 1)
ANA = Actor(id="user:7", kind=ActorKind.HUMAN, auth="password", ip="10.1.2.3", agent="Firefox")


class Ledger:
    """A database with nothing but a ledger, and the sealer's folder that belongs to it."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.files = SealerFiles(folder)

    def connect(self, role: str) -> connections.Connection:
        """Return an autocommit connection of one of the product's roles."""
        return psycopg.connect(**self.parameters(role), autocommit=True)

    def parameters(self, role: str) -> dict[str, Any]:
        if role == "app":
            own = environment.database(settings.DATABASE_URL)
            values = {"user": own["USER"], "password": own["PASSWORD"], "host": own["HOST"]}
        else:
            values = _of_role(role)
        return values | {"dbname": self.name}

    def as_superuser(self) -> connections.Connection:
        return psycopg.connect(throw_away.postgres().url(self.name), autocommit=True)

    def tamper(self, *statements: str) -> None:
        """Run statements as somebody who owns the machine: no trigger stops them."""
        with self.as_superuser() as connection:
            for statement in ("SET session_replication_role = replica", *statements):
                connection.execute(statement.encode())

    def append(self, *events: NewEvent) -> None:
        with self.connect("node") as connection:
            for event in events:
                append(connection, event)

    def seal(self, limit: int = 5_000) -> int:
        with self.connect("sealer") as connection:
            sealer = Sealer(connection, self.files)
            sealer.open()
            return sealer.seal(limit)

    def verify(self, since: int = 0) -> Report:
        keys = read_trusted_keys(self.files.folder / VERIFIER_FILE)
        with self.connect("auditor") as connection:
            return verify(connection, keys, since=since)

    def clone(self, folder: Path) -> Ledger:
        """Return a copy of the database; the sealer's folder is copied by who needs one."""
        copy = Ledger(f"ledger_{secrets.token_hex(6)}", folder)
        _administer(f"CREATE DATABASE {copy.name} TEMPLATE {self.name}")
        return copy

    def dump_and_restore(self) -> Ledger:
        """Return a second database, made from a backup of this one."""
        copy = Ledger(f"ledger_{secrets.token_hex(6)}", self.files.folder)
        _administer(f"CREATE DATABASE {copy.name}")
        server = throw_away.postgres()
        dump = subprocess.run(
            [binaries() / "pg_dump", server.url(self.name)], capture_output=True, check=True
        )
        subprocess.run(
            [binaries() / "psql", "-q", "-v", "ON_ERROR_STOP=1", server.url(copy.name)],
            input=dump.stdout,
            stdout=subprocess.DEVNULL,
            check=True,
        )
        return copy

    def drop(self) -> None:
        _administer(f"DROP DATABASE IF EXISTS {self.name} WITH (FORCE)")


def make(folder: Path, *, origin: str = "gatehouse.example/test") -> Ledger:
    """Make a database with the roles' rights and an empty ledger."""
    ledger = Ledger(f"ledger_{secrets.token_hex(6)}", folder)
    _administer(f"CREATE DATABASE {ledger.name}")
    with ledger.as_superuser() as connection:
        connection.execute(roles_sql().encode())
    with psycopg.connect(**ledger.parameters("migrate")) as connection:
        connection.execute(SCHEMA.read_bytes())
        connection.execute("SET LOCAL ROLE gh_owner")
        connection.execute("INSERT INTO ledger.log (origin) VALUES (%s)", [origin])
    return ledger


def event(action: str = "model.update", *, actor: Actor | None = None, **values: Any) -> NewEvent:
    """Compose an event of the product itself, which every role with EXECUTE may append."""
    actor = actor or Actor.system("tests")
    return compose(action, **{"actor": actor, "obj": MODEL, **values})


def append(connection: connections.Connection, new: NewEvent) -> None:
    connection.execute("SELECT ledger.audit_append(%s, %s::jsonb)", [new.payload, new.personal])


def _administer(statement: str) -> None:
    with psycopg.connect(throw_away.postgres().url(), autocommit=True) as connection:
        connection.execute(statement.encode())
