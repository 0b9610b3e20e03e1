"""The event log in a Kafka cluster, for any number of processes.

Enters: appends from many tasks. Leaves: records to the members of consumer groups, in as
many processes as like, each partition to one member of a group at a time.

Promised, beside the interface: an append returns when all in-sync replicas have the record
(acks=all, and an idempotent producer, so that a resend by the client library stands once);
what waits for a broker is bounded in bytes and in time; topics are made with the settings
that Naiad needs, or checked for them; a rebalance loses nothing and moves on from what was
handled.

Compression is off. What travels is packed numbers: of random walks zstd takes 7 %, of rounded
values 60 %, for ten times what their encoding costs; lz4 costs more and takes less. And every
codec but gzip needs one more library wherever the log is read.
"""
