-- Runs whose host fell silent read "unreachable".

-- Since when, and until when, writer consumers have heard and stored everything that ingest
-- took. Silence counts only within that time, so that a server that was away itself marks
-- nobody. A row per consumer and life of it; those that no longer tell are passed over.
CREATE TABLE IF NOT EXISTS listening
(
    listener String,
    since DateTime64(3, 'UTC'),
    until DateTime64(3, 'UTC'),
    told_at DateTime64(3, 'UTC')
)
ENGINE = ReplacingMergeTree(told_at)
ORDER BY listener;

-- A run is running while any of its writers is. A writer that has not ended and was not
-- heard for 50 s (clients beat every 10; with the ways it is shown within 60) counts as
-- ended when it was last heard, and that end is the worst of all. Else the run has its newest
-- writer's end, where the worst counts among the writers whose lives overlap, one the next,
-- up to the newest. One that is heard again is running again.
CREATE OR REPLACE VIEW view_run_lives AS
WITH
    (
        SELECT (max(since), min(until)) FROM (SELECT * FROM listening FINAL)
        WHERE told_at >= (SELECT max(told_at) FROM listening) - INTERVAL 30 SECOND
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
            state = 'running'
                AND heard.2 - greatest(last_seen_at, heard.1) >= 50 AS silent,
            multiIf(
                silent, 5,
                transform(
                    toString(state), ['finished', 'stopped', 'failed', 'killed'],
                    [1, 2, 3, 4], 6)) AS rank,
            if(silent, last_seen_at, ended_at) AS until,
            if(
                silent,
                concat(
                    if(host = '', 'a writer', concat('host ', toString(host))),
                    ' has not been heard since ',
                    formatDateTime(last_seen_at, '%Y-%m-%d %H:%i:%S', 'UTC'), ' UTC'),
                reason) AS said
        FROM writers FINAL
    )
    GROUP BY project, run
);
