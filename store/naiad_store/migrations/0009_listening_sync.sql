-- As every other table: what was inserted must not be half there after a power cut.
ALTER TABLE listening MODIFY SETTING fsync_after_insert = 1, fsync_part_directory = 1;
ALTER TABLE migrations MODIFY SETTING fsync_after_insert = 1, fsync_part_directory = 1;
