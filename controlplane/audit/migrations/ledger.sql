-- The ledger: an append-only log of events, ordered and signed by the sealer.
-- Everything belongs to gh_owner, which nobody can sign in as. The bodies of the functions are
-- compared with this file by `manage.py ledger_verify`.
SET LOCAL ROLE gh_owner;

CREATE TABLE ledger.log (
    origin text PRIMARY KEY,
    made_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    is_the_one boolean NOT NULL DEFAULT true UNIQUE CHECK (is_the_one)
);

CREATE TABLE ledger.event (
    seq bigint GENERATED ALWAYS AS IDENTITY,
    id uuid NOT NULL,
    at timestamptz NOT NULL,
    actor text NOT NULL,
    action text NOT NULL,
    object_type text NOT NULL,
    object_id text NOT NULL,
    workspace bigint,
    outcome text NOT NULL CHECK (outcome IN ('success', 'refused', 'failed')),
    payload text NOT NULL,
    leaf bytea NOT NULL CHECK (length(leaf) = 32),
    PRIMARY KEY (at, seq)
) PARTITION BY RANGE (at);
CREATE INDEX event_id ON ledger.event (id);
CREATE INDEX event_actor ON ledger.event (actor, at, id);
CREATE INDEX event_object ON ledger.event (object_type, object_id, at, id);
CREATE INDEX event_action ON ledger.event (action, at, id);
CREATE INDEX event_workspace ON ledger.event (workspace, at, id);
CREATE INDEX event_denied ON ledger.event (at, id) WHERE outcome <> 'success';

CREATE TABLE ledger.pending (
    event_id uuid PRIMARY KEY,
    at timestamptz NOT NULL
);

CREATE TABLE ledger.leaf (
    leaf_index bigint PRIMARY KEY CHECK (leaf_index >= 0),
    event_id uuid NOT NULL UNIQUE,
    event_at timestamptz NOT NULL,
    leaf_hash bytea NOT NULL CHECK (length(leaf_hash) = 32)
);

CREATE TABLE ledger.node (
    level smallint NOT NULL CHECK (level IN (8, 16)),
    idx bigint NOT NULL CHECK (idx >= 0),
    hash bytea NOT NULL CHECK (length(hash) = 32),
    PRIMARY KEY (level, idx)
);

CREATE TABLE ledger.checkpoint (
    tree_size bigint PRIMARY KEY CHECK (tree_size > 0),
    root bytea NOT NULL CHECK (length(root) = 32),
    note text NOT NULL,
    at timestamptz NOT NULL
);

CREATE TABLE ledger.anchor (
    tree_size bigint NOT NULL REFERENCES ledger.checkpoint,
    kind text NOT NULL,
    target text NOT NULL,
    state text NOT NULL,
    receipt text NOT NULL DEFAULT '',
    PRIMARY KEY (tree_size, kind, target)
);

CREATE TABLE ledger.personal (
    event_id uuid NOT NULL,
    path text NOT NULL,
    salt bytea NOT NULL CHECK (length(salt) = 16),
    value text NOT NULL,
    PRIMARY KEY (event_id, path)
);

CREATE FUNCTION ledger.refuse() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    RAISE EXCEPTION 'The ledger is only ever appended to: % on %.% is refused.',
        TG_OP, TG_TABLE_SCHEMA, TG_TABLE_NAME
        USING ERRCODE = 'insufficient_privilege';
END
$body$;

CREATE FUNCTION ledger.event_arrives() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    content jsonb := NEW.payload::jsonb;
BEGIN
    IF abs(extract(epoch FROM NEW.at - clock_timestamp())) > 60 THEN
        RAISE EXCEPTION 'The event says %, the clock of the database %: more than 60 s apart.',
            NEW.at, clock_timestamp()
            USING ERRCODE = 'check_violation';
    END IF;
    IF (content->>'id')::uuid IS DISTINCT FROM NEW.id
        OR (content->>'at')::timestamptz IS DISTINCT FROM NEW.at THEN
        RAISE EXCEPTION 'The event''s id and time are not those of its payload.'
            USING ERRCODE = 'check_violation';
    END IF;
    -- Copies for queries: they say what the payload says, whoever inserts.
    NEW.actor := content->'actor'->>'id';
    NEW.action := content->>'action';
    NEW.object_type := content->'object'->>'type';
    NEW.object_id := content->'object'->>'id';
    NEW.workspace := (content->>'workspace')::bigint;
    NEW.outcome := content->>'outcome';
    NEW.leaf := sha256('\x00'::bytea || convert_to(NEW.payload, 'UTF8'));
    INSERT INTO ledger.pending (event_id, at) VALUES (NEW.id, NEW.at);
    -- After the queue's own key: an id that is being sealed right now is waited for there.
    IF EXISTS (SELECT FROM ledger.leaf WHERE event_id = NEW.id) THEN
        RAISE EXCEPTION 'The event % is in the ledger already.', NEW.id
            USING ERRCODE = 'unique_violation';
    END IF;
    RETURN NEW;
