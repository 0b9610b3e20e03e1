"""A load of many runs on the log, and the truth about it, told by who made it: what the store
has to hold at the end, whoever stored it and however often partitions changed hands."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from support_envelopes import Pen, append
from support_eventlog import all_there
from support_naiad import LONGER

from naiad_consumers.writer import GROUP
from naiad_consumers.writer.intervals import merge
from naiad_eventlog import EventLog, Position, StartFrom
from naiad_eventlog.topics import DEAD, PROGRESS, RECORDS
from naiad_ingest.epochs import Epochs
from naiad_ingest.progress import Progress
from naiad_proto.v1 import records_pb2
from naiad_proto.v1.log_pb2 import DeadLetter
from naiad_store import Store

PATHS = ("loss", "acc", "lr")


@dataclass
class Load:
    """Runs that log metrics as fast as the log takes them; some batches are sent twice, some
    can't be stored, and each run uses one path with a second type."""

    log: EventLog
    runs: int = 16
    seed: int = 1
    # Batches before which a run gives way, in seconds.
    pause: float = 0.05
    # How often a batch is sent twice.
    resent: float = 0.1
    # Whether a run stays in its partition when some are added, as ingest has it.
    stays: bool = True
    name: str = "run"
    points: dict[tuple[str, str, int], float] = field(default_factory=dict)
    # By run.
    poison: Counter[str] = field(default_factory=Counter)
    pens: dict[str, Pen] = field(default_factory=dict)
    sent: int = 0

    @contextlib.asynccontextmanager
    async def going_on(self) -> AsyncIterator[None]:
        stop = asyncio.Event()
        self._epochs = Epochs(self.log)
        await self._epochs.start()
        async with contextlib.AsyncExitStack() as ending, asyncio.TaskGroup() as tasks:
            ending.push_async_callback(self._epochs.stop)
            for number in range(self.runs):
                tasks.create_task(self._log(f"{self.name}-{number}", stop))
            try:
                yield
            finally:
                stop.set()

    async def _log(self, run: str, stop: asyncio.Event) -> None:
        choose = random.Random(f"{self.seed}/{run}")
        pen = self.pens.setdefault(run, Pen(run_id=run))
        if not pen.record:
            await self._send(pen.status())
        step = max((s for r, _, s in self.points if r == run), default=-1) + 1
        while not stop.is_set():
            count = choose.randint(1, 20)
            data = {path: [choose.random() for _ in range(count)] for path in PATHS}
            batch = pen.metrics(data, first_step=step)
            for path, values in data.items():
                self.points.update({(run, path, step + n): v for n, v in enumerate(values)})
            step += count
            await self._send(batch)
            if choose.random() < self.resent:
                # Its answer was lost, say.
                await self._send(batch)
            if choose.random() < 0.01:
                await self._send(self._bad(pen))
            if choose.random() < 0.05:
                await self._send(_other_type(pen))
            await asyncio.sleep(self.pause * choose.random() * 2)

    def _bad(self, pen: Pen) -> records_pb2.Batch:
        """One record that passed ingest, say of an older release, and can't be stored."""
        batch = pen._batch(1)
        batch.groups.add(paths=["c"], steps=b"odd")
        self.poison[pen.run_id] += 1
        return batch

    async def _send(self, batch: records_pb2.Batch) -> None:
        among = None
        if self.stays:
            among = await self._epochs.record(
                batch.project, batch.run_id, batch.writer_id, batch.epoch
            )
        await append(self.log, batch, among=among)
        self.sent += 1

    async def more(self, batches: int, seconds: float = 60) -> None:
        """Returns when so many more were sent."""
        wanted = self.sent + batches
        async with asyncio.timeout(seconds * LONGER):
            while self.sent < wanted:  # noqa: ASYNC110
                await asyncio.sleep(0.02)

    # --- what is there ----------------------------------------------------------------------

    async def stored(self, seconds: float = 120) -> None:
        """Returns when the writers have committed all that was sent."""
        async with asyncio.timeout(seconds * LONGER):
            while sum((await self.log.lag(RECORDS.name, GROUP)).values()):  # noqa: ASYNC110
                await asyncio.sleep(0.05)

    async def check(self, store: Store) -> None:
        """Nothing is lost, nothing there twice, and what is derived is as counted here."""
        rows = await asyncio.to_thread(
            store.query,
            "SELECT run_id, path, toInt64(step) AS step, value FROM view_points",
        )
        found = Counter((r["run_id"], r["path"], r["step"], r["value"]) for r in rows.to_pylist())
        wanted = {(*key, value) for key, value in self.points.items()}
        lost, more = wanted - found.keys(), found.keys() - wanted
        assert not lost, f"{len(lost)} of {len(wanted)} lost: {sorted(lost)[:5]}"
        assert not more, f"{len(more)} never logged: {sorted(more)[:5]}"
        assert set(found.values()) <= {1}
        await self._check_writers(store)
        await self._check_said()

    async def _check_writers(self, store: Store) -> None:
        rows = await asyncio.to_thread(
            store.query,
            "SELECT r.run_id AS run_id, s.stored AS stored, s.points AS points,"
            " s.rejected AS rejected, w.warnings AS warnings, w.late AS late FROM spools AS s"
            " JOIN (SELECT run, run_id FROM runs FINAL) AS r ON r.run = s.run"
            " JOIN (SELECT writer_id, groupArrayArray(warnings) AS warnings,"
            "  sum(late_rejection_count) AS late FROM writers FINAL GROUP BY writer_id) AS w"
            " ON w.writer_id = s.writer_id",
        )
        spools = {row["run_id"]: row for row in rows.to_pylist()}
        assert spools.keys() == self.pens.keys()
        counted = Counter(run for run, _, _ in self.points)
        for run, pen in self.pens.items():
            row = spools[run]
            intervals = merge(tuple(pair.values()) for pair in row["stored"])
            assert intervals == ((1, pen.record),), (run, intervals)
            assert row["points"] == counted[run], run
            assert row["late"] == row["rejected"] == self.poison[run], run
            assert len(row["warnings"]) == _has_other_type(pen), (run, row["warnings"])

    async def _check_said(self) -> None:
        """What clients hear, from an ingest that starts now; and the dead letters."""
        progress = Progress(self.log)
        await progress.start()
        try:
            # Where a member stood still its group settles once more, and it begins with less.
            for where, end in (await self.log.end_offsets(PROGRESS.name)).items():
                if end:
                    await progress._fold.reach(Position(*where, end - 1))
            for run, pen in self.pens.items():
                (told,) = progress.of(pen.project, run)
                assert [(i.first, i.last) for i in told.stored] == [(1, pen.record)], run
                assert told.late_rejection_count == self.poison[run], run
                assert len(told.warnings) == _has_other_type(pen), run
        finally:
            await progress.stop()
        letters: Counter[str] = Counter()
        seen = set()
        group = f"check-{random.random()}"
        async with await self.log.subscribe(DEAD.name, group, StartFrom.EARLIEST) as dead:
            for record in await all_there(dead):
                letter = DeadLetter.FromString(record.value)
                origin = (letter.topic, letter.partition, letter.offset)
                # Once more by the next owner, if the first couldn't commit.
                if origin not in seen:
                    letters[record.key.decode().rpartition("/")[2]] += 1
                seen.add(origin)
        assert letters == self.poison


_OTHER = "changes"


def _other_type(pen: Pen) -> records_pb2.Batch:
    """An attribute that is a float at first and then a string."""
    batch = pen._batch(1)
    item = batch.items.add(record=pen.record, timestamp=1)
    item.set_attribute.path = _OTHER
    times = _TIMES[pen.writer_id] = _TIMES[pen.writer_id] + 1
    if times == 1:
        item.set_attribute.value.float_value = 0.5
    else:
        item.set_attribute.value.string_value = "half"
    return batch


_TIMES: Counter[str] = Counter()


def _has_other_type(pen: Pen) -> bool:
    return _TIMES[pen.writer_id] > 1
