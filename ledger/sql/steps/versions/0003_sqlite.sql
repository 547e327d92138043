-- Campaigns in production, on SQLite. Never edited: a change is a new step.

ALTER TABLE backtrail_campaigns ADD COLUMN settled JSON DEFAULT '{}' NOT NULL;
ALTER TABLE backtrail_batches ADD COLUMN wave INTEGER DEFAULT '0' NOT NULL;
DROP INDEX backtrail_unfinished;
CREATE INDEX backtrail_unfinished ON backtrail_batches (campaign, number) WHERE state <> 'done';

CREATE TABLE backtrail_rejected (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    at INTEGER NOT NULL,
    worker TEXT NOT NULL,
    fault TEXT NOT NULL,
    count INTEGER NOT NULL,
    size INTEGER,
    sample TEXT
);
