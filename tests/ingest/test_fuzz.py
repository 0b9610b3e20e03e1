"""Anything at all sent to WriteBatch: an answer that accounts for it, never a crash."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import HealthCheck, event, example, given, settings
from hypothesis import strategies as st
from support_batches import EPOCH, NOW, PROJECT, RUN, WRITER
from support_ingest import Ingest, serving_ingest

from naiad_ingest.envelope import batch_bytes, seal
from naiad_ingest.validation import BatchRefused, check_batch
from naiad_proto.rejections import Rejected
from naiad_proto.series import group_arrays, string_arrays
from naiad_proto.steps import MAX_MICRO_STEP
from naiad_proto.v1.ingest_pb2 import WriteBatchRequest, WriteBatchResponse
from naiad_proto.v1.log_pb2 import Envelope
from naiad_proto.v1.records_pb2 import (
    Batch,
    Item,
    RecordInterval,
    Rejection,
    SeriesGroup,
    SetAttribute,
    StringSeries,
    UpdateStringSet,
    Value,
)

# Mostly good, so that what surrounds a bad one is looked at too.
STEPS = st.sampled_from([0, 1, 1_500_000, MAX_MICRO_STEP] * 4 + [-(2**63), -1, MAX_MICRO_STEP + 1])
TIMES = st.sampled_from([0, NOW] * 6 + [-1, 2**63 - 1])
PATHS = st.sampled_from(["a", "b", "a/b"] * 4 + ["", "x" * 1025, "a\nb"])


@st.composite
def columns(draw: st.DrawFn, rows: int) -> tuple[bytes, bytes, bytes]:
    """Steps, timestamps and offsets, seldom of the wrong length."""
    steps = np.array([draw(STEPS) for _ in range(rows)], "<i8").tobytes()
    times = np.array([draw(TIMES) for _ in range(rows)], "<i8").tobytes()
    offsets = np.array([draw(st.integers(0, 9)) for _ in range(rows)], "<u4").tobytes()
    cut = draw(st.sampled_from([0] * 12 + [1, 8]))
    return steps[cut:], times, draw(st.sampled_from([offsets, b""]))


@st.composite
def groups(draw: st.DrawFn) -> SeriesGroup:
    paths, rows = draw(st.lists(PATHS, max_size=4)), draw(st.integers(0, 4))
    steps, times, offsets = draw(columns(rows))
    preview = draw(st.booleans())
    completions = draw(st.lists(st.floats(), min_size=rows, max_size=rows))
    return SeriesGroup(
        paths=paths, steps=steps, timestamps=times, record_offsets=offsets, preview=preview,
        values=draw(st.binary(min_size=8 * rows * len(paths), max_size=8 * rows * len(paths))),
        preview_completions=np.array(completions if preview else [], "<f8").tobytes(),
        first_record=draw(st.integers(1, 3)),
    )  # fmt: skip


@st.composite
def string_series(draw: st.DrawFn) -> StringSeries:
    values = draw(st.lists(st.text(max_size=5), max_size=4))
    steps, times, offsets = draw(columns(len(values)))
    return StringSeries(
        path=draw(PATHS), steps=steps, timestamps=times, record_offsets=offsets, values=values,
        first_record=draw(st.integers(1, 3)),
    )  # fmt: skip


@st.composite
def items(draw: st.DrawFn) -> Item:
    item = Item(record=draw(st.integers(0, 9)), timestamp=draw(TIMES))
    kind = draw(st.sampled_from(["none", "attribute", "tags"]))
    if kind == "attribute":
        value = Value(int_value=1) if draw(st.booleans()) else Value()
        item.set_attribute.CopyFrom(SetAttribute(path=draw(PATHS), value=value))
    if kind == "tags":
        tags = draw(st.lists(PATHS, max_size=3))
        item.update_string_set.CopyFrom(UpdateStringSet(path=draw(PATHS), add=tags))
    return item


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    first = draw(st.sampled_from([1, 1, 1, 2, 0]))
    return Batch(
        project=PROJECT, run_id=RUN, writer_id=WRITER, epoch=EPOCH,
        records=RecordInterval(first=first, last=first + draw(st.integers(0, 9))),
        groups=draw(st.lists(groups(), max_size=3)),
        string_series=draw(st.lists(string_series(), max_size=2)),
        items=draw(st.lists(items(), max_size=4)),
    )  # fmt: skip


@given(batches())
@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
def test_rejected_and_kept_are_all_and_what_is_kept_is_good(batch: Batch) -> None:
    try:
        rejections = check_batch(batch)
    except BatchRefused:
        assert batch.records.first == 0
        return
    rejected = Rejected.of(rejections)
    for rejection in rejections:
        assert rejection.message
        assert rejection.reason
        _must_exist(batch, rejection)
    first, last = batch.records.first, batch.records.last
    for index, group in enumerate(batch.groups):
        if rejected.whole_group(index):
            continue
        # Readable, since it isn't left out as a whole.
        arrays = group_arrays(group)
        mask = rejected.group_mask(index, *arrays.values.shape)
        for path, name in enumerate(group.paths):
            for row in range(len(arrays.steps)):
                good = (
                    name in ("a", "b", "a/b")
                    and name not in list(group.paths)[:path]
                    and _good_row(arrays.steps[row], arrays.timestamps[row])
                    and first <= arrays.records[row] <= last
                    and (arrays.completions is None or 0 <= arrays.completions[row] <= 1)
                )
                kept = mask is None or not mask[path, row]
                assert kept == good
    for index, series in enumerate(batch.string_series):
        if rejected.whole_string_series(index):
            continue
        columns = string_arrays(series)
        rows = rejected.string_rows(index, len(columns.steps))
        for row in range(len(columns.steps)):
            good = _good_row(columns.steps[row], columns.timestamps[row])
            good = good and first <= columns.records[row] <= last
            assert (rows is None or not rows[row]) == good
    for index, item in enumerate(batch.items):
        good = (
            first <= item.record <= last
            and item.timestamp in (0, NOW)
            and item.WhichOneof("kind") is not None
        )
        body = getattr(item, item.WhichOneof("kind") or "set_attribute")
        good = good and body.path in ("a", "b", "a/b")
        if item.HasField("set_attribute"):
            good = good and item.set_attribute.value.HasField("int_value")
        else:
            good = good and set(item.update_string_set.add) <= {"a", "b", "a/b"}
        assert rejected.item(index) != good


def _good_row(step: int, timestamp: int) -> bool:
    return 0 <= step <= MAX_MICRO_STEP and timestamp in (0, NOW)


def _must_exist(batch: Batch, rejection: Rejection) -> None:
    """A rejection names something that the batch has."""
    match rejection.WhichOneof("item"):
        case "group_index":
            group = batch.groups[rejection.group_index]
            assert rejection.path_index < max(len(group.paths), 1)
            assert rejection.row_index < max(len(group.steps) // 8, 1)
        case "string_series_index":
            series = batch.string_series[rejection.string_series_index]
            assert rejection.row_index < max(len(series.values), 1)
        case _:
            assert batch.items[rejection.item_index].record == rejection.record


# --- bytes ---------------------------------------------------------------------------------

GOOD = WriteBatchRequest(
    batch=Batch(
        project=PROJECT, run_id=RUN, writer_id=WRITER, epoch=EPOCH,
        records=RecordInterval(first=1, last=3),
        groups=[SeriesGroup(paths=["a"], steps=bytes(8), timestamps=bytes(8), values=bytes(8))],
        items=[Item(record=3, set_attribute=SetAttribute(path="a", value=Value(int_value=1)))],
    )
).SerializeToString()  # fmt: skip


@st.composite
def spoiled(draw: st.DrawFn) -> bytes:
    """A good request with a few bytes changed, or cut, or lengthened."""
    data = bytearray(GOOD)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data) - 1))
        change = draw(st.sampled_from(["set", "cut", "insert"]))
        if change == "set":
            data[at] = draw(st.integers(0, 255))
        elif change == "insert":
            data[at:at] = draw(st.binary(min_size=1, max_size=8))
        elif at > 1:
            del data[at:]
    return bytes(data)


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="module")
def ingest(runner: asyncio.Runner, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ingest]:
    """One server for all examples, in an event loop of its own."""
    folder: Path = tmp_path_factory.mktemp("fuzz")
    serving = serving_ingest(folder)
    yield runner.run(serving.__aenter__())
    runner.run(serving.__aexit__(None, None, None))


@given(st.binary(max_size=300) | spoiled())
@settings(max_examples=300, deadline=None)
def test_any_bytes_get_ok_or_invalid_argument(
    runner: asyncio.Runner, ingest: Ingest, request_bytes: bytes
) -> None:
    async def send() -> None:
        call = ingest.write_batch(request_bytes)
        code = await call.code()
        event(str(code))
        if code is not grpc.StatusCode.OK:
            assert code is grpc.StatusCode.INVALID_ARGUMENT
            assert await call.details()
            return
        answer = WriteBatchResponse.FromString(await call)
        assert list(answer.rejections) == check_batch(Batch.FromString(batch_bytes(request_bytes)))

    runner.run(send())


def test_the_server_still_serves(runner: asyncio.Runner, ingest: Ingest) -> None:
    async def send() -> bytes:
        return await ingest.write_batch(GOOD)

    answer = WriteBatchResponse.FromString(runner.run(send()))
    assert answer.position.offset > 0


@given(st.binary(max_size=60) | spoiled())
@example(b"\r\x00\x00\x00\x00")
@example(b"\x0b\x0c")
def test_the_batch_is_cut_out_as_protobuf_would(data: bytes) -> None:
    cut = _parsed(lambda: Batch.FromString(batch_bytes(data)))
    parsed = _parsed(lambda: WriteBatchRequest.FromString(data).batch)
    if cut is not None and parsed is not None:
        assert cut.SerializeToString(deterministic=True) == parsed.SerializeToString(
            deterministic=True
        )
    # Protobuf also reads groups, which were given up long ago, and passes over a field 1 of
    # another kind as over one that it doesn't know; those only are refused more.
    if parsed is not None and cut is None:
        with pytest.raises(ValueError, match=r"unknown wire type|field 1 is not a message"):
            batch_bytes(data)


def _parsed(parse: Callable[[], Batch]) -> Batch | None:
    try:
        return parse()
    except (ValueError, DecodeError):
        return None


@given(st.binary(max_size=300), st.text(max_size=5), st.integers(0, 2**50))
def test_a_hand_made_envelope_is_an_envelope(batch: bytes, principal: str, time: int) -> None:
    rejections = [Rejection(item_index=0, message="no")]
    sealed = seal(batch, received_at=time, principal=principal, rejections=rejections)
    made = Envelope(
        min_reader_version=1, received_at=time, principal=principal, rejections=rejections,
        batch=batch,
    )  # fmt: skip
    assert Envelope.FromString(sealed) == made
