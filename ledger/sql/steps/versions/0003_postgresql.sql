-- Campaigns in production, on PostgreSQL. Never edited: a change is a new step.

ALTER TABLE backtrail.campaigns ADD COLUMN settled JSON DEFAULT '{}' NOT NULL;
ALTER TABLE backtrail.batches ADD COLUMN wave INTEGER DEFAULT '0' NOT NULL;
DROP INDEX backtrail.backtrail_unfinished;
CREATE INDEX backtrail_unfinished ON backtrail.batches (campaign, number) WHERE state <> 'done';

CREATE TABLE backtrail.rejected (
    id BIGSERIAL NOT NULL,
    at BIGINT NOT NULL,
    worker TEXT NOT NULL,
    fault TEXT NOT NULL,
    count BIGINT NOT NULL,
    size BIGINT,
    sample TEXT,
    PRIMARY KEY (id)
);
