CREATE TABLE IF NOT EXISTS `naiad`.`migrations` ON CLUSTER 'main'
(
    number UInt32,
    name String,
    checksum String,
    applied_at DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = ReplicatedReplacingMergeTree(applied_at)
ORDER BY number
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;

CREATE TABLE IF NOT EXISTS `naiad`.`runs` ON CLUSTER 'main'
(
    project LowCardinality(String),
    run_id String,
    incarnation UInt32,
    run UInt64,
    created_at DateTime64(3, 'UTC'),

    version UInt128,
    owner LowCardinality(String),
    fork_run_id String,
    fork_step Decimal64(6),
    inherit_configs UInt8,
    priority UInt128
)
ENGINE = ReplicatedReplacingMergeTree(priority)
ORDER BY (project, run_id, incarnation)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS `naiad`.`writers` ON CLUSTER 'main'
(
    project LowCardinality(String),
    run UInt64,
    writer_id String,
    epoch UInt64,
    host LowCardinality(String),
    pid UInt32,

    state LowCardinality(String),
    state_version UInt128,
    reason String,
    started_at DateTime64(3, 'UTC'),

    ended_at DateTime64(3, 'UTC'),

    last_seen_at DateTime64(3, 'UTC'),

    stored Array(Tuple(UInt64, UInt64)),
    points UInt64,
    rejected UInt64,
    row_version UInt64
)
ENGINE = ReplicatedReplacingMergeTree(row_version)
ORDER BY (project, run, writer_id)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS `naiad`.`points` ON CLUSTER 'main'
(
    project LowCardinality(String),
    path LowCardinality(String),
    run UInt64,
    step Decimal64(6) CODEC(DoubleDelta, ZSTD(1)),
    ts DateTime64(3, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    value Float64 CODEC(ZSTD(1)),

    completion Float64 CODEC(ZSTD(1)),

    version UInt128 CODEC(ZSTD(1))
)
ENGINE = ReplicatedReplacingMergeTree(version)
ORDER BY (project, path, run, step)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS `naiad`.`string_points` ON CLUSTER 'main'
(
    project LowCardinality(String),
    path LowCardinality(String),
    run UInt64,
    step Decimal64(6) CODEC(DoubleDelta, ZSTD(1)),
    ts DateTime64(3, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    value String CODEC(ZSTD(3)),
    version UInt128 CODEC(ZSTD(1))
)
ENGINE = ReplicatedReplacingMergeTree(version)
ORDER BY (project, path, run, step)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS `naiad`.`histogram_points` ON CLUSTER 'main'
(
    project LowCardinality(String),
    path LowCardinality(String),
    run UInt64,
    step Decimal64(6) CODEC(DoubleDelta, ZSTD(1)),
    ts DateTime64(3, 'UTC') CODEC(DoubleDelta, ZSTD(1)),

    kind LowCardinality(String),
    edges Array(Float64) CODEC(ZSTD(1)),
    bins Array(Float64) CODEC(ZSTD(1)),
    version UInt128 CODEC(ZSTD(1))
)
ENGINE = ReplicatedReplacingMergeTree(version)
ORDER BY (project, path, run, step)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS `naiad`.`file_points` ON CLUSTER 'main'
(
    project LowCardinality(String),
    path LowCardinality(String),
    run UInt64,
    step Decimal64(6) CODEC(DoubleDelta, ZSTD(1)),
    ts DateTime64(3, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    file Tuple(key String, name String, size_bytes UInt64, mime_type String, sha256 String),
    version UInt128 CODEC(ZSTD(1))
)
ENGINE = ReplicatedReplacingMergeTree(version)
ORDER BY (project, path, run, step)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS `naiad`.`attributes` ON CLUSTER 'main'
(
    project LowCardinality(String),
    path LowCardinality(String),
    type LowCardinality(String),
    run UInt64,


    number Float64,

    integer Int64,
    text String,
    file Tuple(key String, name String, size_bytes UInt64, mime_type String, sha256 String),
    ts DateTime64(3, 'UTC'),
    version UInt128
)
ENGINE = ReplicatedReplacingMergeTree(version)
ORDER BY (project, path, type, run)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS `naiad`.`string_sets` ON CLUSTER 'main'
(
    project LowCardinality(String),
    path LowCardinality(String),
    run UInt64,
    element String,
    present UInt8,
    ts DateTime64(3, 'UTC'),
    version UInt128
)
ENGINE = ReplicatedReplacingMergeTree(version)
ORDER BY (project, path, run, element)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS `naiad`.`series` ON CLUSTER 'main'
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

    rank UInt256
)
ENGINE = ReplicatedReplacingMergeTree(rank)
ORDER BY (project, path, type, run)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS `naiad`.`alerts` ON CLUSTER 'main'
(
    occurrence String,
    rule String,
    project LowCardinality(String),
    run UInt64,
    run_id String,
    path String,
    message String,
    raised_at DateTime64(3, 'UTC'),

    delivered Array(String),

    open UInt8,
    row_version UInt64
)
ENGINE = ReplicatedReplacingMergeTree(row_version)
ORDER BY (project, occurrence)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

ALTER TABLE `naiad`.`alerts` ON CLUSTER 'main'
    ADD COLUMN IF NOT EXISTS severity LowCardinality(String) AFTER rule,
    ADD COLUMN IF NOT EXISTS experiment String AFTER run_id,

    ADD COLUMN IF NOT EXISTS writer_id String AFTER path,

    ADD COLUMN IF NOT EXISTS step Nullable(Decimal64(6)) AFTER writer_id,
    ADD COLUMN IF NOT EXISTS value Nullable(Float64) AFTER step,

    ADD COLUMN IF NOT EXISTS resolved_at DateTime64(3, 'UTC') AFTER raised_at,

    ADD COLUMN IF NOT EXISTS sinks Array(String) AFTER resolved_at,


    ADD COLUMN IF NOT EXISTS log_partition Int32 AFTER open,
    ADD COLUMN IF NOT EXISTS log_offset Int64 AFTER log_partition,
    ADD COLUMN IF NOT EXISTS source String AFTER log_offset,
    ADD COLUMN IF NOT EXISTS record UInt64 AFTER source,
    DROP COLUMN IF EXISTS delivered;

CREATE TABLE IF NOT EXISTS `naiad`.`alert_deliveries` ON CLUSTER 'main'
(
    project LowCardinality(String),
    occurrence String,

    event LowCardinality(String),
    sink LowCardinality(String),

    outcome LowCardinality(String),
    attempts UInt32,

    detail String,
    at DateTime64(3, 'UTC'),
    row_version UInt64
)
ENGINE = ReplicatedReplacingMergeTree(row_version)
ORDER BY (project, occurrence, event, sink)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

CREATE OR REPLACE VIEW `naiad`.`view_run_names` ON CLUSTER 'main' AS
SELECT r.project AS project, r.run AS run, r.run_id AS run_id, n.text AS experiment
FROM (SELECT project, run, run_id FROM `naiad`.`runs` FINAL) AS r
LEFT JOIN
(
    SELECT run, text FROM `naiad`.`attributes` FINAL WHERE path = 'sys/name' AND type = 'string'
) AS n ON n.run = r.run;

CREATE OR REPLACE VIEW `naiad`.`view_run_lives` ON CLUSTER 'main' AS
SELECT
    project, run,
    told.4 AS state,
    told.5 AS reason,
    seen AS last_seen_at,
    if(state = 'running', NULL, ended) AS ended_at,
    logged AS points
FROM
(
    SELECT
        project, run,
        argMax(started_at, epoch) AS newest,
        max(epoch) AS newest_epoch,
        arraySort(groupArray((
            transform(
                toString(state), ['finished', 'stopped', 'failed', 'killed'], [1, 2, 3, 4], 5),
            ended_at, epoch, toString(state), reason))) AS writers_of_run,
        arrayFilter(
            w -> w.1 = 5 OR w.2 >= newest OR w.3 = newest_epoch, writers_of_run)[-1] AS told,
        max(last_seen_at) AS seen,
        max(ended_at) AS ended,
        sum(points) AS logged
    FROM
    (
        SELECT project, run, state, reason, epoch, started_at, ended_at, last_seen_at, points
        FROM `naiad`.`writers` FINAL
    )
    GROUP BY project, run
);

CREATE OR REPLACE VIEW `naiad`.`view_runs` ON CLUSTER 'main' AS
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
FROM (SELECT * FROM `naiad`.`runs` FINAL) AS r
LEFT JOIN `naiad`.`view_run_names` AS n ON n.run = r.run
LEFT JOIN `naiad`.`view_run_lives` AS w ON w.run = r.run;

CREATE OR REPLACE VIEW `naiad`.`view_points` ON CLUSTER 'main' AS
SELECT
    p.project AS project, n.run_id AS run_id, n.experiment AS experiment, p.path AS path,
    toFloat64(p.step) AS step, p.ts AS timestamp, p.value AS value,
    bitShiftRight(p.version, 127) = 0 AS preview, p.completion AS completion
FROM (SELECT * FROM `naiad`.`points` FINAL) AS p
JOIN `naiad`.`view_run_names` AS n ON n.run = p.run;

CREATE OR REPLACE VIEW `naiad`.`view_attributes` ON CLUSTER 'main' AS
SELECT
    a.project AS project, n.run_id AS run_id, n.experiment AS experiment, a.path AS path,
    a.type AS type,
    multiIf(
        a.type IN ('string', 'file'), a.text,
        a.type = 'int', toString(a.integer),
        a.type = 'bool', if(a.integer = 1, 'true', 'false'),
        a.type = 'datetime', toString(fromUnixTimestamp64Milli(a.integer, 'UTC')),
        toString(a.number)) AS value,
    if(a.type IN ('string', 'file'), NULL, a.number) AS number
FROM (SELECT * FROM `naiad`.`attributes` FINAL) AS a
JOIN `naiad`.`view_run_names` AS n ON n.run = a.run;

CREATE OR REPLACE VIEW `naiad`.`view_tags` ON CLUSTER 'main' AS
SELECT
    s.project AS project, n.run_id AS run_id, n.experiment AS experiment, s.path AS path,
    s.element AS tag
FROM (SELECT * FROM `naiad`.`string_sets` FINAL WHERE present) AS s
JOIN `naiad`.`view_run_names` AS n ON n.run = s.run;

CREATE OR REPLACE VIEW `naiad`.`view_series` ON CLUSTER 'main' AS
SELECT
    s.project AS project, n.run_id AS run_id, n.experiment AS experiment, s.path AS path,
    s.type AS type, toFloat64(s.step) AS last_step, s.ts AS last_timestamp,
    if(s.type = 'float_series', s.number, NULL) AS last_value,
    if(s.type = 'string_series', s.text, NULL) AS last_text
FROM (SELECT * FROM `naiad`.`series` FINAL) AS s
JOIN `naiad`.`view_run_names` AS n ON n.run = s.run;

CREATE OR REPLACE VIEW `naiad`.`view_strings` ON CLUSTER 'main' AS
SELECT
    p.project AS project, n.run_id AS run_id, n.experiment AS experiment, p.path AS path,
    toFloat64(p.step) AS step, p.ts AS timestamp, p.value AS value
FROM (SELECT * FROM `naiad`.`string_points` FINAL) AS p
JOIN `naiad`.`view_run_names` AS n ON n.run = p.run;

CREATE OR REPLACE VIEW `naiad`.`view_histograms` ON CLUSTER 'main' AS
SELECT
    p.project AS project, n.run_id AS run_id, n.experiment AS experiment, p.path AS path,
    toFloat64(p.step) AS step, p.ts AS timestamp, p.kind AS kind, p.edges AS edges,
    p.bins AS bins
FROM (SELECT * FROM `naiad`.`histogram_points` FINAL) AS p
JOIN `naiad`.`view_run_names` AS n ON n.run = p.run;

CREATE OR REPLACE VIEW `naiad`.`view_files` ON CLUSTER 'main' AS
SELECT
    f.project AS project, n.run_id AS run_id, n.experiment AS experiment, f.path AS path,
    f.step AS step, f.ts AS timestamp, f.file.name AS name, f.file.size_bytes AS size_bytes,
    f.file.mime_type AS mime_type, f.file.sha256 AS sha256
FROM
(
    SELECT project, path, run, toNullable(toFloat64(step)) AS step, ts, file
    FROM `naiad`.`file_points` FINAL
    UNION ALL
    SELECT project, path, run, CAST(NULL, 'Nullable(Float64)') AS step, ts, file
    FROM `naiad`.`attributes` FINAL WHERE type = 'file'
) AS f
JOIN `naiad`.`view_run_names` AS n ON n.run = f.run;

CREATE TABLE IF NOT EXISTS `naiad`.`listening` ON CLUSTER 'main'
(
    listener String,
    since DateTime64(3, 'UTC'),
    until DateTime64(3, 'UTC'),
    told_at DateTime64(3, 'UTC')
)
ENGINE = ReplicatedReplacingMergeTree(told_at)
ORDER BY listener;

CREATE OR REPLACE VIEW `naiad`.`view_run_lives` ON CLUSTER 'main' AS
WITH
    (
        SELECT (max(since), min(until)) FROM (SELECT * FROM `naiad`.`listening` FINAL)
        WHERE told_at >= (SELECT max(told_at) FROM `naiad`.`listening`) - INTERVAL 30 SECOND
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
        FROM `naiad`.`writers` FINAL
    )
    GROUP BY project, run
);

CREATE TABLE IF NOT EXISTS `naiad`.`owners` ON CLUSTER 'main'
(
    log_partition UInt32,
    epoch UInt64,

    owner String,
    taken_at DateTime64(3, 'UTC')
)
ENGINE = ReplicatedReplacingMergeTree(epoch)
ORDER BY log_partition
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

ALTER TABLE `naiad`.`writers` ON CLUSTER 'main'
    ADD COLUMN IF NOT EXISTS log_partition UInt32 AFTER writer_id,
    MODIFY ORDER BY (project, run, writer_id, log_partition);

ALTER TABLE `naiad`.`writers` ON CLUSTER 'main'
    ADD COLUMN IF NOT EXISTS warnings Array(String) AFTER rejected,
    ADD COLUMN IF NOT EXISTS late_rejections Array(String) AFTER warnings,
    ADD COLUMN IF NOT EXISTS late_rejection_count UInt64 AFTER late_rejections;

ALTER TABLE `naiad`.`listening` ON CLUSTER 'main' ADD COLUMN IF NOT EXISTS log_partition UInt32 AFTER listener;

CREATE OR REPLACE VIEW `naiad`.`spools` ON CLUSTER 'main' AS
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

    argMax(w.log_partition, w.last_seen_at) AS log_partition,
    groupArrayArray(w.stored) AS stored,
    sum(w.points) AS points,
    sum(w.rejected) AS rejected
FROM `naiad`.`writers` AS w FINAL
GROUP BY project, run, writer_id;

CREATE OR REPLACE VIEW `naiad`.`view_run_lives` ON CLUSTER 'main' AS
WITH
    (
        SELECT mapFromArrays(groupArray(log_partition), groupArray(span))
        FROM
        (
            SELECT log_partition, argMax((since, until), told_at) AS span
            FROM `naiad`.`listening` GROUP BY log_partition
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
        FROM `naiad`.`spools`
    )
    GROUP BY project, run
);

CREATE TABLE IF NOT EXISTS `naiad`.`rollups` ON CLUSTER 'main'
(
    project LowCardinality(String),
    path LowCardinality(String),
    k UInt8,
    run UInt64,
    edition UInt64 CODEC(ZSTD(1)),
    bucket Int64 CODEC(DoubleDelta, ZSTD(1)),
    first_x Int64 CODEC(DoubleDelta, ZSTD(1)),
    first_y Float64 CODEC(ZSTD(1)),
    last_x Int64 CODEC(DoubleDelta, ZSTD(1)),
    last_y Float64 CODEC(ZSTD(1)),
    min_x Int64 CODEC(Delta, ZSTD(1)),
    min_y Float64 CODEC(ZSTD(1)),
    max_x Int64 CODEC(Delta, ZSTD(1)),
    max_y Float64 CODEC(ZSTD(1)),
    sum Float64 CODEC(ZSTD(1)),
    finite UInt64 CODEC(ZSTD(1)),
    nans UInt64 CODEC(ZSTD(1)),
    positive_infinities UInt64 CODEC(ZSTD(1)),
    negative_infinities UInt64 CODEC(ZSTD(1))
)
ENGINE = ReplicatedReplacingMergeTree(edition)
ORDER BY (project, path, k, run, edition, bucket)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS `naiad`.`rolled` ON CLUSTER 'main'
(
    project LowCardinality(String),
    path LowCardinality(String),
    run UInt64,
    begin Int64,
    end Int64,
    since Int64,
    lowest Int64,
    k UInt8,
    edition UInt64,
    points UInt64,
    marks_through UInt64,
    log_partition UInt32,
    version UInt64
)
ENGINE = ReplicatedReplacingMergeTree(version)
ORDER BY (project, path, run, begin)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS `naiad`.`dirty_stretches` ON CLUSTER 'main'
(
    project LowCardinality(String),
    path LowCardinality(String),
    run UInt64,
    generation UInt64,
    log_partition UInt32,
    begin Int64,
    end Int64
)
ENGINE = ReplicatedReplacingMergeTree(generation)
ORDER BY (project, path, run, generation, log_partition)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS `naiad`.`rollers` ON CLUSTER 'main'
(
    log_partition UInt32,
    epoch UInt64
)
ENGINE = ReplicatedReplacingMergeTree(epoch)
ORDER BY log_partition
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS `naiad`.`tombstones` ON CLUSTER 'main'
(
    project LowCardinality(String),
    run_id String,
    until UInt64,

    incarnation UInt32,
    run UInt64,

    next UInt32,

    state LowCardinality(String),
    deleted_at DateTime64(3, 'UTC'),
    deleted_by LowCardinality(String),
    changed_at DateTime64(3, 'UTC'),
    changed_by LowCardinality(String),
    version UInt128
)
ENGINE = ReplicatedReplacingMergeTree(version)
ORDER BY (project, run_id, until)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS `naiad`.`retention` ON CLUSTER 'main'
(
    project LowCardinality(String),

    days UInt32,

    trash_days UInt32,
    set_at DateTime64(3, 'UTC'),
    set_by LowCardinality(String),
    version UInt128
)
ENGINE = ReplicatedReplacingMergeTree(version)
ORDER BY project
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS `naiad`.`discarded_files` ON CLUSTER 'main'
(
    key String,
    size_bytes UInt64,
    discarded_at DateTime64(3, 'UTC')
)
ENGINE = ReplicatedReplacingMergeTree(discarded_at)
ORDER BY key
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

ALTER TABLE `naiad`.`writers` ON CLUSTER 'main' ADD COLUMN IF NOT EXISTS freed_bytes UInt64 AFTER late_rejection_count;

CREATE OR REPLACE VIEW `naiad`.`hidden_runs` ON CLUSTER 'main' AS
SELECT run FROM (SELECT run, state FROM `naiad`.`tombstones` FINAL) WHERE state != 'restored';

CREATE OR REPLACE VIEW `naiad`.`trashed_runs` ON CLUSTER 'main' AS
SELECT run FROM (SELECT run, state FROM `naiad`.`tombstones` FINAL) WHERE state = 'trash';

CREATE OR REPLACE VIEW `naiad`.`view_run_names` ON CLUSTER 'main' AS
SELECT r.project AS project, r.run AS run, r.run_id AS run_id, n.text AS experiment
FROM
(
    SELECT project, run, run_id FROM `naiad`.`runs` FINAL WHERE run NOT IN (SELECT run FROM `naiad`.`hidden_runs`)
) AS r
LEFT JOIN
(
    SELECT run, text FROM `naiad`.`attributes` FINAL WHERE path = 'sys/name' AND type = 'string'
) AS n ON n.run = r.run;

CREATE OR REPLACE VIEW `naiad`.`view_runs` ON CLUSTER 'main' AS
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
    SELECT * FROM `naiad`.`runs` FINAL WHERE run NOT IN (SELECT run FROM `naiad`.`hidden_runs`)
) AS r
LEFT JOIN `naiad`.`view_run_names` AS n ON n.run = r.run
LEFT JOIN `naiad`.`view_run_lives` AS w ON w.run = r.run;

CREATE OR REPLACE VIEW `naiad`.`view_run_lives` ON CLUSTER 'main' AS
WITH
    (
        SELECT mapFromArrays(groupArray(log_partition), groupArray(span))
        FROM
        (
            SELECT log_partition, argMax((since, until), told_at) AS span
            FROM `naiad`.`listening` GROUP BY log_partition
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
        FROM `naiad`.`spools` WHERE state != 'editing'
    )
    GROUP BY project, run
);

CREATE OR REPLACE VIEW `naiad`.`view_configs` ON CLUSTER 'main' AS
SELECT project, run_id, experiment, path, type, value, number
FROM `naiad`.`view_attributes`
WHERE NOT startsWith(path, 'sys/') AND type != 'file';

CREATE OR REPLACE VIEW `naiad`.`view_logs` ON CLUSTER 'main' AS
SELECT project, run_id, experiment, path, step, timestamp, value AS message
FROM `naiad`.`view_strings`;

ALTER TABLE `naiad`.`listening` ON CLUSTER 'main' MODIFY SETTING fsync_after_insert = 1, fsync_part_directory = 1;

ALTER TABLE `naiad`.`migrations` ON CLUSTER 'main' MODIFY SETTING fsync_after_insert = 1, fsync_part_directory = 1;

ALTER TABLE `naiad`.`points` ON CLUSTER 'main'
    ADD COLUMN IF NOT EXISTS committed UInt8 DEFAULT bitShiftRight(version, 127) != 0
    CODEC(ZSTD(1));

ALTER TABLE `naiad`.`points` ON CLUSTER 'main'
    MODIFY COLUMN version UInt128 CODEC(ZSTD(3)),
    MODIFY COLUMN value Float64 CODEC(Delta, ZSTD(1));

ALTER TABLE `naiad`.`rollups` ON CLUSTER 'main'
    MODIFY COLUMN first_y Float64 CODEC(Delta, ZSTD(1)),
    MODIFY COLUMN last_y Float64 CODEC(Delta, ZSTD(1)),
    MODIFY COLUMN min_y Float64 CODEC(Delta, ZSTD(1)),
    MODIFY COLUMN max_y Float64 CODEC(Delta, ZSTD(1)),
    MODIFY COLUMN sum Float64 CODEC(Delta, ZSTD(1));

ALTER TABLE `naiad`.`rolled` ON CLUSTER 'main'
    ADD COLUMN IF NOT EXISTS form UInt8 DEFAULT 1,
    ADD COLUMN IF NOT EXISTS until Int64 DEFAULT 0;

ALTER TABLE `naiad`.`runs` ON CLUSTER 'main' MODIFY SETTING min_rows_to_fsync_after_merge = 1;

ALTER TABLE `naiad`.`writers` ON CLUSTER 'main' MODIFY SETTING min_rows_to_fsync_after_merge = 1;

ALTER TABLE `naiad`.`points` ON CLUSTER 'main' MODIFY SETTING min_rows_to_fsync_after_merge = 1;

ALTER TABLE `naiad`.`string_points` ON CLUSTER 'main' MODIFY SETTING min_rows_to_fsync_after_merge = 1;

ALTER TABLE `naiad`.`histogram_points` ON CLUSTER 'main' MODIFY SETTING min_rows_to_fsync_after_merge = 1;

ALTER TABLE `naiad`.`file_points` ON CLUSTER 'main' MODIFY SETTING min_rows_to_fsync_after_merge = 1;

ALTER TABLE `naiad`.`attributes` ON CLUSTER 'main' MODIFY SETTING min_rows_to_fsync_after_merge = 1;

ALTER TABLE `naiad`.`string_sets` ON CLUSTER 'main' MODIFY SETTING min_rows_to_fsync_after_merge = 1;

ALTER TABLE `naiad`.`series` ON CLUSTER 'main' MODIFY SETTING min_rows_to_fsync_after_merge = 1;

ALTER TABLE `naiad`.`alerts` ON CLUSTER 'main' MODIFY SETTING min_rows_to_fsync_after_merge = 1;

ALTER TABLE `naiad`.`alert_deliveries` ON CLUSTER 'main' MODIFY SETTING min_rows_to_fsync_after_merge = 1;

ALTER TABLE `naiad`.`listening` ON CLUSTER 'main' MODIFY SETTING min_rows_to_fsync_after_merge = 1;

ALTER TABLE `naiad`.`owners` ON CLUSTER 'main' MODIFY SETTING min_rows_to_fsync_after_merge = 1;

ALTER TABLE `naiad`.`rollups` ON CLUSTER 'main' MODIFY SETTING min_rows_to_fsync_after_merge = 1;

ALTER TABLE `naiad`.`rolled` ON CLUSTER 'main' MODIFY SETTING min_rows_to_fsync_after_merge = 1;

ALTER TABLE `naiad`.`dirty_stretches` ON CLUSTER 'main' MODIFY SETTING min_rows_to_fsync_after_merge = 1;

ALTER TABLE `naiad`.`rollers` ON CLUSTER 'main' MODIFY SETTING min_rows_to_fsync_after_merge = 1;

ALTER TABLE `naiad`.`tombstones` ON CLUSTER 'main' MODIFY SETTING min_rows_to_fsync_after_merge = 1;

ALTER TABLE `naiad`.`retention` ON CLUSTER 'main' MODIFY SETTING min_rows_to_fsync_after_merge = 1;

ALTER TABLE `naiad`.`discarded_files` ON CLUSTER 'main' MODIFY SETTING min_rows_to_fsync_after_merge = 1;

ALTER TABLE `naiad`.`migrations` ON CLUSTER 'main' MODIFY SETTING min_rows_to_fsync_after_merge = 1;

