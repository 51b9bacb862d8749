"""Whether the database still guards the ledger as the migration left it.

A log whose triggers are off or whose tables are open may be intact today and not tomorrow.
"""

from __future__ import annotations

import re
from collections import Counter
from functools import cache
from pathlib import Path

from controlplane.audit.connections import Connection
from controlplane.core.clock import now

OWNER = "gh_owner"
_SCHEMA = Path(__file__).parent / "migrations" / "ledger.sql"
_TABLES = ("anchor", "checkpoint", "event", "leaf", "log", "node", "pending", "personal")
_ROW, _BEFORE, _INSERT, _DELETE, _UPDATE, _TRUNCATE = 1, 2, 4, 8, 16, 32
_ARRIVE = ("arrive", "event_arrives", _ROW | _BEFORE | _INSERT)
_CHANGE_ROW = ("refuse_change", "refuse", _ROW | _BEFORE | _UPDATE | _DELETE)
_CHANGE = ("refuse_change", "refuse", _BEFORE | _UPDATE | _DELETE)
_UPDATE_ONLY = ("refuse_change", "refuse", _BEFORE | _UPDATE)
_EMPTY = ("refuse_truncate", "refuse", _BEFORE | _TRUNCATE)
_EVENT_TRIGGERS = {_ARRIVE, _CHANGE_ROW, _EMPTY}
_TRIGGERS = {
    "event": _EVENT_TRIGGERS,
    "leaf": {_CHANGE, _EMPTY},
    "node": {_CHANGE, _EMPTY},
    "checkpoint": {_CHANGE, _EMPTY},
    "log": {_CHANGE, _EMPTY},
    "personal": {_UPDATE_ONLY, _EMPTY},
}
_READ_BY_ALL = {"gh_app", "gh_auditor"}
_GRANTS = (
    {(role, table, "SELECT") for role in _READ_BY_ALL for table in _TABLES}
    | {("gh_sealer", table, "SELECT") for table in _TABLES if table != "personal"}
    | {("gh_sealer", table, "INSERT") for table in ("leaf", "node", "checkpoint", "anchor")}
    | {("gh_sealer", "pending", "DELETE"), ("gh_eraser", "personal", "DELETE")}
    | {("gh_eraser", table, "SELECT") for table in ("event", "personal")}
    | {
        (role, "audit_append", "EXECUTE")
        for role in ("gh_app", "gh_node", "gh_sealer", "gh_eraser")
    }
    | {("gh_sealer", "ensure_partitions", "EXECUTE")}
)
_WORKING_ROLES = ["gh_app", "gh_sealer", "gh_auditor", "gh_eraser", "gh_node"]
_BODY = re.compile(r"CREATE FUNCTION ledger\.(\w+)\(.*?AS \$body\$(.*?)\$body\$;", re.DOTALL)


def findings(connection: Connection) -> list[str]:
    """Return a sentence for everything that differs; an empty list is the good case."""
    partitions = _partitions(connection)
    return [
        *_about_tables(connection, partitions),
        *_about_triggers(connection, partitions),
        *_about_functions(connection),
        *_about_grants(connection),
        *_about_roles(connection),
        *_about_months(connection, partitions),
    ]


def _partitions(connection: Connection) -> list[str]:
    rows = connection.execute(
        "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid "
        "WHERE i.inhparent = 'ledger.event'::regclass ORDER BY c.relname"
    )
    return [name for (name,) in rows]


def _about_tables(connection: Connection, partitions: list[str]) -> list[str]:
    rows = connection.execute(
        "SELECT relname, relkind, pg_get_userbyid(relowner), relrowsecurity, relhasrules "
        "FROM pg_class WHERE relnamespace = 'ledger'::regnamespace "
        "AND relkind NOT IN ('i', 'I', 'S', 't', 'c')"
    ).fetchall()
    found = []
    expected = {*_TABLES, *partitions}
    for name, kind, owner, has_row_security, has_rules in rows:
        if name not in expected:
            what = "is not attached to the event table" if name.startswith("event_") else "is alien"
            found.append(f"The table ledger.{name} {what}.")
        elif kind not in ("r", "p"):
            found.append(f"ledger.{name} is no longer a table.")
        if owner != OWNER:
            found.append(f"The table ledger.{name} belongs to {owner}, not to {OWNER}.")
        if has_row_security or has_rules:
            found.append(f"The table ledger.{name} has rules or row security that can hide rows.")
    missing = expected - {name for name, *_ in rows}
    found += [f"The table ledger.{name} is missing." for name in sorted(missing)]
    return found


