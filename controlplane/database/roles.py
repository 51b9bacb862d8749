"""Who may do what in PostgreSQL, as SQL that a database administrator can read and run.

The ledger's tables carry their own grants, in the migration that makes them; here stand the
roles, the schemas and what every table of a schema is opened to.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

OWNER = "gh_owner"
MIGRATE = "gh_migrate"
APP = "gh_app"
LOGIN_ROLES = (MIGRATE, APP, "gh_sealer", "gh_auditor", "gh_eraser", "gh_node")
ALL_ROLES = (OWNER, *LOGIN_ROLES)
_SCHEMA_OWNERS = {"ledger": OWNER, "mlflow": MIGRATE, "optuna": MIGRATE}


def roles_sql(*, passwords: Mapping[str, str] | None = None, login: str | None = None) -> str:
    """Return statements that make the roles and schemas; running them twice changes nothing.

    ``passwords`` are set for the roles named in it; the others keep theirs, or have none and
    cannot sign in over a password. ``login`` is an existing login that takes the roles on with
    ``-c role=`` where no login of their own is configured.
    """
    parts = [_HEAD, *map(_make_role, ALL_ROLES)]
    for role, password in (passwords or {}).items():
        parts.append(f"ALTER ROLE {_identifier(role)} PASSWORD {_literal(password)};")
    # Handing a schema to a role, and setting its default privileges, takes membership in it.
    parts.append(f"GRANT {OWNER}, {MIGRATE} TO CURRENT_USER;")
    parts.append(f"GRANT {OWNER} TO {MIGRATE};")
    if login and login not in LOGIN_ROLES:
        parts.append(f"GRANT {', '.join(LOGIN_ROLES)} TO {_identifier(login)};")
    parts.append(_DATABASE)
    for schema, owner in _SCHEMA_OWNERS.items():
        parts.append(f"CREATE SCHEMA IF NOT EXISTS {schema} AUTHORIZATION {owner};")
    parts.append(_SCHEMAS)
    parts.extend(_open_to_application(schema) for schema in ("public", "mlflow", "optuna"))
    return "\n".join(parts) + "\n"


def missing_roles(present: Collection[str]) -> list[str]:
    """Return the roles that the product needs and that are not among those present."""
    return [role for role in ALL_ROLES if role not in present]


def sentence_about_missing(roles: Collection[str]) -> str:
    """Return what to tell the operator, naming the remedy."""
    return (
        f"The database lacks the role{'s' if len(roles) > 1 else ''} {', '.join(roles)}. Let a "
        "database administrator run the output of `manage.py database_roles --sql` once in this "
        "database."
    )


def _make_role(role: str) -> str:
    may_login = "NOLOGIN" if role == OWNER else "LOGIN"
    return (
        f"DO $do$ BEGIN CREATE ROLE {role} {may_login}; "
        "EXCEPTION WHEN duplicate_object THEN NULL; END $do$;"
    )


def _open_to_application(schema: str) -> str:
    what = (
        ("SELECT, INSERT, UPDATE, DELETE", "TABLES"),
        ("USAGE, SELECT", "SEQUENCES"),
    )
    lines = [f"GRANT USAGE ON SCHEMA {schema} TO {APP};"]
    for rights, kind in what:
        lines.append(f"GRANT {rights} ON ALL {kind} IN SCHEMA {schema} TO {APP};")
        lines.append(
            f"ALTER DEFAULT PRIVILEGES FOR ROLE {MIGRATE} IN SCHEMA {schema} "
            f"GRANT {rights} ON {kind} TO {APP};"
        )
    return "\n".join(lines)


def _identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


_HEAD = """\
-- Gatehouse: roles and schemas. Run once, in Gatehouse's database, by an administrator.
SET client_min_messages = warning;"""

# Only our roles may enter; being one of them opens nothing that is not granted below.
_DATABASE = f"""\
DO $do$ BEGIN
  EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database());
  EXECUTE format('GRANT CONNECT ON DATABASE %I TO {", ".join(LOGIN_ROLES)}', current_database());
END $do$;
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
GRANT USAGE, CREATE ON SCHEMA public TO {MIGRATE};"""

_SCHEMAS = """\
GRANT USAGE ON SCHEMA ledger TO gh_app, gh_sealer, gh_auditor, gh_eraser, gh_node;
GRANT USAGE ON SCHEMA public TO gh_sealer, gh_auditor, gh_eraser, gh_node;"""
