-- Rollups: what a chart needs of long series, made from `points` after the fact by the roller
-- (naiad_consumers.roller), never in the path of an insert. Derived: they may be dropped at any
-- moment, and are made again.

-- Of the points of a series in a bucket, 2^k micro-steps wide on one absolute grid, what draws
-- them: the first, last, least and greatest of the finite ones (of equal ones the earliest),
-- their sum, and how many there are of each kind. Rows never change: a stretch that is rolled
-- again is rolled under another `edition`, and `rolled` says which counts.
-- With finite = 0 the points are such that they win nothing.
CREATE TABLE IF NOT EXISTS rollups
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
ENGINE = ReplacingMergeTree(edition)
ORDER BY (project, path, k, run, edition, bucket)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

-- What of a series is rolled: stretches [begin, end) in micro-steps that follow each other from
-- 0 on, an empty one being none. `since` is from where on the edition's rows were made, `lowest`
-- the lowest step in the stretch. Marks of up to `marks_through` are dealt with. `version` is an
-- epoch times 2^40, plus a count, and counts only under the epoch that `rollers` names.
CREATE TABLE IF NOT EXISTS rolled
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
ENGINE = ReplacingMergeTree(version)
ORDER BY (project, path, run, begin)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

-- Stretches [begin, end] into which points came after they were rolled: said before the points
-- go in, and true until they are rolled again. An empty path is every path of the run, and a
-- mark of another partition than the rolled one's is true for ever.
CREATE TABLE IF NOT EXISTS dirty_stretches
(
    project LowCardinality(String),
    path LowCardinality(String),
    run UInt64,
    generation UInt64,
    log_partition UInt32,
    begin Int64,
    end Int64
)
ENGINE = ReplacingMergeTree(generation)
ORDER BY (project, path, run, generation, log_partition)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

-- Whose word on what is rolled counts, for each partition of the log.
CREATE TABLE IF NOT EXISTS rollers
(
    log_partition UInt32,
    epoch UInt64
)
ENGINE = ReplacingMergeTree(epoch)
ORDER BY log_partition
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;
