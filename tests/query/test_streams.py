"""Arrow streams come through messages whole, wherever they are cut, and small enough for gRPC."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from naiad.query.streams import Batches
from naiad_proto.v1.query_pb2 import ExecuteSqlResponse
from naiad_query.chunks import CHUNK_BYTES, chunks

# What gRPC's clients take if they say nothing else.
_GRPC_BYTES = 4 * 1024 * 1024


class Call:
    """As the messages of a call, of which each has a part of a stream."""

    def __init__(self, parts: Sequence[bytes]) -> None:
        self._parts = parts
        self.given = 0
        self.cancelled = False

    def __iter__(self) -> Iterator[ExecuteSqlResponse]:
        for part in self._parts:
            self.given += 1
            yield ExecuteSqlResponse(arrow=part)

    def cancel(self) -> None:
        self.cancelled = True


def explained(error: Any) -> Exception:
    raise AssertionError(error)


def a_batch(rows: int) -> pa.RecordBatch:
    words = pa.array(["one", "two", None] * rows, pa.string()).slice(0, rows)
    return pa.record_batch(
        {
            "x": np.arange(rows, dtype=np.uint32),
            "y": np.arange(rows) / 7,
            "word": words,
            "again": words.dictionary_encode(),
        }
    )


def stream(batches: Sequence[pa.RecordBatch]) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, a_batch(1).schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return bytes(sink.getvalue())


@given(st.lists(st.integers(0, 300), max_size=3), st.lists(st.integers(0, 4000), max_size=12))
def test_a_stream_is_read_however_it_is_cut(sizes: list[int], cuts: list[int]) -> None:
    batches = [a_batch(rows) for rows in sizes]
    data = stream(batches)
    edges = sorted({0, *(cut % len(data) for cut in cuts), len(data)})
    # An empty message among them, as one has that only says something beside the table.
    parts = [b"", *(data[low:high] for low, high in itertools.pairwise(edges))]
    call = Call(parts)
    with Batches(call, explained) as found:
        assert found.first == ExecuteSqlResponse()
        table = found.table()
    assert table.equals(pa.Table.from_batches(batches, a_batch(1).schema))
    # The call is heard to its end, which may say that something went wrong.
    assert call.given == len(parts)
    assert call.cancelled


def test_what_lies_in_one_message_is_not_copied() -> None:
    rows = pa.record_batch({"y": np.arange(1000) / 7})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write_batch(rows)
    message = ExecuteSqlResponse(arrow=bytes(sink.getvalue()))
    held = message.arrow

    class One(Call):
        def __iter__(self) -> Iterator[Any]:
            # Protobuf's own makes new bytes each time it is asked.
            yield type("Message", (), {"arrow": held})()

    with Batches(One([]), explained) as found:
        (column,) = found.table().column("y").chunks
    begin = pa.py_buffer(held).address
    assert begin <= column.buffers()[1].address < begin + len(held)


@given(st.lists(st.sampled_from([0, 1, 5, 70_000]), max_size=3))
def test_pieces_end_where_batches_end(sizes: list[int]) -> None:
    batches = [a_batch(rows) for rows in sizes]
    pieces = list(chunks(a_batch(1).schema, iter(batches)))
    whole = b"".join(pieces)
    table = pa.ipc.open_stream(whole).read_all()
    assert table.equals(pa.Table.from_batches(batches, a_batch(1).schema))
    ends, reader = set(), pa.BufferReader(whole)
    while reader.tell() < len(whole):
        # The mark of the end is no message.
        with contextlib.suppress(EOFError):
            pa.ipc.read_message(reader)
        ends.add(reader.tell())
    at = 0
    for piece in pieces:
        at += len(piece)
        assert len(piece) < 2 * CHUNK_BYTES + 10_000
        assert at in ends


@pytest.mark.parametrize("megabytes", [1, 3, 9])
def test_a_row_that_is_large_itself_is_cut(megabytes: int) -> None:
    batch = pa.record_batch({"text": ["a", "x" * (megabytes << 20), "b"]})
    pieces = list(chunks(batch.schema, [batch]))
    assert max(map(len, pieces)) < _GRPC_BYTES
    with Batches(Call(pieces), explained) as found:
        assert found.table().equals(pa.Table.from_batches([batch]))
