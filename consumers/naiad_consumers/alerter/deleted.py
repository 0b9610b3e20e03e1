"""Which runs are in the trash, as far as the log was read: nobody is to be woken for those."""

from __future__ import annotations

from collections.abc import Iterable

from naiad_consumers.alerter.observation import Batch
from naiad_store.lives import RESTORED, Tombstone


class Deleted:
    def __init__(self) -> None:
        # (project, run id) -> writers up to this epoch are those of a deleted run.
        self._until: dict[tuple[str, str], int] = {}

    def restore(self, tombstones: Iterable[Tombstone]) -> None:
        """What the store knows."""
        for end in tombstones:
            if end.state != RESTORED:
                names = (end.project, end.run_id)
                self._until[names] = max(self._until.get(names, 0), end.until)

    def change(self, batch: Batch) -> None:
        """Of a batch of changes."""
        names = (batch.project, batch.run_id)
        if "delete_run" in batch.changes:
            self._until[names] = max(self._until.get(names, 0), batch.epoch)
        elif "restore_run" in batch.changes:
            self._until.pop(names, None)

    def has(self, batch: Batch) -> bool:
        return batch.epoch <= self._until.get((batch.project, batch.run_id), 0)
