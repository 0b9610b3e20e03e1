"""The store made from the log again, beside the one that serves, which it then replaces.

Enters: the log, an open store, a snapshot or none. Leaves: the same store with fresh tables.

Promised:
- A gap between snapshot and log is refused, with partition and offsets, before anything is made.
- Readers and writers go on until the end; only for the last stretch the writers have to stop.
- Tables change places after they were compared, rows and checksums, and not where they differ,
  unless that is asked for.
- Cut off anywhere, the live tables are what they were, or all fresh once the store is opened next.
- What was published when the records were first read (progress, dead letters) isn't said again.
"""

from naiad_consumers.rebuild.rebuild import (
    Difference,
    LogGap,
    Rebuild,
    RebuildError,
    Rebuilt,
    TablesDiffer,
    WritersRun,
    rewind,
)

__all__ = [
    "Difference",
    "LogGap",
    "Rebuild",
    "RebuildError",
    "Rebuilt",
    "TablesDiffer",
    "WritersRun",
    "rewind",
]
