"""The delivery ledger: is what was logged in the log, and what is in the log in the store?

Enters: the log, the store, a project and perhaps a run. Leaves: an AuditResponse with what was
counted, and each gap with its place: which writer, which records, between which two stages.

Three accounts are compared, none of which is made from another one:
- the client's own counts, which travel with its batches;
- what the log holds, read from its first record to its last, batch by batch;
- what the store holds: what its writer says of each spool, and the rows themselves.

Records are counted by intervals and points by path and step, so resends and overwrites balance:
accepted = stored + overwritten.
"""

from naiad_consumers.audit.audit import audit

__all__ = ["audit"]
