"""The wire contract `naiad.v1` and what every stage must read in the same way.

`naiad_proto.v1` holds the generated messages and services (sources: proto/schema).
Beside them stand the few rules that a schema can't express, so that client, ingest and
store can't come to differ: `limits` (names, sizes), `steps` (decimal steps as 64-bit
micro-steps) and `versions` (which of two rows wins).

This package imports nothing of Naiad; everything else may import it.
"""
