-- Runs that were deleted: in the trash, or purged for good.

-- A row for each end of a run's life: writers with an epoch up to `until` belong to the life that
-- ended, or to one before it. Rows commute: the change with the highest version says what became
-- of the life. They are kept for good, so that nothing that comes late raises the dead.
CREATE TABLE IF NOT EXISTS tombstones
(
    project LowCardinality(String),
    run_id String,
    until UInt64,
    -- The life that ended.
    incarnation UInt32,
    run UInt64,
    -- The life of the writers that come after it, up to the next end.
    next UInt32,
    -- trash, purged, restored
    state LowCardinality(String),
    deleted_at DateTime64(3, 'UTC'),
    deleted_by LowCardinality(String),
    changed_at DateTime64(3, 'UTC'),
    changed_by LowCardinality(String),
    version UInt128
)
ENGINE = ReplacingMergeTree(version)
ORDER BY (project, run_id, until)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

-- How long runs of a project are kept, in days; 0 is for ever.
CREATE TABLE IF NOT EXISTS retention
(
    project LowCardinality(String),
    -- From its end to the trash.
    days UInt32,
    -- From the trash to its purge.
    trash_days UInt32,
    set_at DateTime64(3, 'UTC'),
    set_by LowCardinality(String),
    version UInt128
)
ENGINE = ReplacingMergeTree(version)
ORDER BY project
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

-- Files that purged runs referred to: they go when nothing else does, a while later.
CREATE TABLE IF NOT EXISTS discarded_files
(
    key String,
    size_bytes UInt64,
    discarded_at DateTime64(3, 'UTC')
)
ENGINE = ReplacingMergeTree(discarded_at)
ORDER BY key
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

-- Of the writer of a purge: what its rows took in the store.
ALTER TABLE writers ADD COLUMN IF NOT EXISTS freed_bytes UInt64 AFTER late_rejection_count;

-- Keys of the runs that no question is about, unless it asks for the trash.
CREATE OR REPLACE VIEW hidden_runs AS
SELECT run FROM (SELECT run, state FROM tombstones FINAL) WHERE state != 'restored';

CREATE OR REPLACE VIEW trashed_runs AS
SELECT run FROM (SELECT run, state FROM tombstones FINAL) WHERE state = 'trash';

-- As before, without hidden runs; every view of users' SQL joins it.
CREATE OR REPLACE VIEW view_run_names AS
SELECT r.project AS project, r.run AS run, r.run_id AS run_id, n.text AS experiment
FROM
(
    SELECT project, run, run_id FROM runs FINAL WHERE run NOT IN (SELECT run FROM hidden_runs)
) AS r
LEFT JOIN
(
    SELECT run, text FROM attributes FINAL WHERE path = 'sys/name' AND type = 'string'
) AS n ON n.run = r.run;

CREATE OR REPLACE VIEW view_runs AS
SELECT
    r.project AS project,
    r.run_id AS run_id,
    n.experiment AS experiment,
    if(w.state = '', 'running', w.state) AS state,
    w.reason AS state_reason,
    r.owner AS owner,
    r.created_at AS created_at,
    if(w.state = '', r.created_at, w.last_seen_at) AS last_seen_at,
    w.ended_at AS ended_at,
    w.points AS points,
    if(r.fork_run_id = '', NULL, r.fork_run_id) AS fork_run_id,
    if(r.fork_run_id = '', NULL, toFloat64(r.fork_step)) AS fork_step
FROM
(
    SELECT * FROM runs FINAL WHERE run NOT IN (SELECT run FROM hidden_runs)
) AS r
LEFT JOIN view_run_names AS n ON n.run = r.run
LEFT JOIN view_run_lives AS w ON w.run = r.run;

-- As before, but who only changed a run says nothing of how it lives.
CREATE OR REPLACE VIEW view_run_lives AS
WITH
    (
        SELECT mapFromArrays(groupArray(log_partition), groupArray(span))
        FROM
        (
            SELECT log_partition, argMax((since, until), told_at) AS span
            FROM listening GROUP BY log_partition
        )
    ) AS heard
SELECT
    project, run,
    transform(
        folded.1, [1, 2, 3, 4, 5], ['finished', 'stopped', 'failed', 'killed', 'unreachable'],
        'running') AS state,
    folded.3 AS reason,
    seen AS last_seen_at,
    if(folded.1 >= 5, NULL, ended) AS ended_at,
    logged AS points
FROM
(
    SELECT
        project, run,
        -- (how bad, beginning, reason)
        argMax((rank, started_at, said), epoch) AS newest,
        arrayFold(
            (found, w) -> if(
                w.2 = 6 OR w.1 >= found.2,
                (greatest(found.1, w.2), least(found.2, w.3), if(w.2 > found.1, w.4, found.3)),
                found),
            arrayReverseSort(groupArray((until, rank, started_at, said))),
            newest) AS folded,
        max(last_seen_at) AS seen,
        max(ended_at) AS ended,
        sum(points) AS logged
    FROM
    (
        SELECT
            project, run, epoch, started_at, ended_at, last_seen_at, points,
            heard[log_partition] AS span,
            state = 'running' AND span.2 - greatest(last_seen_at, span.1) >= 50 AS silent,
            multiIf(
                silent, 5,
                transform(
                    state, ['finished', 'stopped', 'failed', 'killed'], [1, 2, 3, 4], 6)) AS rank,
            if(silent, last_seen_at, ended_at) AS until,
            if(
                silent,
                concat(
                    if(host = '', 'a writer', concat('host ', toString(host))),
                    ' has not been heard since ',
                    formatDateTime(last_seen_at, '%Y-%m-%d %H:%i:%S', 'UTC'), ' UTC'),
                reason) AS said
        FROM spools WHERE state != 'editing'
    )
    GROUP BY project, run
);
