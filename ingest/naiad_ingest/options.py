"""Options that a gRPC server needs to carry the services of Naiad."""

from __future__ import annotations

from naiad_proto.limits import MAX_MESSAGE_BYTES

SERVER_OPTIONS: tuple[tuple[str, int], ...] = (
    # A larger message ends with RESOURCE_EXHAUSTED before any of it is parsed.
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    # Answers are cut into chunks by who sends them.
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    # Nobody sends more than 64 KiB into a call that is not read yet, however fast the network
    # is. gRPC's estimate of that let in 16 times as much, for each call that had to wait.
    ("grpc.http2.bdp_probe", 0),
    # Far more than a client has in flight on one connection; the next ones wait over there.
    ("grpc.max_concurrent_streams", 256),
    # Calls that have come and were not looked at yet. Past the first number gRPC begins to end
    # some, as CANCELLED and without saying when to come again; ours has said so long before.
    ("grpc.server.max_pending_requests", 4000),
    ("grpc.server.max_pending_requests_hard_limit", 8000),
    # Finds connections that a firewall or a vanished host left half open.
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    # Shippers between two batches, and dashboards that wait, ping to keep theirs open;
    # without these the server would take that for abuse and hang up.
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
)
