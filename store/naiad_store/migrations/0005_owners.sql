-- Several writer consumers, each with partitions of the log of its own that may go to
-- another at any moment.

-- Who has which partition, and under which epoch: it rises with every change of owner, and
-- rows that only a partition's owner may write carry it in front of their version, so that
-- an owner that was taken for dead and wakes can't overwrite its successor's.
CREATE TABLE IF NOT EXISTS owners
(
    log_partition UInt32,
    epoch UInt64,
    -- Host and process, for people.
    owner String,
    taken_at DateTime64(3, 'UTC')
)
ENGINE = ReplacingMergeTree(epoch)
ORDER BY log_partition
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

-- A spool's records may stand in two partitions, once some were added, and those have two
-- owners: so a row belongs to a spool and a partition, and readers put them together (`spools`).
-- Rows from before say 0. `row_version`: the owner's epoch times 2^40, plus a count.
ALTER TABLE writers
    ADD COLUMN IF NOT EXISTS log_partition UInt32 AFTER writer_id,
    MODIFY ORDER BY (project, run, writer_id, log_partition);

-- What was said of its records after ingest had taken them: the newest of each, as JSON of
-- naiad.v1.Warning and naiad.v1.Rejection.
ALTER TABLE writers
    ADD COLUMN IF NOT EXISTS warnings Array(String) AFTER rejected,
    ADD COLUMN IF NOT EXISTS late_rejections Array(String) AFTER warnings,
    ADD COLUMN IF NOT EXISTS late_rejection_count UInt64 AFTER late_rejections;

-- `listener` is the partition's own now, whoever listens.
ALTER TABLE listening ADD COLUMN IF NOT EXISTS log_partition UInt32 AFTER listener;

-- A row per spool. `stored` may overlap.
CREATE OR REPLACE VIEW spools AS
SELECT
    project, run, writer_id,
    max(w.epoch) AS epoch,
    anyIf(w.host, w.host != '') AS host,
    max(w.pid) AS pid,
    argMax(toString(w.state), w.state_version) AS state,
    max(w.state_version) AS state_version,
    argMax(w.reason, w.state_version) AS reason,
    min(w.started_at) AS started_at,
    argMax(w.ended_at, w.state_version) AS ended_at,
    max(w.last_seen_at) AS last_seen_at,
    -- Where it was heard last.
    argMax(w.log_partition, w.last_seen_at) AS log_partition,
    groupArrayArray(w.stored) AS stored,
    sum(w.points) AS points,
    sum(w.rejected) AS rejected
FROM writers AS w FINAL
GROUP BY project, run, writer_id;

-- As before, but a writer is silent by what the listener of its own partition has heard.
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
        FROM spools
    )
    GROUP BY project, run
);
