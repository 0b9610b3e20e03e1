"""The spool: what a training process writes instead of sending.

Enters: records of one run from one process. Leaves: the same records, in order, to whoever
reads the files: a shipper, now or after the process died.

Promised:
- A record is in the file when the call returns. The kernel keeps it through SIGKILL, the
  OOM killer and a segfault; the shipper syncs to disk every second.
- Records check themselves: a torn one is skipped and told, all others are kept.
- Segments explain themselves: each repeats what is needed to read it.
- The writer holds a lock for life, which the kernel drops at its death.

docs/spool.md has the format.
"""
