-- The first form of the ledger on SQLite: its tables, and triggers that keep them append-only. Never edited: a change is a new step.

CREATE TABLE backtrail_campaigns (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    migration TEXT NOT NULL,
    source TEXT NOT NULL,
    kind TEXT NOT NULL,
    state TEXT NOT NULL,
    options JSON NOT NULL,
    params JSON NOT NULL,
    key_types JSON NOT NULL,
    fingerprint TEXT NOT NULL,
    total INTEGER NOT NULL,
    null_keys INTEGER NOT NULL,
    "by" TEXT NOT NULL,
    reason TEXT,
    halted TEXT,
    cursor JSON NOT NULL,
    fed BOOLEAN NOT NULL,
    opened_at INTEGER NOT NULL,
    started_at INTEGER,
    ended_at INTEGER
);

CREATE TABLE backtrail_checkpoints (
    size INTEGER NOT NULL,
    signer TEXT NOT NULL,
    root BLOB NOT NULL,
    note TEXT NOT NULL,
    at INTEGER NOT NULL,
    "by" TEXT NOT NULL,
    reason TEXT,
    PRIMARY KEY (size, signer)
);

CREATE TABLE backtrail_events (
    stream INTEGER NOT NULL,
    at INTEGER NOT NULL,
    ref INTEGER,
    version INTEGER NOT NULL,
    campaign INTEGER NOT NULL,
    shape INTEGER,
    kind TEXT NOT NULL,
    hash BLOB NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (stream, version)
);
CREATE INDEX backtrail_refs ON backtrail_events (ref) WHERE ref IS NOT NULL;

CREATE TABLE backtrail_keys (
    subject TEXT NOT NULL,
    secret BLOB NOT NULL,
    master TEXT NOT NULL,
    PRIMARY KEY (subject)
);

CREATE TABLE backtrail_leases (
    name TEXT NOT NULL,
    owner TEXT NOT NULL,
    until INTEGER NOT NULL,
    fence INTEGER NOT NULL,
    PRIMARY KEY (name)
);

CREATE TABLE backtrail_leaves (
    number INTEGER NOT NULL,
    stream INTEGER NOT NULL,
    migration TEXT NOT NULL,
    version INTEGER NOT NULL,
    head BLOB NOT NULL,
    PRIMARY KEY (number),
    UNIQUE (stream, version)
);

CREATE TABLE backtrail_lookup (
    id INTEGER NOT NULL,
    secret BLOB NOT NULL,
    master TEXT,
    PRIMARY KEY (id)
);

CREATE TABLE backtrail_nodes (
    level INTEGER NOT NULL,
    number INTEGER NOT NULL,
    hash BLOB NOT NULL,
    PRIMARY KEY (level, number)
);

CREATE TABLE backtrail_recalls (
    migration TEXT NOT NULL,
    "key" TEXT NOT NULL,
    label TEXT NOT NULL,
    digest TEXT NOT NULL,
    result JSON NOT NULL,
    PRIMARY KEY (migration, "key", label, digest)
);

CREATE TABLE backtrail_shapes (
    id INTEGER NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (id),
    UNIQUE (body)
);

CREATE TABLE backtrail_streams (
    id INTEGER NOT NULL,
    migration TEXT NOT NULL,
    "key" TEXT NOT NULL,
    version INTEGER NOT NULL,
    campaign INTEGER NOT NULL,
    head BLOB NOT NULL,
    secret BLOB NOT NULL,
    state TEXT NOT NULL,
    failed BOOLEAN NOT NULL,
    subject TEXT,
    name BLOB,
    origin BLOB,
    PRIMARY KEY (id),
    UNIQUE (migration, "key")
);
CREATE INDEX backtrail_failed ON backtrail_streams (migration, "key") WHERE failed;
CREATE INDEX backtrail_subjects ON backtrail_streams (subject) WHERE subject IS NOT NULL;

CREATE TABLE backtrail_workers (
    id TEXT NOT NULL,
    seen_at INTEGER NOT NULL,
    info JSON NOT NULL,
    PRIMARY KEY (id)
);