END
$body$;

-- The one door for new events. `personal` is [{"path", "salt" (hex), "value" (canonical JSON)}].
CREATE FUNCTION ledger.audit_append(payload text, personal jsonb DEFAULT '[]') RETURNS uuid
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    content jsonb := payload::jsonb;
    new_id uuid := (content->>'id')::uuid;
    acting_role text := coalesce(nullif(current_setting('role'), 'none'), session_user);
BEGIN
    IF acting_role IN ('gh_node', 'gh_sealer') AND content->'actor'->>'kind' IS DISTINCT FROM 'system' THEN
        RAISE EXCEPTION 'The role % speaks for the product only.', acting_role
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF EXISTS (
        SELECT FROM jsonb_array_elements(personal) AS item
        WHERE content->(item->>'path')->>'commit' IS DISTINCT FROM encode(sha256(
            '\x02'::bytea || decode(item->>'salt', 'hex') || convert_to(item->>'value', 'UTF8')
        ), 'hex')
    ) THEN
        RAISE EXCEPTION 'A personal value does not match the event''s commitment.'
            USING ERRCODE = 'check_violation';
    END IF;
    INSERT INTO ledger.event (id, at, payload)
    VALUES (new_id, (content->>'at')::timestamptz, payload);
    INSERT INTO ledger.personal (event_id, path, salt, value)
    SELECT new_id, item->>'path', decode(item->>'salt', 'hex'), item->>'value'
    FROM jsonb_array_elements(personal) AS item;
    RETURN new_id;
END
$body$;

-- Make the partitions of this month and the next ones that are not there; return how many.
CREATE FUNCTION ledger.ensure_partitions(months_ahead integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    month timestamp;
    name text;
    made integer := 0;
BEGIN
    FOR month IN SELECT generate_series(
        date_trunc('month', (clock_timestamp() - interval '1 minute') AT TIME ZONE 'UTC'),
        date_trunc('month', clock_timestamp() AT TIME ZONE 'UTC') + make_interval(months => months_ahead),
        '1 month'
    ) LOOP
        name := 'event_' || to_char(month, 'YYYY_MM');
        CONTINUE WHEN to_regclass('ledger.' || name) IS NOT NULL;
        -- Made apart and attached: that does not wait for writers of the other months.
        EXECUTE format('CREATE TABLE ledger.%I (LIKE ledger.event INCLUDING CONSTRAINTS INCLUDING INDEXES)', name);
        EXECUTE format(
            'ALTER TABLE ledger.event ATTACH PARTITION ledger.%I FOR VALUES FROM (%L) TO (%L)',
            name, month AT TIME ZONE 'UTC', (month + interval '1 month') AT TIME ZONE 'UTC'
        );
        -- TRUNCATE triggers are not inherited, and a partition can be emptied by its own name.
        EXECUTE format(
            'CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON ledger.%I FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse()',
            name
        );
        made := made + 1;
    END LOOP;
    RETURN made;
END
$body$;

CREATE TRIGGER arrive BEFORE INSERT ON ledger.event
    FOR EACH ROW EXECUTE FUNCTION ledger.event_arrives();
CREATE TRIGGER refuse_change BEFORE UPDATE OR DELETE ON ledger.event
    FOR EACH ROW EXECUTE FUNCTION ledger.refuse();
CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON ledger.event
    FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse();
DO $do$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['leaf', 'node', 'checkpoint', 'log'] LOOP
        EXECUTE format(
            'CREATE TRIGGER refuse_change BEFORE UPDATE OR DELETE ON ledger.%I FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse()',
            name
        );
        EXECUTE format(
            'CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON ledger.%I FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse()',
            name
        );
    END LOOP;
END
$do$;
-- Personal values may be erased one by one, never changed and never emptied.
CREATE TRIGGER refuse_change BEFORE UPDATE ON ledger.personal
    FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse();
CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON ledger.personal
    FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse();

-- Nobody holds INSERT on event or personal: audit_append, which runs as the owner, does it.
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA ledger FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ledger.audit_append TO gh_app, gh_node, gh_sealer, gh_eraser;
GRANT EXECUTE ON FUNCTION ledger.ensure_partitions TO gh_sealer;
GRANT SELECT ON ledger.log, ledger.event, ledger.pending, ledger.leaf, ledger.node,
    ledger.checkpoint, ledger.anchor, ledger.personal TO gh_app, gh_auditor;
GRANT SELECT ON ledger.event, ledger.personal TO gh_eraser;
GRANT DELETE ON ledger.personal TO gh_eraser;
GRANT SELECT ON ledger.log, ledger.event, ledger.pending, ledger.leaf, ledger.node,
    ledger.checkpoint, ledger.anchor TO gh_sealer;
GRANT DELETE ON ledger.pending TO gh_sealer;
GRANT INSERT ON ledger.leaf, ledger.node, ledger.checkpoint, ledger.anchor TO gh_sealer;

SELECT ledger.ensure_partitions(3);
RESET ROLE;
