"""What reads the event log, each as a consumer group of its own.

Enter: envelopes of the log's partitions, at least once, in order. Leave: rows in the store
(`Writer`) and rollups of them (`Roller`, which reads the store), alert occurrences at their
sinks (`Alerter`), live state in Valkey or Redis (`Live`). Beside them the `Janitor` looks after
the trash. Promised: an offset is committed only after what it stands for is kept, and reading
anything twice changes nothing.
"""

from naiad_consumers.alerter import AlertConfig, AlertConfigError, Alerter
from naiad_consumers.janitor import Janitor
from naiad_consumers.live import Live
from naiad_consumers.retention import retainer
from naiad_consumers.roller import Roller
from naiad_consumers.writer import Marks, Writer

__all__ = [
    "AlertConfig", "AlertConfigError", "Alerter", "Janitor", "Live", "Marks", "Roller", "Writer",
    "retainer",
]  # fmt: skip