CREATE TABLE backtrail_batches (
    campaign INTEGER NOT NULL,
    number INTEGER NOT NULL,
    keys JSON NOT NULL,
    size INTEGER NOT NULL,
    state TEXT NOT NULL,
    attempts INTEGER DEFAULT '0' NOT NULL,
    sent_at INTEGER,
    done_at INTEGER,
    note TEXT,
    migrated INTEGER DEFAULT '0' NOT NULL,
    rolled_back INTEGER DEFAULT '0' NOT NULL,
    skipped INTEGER DEFAULT '0' NOT NULL,
    failed INTEGER DEFAULT '0' NOT NULL,
    conflicts INTEGER DEFAULT '0' NOT NULL,
    unmapped INTEGER DEFAULT '0' NOT NULL,
    PRIMARY KEY (campaign, number),
    FOREIGN KEY(campaign) REFERENCES backtrail_campaigns (id)
);
CREATE INDEX backtrail_unfinished ON backtrail_batches (campaign, state) WHERE state <> 'done';

-- An erasure puts in place of what can be read what stands for it in the hash, and changes nothing else. SQLite cannot compute the hash,
-- but that nothing else changes it can see.
CREATE TRIGGER backtrail_events_no_update BEFORE UPDATE ON backtrail_events
    WHEN NOT (
        substr(OLD.body, 1, 1) = x'01' AND substr(NEW.body, 1, 1) = x'00' AND length(NEW.body) = 33 AND NEW.ref IS NULL
        AND NEW.stream IS OLD.stream AND NEW.at IS OLD.at AND NEW.version IS OLD.version AND NEW.campaign IS OLD.campaign AND NEW.kind IS OLD.kind
        AND NEW.hash IS OLD.hash AND NEW.shape IS OLD.shape AND NEW.rowid IS OLD.rowid
    )
    BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER backtrail_events_no_delete BEFORE DELETE ON backtrail_events
    BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
-- INSERT OR REPLACE deletes without firing the delete trigger, so an existing key is refused on the way in: any unique one, the rowid too.
CREATE TRIGGER backtrail_events_no_replace BEFORE INSERT ON backtrail_events
    WHEN EXISTS (SELECT 1 FROM backtrail_events WHERE stream = NEW.stream AND version = NEW.version OR rowid = NEW.rowid)
    BEGIN SELECT RAISE(ABORT, 'the ledger is append-only: it exists already'); END;

CREATE TRIGGER backtrail_shapes_no_update BEFORE UPDATE ON backtrail_shapes
    BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER backtrail_shapes_no_delete BEFORE DELETE ON backtrail_shapes
    BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;

CREATE TRIGGER backtrail_shapes_no_replace BEFORE INSERT ON backtrail_shapes
    WHEN EXISTS (SELECT 1 FROM backtrail_shapes WHERE id = NEW.id OR body = NEW.body OR rowid = NEW.rowid)
    BEGIN SELECT RAISE(ABORT, 'the ledger is append-only: it exists already'); END;

CREATE TRIGGER backtrail_leaves_no_update BEFORE UPDATE ON backtrail_leaves
    BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER backtrail_leaves_no_delete BEFORE DELETE ON backtrail_leaves
    BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;

CREATE TRIGGER backtrail_leaves_no_replace BEFORE INSERT ON backtrail_leaves
    WHEN EXISTS (SELECT 1 FROM backtrail_leaves WHERE number = NEW.number OR stream = NEW.stream AND version = NEW.version OR rowid = NEW.rowid)
    BEGIN SELECT RAISE(ABORT, 'the ledger is append-only: it exists already'); END;

CREATE TRIGGER backtrail_nodes_no_update BEFORE UPDATE ON backtrail_nodes
    BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER backtrail_nodes_no_delete BEFORE DELETE ON backtrail_nodes
    BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;

CREATE TRIGGER backtrail_nodes_no_replace BEFORE INSERT ON backtrail_nodes
    WHEN EXISTS (SELECT 1 FROM backtrail_nodes WHERE level = NEW.level AND number = NEW.number OR rowid = NEW.rowid)
    BEGIN SELECT RAISE(ABORT, 'the ledger is append-only: it exists already'); END;

CREATE TRIGGER backtrail_checkpoints_no_update BEFORE UPDATE ON backtrail_checkpoints
    BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER backtrail_checkpoints_no_delete BEFORE DELETE ON backtrail_checkpoints
    BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;

CREATE TRIGGER backtrail_checkpoints_no_replace BEFORE INSERT ON backtrail_checkpoints
    WHEN EXISTS (SELECT 1 FROM backtrail_checkpoints WHERE size = NEW.size AND signer = NEW.signer OR rowid = NEW.rowid)
    BEGIN SELECT RAISE(ABORT, 'the ledger is append-only: it exists already'); END;
