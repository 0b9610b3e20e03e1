-- What users' SQL reads (docs/sql.md says it in words): names instead of keys, and of rows
-- with one key the one that counts. Users name them without "view_". The first two also serve
-- the platform's own questions.

-- The name of an experiment is an attribute like any other.
CREATE OR REPLACE VIEW view_run_names AS
SELECT r.project AS project, r.run AS run, r.run_id AS run_id, n.text AS experiment
FROM (SELECT project, run, run_id FROM runs FINAL) AS r
LEFT JOIN
(
    SELECT run, text FROM attributes FINAL WHERE path = 'sys/name' AND type = 'string'
) AS n ON n.run = r.run;

-- A run is running while any of its writers is. Else it has its newest writer's end, where
-- among writers whose lives overlapped the worst counts.
CREATE OR REPLACE VIEW view_run_lives AS
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
        FROM writers FINAL
    )
    GROUP BY project, run
);

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
FROM (SELECT * FROM runs FINAL) AS r
LEFT JOIN view_run_names AS n ON n.run = r.run
LEFT JOIN view_run_lives AS w ON w.run = r.run;

CREATE OR REPLACE VIEW view_points AS
SELECT
    p.project AS project, n.run_id AS run_id, n.experiment AS experiment, p.path AS path,
    toFloat64(p.step) AS step, p.ts AS timestamp, p.value AS value,
    bitShiftRight(p.version, 127) = 0 AS preview, p.completion AS completion
FROM (SELECT * FROM points FINAL) AS p
JOIN view_run_names AS n ON n.run = p.run;

CREATE OR REPLACE VIEW view_attributes AS
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
FROM (SELECT * FROM attributes FINAL) AS a
JOIN view_run_names AS n ON n.run = a.run;

CREATE OR REPLACE VIEW view_tags AS
SELECT
    s.project AS project, n.run_id AS run_id, n.experiment AS experiment, s.path AS path,
    s.element AS tag
FROM (SELECT * FROM string_sets FINAL WHERE present) AS s
JOIN view_run_names AS n ON n.run = s.run;

CREATE OR REPLACE VIEW view_series AS
SELECT
    s.project AS project, n.run_id AS run_id, n.experiment AS experiment, s.path AS path,
    s.type AS type, toFloat64(s.step) AS last_step, s.ts AS last_timestamp,
    if(s.type = 'float_series', s.number, NULL) AS last_value,
    if(s.type = 'string_series', s.text, NULL) AS last_text
FROM (SELECT * FROM series FINAL) AS s
JOIN view_run_names AS n ON n.run = s.run;

CREATE OR REPLACE VIEW view_strings AS
SELECT
    p.project AS project, n.run_id AS run_id, n.experiment AS experiment, p.path AS path,
    toFloat64(p.step) AS step, p.ts AS timestamp, p.value AS value
FROM (SELECT * FROM string_points FINAL) AS p
JOIN view_run_names AS n ON n.run = p.run;

CREATE OR REPLACE VIEW view_histograms AS
SELECT
    p.project AS project, n.run_id AS run_id, n.experiment AS experiment, p.path AS path,
    toFloat64(p.step) AS step, p.ts AS timestamp, p.kind AS kind, p.edges AS edges,
    p.bins AS bins
FROM (SELECT * FROM histogram_points FINAL) AS p
JOIN view_run_names AS n ON n.run = p.run;

-- Files assigned once have no step.
CREATE OR REPLACE VIEW view_files AS
SELECT
    f.project AS project, n.run_id AS run_id, n.experiment AS experiment, f.path AS path,
    f.step AS step, f.ts AS timestamp, f.file.name AS name, f.file.size_bytes AS size_bytes,
    f.file.mime_type AS mime_type, f.file.sha256 AS sha256
FROM
(
    SELECT project, path, run, toNullable(toFloat64(step)) AS step, ts, file
    FROM file_points FINAL
    UNION ALL
    SELECT project, path, run, CAST(NULL, 'Nullable(Float64)') AS step, ts, file
    FROM attributes FINAL WHERE type = 'file'
) AS f
JOIN view_run_names AS n ON n.run = f.run;
