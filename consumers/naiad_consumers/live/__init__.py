"""What is going on right now, in Redis or Valkey, for those who want it without a query.

Enters: the batches of the records topic (as a consumer group of its own). Leaves: per run
the latest value of each metric, and per writer when it was last heard and in what state;
all of it with an expiry. Points that ingest rejected and previews are left out. `reading`
has the functions that read it back.

Promised: nothing depends on it. It is a copy for speed: when Redis is away the log is read
on, and the newest of what came meanwhile waits for it. A Redis that comes back empty fills with
that and with what runs log from then on.
"""

from naiad_consumers.live.layout import LatestValue, WriterSeen
from naiad_consumers.live.live import GROUP, Live
from naiad_consumers.live.reading import last_seen, latest_values

__all__ = [
    "GROUP",
    "LatestValue",
    "Live",
    "WriterSeen",
    "last_seen",
    "latest_values",
]
