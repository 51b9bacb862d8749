"""What the database itself enforces: revisions stay as they were, nodes see only what they need."""

from django.db import migrations

APPEND_ONLY = """
CREATE FUNCTION deployments_keep_revision() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        RAISE EXCEPTION 'A deployment revision is never deleted.';
    END IF;
    -- Its end, and the snapshot it went out with, become known once and later.
    IF (OLD.valid_to IS NOT NULL AND NEW.valid_to IS DISTINCT FROM OLD.valid_to)
       OR (OLD.routing_revision <> 0 AND NEW.routing_revision <> OLD.routing_revision)
       OR (to_jsonb(NEW) - 'valid_to' - 'routing_revision')
          IS DISTINCT FROM (to_jsonb(OLD) - 'valid_to' - 'routing_revision') THEN
        RAISE EXCEPTION 'A deployment revision is never changed; append a new one.';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER deployments_keep_revision BEFORE UPDATE OR DELETE
    ON deployments_deploymentrevision FOR EACH ROW EXECUTE FUNCTION deployments_keep_revision();
"""

NODE_GRANTS = """
GRANT USAGE ON SCHEMA public TO gh_node;
GRANT SELECT ON deployments_routingsnapshot TO gh_node;
GRANT INSERT, SELECT ON deployments_gatewayack, deployments_nodeheartbeat, deployments_armstatus,
    deployments_prediction TO gh_node;
GRANT USAGE ON SEQUENCE deployments_gatewayack_id_seq, deployments_nodeheartbeat_id_seq,
    deployments_armstatus_id_seq TO gh_node;
"""


class Migration(migrations.Migration):
    dependencies = [("deployments", "0001_initial")]

    operations = [
        migrations.RunSQL(
            APPEND_ONLY,
            "DROP TRIGGER deployments_keep_revision ON deployments_deploymentrevision;"
            "DROP FUNCTION deployments_keep_revision();",
        ),
        migrations.RunSQL(NODE_GRANTS, migrations.RunSQL.noop),
    ]
