-- The first form of the ledger on PostgreSQL: its tables, and triggers that keep them append-only. Never edited: a change is a new step.

CREATE TABLE backtrail.campaigns (
    id BIGSERIAL NOT NULL,
    migration TEXT NOT NULL,
    source TEXT NOT NULL,
    kind TEXT NOT NULL,
    state TEXT NOT NULL,
    options JSON NOT NULL,
    params JSON NOT NULL,
    key_types JSON NOT NULL,
    fingerprint TEXT NOT NULL,
    total BIGINT NOT NULL,
    null_keys BIGINT NOT NULL,
    by TEXT NOT NULL,
    reason TEXT,
    halted TEXT,
    cursor JSON NOT NULL,
    fed BOOLEAN NOT NULL,
    opened_at BIGINT NOT NULL,
    started_at BIGINT,
    ended_at BIGINT,
    PRIMARY KEY (id)
);

CREATE TABLE backtrail.checkpoints (
    size BIGINT NOT NULL,
    signer TEXT NOT NULL,
    root BYTEA NOT NULL,
    note TEXT NOT NULL,
    at BIGINT NOT NULL,
    by TEXT NOT NULL,
    reason TEXT,
    PRIMARY KEY (size, signer)
);

CREATE TABLE backtrail.events (
    stream BIGINT NOT NULL,
    at BIGINT NOT NULL,
    ref BIGINT,
    version INTEGER NOT NULL,
    campaign INTEGER NOT NULL,
    shape INTEGER,
    kind TEXT NOT NULL,
    hash BYTEA NOT NULL,
    body BYTEA NOT NULL,
    PRIMARY KEY (stream, version)
);
CREATE INDEX backtrail_refs ON backtrail.events (ref) WHERE ref IS NOT NULL;

CREATE TABLE backtrail.leases (
    name TEXT NOT NULL,
    owner TEXT NOT NULL,
    until BIGINT NOT NULL,
    fence BIGINT NOT NULL,
    PRIMARY KEY (name)
);

CREATE TABLE backtrail.leaves (
    number BIGINT NOT NULL,
    stream BIGINT NOT NULL,
    migration TEXT NOT NULL,
    version INTEGER NOT NULL,
    head BYTEA NOT NULL,
    PRIMARY KEY (number),
    UNIQUE (stream, version)
);

CREATE TABLE backtrail.lookup (
    id INTEGER NOT NULL,
    secret BYTEA NOT NULL,
    master TEXT,
    PRIMARY KEY (id)
);

CREATE TABLE backtrail.nodes (
    level INTEGER NOT NULL,
    number BIGINT NOT NULL,
    hash BYTEA NOT NULL,
    PRIMARY KEY (level, number)
);

CREATE TABLE backtrail.recalls (
    migration TEXT NOT NULL,
    key TEXT NOT NULL,
    label TEXT NOT NULL,
    digest TEXT NOT NULL,
    result JSON NOT NULL,
    PRIMARY KEY (migration, key, label, digest)
);

CREATE TABLE backtrail.shapes (
    id SERIAL NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (id),
    UNIQUE (body)
);

CREATE TABLE backtrail.streams (
    id BIGSERIAL NOT NULL,
    migration TEXT NOT NULL,
    key TEXT NOT NULL,
    version INTEGER NOT NULL,
    campaign INTEGER NOT NULL,
    head BYTEA NOT NULL,
    secret BYTEA NOT NULL,
    state TEXT NOT NULL,
    failed BOOLEAN NOT NULL,
    subject TEXT,
    name BYTEA,
    origin BYTEA,
    PRIMARY KEY (id),
    UNIQUE (migration, key)
);
CREATE INDEX backtrail_failed ON backtrail.streams (migration, key) WHERE failed;
CREATE INDEX backtrail_subjects ON backtrail.streams (subject) WHERE subject IS NOT NULL;

CREATE TABLE backtrail.workers (
    id TEXT NOT NULL,
    seen_at BIGINT NOT NULL,
    info JSON NOT NULL,
    PRIMARY KEY (id)
);

CREATE TABLE backtrail_keys.subjects (
    subject TEXT NOT NULL,
    secret BYTEA NOT NULL,
    master TEXT NOT NULL,
    PRIMARY KEY (subject)
);

