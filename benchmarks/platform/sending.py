"""Batches as shippers send them, made once and sent as they are, by many clients at once."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np

from naiad_proto.limits import MAX_MESSAGE_BYTES
from naiad_proto.series import build_group
from naiad_proto.v1 import records_pb2
from naiad_proto.v1.ingest_pb2 import WriteBatchRequest, WriteBatchResponse

METRICS = 50
EPOCH = 1_790_000_000_000_000
_METHOD = "/naiad.v1.IngestService/WriteBatch"
_OPTIONS = [
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    # A connection of its own for each client, as processes on many hosts have.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
]


def request(project: str, run_id: str, writer: int, points: int, turn: int = 0) -> bytes:
    """The bytes of a batch: `points` of 50 metrics a step, the `turn`-th of its writer."""
    rows = points // METRICS
    first = turn * rows + 1
    random = np.random.default_rng(writer)
    steps = np.arange(first, first + rows, dtype=np.int64)
    batch = records_pb2.Batch(
        project=project,
        run_id=run_id,
        writer_id=f"{writer:032x}",
        epoch=EPOCH + writer,
        records=records_pb2.RecordInterval(first=first, last=first + rows - 1),
        groups=[
            build_group(
                [f"train/layer{n}/loss" for n in range(METRICS)],
                steps=steps * 1_000_000,
                timestamps=1_790_000_000_000 + steps,
                values=np.cumsum(random.normal(size=(METRICS, rows)), axis=1),
                first_record=first,
            )
        ],
    )
    return WriteBatchRequest(batch=batch).SerializeToString()


@dataclass
class Sent:
    points: int = 0
    batches: int = 0
    # Answers of RESOURCE_EXHAUSTED, and those of them that say how long to wait.
    pushed_back: int = 0
    with_retry_info: int = 0
    # Answers of UNAVAILABLE: the log did not confirm in time.
    unavailable: int = 0
    # Calls that gRPC ended by itself.
    cancelled: int = 0
    seconds: list[float] = field(default_factory=list)


async def send(
    url: str, requests: list[bytes], points: int, *, seconds: float, in_flight: int = 1,
    patient: bool = True,
) -> Sent:  # fmt: skip
    """One client for each of `requests`, which sends it again and again for so long, `in_flight`
    times at once. An impatient one sends on at once when it is told to wait."""
    sent = Sent()
    until = time.perf_counter() + seconds
    target = url.removeprefix("grpc://")
    channels = [grpc.aio.insecure_channel(target, options=_OPTIONS) for _ in requests]

    async def client(channel: grpc.aio.Channel, body: bytes) -> None:
        write: Any = channel.unary_unary(
            _METHOD, response_deserializer=WriteBatchResponse.FromString
        )
        while time.perf_counter() < until:
            began = time.perf_counter()
            try:
                answer = await write(body, timeout=60, wait_for_ready=True)
            except grpc.aio.AioRpcError as error:
                if error.code() is grpc.StatusCode.UNAVAILABLE:
                    sent.unavailable += 1
                    await asyncio.sleep(0.5)
                    continue
                if error.code() is grpc.StatusCode.CANCELLED:
                    sent.cancelled += 1
                    continue
                if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
                    raise
                sent.pushed_back += 1
                trailing = error.trailing_metadata() or ()
                sent.with_retry_info += any(
                    b"RetryInfo" in (v if isinstance(v, bytes) else b"") for _, v in trailing
                )
                await asyncio.sleep(0.5 if patient else 0)
                continue
            assert not answer.rejections, answer.rejections
            sent.seconds.append(time.perf_counter() - began)
            sent.batches += 1
            sent.points += points

    try:
        await asyncio.gather(
            *(client(channel, body) for channel, body in zip(channels, requests, strict=True)
              for _ in range(in_flight))
        )  # fmt: skip
    finally:
        await asyncio.gather(*(channel.close() for channel in channels))
    return sent


async def paced(url: str, requests: list[bytes], pause: float) -> None:
    """One batch after the other, `pause` seconds between two, until it is cancelled; as if from
    clients in turn. Those that the server is slow to answer don't hold up the next."""
    target = url.removeprefix("grpc://")
    async with grpc.aio.insecure_channel(target, options=_OPTIONS) as channel:
        write: Any = channel.unary_unary(
            _METHOD, response_deserializer=WriteBatchResponse.FromString
        )
        began, number = time.perf_counter(), 0
        async with asyncio.TaskGroup() as sending:
            while True:
                sending.create_task(_one(write, requests[number % len(requests)]))
                number += 1
                await asyncio.sleep(max(0.0, began + number * pause - time.perf_counter()))


async def _one(write: Any, body: bytes) -> None:
    answer = await write(body, timeout=60, wait_for_ready=True)
    assert not answer.rejections, answer.rejections
