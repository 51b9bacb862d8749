"""What the database itself enforces: what was sealed, found or said is never rewritten."""

from django.db import migrations

# Columns that may still change once the row is sealed. Everything else raises.
MAY_CHANGE = {
    "registry_evidence": (),
    "registry_review": ("superseded_at",),
    "registry_policy": ("state",),
}
SEALED = {
    "registry_modelversion": (
        "manifest", "manifest_sha256", "size_bytes", "signature", "flavours", "lock_sha256",
        "run_id", "logged_model_id", "source", "registrant_id", "contributors", "sealed_at",
        "model_id", "number",
    ),
    "registry_datasetversion": (
        "digest", "size_bytes", "row_count", "schema", "profile", "dataset_id", "number",
        "sealed_at",
    ),
}


def _append_only(table: str, columns: tuple[str, ...]) -> str:
    free = "".join(f" - '{column}'" for column in columns)
    return f"""
CREATE FUNCTION {table}_keep() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        RAISE EXCEPTION 'A row of {table} is never deleted.';
    END IF;
    IF (to_jsonb(NEW){free}) IS DISTINCT FROM (to_jsonb(OLD){free}) THEN
        RAISE EXCEPTION 'A row of {table} is never changed; add a new one.';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER {table}_keep BEFORE UPDATE OR DELETE ON {table}
    FOR EACH ROW EXECUTE FUNCTION {table}_keep();
"""


def _sealed(table: str, columns: tuple[str, ...]) -> str:
    old = ", ".join(f"OLD.{column}" for column in columns)
    new = ", ".join(f"NEW.{column}" for column in columns)
    return f"""
CREATE FUNCTION {table}_keep() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.sealed_at IS NULL THEN
        RETURN CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
    END IF;
    IF TG_OP = 'DELETE' THEN
        RAISE EXCEPTION 'A sealed row of {table} is never deleted.';
    END IF;
    IF ({new}) IS DISTINCT FROM ({old}) THEN
        RAISE EXCEPTION 'What is sealed in {table} is never changed.';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER {table}_keep BEFORE UPDATE OR DELETE ON {table}
    FOR EACH ROW EXECUTE FUNCTION {table}_keep();
"""


def _drop(table: str) -> str:
    return f"DROP TRIGGER {table}_keep ON {table}; DROP FUNCTION {table}_keep();"


class Migration(migrations.Migration):
    dependencies = [("registry", "0001_initial")]

    operations = [
        *(migrations.RunSQL(_append_only(*item), _drop(item[0])) for item in MAY_CHANGE.items()),
        *(migrations.RunSQL(_sealed(*item), _drop(item[0])) for item in SEALED.items()),
    ]
