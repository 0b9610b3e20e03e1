"""Histories of several writers, random or by hand, as ingest would have logged them."""

from __future__ import annotations

import random

from support_envelopes import FINISHED, Pen

from naiad_proto.series import build_string_series
from naiad_proto.v1 import records_pb2 as pb

PROJECT = "team/history"


class History:
    """What some writers said, batch by batch, with resends, overwrites and rejections."""

    def __init__(self, seed: int, writers: int = 3, runs: int = 2) -> None:
        self._random = random.Random(seed)
        self._pens = [
            Pen(PROJECT, f"run-{n % runs}", f"{seed:016x}{n:016x}", 1_700_000_000_000_000 + n)
            for n in range(writers)
        ]
        self._sent: list[tuple[pb.Batch, list[pb.Rejection]]] = []
        # As each writer's client counts: points, attributes.
        self._counts = {pen.writer_id: [0, 0] for pen in self._pens}

    def more(self, count: int) -> list[tuple[pb.Batch, list[pb.Rejection]]]:
        """The next batches, each with what ingest left out of it."""
        return [self._next() for _ in range(count)]

    def _next(self) -> tuple[pb.Batch, list[pb.Rejection]]:
        choose = self._random
        if self._sent and choose.random() < 0.15:
            return choose.choice(self._sent)
        pen = choose.choice(self._pens)
        rejections = []
        match choose.randrange(6):
            case 0 | 1 | 2:
                paths = choose.sample(["loss", "acc", "lr", "grad/norm"], choose.randint(1, 3))
                rows = choose.randint(1, 20)
                # Steps of few places, so that writers overwrite each other.
                batch = pen.metrics(
                    {path: [choose.uniform(-1, 1) for _ in range(rows)] for path in paths},
                    first_step=choose.randint(0, 60),
                    preview=choose.random() < 0.2,
                )
                if choose.random() < 0.2:
                    rejections.append(
                        pb.Rejection(
                            group_index=0,
                            path_index=0,
                            row_index=choose.randrange(rows),
                            reason=pb.REJECTION_REASON_INVALID_VALUE,
                        )
                    )
            case 3:
                batch = pen._batch(2)
                batch.string_series.append(
                    build_string_series(
                        "console",
                        [choose.choice("abc"), "x"],
                        steps=[choose.randint(0, 5) * 1_000_000, 9_000_000],
                        timestamps=[1000, 1001],
                        first_record=batch.records.first,
                    )
                )
            case 4:
                batch = pen._batch(2)
                item = batch.items.add(record=batch.records.first, timestamp=1000)
                item.set_attribute.path = choose.choice(["a", "b"])
                item.set_attribute.value.int_value = choose.randint(0, 9)
                item = batch.items.add(record=batch.records.last, timestamp=1000)
                item.update_string_set.path = "sys/tags"
                item.update_string_set.add.append(choose.choice("xyz"))
            case _:
                batch = pen.status(FINISHED) if choose.random() < 0.3 else pen.status()
        self.count(batch)
        self._sent.append((batch, rejections))
        return batch, rejections

    def count(self, batch: pb.Batch) -> None:
        """Writes into the batch what its client has counted so far, everything before it being
        acknowledged."""
        counts = self._counts[batch.writer_id]
        counts[0] += sum(len(g.paths) * len(g.steps) // 8 for g in batch.groups)
        counts[0] += sum(len(s.values) for s in batch.string_series)
        counts[1] += sum(
            item.WhichOneof("kind") in ("set_attribute", "update_string_set")
            for item in batch.items
        )
        batch.counts.through = batch.records.last
        batch.counts.acknowledged = batch.records.first - 1
        batch.counts.points, batch.counts.attributes = counts
