-- Tables of the records that writers send. Every statement can be run again.
--
-- Rows commute: of two rows with the same ORDER BY key the higher `version` stays
-- (naiad_proto.versions), whichever was inserted first and however often.
-- Inserts are synced before they return, since offsets of the log are committed on them.
-- `run` is a 64-bit key (naiad_store.keys); names are joined back from `runs`.

-- The facts of a run's birth. The *lowest* version wins, hence `priority`: the
-- complement of the version; 0 for the placeholder that stands until the creation
-- itself arrives.
CREATE TABLE IF NOT EXISTS runs
(
    project LowCardinality(String),
    run_id String,
    incarnation UInt32,
    run UInt64,
    created_at DateTime64(3, 'UTC'),
    -- Version of the creation: the head of an experiment is its highest.
    version UInt128,
    owner LowCardinality(String),
    fork_run_id String,
    fork_step Decimal64(6),
    inherit_configs UInt8,
    priority UInt128
)
ENGINE = ReplacingMergeTree(priority)
ORDER BY (project, run_id, incarnation)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

-- One row per spool, written whole by the partition's owner; `row_version` ascends.
CREATE TABLE IF NOT EXISTS writers
(
    project LowCardinality(String),
    run UInt64,
    writer_id String,
    epoch UInt64,
    host LowCardinality(String),
    pid UInt32,
    -- running, finished, stopped, failed, killed
    state LowCardinality(String),
    state_version UInt128,
    reason String,
    started_at DateTime64(3, 'UTC'),
    -- When the end was said; 1970 while it runs.
    ended_at DateTime64(3, 'UTC'),
    -- When ingest last took a batch or heartbeat of it.
    last_seen_at DateTime64(3, 'UTC'),
    -- Record numbers stored: ascending, disjoint, not touching.
    stored Array(Tuple(UInt64, UInt64)),
    points UInt64,
    rejected UInt64,
    row_version UInt64
)
ENGINE = ReplacingMergeTree(row_version)
ORDER BY (project, run, writer_id)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS points
(
    project LowCardinality(String),
    path LowCardinality(String),
    run UInt64,
    step Decimal64(6) CODEC(DoubleDelta, ZSTD(1)),
    ts DateTime64(3, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    value Float64 CODEC(ZSTD(1)),
    -- 1 for a committed point; a preview's own completion, 0 to 1.
    completion Float64 CODEC(ZSTD(1)),
    -- Its highest bit says committed.
    version UInt128 CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree(version)
ORDER BY (project, path, run, step)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS string_points
(
    project LowCardinality(String),
    path LowCardinality(String),
    run UInt64,
    step Decimal64(6) CODEC(DoubleDelta, ZSTD(1)),
    ts DateTime64(3, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    value String CODEC(ZSTD(3)),
    version UInt128 CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree(version)
ORDER BY (project, path, run, step)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS histogram_points
(
    project LowCardinality(String),
    path LowCardinality(String),
    run UInt64,
    step Decimal64(6) CODEC(DoubleDelta, ZSTD(1)),
    ts DateTime64(3, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    -- COUNTING or DENSITY
    kind LowCardinality(String),
    edges Array(Float64) CODEC(ZSTD(1)),
    bins Array(Float64) CODEC(ZSTD(1)),
    version UInt128 CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree(version)
ORDER BY (project, path, run, step)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS file_points
(
    project LowCardinality(String),
    path LowCardinality(String),
    run UInt64,
    step Decimal64(6) CODEC(DoubleDelta, ZSTD(1)),
    ts DateTime64(3, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    file Tuple(key String, name String, size_bytes UInt64, mime_type String, sha256 String),
    version UInt128 CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree(version)
ORDER BY (project, path, run, step)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

-- Single values. `type` is part of the key: int, float, string, bool, datetime, file.
CREATE TABLE IF NOT EXISTS attributes
(
    project LowCardinality(String),
    path LowCardinality(String),
    type LowCardinality(String),
    run UInt64,
    -- int and float values as a number, bool as 0 or 1, datetime as seconds: what
    -- comparisons and sorting use.
    number Float64,
    -- Exact for int, bool (0, 1) and datetime (milliseconds).
    integer Int64,
    text String,
    file Tuple(key String, name String, size_bytes UInt64, mime_type String, sha256 String),
    ts DateTime64(3, 'UTC'),
    version UInt128
)
ENGINE = ReplacingMergeTree(version)
ORDER BY (project, path, type, run)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

-- String sets, a row per element, so that concurrent adds merge.
CREATE TABLE IF NOT EXISTS string_sets
(
    project LowCardinality(String),
    path LowCardinality(String),
    run UInt64,
    element String,
    present UInt8,
    ts DateTime64(3, 'UTC'),
    version UInt128
)
ENGINE = ReplacingMergeTree(version)
ORDER BY (project, path, run, element)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

-- Which series there are, with the last point of each: of all its rows the one with the
-- greatest (committed, step, version), which `rank` spells as one number. So a replay changes
-- nothing, and a preview is the last value only of a series that has nothing else. `type` is
-- float_series, string_series, histogram_series or file_series; the values of the latter two
-- are in their own tables.
CREATE TABLE IF NOT EXISTS series
(
    project LowCardinality(String),
    path LowCardinality(String),
    type LowCardinality(String),
    run UInt64,
    committed UInt8,
    step Decimal64(6),
    ts DateTime64(3, 'UTC'),
    number Float64,
    text String,
    -- committed << 255 | micro-steps << 128 | version
    rank UInt256
)
ENGINE = ReplacingMergeTree(rank)
ORDER BY (project, path, type, run)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

-- Alert occurrences that a sink has taken, so that none is sent for ever.
CREATE TABLE IF NOT EXISTS alerts
(
    occurrence String,
    rule String,
    project LowCardinality(String),
    run UInt64,
    run_id String,
    path String,
    message String,
    raised_at DateTime64(3, 'UTC'),
    -- Empty while no sink has taken it; names of those that have.
    delivered Array(String),
    -- 1 while the condition holds.
    open UInt8,
    row_version UInt64
)
ENGINE = ReplacingMergeTree(row_version)
ORDER BY (project, occurrence)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;
