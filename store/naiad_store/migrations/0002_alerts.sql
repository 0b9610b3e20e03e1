-- What an alert says and to whom, so that it can be sent again after a restart, and what
-- came of each sending, in a table of its own: the rules write one, deliveries the other,
-- and neither can overwrite what the other knows.

ALTER TABLE alerts
    ADD COLUMN IF NOT EXISTS severity LowCardinality(String) AFTER rule,
    ADD COLUMN IF NOT EXISTS experiment String AFTER run_id,
    -- The silent writer; empty for rules about a metric.
    ADD COLUMN IF NOT EXISTS writer_id String AFTER path,
    -- The point that raised it; NULL for rules about a writer.
    ADD COLUMN IF NOT EXISTS step Nullable(Decimal64(6)) AFTER writer_id,
    ADD COLUMN IF NOT EXISTS value Nullable(Float64) AFTER step,
    -- 1970 while it is open.
    ADD COLUMN IF NOT EXISTS resolved_at DateTime64(3, 'UTC') AFTER raised_at,
    -- Sinks that were configured when it was raised.
    ADD COLUMN IF NOT EXISTS sinks Array(String) AFTER resolved_at,
    -- Where its last change stands in the log and in its writer's spool: what is no news
    -- in a replay.
    ADD COLUMN IF NOT EXISTS log_partition Int32 AFTER open,
    ADD COLUMN IF NOT EXISTS log_offset Int64 AFTER log_partition,
    ADD COLUMN IF NOT EXISTS source String AFTER log_offset,
    ADD COLUMN IF NOT EXISTS record UInt64 AFTER source,
    DROP COLUMN IF EXISTS delivered;

CREATE TABLE IF NOT EXISTS alert_deliveries
(
    project LowCardinality(String),
    occurrence String,
    -- firing, resolved
    event LowCardinality(String),
    sink LowCardinality(String),
    -- delivered, refused
    outcome LowCardinality(String),
    attempts UInt32,
    -- Why it was refused.
    detail String,
    at DateTime64(3, 'UTC'),
    row_version UInt64
)
ENGINE = ReplacingMergeTree(row_version)
ORDER BY (project, occurrence, event, sink)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;