CREATE TABLE backtrail.batches (
    campaign BIGINT NOT NULL,
    number INTEGER NOT NULL,
    keys JSON NOT NULL,
    size INTEGER NOT NULL,
    state TEXT NOT NULL,
    attempts INTEGER DEFAULT '0' NOT NULL,
    sent_at BIGINT,
    done_at BIGINT,
    note TEXT,
    migrated INTEGER DEFAULT '0' NOT NULL,
    rolled_back INTEGER DEFAULT '0' NOT NULL,
    skipped INTEGER DEFAULT '0' NOT NULL,
    failed INTEGER DEFAULT '0' NOT NULL,
    conflicts INTEGER DEFAULT '0' NOT NULL,
    unmapped INTEGER DEFAULT '0' NOT NULL,
    PRIMARY KEY (campaign, number),
    FOREIGN KEY(campaign) REFERENCES backtrail.campaigns (id)
);
CREATE INDEX backtrail_unfinished ON backtrail.batches (campaign, state) WHERE state <> 'done';

CREATE FUNCTION backtrail.append_only() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF TG_OP = 'UPDATE' AND TG_TABLE_NAME = 'events' THEN
    -- An erasure puts in place of what can be read what stands for it in the hash, and changes nothing else.
    IF get_byte(OLD.body, 0) = 1 AND NEW.ref IS NULL
       AND NEW.body = '\x00'::bytea || sha256((SELECT secret FROM backtrail.streams WHERE id = OLD.stream) || OLD.body)
       AND (NEW.stream, NEW.at, NEW.version, NEW.campaign, NEW.kind, NEW.hash) = (OLD.stream, OLD.at, OLD.version, OLD.campaign, OLD.kind, OLD.hash)
       AND NEW.shape IS NOT DISTINCT FROM OLD.shape THEN
      RETURN NEW;
    END IF;
  END IF;
  RAISE EXCEPTION 'the ledger is append-only: % on % is refused', TG_OP, TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END $$;

-- Both kinds, and ALWAYS: TRUNCATE passes row triggers by, and session_replication_role = replica all ordinary ones.
CREATE TRIGGER append_only_rows BEFORE UPDATE OR DELETE ON backtrail.events
    FOR EACH ROW EXECUTE FUNCTION backtrail.append_only();
ALTER TABLE backtrail.events ENABLE ALWAYS TRIGGER append_only_rows;
CREATE TRIGGER append_only_whole BEFORE TRUNCATE ON backtrail.events
    FOR EACH STATEMENT EXECUTE FUNCTION backtrail.append_only();
ALTER TABLE backtrail.events ENABLE ALWAYS TRIGGER append_only_whole;

CREATE TRIGGER append_only_rows BEFORE UPDATE OR DELETE ON backtrail.shapes
    FOR EACH ROW EXECUTE FUNCTION backtrail.append_only();
ALTER TABLE backtrail.shapes ENABLE ALWAYS TRIGGER append_only_rows;
CREATE TRIGGER append_only_whole BEFORE TRUNCATE ON backtrail.shapes
    FOR EACH STATEMENT EXECUTE FUNCTION backtrail.append_only();
ALTER TABLE backtrail.shapes ENABLE ALWAYS TRIGGER append_only_whole;

CREATE TRIGGER append_only_rows BEFORE UPDATE OR DELETE ON backtrail.leaves
    FOR EACH ROW EXECUTE FUNCTION backtrail.append_only();
ALTER TABLE backtrail.leaves ENABLE ALWAYS TRIGGER append_only_rows;
CREATE TRIGGER append_only_whole BEFORE TRUNCATE ON backtrail.leaves
    FOR EACH STATEMENT EXECUTE FUNCTION backtrail.append_only();
ALTER TABLE backtrail.leaves ENABLE ALWAYS TRIGGER append_only_whole;

CREATE TRIGGER append_only_rows BEFORE UPDATE OR DELETE ON backtrail.nodes
    FOR EACH ROW EXECUTE FUNCTION backtrail.append_only();
ALTER TABLE backtrail.nodes ENABLE ALWAYS TRIGGER append_only_rows;
CREATE TRIGGER append_only_whole BEFORE TRUNCATE ON backtrail.nodes
    FOR EACH STATEMENT EXECUTE FUNCTION backtrail.append_only();
ALTER TABLE backtrail.nodes ENABLE ALWAYS TRIGGER append_only_whole;

CREATE TRIGGER append_only_rows BEFORE UPDATE OR DELETE ON backtrail.checkpoints
    FOR EACH ROW EXECUTE FUNCTION backtrail.append_only();
ALTER TABLE backtrail.checkpoints ENABLE ALWAYS TRIGGER append_only_rows;
CREATE TRIGGER append_only_whole BEFORE TRUNCATE ON backtrail.checkpoints
    FOR EACH STATEMENT EXECUTE FUNCTION backtrail.append_only();
ALTER TABLE backtrail.checkpoints ENABLE ALWAYS TRIGGER append_only_whole;