def _about_triggers(connection: Connection, partitions: list[str]) -> list[str]:
    rows = connection.execute(
        "SELECT c.relname, t.tgname, p.proname, t.tgtype::int, t.tgenabled, "
        "t.tgqual IS NULL AND t.tgattr = '' AND p.pronamespace = 'ledger'::regnamespace "
        "FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid "
        "JOIN pg_proc p ON p.oid = t.tgfoid "
        "WHERE c.relnamespace = 'ledger'::regnamespace AND NOT t.tgisinternal"
    ).fetchall()
    expected = {
        (table, *trigger)
        for table, triggers in (_TRIGGERS | dict.fromkeys(partitions, _EVENT_TRIGGERS)).items()
        for trigger in triggers
    }
    present = {(table, name, function, kind) for table, name, function, kind, *_ in rows}
    found = [
        f"The trigger {name} on ledger.{table} is missing or changed."
        for table, name, *_ in sorted(expected - present)
    ]
    found += [
        f"The trigger {name} on ledger.{table} does not belong there."
        for table, name, *_ in sorted(present - expected)
    ]
    found += [
        f"The trigger {name} on ledger.{table} is switched off or made conditional."
        for table, name, _, _, enabled, is_whole in rows
        if enabled not in ("O", "A") or not is_whole
    ]
    return found


def _about_functions(connection: Connection) -> list[str]:
    rows = connection.execute(
        "SELECT proname, prosrc, pg_get_userbyid(proowner), prosecdef, proconfig "
        "FROM pg_proc WHERE pronamespace = 'ledger'::regnamespace"
    ).fetchall()
    found = []
    bodies = function_bodies()
    counts = Counter(name for name, *_ in rows)
    for name in sorted(bodies.keys() | counts.keys()):
        if name not in bodies:
            found.append(f"The function ledger.{name} does not belong there.")
        elif counts[name] != 1:
            found.append(f"The function ledger.{name} exists {counts[name]} times.")
    for name, body, owner, is_definer, config in rows:
        if name not in bodies:
            continue
        if body != bodies[name]:
            found.append(f"The body of the function ledger.{name} has been changed.")
        if owner != OWNER:
            found.append(f"The function ledger.{name} belongs to {owner}, not to {OWNER}.")
        if is_definer != (name != "refuse") or config != ["search_path=pg_catalog, pg_temp"]:
            found.append(f"The function ledger.{name} runs with other rights or another path.")
    return found


def _about_grants(connection: Connection) -> list[str]:
    rows = connection.execute(
        "SELECT coalesce(r.rolname, 'PUBLIC'), o.name, a.privilege_type FROM ("
        "  SELECT relname AS name, relowner AS owner, relacl AS acl FROM pg_class "
        "  WHERE relnamespace = 'ledger'::regnamespace"
        "  UNION ALL SELECT proname, proowner, coalesce(proacl, acldefault('f', proowner)) "
        "  FROM pg_proc WHERE pronamespace = 'ledger'::regnamespace"
        "  UNION ALL SELECT c.relname || '.' || attname, c.relowner, attacl FROM pg_attribute "
        "  JOIN pg_class c ON c.oid = attrelid WHERE relnamespace = 'ledger'::regnamespace"
        ") AS o CROSS JOIN LATERAL aclexplode(o.acl) AS a "
        "LEFT JOIN pg_roles r ON r.oid = a.grantee WHERE a.grantee <> o.owner"
    ).fetchall()
    present = set(rows)
    found = [
        f"{role} may {privilege} ledger.{name}, which nobody was to."
        for role, name, privilege in sorted(present - _GRANTS)
    ]
    found += [
        f"{role} may no longer {privilege} ledger.{name}."
        for role, name, privilege in sorted(_GRANTS - present)
    ]
    creators = connection.execute(
        "SELECT coalesce(r.rolname, 'PUBLIC') FROM pg_namespace n "
        "CROSS JOIN LATERAL aclexplode(n.nspacl) AS a LEFT JOIN pg_roles r ON r.oid = a.grantee "
        "WHERE n.nspname = 'ledger' AND a.privilege_type = 'CREATE' AND a.grantee <> n.nspowner"
    )
    return found + [f"{role} may create objects in the ledger's schema." for (role,) in creators]


def _about_roles(connection: Connection) -> list[str]:
    rows = connection.execute(
        "SELECT rolname, rolsuper OR rolbypassrls OR rolcreaterole OR rolreplication, "
        "pg_has_role(oid, 'gh_owner', 'MEMBER') FROM pg_roles WHERE rolname = ANY(%s)",
        [_WORKING_ROLES],
    ).fetchall()
    found = []
    for role, is_powerful, is_owner in rows:
        if is_powerful:
            found.append(f"The role {role} has rights over the whole server.")
        elif is_owner:
            found.append(f"The role {role} may act as {OWNER}.")
    row = connection.execute("SELECT rolcanlogin FROM pg_roles WHERE rolname = %s", [OWNER])
    if row.fetchone() != (False,):
        found.append(f"Somebody can sign in as {OWNER}.")
    return found


def _about_months(connection: Connection, partitions: list[str]) -> list[str]:
    today = now()
    following = (today.year + today.month // 12, today.month % 12 + 1)
    if f"event_{following[0]}_{following[1]:02d}" in partitions:
        return []
    return ["There is no table for next month's events: is the sealer running?"]


@cache
def function_bodies() -> dict[str, str]:
    """Return the functions' bodies as the migration writes them."""
    return dict(_BODY.findall(_SCHEMA.read_text(encoding="utf-8")))
