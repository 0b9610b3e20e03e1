"""Which writers of a run count: those of the life that it lives now.

As the writer has it from the store's tombstones, kept in Redis beside the values: of a run that was
deleted nothing is live, whatever arrives of its writers, and who begins afterwards is another life.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Self

from naiad_consumers.live.layout import WriterSeen
from naiad_proto.v1.records_pb2 import Item
from naiad_store.lives import Change, Lives, NotPossible, Tombstone

_LAYOUT = 1


@dataclass(frozen=True, slots=True)
class RunChange:
    """A deletion, restoration or purge, and the epochs of whom was heard before it."""

    item: Item
    change: Change
    before: frozenset[int]


@dataclass
class Past:
    """Of a run; empty while nobody has deleted it."""

    lives: Lives
    # Incarnations of lives of which something came.
    begun: set[int] = field(default_factory=set)

    @classmethod
    def of(cls, project: str, run_id: str, packed: bytes | None) -> Self:
        """Empty, too, where another version of the layout wrote it."""
        found = json.loads(packed) if packed else {}
        if found.get("layout") != _LAYOUT:
            return cls(Lives(project, run_id))
        ends = [
            Tombstone(
                project, run_id, until, incarnation, following, state, at, "", at, "", version
            )
            for until, incarnation, following, state, at, version in found["ends"]
        ]
        return cls(Lives(project, run_id, ends), set(found["begun"]))

    def packed(self) -> bytes:
        ends = [
            (end.until, end.incarnation, end.next, end.state, end.deleted_at, end.version)
            for end in self.lives.ends
        ]
        found = {"layout": _LAYOUT, "ends": ends, "begun": sorted(self.begun)}
        return json.dumps(found, separators=(",", ":")).encode()

    def copy(self) -> Past:
        lives = self.lives
        return Past(Lives(lives.project, lives.run_id, list(lives.ends)), set(self.begun))

    def __bool__(self) -> bool:
        return bool(self.lives.ends)

    def counts(self, epoch: int) -> bool:
        """Of a writer."""
        incarnation = self.lives.incarnation(epoch)
        return incarnation == self.lives.current and not self.lives.is_hidden(incarnation)

    def heard(self, epochs: Iterable[int]) -> None:
        self.begun |= {self.lives.incarnation(epoch) for epoch in epochs}

    def apply(self, one: RunChange, writers: Mapping[str, WriterSeen]) -> None:
        """`writers`: that were heard before. What comes again, was overtaken or can't be done
        changes nothing."""
        if one.change.version <= self.lives.version:
            return
        self.heard(seen.epoch for seen in writers.values())
        self.heard(one.before)
        item = one.item
        try:
            match item.WhichOneof("kind"):
                case "delete_run":
                    since = item.delete_run.unless_heard_since
                    mine = [seen for seen in writers.values() if self.counts(seen.epoch)]
                    if since and any(seen.seen_at >= since for seen in mine):
                        return
                    heard = {*one.before, *(seen.epoch for seen in mine)}
                    # One that began while the deletion was on its way may be above it.
                    highest = max((one for one in heard if self.counts(one)), default=0)
                    self.lives.delete(one.change, until=highest)
                case "restore_run":
                    restore = item.restore_run
                    which = restore.incarnation if restore.HasField("incarnation") else None
                    self.lives.restore(one.change, which, begun=self.begun.__contains__)
                case "purge_run":
                    purge = item.purge_run
                    which = purge.incarnation if purge.HasField("incarnation") else None
                    self.lives.purge(one.change, which, before=purge.deleted_before)
        except NotPossible:
            pass
