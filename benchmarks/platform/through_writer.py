"""What the writer makes of a bare insert: the same rows, into the same tables, in the same run."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from engines_up import engines
from report import Row
from sending import METRICS, request

from naiad_consumers.writer import Writer, columns
from naiad_eventlog import EventLog, open_event_log
from naiad_eventlog.topics import ALL_TOPICS, RECORDS, run_key
from naiad_proto.v1 import ingest_pb2, log_pb2
from naiad_store import Store

BATCH = 100_000
RUNS = 4
PROJECT = "bench/writer"
BLOCK = 2 * BATCH


def measure(quick: bool) -> list[Row]:
    points = 4_000_000 if quick else 40_000_000
    rows = []
    with engines() as up:
        assert up.store
        for where, url in (
            ("chDB in the process", f"chdb://{Path(up.folder).resolve()}/own"),
            ("over HTTP", up.store.url),
        ):
            rows.append(asyncio.run(_measure(up.kafka.url, where, url, points)))
    return rows


async def _measure(kafka: str, where: str, url: str, points: int) -> Row:
    name = "own" if url.startswith("chdb") else "http"
    async with await open_event_log(f"{kafka}/?prefix={name}.") as log:
        await log.create_topics(ALL_TOPICS)
        await _fill(log, points)
        with Store.open(url, database="through") as store:
            store.migrate()
            stop = asyncio.Event()
            began = time.perf_counter()
            task = asyncio.create_task(Writer(log, store).run(stop))
            while True:
                await asyncio.sleep(0.05)
                assert not task.done(), task
                found = await asyncio.to_thread(
                    store.query, "SELECT sum(points) AS points FROM writers FINAL"
                )
                if found.to_pylist()[0]["points"] >= points:
                    break
            writer = points / (time.perf_counter() - began)
            stop.set()
            await task
        with Store.open(url, database="bare") as store:
            store.migrate()
            bare = await asyncio.to_thread(_bare, store, points)
    return Row(
        f"writer, one process, Kafka → store ({where}), points/s",
        "≥ 0.6 of a bare insert",
        f"{writer:,.0f}: {writer / bare:.2f} of it",
        f"bare Arrow insert of blocks of {BLOCK:,} rows: {bare:,.0f}",
    )


def _bare(store: Store, points: int) -> float:
    """Points a second of inserts alone; making the rows is not counted."""
    took = 0.0
    for block in range(points // BLOCK):
        table = _rows(block)
        began = time.perf_counter()
        store.insert("points", table)
        took += time.perf_counter() - began
    return points // BLOCK * BLOCK / took


def _rows(block: int) -> pa.Table:
    """A block as the writer would insert it: two batches of one run, in the table's order."""
    steps = BLOCK // METRICS
    first = block // RUNS * steps + 1
    number = np.arange(first, first + steps, dtype=np.int64)
    run = block % RUNS
    values = np.cumsum(np.random.default_rng(block).normal(size=(METRICS, steps)), axis=1)
    paths = sorted(f"train/layer{n}/loss" for n in range(METRICS))
    version = np.zeros((BLOCK, 2), np.uint64)
    version[:, 0] = np.tile(number.astype(np.uint64), METRICS)
    version[:, 1] = 1 << 63 | run
    return pa.table(
        {
            "project": _word(np.zeros(BLOCK, np.int32), [PROJECT]),
            "path": _word(np.repeat(np.arange(METRICS, dtype=np.int32), steps), paths),
            "run": pa.array(np.full(BLOCK, 1_000 + run, np.uint64)),
            "step": columns.steps(np.tile(number * 1_000_000, METRICS)),
            "ts": columns.times(np.tile(1_790_000_000_000 + number, METRICS)),
            "value": pa.array(values.reshape(-1)),
            "completion": pa.array(np.ones(BLOCK)),
            "version": pa.FixedSizeBinaryArray.from_buffers(
                columns.VERSION, BLOCK, [None, pa.py_buffer(version.tobytes())]
            ),
        }
    )


def _word(numbers: npt.NDArray[np.int32], words: list[str]) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(numbers), pa.array(words))


async def _fill(log: EventLog, points: int) -> None:
    rows = BATCH // METRICS
    for number in range(points // BATCH):
        turn, run = divmod(number, RUNS)
        asked = ingest_pb2.WriteBatchRequest.FromString(
            request(PROJECT, f"r{run}", run, rows * METRICS, turn)
        )
        envelope = log_pb2.Envelope(
            min_reader_version=1, received_at=1_790_000_000_000, principal="bench",
            batch=asked.batch.SerializeToString(),
        )  # fmt: skip
        await log.append(RECORDS.name, run_key(PROJECT, f"r{run}"), envelope.SerializeToString())
