-- What a version of 16 bytes says of a point that charts ask of each: is it committed, or a
-- preview? As a column of its own that costs a thirtieth of reading versions, and no room.
-- Rows from before have it worked out when they are read, and for good when they are merged.
ALTER TABLE points
    ADD COLUMN IF NOT EXISTS committed UInt8 DEFAULT bitShiftRight(version, 127) != 0
    CODEC(ZSTD(1));

-- Versions are numbers that count up, of which level 1 makes two bytes a row and level 3 one; both
-- take as long, and the second is read sooner. What a value has in common with the one before is
-- 0.4 bytes of a random walk's 7.5; of values of few digits it costs 0.2 of 1.2. Parts from before
-- change when they are merged.
ALTER TABLE points
    MODIFY COLUMN version UInt128 CODEC(ZSTD(3)),
    MODIFY COLUMN value Float64 CODEC(Delta, ZSTD(1));
ALTER TABLE rollups
    MODIFY COLUMN first_y Float64 CODEC(Delta, ZSTD(1)),
    MODIFY COLUMN last_y Float64 CODEC(Delta, ZSTD(1)),
    MODIFY COLUMN min_y Float64 CODEC(Delta, ZSTD(1)),
    MODIFY COLUMN max_y Float64 CODEC(Delta, ZSTD(1)),
    MODIFY COLUMN sum Float64 CODEC(Delta, ZSTD(1));

-- How wide buckets are and which tiers there are. Of another form nothing counts: what an earlier
-- release rolled is rolled again by this one, and read from points until then.
-- `until` says, as `since` does of the beginning, where the edition's rows end for good: of a wide
-- bucket in which it lies there is a row, of the points before it. 0 while the edition goes on.
ALTER TABLE rolled
    ADD COLUMN IF NOT EXISTS form UInt8 DEFAULT 1,
    ADD COLUMN IF NOT EXISTS until Int64 DEFAULT 0;
