"""The ledger: "is all my data there?" as a number."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from naiad.spool.folder import read_json, read_progress, write_json
from naiad.spool.layout import Header
from naiad.tally import Tally

# What became of spools that are sent and gone, a small file for each.
LEDGERS = "ledgers"
_MOST_KEPT = 200
# In a spool: how many calls found no room there.
DROPPED = "dropped"


@dataclass(frozen=True, slots=True)
class Ledger:
    """What became of everything that one writer, a process's part in a run, has logged.

    Each is `(records, points, attributes)`: a record is about one call; a point is one value
    of one series; an attribute is one single value, tag change or file assigned. A step that
    is logged twice is two points here, in every column, and one when it is read back.
    """

    project: str
    run_id: str
    writer_id: str = ""
    # Given to the run; what was dropped is not in it, since it was never written down.
    logged: Tally = field(default_factory=Tally)
    # In the server's durable log, or refused by the server.
    acknowledged: Tally = field(default_factory=Tally)
    # Readable, or refused. While the store is behind, points are counted by whole batches.
    stored: Tally = field(default_factory=Tally)
    # Of those acknowledged; `records` counts messages, one for each thing refused.
    rejected: Tally = field(default_factory=Tally)
    # Calls that found no room in the spool.
    dropped: int = 0
    # Records that were broken when they were read back: a power cut, a failing disk.
    torn: int = 0

    @property
    def waiting(self) -> Tally:
        """Logged and not acknowledged."""
        return self.logged - self.acknowledged

    @property
    def complete(self) -> bool:
        """Is everything that was logged readable, and nothing refused, dropped or torn?"""
        return (
            self.stored == self.logged
            and not self.dropped
            and not self.torn
            and not any(self.rejected)
        )

    def __str__(self) -> str:
        columns = ("logged", "acknowledged", "stored", "rejected")
        lines = [
            f"run {self.run_id}, writer {self.writer_id[:12]}:"
            + (" all of it can be read" if self.complete else ""),
            " " * 10 + "".join(f"{name:>14}" for name in columns),
        ]
        for index, kind in enumerate(Tally._fields):
            counts = (getattr(self, column)[index] for column in columns)
            lines.append(f"{kind:<10}" + "".join(f"{count:>14,}" for count in counts))
        if self.dropped:
            lines.append(f"{self.dropped:,} calls were dropped: there was no room for the spool")
        if self.torn:
            lines.append(f"{self.torn:,} records could not be read back from the spool")
        return "\n".join(lines)


def keep_ledger(
    spool: Path, header: Header, progress: dict[str, Any], *, final: bool = False
) -> None:
    """Writes down what became of a spool whose folder goes; `final` when nothing more is going
    to be heard of it. Never raises: it is a courtesy."""
    with contextlib.suppress(OSError):
        folder = _ledgers(spool)
        folder.mkdir(mode=0o700, exist_ok=True)
        file = folder / f"{spool.name}.json"
        # Written once more when the spool is gone already.
        dropped = max(dropped_in(spool), int(read_json(file).get("dropped", 0)))
        content = {
            "project": header.project, "run_id": header.run_id, "writer_id": header.writer_id,
            "role": header.role, "final": final, "dropped": dropped, **progress,
        }  # fmt: skip
        write_json(file, content)
        for old in sorted(folder.glob("*.json"))[:-_MOST_KEPT]:
            old.unlink(missing_ok=True)


def note_dropped(spool: Path, count: int) -> None:
    """Leaves word of calls that were dropped, for when their process is gone. Where a disk is
    full, even that may not fit."""
    with contextlib.suppress(OSError):
        (spool / DROPPED).write_text(str(count))


def dropped_in(spool: Path) -> int:
    try:
        return int((spool / DROPPED).read_text())
    except (OSError, ValueError):
        return 0


def kept_ledgers(host: Path) -> list[dict[str, Any]]:
    """What is written down about spools that are gone, oldest first."""
    return [read_json(file) for file in sorted((host / LEDGERS).glob("*.json"))]


def progress_of(spool: Path) -> dict[str, Any]:
    """What the shipper says of a spool, or said at last before its folder went."""
    return read_progress(spool) or read_json(_ledgers(spool) / f"{spool.name}.json")


def ledger_of(
    spool: Path, header: Header, *, last_record: int | None = None, dropped: int = 0
) -> Ledger:
    """The ledger of a spool, counted now; `last_record` as its writer knows it."""
    for _ in range(10):
        progress = progress_of(spool)
        acknowledged = int(progress.get("acknowledged", 0))
        if last_record is not None and acknowledged >= last_record:
            rest: Tally | None = Tally()
        else:
            rest = _rest(spool, acknowledged)
        if rest is not None:
            break
        # A segment was acknowledged and removed while it was to be read: look again.
    made = _tally(progress, "acknowledged_tally")
    return Ledger(
        project=header.project,
        run_id=header.run_id,
        writer_id=header.writer_id,
        logged=made + (rest or Tally()),
        acknowledged=made,
        stored=_tally(progress, "stored_tally"),
        rejected=_tally(progress, "rejected_tally"),
        dropped=max(dropped, dropped_in(spool), int(progress.get("dropped", 0))),
        torn=int(progress.get("torn", 0)),
    )


def _tally(progress: dict[str, Any], name: str) -> Tally:
    return Tally(*map(int, progress.get(name, (0, 0, 0))))


def _rest(spool: Path, acknowledged: int) -> Tally | None:
    """What stands in the spool behind record `acknowledged`; None if part of it is gone.

    Read back and counted, since counting when it is logged would cost every call."""
    from naiad.shipper.batches import after, tally_of
    from naiad.spool.reader import SpoolReader

    total = Tally()
    reader = SpoolReader(spool)
    expected = acknowledged + 1
    try:
        for row in reader.rows(1 << 62, writer_lives=False):
            left = after(row, acknowledged)
            if left is None:
                continue
            if left.first > expected and not reader.damaged:
                return None
            expected = left.last + 1
            total += tally_of(left)
    finally:
        reader.close()
    return total


def _ledgers(spool: Path) -> Path:
    return spool.parent.parent / LEDGERS
