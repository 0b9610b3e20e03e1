"""What the shipper tells of a spool: the progress file that the training process reads."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Any

from naiad.tally import Tally

# What the progress file repeats of messages; all of them are in rejected.jsonl.
KEPT_MESSAGES = 50
# Points between which the stored count is rounded down while the store is behind.
KEPT_MARKS = 64
# Stretches of records that were put aside, before the oldest are told as one.
KEPT_INTERVALS = 500


@dataclass
class Told:
    """The content of progress.json, by field. `acknowledged` and `stored` are record numbers:
    all up to there. The counts beside them grow in the same write, so a shipper that follows
    a killed one goes on counting where that one stopped."""

    acknowledged: int = 0
    stored: int = 0
    read: int = 0
    # Messages about things that were not taken.
    rejected: int = 0
    epoch: int = 0
    opened: bool = False
    # Newest last, each with a number that rises.
    messages: list[dict[str, Any]] = field(default_factory=list)
    message_count: int = 0
    # Why nothing goes on; empty while it does.
    trouble: str = ""
    dashboard: str = ""
    # [records, points, attributes]
    acknowledged_tally: list[int] = field(default_factory=lambda: [0, 0, 0])
    stored_tally: list[int] = field(default_factory=lambda: [0, 0, 0])
    rejected_tally: list[int] = field(default_factory=lambda: [0, 0, 0])
    # Records that were broken when they were read back, by a power cut, say.
    torn: int = 0
    # [first, last] of records that were never sent, or never will be: ascending, not touching.
    set_aside: list[list[int]] = field(default_factory=list)
    # [record, records, points, attributes] acknowledged up to it and not known as stored.
    marks: list[list[int]] = field(default_factory=list)

    @classmethod
    def of(cls, content: dict[str, Any]) -> Told:
        """From a progress file, also one that an older or newer release wrote."""
        return cls(**{f.name: content[f.name] for f in fields(cls) if f.name in content})

    def content(self) -> dict[str, Any]:
        return asdict(self)

    def say(self, kind: str, text: str) -> None:
        """`kind`: rejected, warning, network, auth, torn."""
        self.message_count += 1
        self.messages.append({"n": self.message_count, "kind": kind, "text": text})
        del self.messages[:-KEPT_MESSAGES]

    def acknowledge(self, last: int, tally: Tally) -> None:
        """Everything up to record `last` is answered for; `tally` is what came with that."""
        self.acknowledged = last
        self.acknowledged_tally = list(Tally(*self.acknowledged_tally) + tally)
        self.marks.append([last, *self.acknowledged_tally])
        if len(self.marks) > KEPT_MARKS:
            # Every second one goes, never the newest: the count is exact again at the end.
            del self.marks[-2::-2]

    def store(self, last: int) -> None:
        """Everything up to record `last` can be read back."""
        if last <= self.stored:
            return
        self.stored = last
        while self.marks and self.marks[0][0] <= last:
            self.stored_tally = self.marks.pop(0)[1:]

    def put_aside(self, first: int, last: int) -> None:
        """The server is never going to have these records."""
        self.set_aside.append([first, last])
        self.set_aside.sort()
        merged: list[list[int]] = []
        for begin, end in self.set_aside:
            if merged and begin <= merged[-1][1] + 1:
                merged[-1][1] = max(merged[-1][1], end)
            else:
                merged.append([begin, end])
        # Rather too much than without end: a message with it has to stay small.
        while len(merged) > KEPT_INTERVALS:
            merged[1][0] = merged.pop(0)[0]
        self.set_aside = merged

    def reject(self, tally: Tally) -> None:
        self.rejected_tally = list(Tally(*self.rejected_tally) + tally)
