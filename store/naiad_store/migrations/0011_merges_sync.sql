-- What was made of parts, by a merge or by a change of rows, is synced as an insert is, before the
-- parts it was made of may be removed. ClickHouse leaves that to time (`old_parts_lifetime`, 480 s,
-- counted from a part's making where the server was started since); chDB leaves none, and a power
-- cut within half a minute of a merge took with it whatever the merge had gathered.
ALTER TABLE runs MODIFY SETTING min_rows_to_fsync_after_merge = 1;
ALTER TABLE writers MODIFY SETTING min_rows_to_fsync_after_merge = 1;
ALTER TABLE points MODIFY SETTING min_rows_to_fsync_after_merge = 1;
ALTER TABLE string_points MODIFY SETTING min_rows_to_fsync_after_merge = 1;
ALTER TABLE histogram_points MODIFY SETTING min_rows_to_fsync_after_merge = 1;
ALTER TABLE file_points MODIFY SETTING min_rows_to_fsync_after_merge = 1;
ALTER TABLE attributes MODIFY SETTING min_rows_to_fsync_after_merge = 1;
ALTER TABLE string_sets MODIFY SETTING min_rows_to_fsync_after_merge = 1;
ALTER TABLE series MODIFY SETTING min_rows_to_fsync_after_merge = 1;
ALTER TABLE alerts MODIFY SETTING min_rows_to_fsync_after_merge = 1;
ALTER TABLE alert_deliveries MODIFY SETTING min_rows_to_fsync_after_merge = 1;
ALTER TABLE listening MODIFY SETTING min_rows_to_fsync_after_merge = 1;
ALTER TABLE owners MODIFY SETTING min_rows_to_fsync_after_merge = 1;
ALTER TABLE rollups MODIFY SETTING min_rows_to_fsync_after_merge = 1;
ALTER TABLE rolled MODIFY SETTING min_rows_to_fsync_after_merge = 1;
ALTER TABLE dirty_stretches MODIFY SETTING min_rows_to_fsync_after_merge = 1;
ALTER TABLE rollers MODIFY SETTING min_rows_to_fsync_after_merge = 1;
ALTER TABLE tombstones MODIFY SETTING min_rows_to_fsync_after_merge = 1;
ALTER TABLE retention MODIFY SETTING min_rows_to_fsync_after_merge = 1;
ALTER TABLE discarded_files MODIFY SETTING min_rows_to_fsync_after_merge = 1;
ALTER TABLE migrations MODIFY SETTING min_rows_to_fsync_after_merge = 1;
