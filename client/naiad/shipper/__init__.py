"""The shipper: sends what spools hold, from a process of its own.

Enters: the spools of one host's folder, live ones and leftovers of dead processes. Leaves:
batches to the servers that the spools name; a progress file in each spool, which is how the
training process knows.

Promised:
- What a spool holds is sent until it is acknowledged, whatever restarts in between, and
  nothing is removed before.
- A writer that died without a word is reported as killed.
- One shipper per folder and host, by a lock; it ends when nothing is left to do.
"""
