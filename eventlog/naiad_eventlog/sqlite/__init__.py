"""The event log in one SQLite file, for one process that owns it.

Enters: appends from many tasks. Leaves: records to the subscriptions of this process.

Promised, beside the interface: concurrent appends share one fsync; the file has a bound,
past which appends are refused for the moment rather than the disk filled; what every group
has read is dropped when room is needed.

Not for several processes at once: who owns which partition is known in memory only. The
data folder's lock sees to that in `naiad up`.
"""
