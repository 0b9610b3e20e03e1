"""Processes that log to a platform under torture, and what each of them says of it in a diary.

Unlike support_diary these change their minds: they log a step again, log it late, edit configs,
add and remove tags, commit previews, and several of them write the same paths of one run. So a
diary holds calls in their order, and support_auditor works out which of them counts.

A diary has one write(2) per line and no buffer: before a call what it is about to log, after
it that it returned. What was logged can be told from these files alone. A value is made of its
writer, its call and its path, so that none could come out right by chance.

    python support_load.py client FOLDER PROJECT RUN SEED ORDINAL PAUSE
    python support_load.py raw    FOLDER PROJECT RUN SEED ORDINAL PAUSE

`client` logs by the client. `raw` speaks gRPC itself: two spools of one run, batches delivered
twice and out of order. ORDINAL: writers of a run are opened in that order, one after the other,
so that a higher one's points count. Both stand still while FOLDER/rest is there, and end well at
FOLDER/end.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import random
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

STEP = 1_000_000
TAGS = ("good", "bad", "baseline", "é")
RAW_PATHS = ("loss", "a/b", "c")
RAW_ROWS = 20


def number(seed: int, author: str, call: int, path: str) -> float:
    """What call `call` of `author` gives `path`: sometimes no finite number."""
    digest = hashlib.blake2b(f"{seed}/{author}/{call}/{path}".encode(), digest_size=8).digest()
    drawn = int.from_bytes(digest, "little")
    if drawn % 40 < 3:
        return (math.nan, math.inf, -math.inf)[drawn % 40]
    return drawn / 2**61 - 4.0


def text(seed: int, author: str, call: int, path: str) -> str:
    return f"{path} by {author}, {call}: {number(seed, author, call, path)!r} é\n" * (1 + call % 3)


def bins(seed: int, author: str, call: int, path: str) -> tuple[list[float], list[float]]:
    """(edges, counts)"""
    digest = hashlib.blake2b(f"{seed}/{author}/{call}/{path}".encode(), digest_size=3).digest()
    return [0.0, 1.0, 2.0, 4.0], [float(byte) for byte in digest]


def content(seed: int, author: str, call: int, path: str) -> bytes:
    return text(seed, author, call, path).encode()


class Diary:
    def __init__(self, folder: Path, run: str, ordinal: int) -> None:
        self.author = f"{run}.{ordinal:04}"
        self._folder = folder
        self._parent = os.getppid()
        self._calls = 0
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        self._file = os.open(folder / f"{self.author}.diary", flags, 0o600)

    def say(self, **line: Any) -> None:
        data = json.dumps(line).encode() + b"\n"
        # A short write would be a fault of the test's own.
        assert os.write(self._file, data) == len(data)

    def about(self, kind: str, paths: Sequence[str], step: int = 0, **more: Any) -> int:
        """Says what is about to be logged; returns the number of the call."""
        self._calls += 1
        self.say(call=self._calls, kind=kind, paths=list(paths), step=step, **more)
        return self._calls

    def returned(self, call: int) -> None:
        self.say(returned=call)

    @property
    def ending(self) -> bool:
        # A test that was killed can't say so.
        return (self._folder / "end").exists() or os.getppid() != self._parent

    def rest(self) -> None:
        """Stands still where it is told to."""
        rest = self._folder / "rest"
        if rest.exists() and not self.ending:
            self.say(rests=True)
            while rest.exists() and not self.ending:
                time.sleep(0.02)
            self.say(rests=False)


def client(folder: Path, project: str, run_id: str, seed: int, ordinal: int, pause: float) -> None:
    import naiad

    diary = Diary(folder, run_id, ordinal)
    author = diary.author
    draw = random.Random(f"{seed}/{author}")
    own = f"w{ordinal}"
    run = naiad.Run(
        project=project, run_id=run_id, hardware_interval=None, source_tracking_config=None,
        enable_console_log_capture=False,
    )  # fmt: skip

    def values(call: int, paths: Sequence[str]) -> dict[str, float]:
        return {path: number(seed, author, call, path) for path in paths}

    def metrics(paths: Sequence[str], step: int, *, preview: bool = False) -> None:
        call = diary.about("previews" if preview else "metrics", paths, step)
        run.log_metrics(values(call, paths), step=step / STEP, preview=preview)
        diary.returned(call)

    def strings(paths: Sequence[str], step: int) -> None:
        call = diary.about("strings", paths, step)
        run.log_string_series(
            {path: text(seed, author, call, path) for path in paths}, step=step / STEP
        )
        diary.returned(call)

    def histograms(paths: Sequence[str], step: int) -> None:
        call = diary.about("histograms", paths, step)
        made = {}
        for path in paths:
            edges, counts = bins(seed, author, call, path)
            made[path] = naiad.Histogram(bin_edges=edges, counts=counts)
        run.log_histograms(made, step=step / STEP)
        diary.returned(call)

    def files(paths: Sequence[str], step: int) -> None:
        call = diary.about("files", paths, step)
        run.log_files({path: content(seed, author, call, path) for path in paths}, step=step / STEP)
        diary.returned(call)

    def configs(paths: Sequence[str]) -> None:
        call = diary.about("configs", paths)
        run.log_configs({path: bins(seed, author, call, path)[1][0] for path in paths})
        diary.returned(call)

    def tags(tag: str, *, there: bool) -> None:
        call = diary.about("tags" if there else "untags", [tag])
        (run.add_tags if there else run.remove_tags)([tag])
        diary.returned(call)

    wide = [f"{own}/layer{n}/norm" for n in range(30)]
    # With the threads of the run begun, and its place among the writers known.
    diary.say(opened=True)
    step = -1
    while not diary.ending:
        diary.rest()
        step += 1
        # Also halves: steps are decimals.
        at = step * STEP // 2
        metrics([f"{own}/loss", f"{own}/accuracy"], at)
        if step % 3 == 0:
            # Of several writers at once: the one that was opened last counts.
            metrics(["shared/loss"], at)
        if step % 10 == 0:
            metrics(wide, at)
        if step % 5 == 4:
            # Again, somewhere behind.
            metrics([f"{own}/loss", "shared/loss"], draw.randrange(step + 1) * STEP // 2)
        if step % 4 == 1:
            # Late: backwards within each forty.
            metrics([f"{own}/late"], (step // 40 * 80 + 39 - step) * STEP // 2)
        if step % 6 == 0:
            metrics([f"{own}/preview"], at, preview=True)
        if step % 12 == 6:
            metrics([f"{own}/preview"], draw.randrange(0, step + 1, 6) * STEP // 2)
        if step % 7 == 0:
            strings(["notes", f"{own}/notes"], at)
        if step % 20 == 3:
            strings(["notes"], draw.randrange(0, step + 1) * STEP // 2)
        if step % 15 == 5:
            configs(["config/lr", f"config/{own}", f"config/{step}"])
        if step % 11 == 2:
            tags(draw.choice(TAGS), there=draw.random() < 0.6)
        if step % 25 == 8:
            histograms(["weights", f"{own}/weights"], at)
        if step % 50 == 9:
            files([f"{own}/sample"], at)
        time.sleep(pause)
    # As little as a training that ends: what is left then, the shipper brings.
    run.close(timeout=1)
    diary.say(closed=True)


def raw(folder: Path, project: str, run_id: str, seed: int, ordinal: int, pause: float) -> None:
    """Windows of batches: each is delivered one to three times, in any order; again until the
    server has taken it. Both spools write the same steps, the one with the higher epoch often
    first."""
    import grpc
    import numpy as np
    from support_batches import batch

    from naiad_proto.series import build_group
    from naiad_proto.v1.ingest_pb2 import WriteBatchRequest
    from naiad_proto.v1.records_pb2 import Item

    diary = Diary(folder, run_id, ordinal)
    draw = random.Random(f"{seed}/{diary.author}")
    url = os.environ["NAIAD_URL"].removeprefix("grpc://")
    now = time.time_ns() // 1_000_000
    spools = [
        {"writer": f"{seed:08x}{ordinal:016x}{n:08x}", "epoch": now * 1000 + 1000 * n, "next": 1}
        for n in range(2)
    ]
    diary.say(spools=[[spool["writer"], spool["epoch"]] for spool in spools])

    def make(spool: dict[str, Any]) -> tuple[int, bytes]:
        content: list[Any] = []
        first = spool["next"]
        if first == 1:
            content.append(Item(record=1, timestamp=now))
            content[0].create_run.created_at = now
            spool["next"] += 1
        begin = draw.randrange(200) * 10
        rows = [(begin + n) * STEP for n in range(RAW_ROWS)]
        call = diary.about(
            "raw", RAW_PATHS, rows[0], spool=spools.index(spool), rows=RAW_ROWS,
            record=spool["next"], first=first,
        )  # fmt: skip
        values = [
            [number(seed, diary.author, call * 1000 + n, path) for n in range(RAW_ROWS)]
            for path in RAW_PATHS
        ]
        group = build_group(
            RAW_PATHS, steps=np.array(rows, np.int64),
            timestamps=np.full(RAW_ROWS, time.time_ns() // 1_000_000),
            values=np.array(values), first_record=spool["next"],
        )  # fmt: skip
        spool["next"] += RAW_ROWS
        made = batch(
            *content, group, project=project, run_id=run_id, writer_id=spool["writer"],
            epoch=spool["epoch"], records=(first, spool["next"] - 1),
        )  # fmt: skip
        return call, WriteBatchRequest(batch=made).SerializeToString()

    # As the client's: it comes back soon to a server that was away.
    options = [("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 500)]
    with grpc.insecure_channel(url, options=options) as channel:
        send: Callable[..., bytes] = channel.unary_unary("/naiad.v1.IngestService/WriteBatch")

        def deliver(request: bytes) -> None:
            while True:
                with contextlib.suppress(grpc.RpcError):
                    send(request, timeout=10)
                    return
                time.sleep(0.1)

        diary.say(opened=True)
        kept: list[bytes] = []
        while not diary.ending:
            diary.rest()
            window = [make(draw.choice(spools)) for _ in range(5)]
            deliveries = [one for one in window for _ in range(draw.randint(1, 3))]
            draw.shuffle(deliveries)
            for _, request in deliveries:
                deliver(request)
            for call, request in window:
                diary.returned(call)
                if draw.random() < 0.1:
                    kept.append(request)
            if kept and draw.random() < 0.3:
                # Long after: as a network or an old host might.
                deliver(kept.pop(draw.randrange(len(kept))))
            time.sleep(pause * len(window))
        diary.say(closed=True)


if __name__ == "__main__":
    given = sys.argv[2:]
    {"client": client, "raw": raw}[sys.argv[1]](
        Path(given[0]), given[1], given[2], int(given[3]), int(given[4]), float(given[5])
    )
