-- What users' SQL reads: names instead of keys, and of rows with one key the one that counts.

CREATE OR REPLACE VIEW view_run_names AS
SELECT r.project AS project, r.run AS run, r.run_id AS run_id, n.text AS experiment
FROM (SELECT project, run, run_id FROM runs FINAL) AS r
LEFT JOIN (
    SELECT run, text FROM attributes FINAL WHERE path = 'sys/name' AND type = 'string'
) AS n ON n.run = r.run;

CREATE OR REPLACE VIEW view_runs AS
SELECT
    r.project AS project,
    r.run_id AS run_id,
    n.experiment AS experiment,
    if(w.state = '', 'running', w.state) AS state,
    r.owner AS owner,
    r.created_at AS created_at,
    w.last_seen_at AS last_seen_at,
    w.ended_at AS ended_at,
    w.points AS points,
    r.fork_run_id AS fork_run_id,
    r.fork_step AS fork_step
FROM (SELECT * FROM runs FINAL) AS r
LEFT JOIN view_run_names AS n ON n.run = r.run
LEFT JOIN (
    SELECT
        run,
        multiIf(
            countIf(state = 'running') > 0, 'running', countIf(state = 'failed') > 0, 'failed',
            countIf(state = 'killed') > 0, 'killed', countIf(state = 'stopped') > 0, 'stopped',
            'finished'
        ) AS state,
        max(last_seen_at) AS last_seen_at,
        if(state = 'running', NULL, max(ended_at)) AS ended_at,
        sum(points) AS points
    FROM (SELECT run, state, last_seen_at, ended_at, points FROM writers FINAL)
    GROUP BY run
) AS w ON w.run = r.run;

CREATE OR REPLACE VIEW view_points AS
SELECT
    p.project AS project, n.run_id AS run_id, n.experiment AS experiment, p.path AS path,
    p.step AS step, p.ts AS timestamp, p.value AS value,
    bitShiftRight(p.version, 127) = 0 AS preview, p.completion AS completion
FROM (SELECT * FROM points FINAL) AS p
JOIN view_run_names AS n ON n.run = p.run;

CREATE OR REPLACE VIEW view_attributes AS
SELECT
    a.project AS project, n.run_id AS run_id, n.experiment AS experiment, a.path AS path,
    a.type AS type,
    multiIf(
        a.type IN ('string', 'file'), a.text, a.type = 'int', toString(a.integer),
        a.type = 'bool', if(a.integer = 1, 'true', 'false'),
        a.type = 'datetime', toString(fromUnixTimestamp64Milli(a.integer, 'UTC')),
        toString(a.number)
    ) AS value,
    if(a.type IN ('string', 'file'), NULL, a.number) AS number
FROM (SELECT * FROM attributes FINAL) AS a
JOIN view_run_names AS n ON n.run = a.run;

CREATE OR REPLACE VIEW view_tags AS
SELECT
    s.project AS project, n.run_id AS run_id, n.experiment AS experiment, s.path AS path,
    s.element AS tag
FROM (SELECT * FROM string_sets FINAL) AS s
JOIN view_run_names AS n ON n.run = s.run
WHERE s.present;

CREATE OR REPLACE VIEW view_series AS
SELECT
    s.project AS project, n.run_id AS run_id, n.experiment AS experiment, s.path AS path,
    s.type AS type, s.step AS last_step, s.ts AS last_timestamp,
    if(s.type = 'float_series', s.number, NULL) AS last_value,
    if(s.type = 'string_series', s.text, NULL) AS last_text
FROM (SELECT * FROM series FINAL) AS s
JOIN view_run_names AS n ON n.run = s.run;

CREATE OR REPLACE VIEW view_strings AS
SELECT
    p.project AS project, n.run_id AS run_id, n.experiment AS experiment, p.path AS path,
    p.step AS step, p.ts AS timestamp, p.value AS value
FROM (SELECT * FROM string_points FINAL) AS p
JOIN view_run_names AS n ON n.run = p.run;

CREATE OR REPLACE VIEW view_histograms AS
SELECT
    p.project AS project, n.run_id AS run_id, n.experiment AS experiment, p.path AS path,
    p.step AS step, p.ts AS timestamp, p.kind AS kind, p.edges AS edges, p.bins AS bins
FROM (SELECT * FROM histogram_points FINAL) AS p
JOIN view_run_names AS n ON n.run = p.run;

CREATE OR REPLACE VIEW view_files AS
SELECT
    f.project AS project, n.run_id AS run_id, n.experiment AS experiment, f.path AS path,
    f.step AS step, f.ts AS timestamp, f.file.name AS name, f.file.size_bytes AS size_bytes,
    f.file.mime_type AS mime_type, f.file.sha256 AS sha256
FROM (
    SELECT project, path, run, CAST(step, 'Nullable(Decimal64(6))') AS step, ts, file
    FROM file_points FINAL
    UNION ALL
    SELECT project, path, run, CAST(NULL, 'Nullable(Decimal64(6))') AS step, ts, file
    FROM attributes FINAL WHERE type = 'file'
) AS f
JOIN view_run_names AS n ON n.run = f.run;
