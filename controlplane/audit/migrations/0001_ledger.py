"""Make the ledger as its owner, and give this installation's log its name."""

import secrets
from pathlib import Path

from django.conf import settings
from django.core.management.base import CommandError
from django.db import migrations, models

from controlplane.database.roles import ALL_ROLES, missing_roles, sentence_about_missing


def require_roles(apps, schema_editor):
    with schema_editor.connection.cursor() as cursor:
        cursor.execute("SELECT rolname FROM pg_roles WHERE rolname = ANY(%s)", [list(ALL_ROLES)])
        missing = missing_roles([name for (name,) in cursor.fetchall()])
    if missing:
        raise CommandError(sentence_about_missing(missing))


def name_the_log(apps, schema_editor):
    origin = f"{settings.LEDGER_HOST}/{secrets.token_hex(8)}"
    with schema_editor.connection.cursor() as cursor:
        cursor.execute("SET LOCAL ROLE gh_owner")
        cursor.execute("INSERT INTO ledger.log (origin) VALUES (%s)", [origin])
        cursor.execute("RESET ROLE")


def unmanaged(table):
    return {"db_table": f'"ledger"."{table}"', "managed": False, "default_permissions": ()}


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.RunPython(require_roles, migrations.RunPython.noop),
        # Without a way back: a ledger that can be migrated away is none.
        migrations.RunSQL(Path(__file__).with_name("ledger.sql").read_text(encoding="utf-8")),
        migrations.RunPython(name_the_log),
        migrations.CreateModel(
            name="Event",
            fields=[
                ("id", models.UUIDField(primary_key=True, serialize=False)),
                ("at", models.DateTimeField()),
                ("actor", models.TextField()),
                ("action", models.TextField()),
                ("object_type", models.TextField()),
                ("object_id", models.TextField()),
                ("workspace", models.BigIntegerField(null=True)),
                (
                    "outcome",
                    models.TextField(
                        choices=[
                            ("success", "Success"),
                            ("refused", "Refused"),
                            ("failed", "Failed"),
                        ]
                    ),
                ),
                ("payload", models.TextField()),
                ("leaf", models.BinaryField()),
            ],
            options=unmanaged("event"),
        ),
        migrations.CreateModel(
            name="Pending",
            fields=[
                ("event_id", models.UUIDField(primary_key=True, serialize=False)),
                ("at", models.DateTimeField()),
            ],
            options=unmanaged("pending"),
        ),
        migrations.CreateModel(
            name="Leaf",
            fields=[
                ("leaf_index", models.BigIntegerField(primary_key=True, serialize=False)),
                ("event_id", models.UUIDField(unique=True)),
                ("event_at", models.DateTimeField()),
                ("leaf_hash", models.BinaryField()),
            ],
            options=unmanaged("leaf"),
        ),
        migrations.CreateModel(
            name="Checkpoint",
            fields=[
                ("tree_size", models.BigIntegerField(primary_key=True, serialize=False)),
                ("root", models.BinaryField()),
                ("note", models.TextField()),
                ("at", models.DateTimeField()),
            ],
            options=unmanaged("checkpoint"),
        ),
        migrations.CreateModel(
            name="PersonalValue",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "event_id",
                        "path",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("event_id", models.UUIDField()),
                ("path", models.TextField()),
                ("salt", models.BinaryField()),
                ("value", models.TextField()),
            ],
            options=unmanaged("personal"),
        ),
        migrations.CreateModel(
            name="RepeatedRefusal",
            fields=[
                ("key", models.CharField(max_length=64, primary_key=True, serialize=False)),
                ("started_at", models.DateTimeField()),
                ("repeats", models.PositiveIntegerField(default=0)),
                ("payload", models.JSONField()),
            ],
            options={
                "default_permissions": (),
                "indexes": [
                    models.Index(fields=["started_at"], name="repeated_refusal_started")
                ],
            },
        ),
    ]
