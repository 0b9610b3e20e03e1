"""Changes of a run or a project as a whole, and their place in batches."""

from __future__ import annotations

from naiad_proto.blake2 import blake2b
from naiad_proto.v1.records_pb2 import WRITER_STATE_EDITING, Batch

# Of items: a batch that has one of these has nothing else.
OF_RUNS = frozenset({"delete_run", "restore_run", "purge_run"})
OF_PROJECTS = frozenset({"set_retention"})
CHANGES = OF_RUNS | OF_PROJECTS
# Who reads the log and doesn't know them must not go on.
READER_VERSION = 2


def is_change(batch: Batch) -> bool:
    """As ingest lets them through, its first item tells."""
    return bool(batch.items) and batch.items[0].WhichOneof("kind") in CHANGES


def is_edit(batch: Batch) -> bool:
    """Whether its writer only changes a run that is there."""
    return any(
        item.HasField("writer_status") and item.writer_status.state == WRITER_STATE_EDITING
        for item in batch.items
    )


def change_of_run(change_id: str, run_id: str) -> str:
    """The writer id of what a change of a project becomes for one of its runs."""
    return blake2b(f"{change_id}/{run_id}".encode(), digest_size=16).hexdigest()
