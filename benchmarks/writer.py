"""Rows per second from the event log to readable rows in the store.

    python benchmarks/writer.py [--points 5000000] [--shape wide|narrow|thin] [--seconds 30]

Fills a log with envelopes of about 100,000 points as a shipper would send them, then times
the writer alone, from its start until the store counts every point and the offsets are
committed. Shapes: "wide" is 50 metrics a step, "narrow" one metric, "thin" 100,000 metrics
of which each batch holds one step. `--seconds` bounds the time: what is stored by then is
what the figure counts.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

from naiad_consumers.writer import GROUP, Writer
from naiad_eventlog import EventLog, open_event_log
from naiad_eventlog.topics import ALL_TOPICS, RECORDS, run_key
from naiad_proto.series import build_group
from naiad_proto.v1 import log_pb2, records_pb2
from naiad_store import Store

BATCH = 100_000
PROJECT = "bench/mark"
# Metrics a step and runs that log at once.
SHAPES = {"wide": (50, 4), "narrow": (1, 4), "thin": (100_000, 1)}


async def fill(log: EventLog, points: int, shape: str) -> int:
    """Appends `points` points in batches; returns how many points it appended."""
    metrics, runs = SHAPES[shape]
    rows = BATCH // metrics
    paths = [f"train/layer{number:06d}/loss" for number in range(metrics)]
    random = np.random.default_rng(7)
    appended = 0
    for number in range(points // BATCH):
        turn, run = divmod(number, runs)
        first = turn * rows + 1
        steps = np.arange(first, first + rows, dtype=np.int64)
        batch = records_pb2.Batch(
            project=PROJECT,
            run_id=f"run-{run}",
            writer_id=f"{run:032x}",
            epoch=1_790_000_000_000_000 + run,
            records=records_pb2.RecordInterval(first=first, last=first + rows - 1),
            groups=[
                build_group(
                    paths,
                    steps=steps * 1_000_000,
                    timestamps=1_790_000_000_000 + steps,
                    values=np.cumsum(random.normal(size=(metrics, rows)), axis=1),
                    first_record=first,
                )
            ],
        )
        envelope = log_pb2.Envelope(
            min_reader_version=1,
            received_at=1_790_000_000_000,
            principal="bench",
            batch=batch.SerializeToString(),
        )
        await log.append(RECORDS.name, run_key(PROJECT, batch.run_id), envelope.SerializeToString())
        appended += metrics * rows
    return appended


async def drain(log: EventLog, store: Store, seconds: float) -> float:
    """Runs a writer until nothing is left or `seconds` are over; returns how long it took."""
    stop = asyncio.Event()
    began = time.perf_counter()
    task = asyncio.create_task(Writer(log, store).run(stop))
    async with await log.subscribe(RECORDS.name, f"{GROUP}.watch") as watch:
        del watch
        while time.perf_counter() - began < seconds and not task.done():
            await asyncio.sleep(0.05)
            (found,) = store.query("SELECT sum(points) AS points FROM writers FINAL").to_pylist()
            if found["points"] >= drain.expected:  # type: ignore[attr-defined]
                break
    took = time.perf_counter() - began
    stop.set()
    await task
    return took


async def measure(points: int, shape: str, seconds: float) -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with await open_event_log(f"sqlite:///{Path(folder) / 'log.db'}") as log:
            await log.create_topics(ALL_TOPICS)
            with Store.open(f"chdb://{Path(folder) / 'store'}") as store:
                store.migrate()
                appended = await fill(log, points, shape)
                drain.expected = appended  # type: ignore[attr-defined]
                cpu = _cpu()
                took = await drain(log, store, seconds)
                cpu = _cpu() - cpu
                (found,) = store.query("SELECT count() AS n FROM points FINAL").to_pylist()
                state = "all" if found["n"] == appended else f"{found['n']:,} of them"
                print(
                    f"{shape}: {appended:,} points, {state} readable after {took:.2f} s:"
                    f" {found['n'] / took / 1e6:.2f} M rows/s, {cpu / took:.2f} cores"
                )


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--points", type=int, default=5_000_000)
    parser.add_argument("--shape", choices=sorted(SHAPES), default="wide")
    parser.add_argument("--seconds", type=float, default=30)
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    asyncio.run(measure(options.points, options.shape, options.seconds))


if __name__ == "__main__":
    main()
