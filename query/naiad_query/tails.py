"""Live tails: new points of metrics, sent as they become readable.

A subscriber looks twice a second, and less often where looking takes long, so that it never takes
more than a fifth of a thread. It looks at its runs' writers first: only where more of their
records are stored are points read, and of those the ones that these records brought. So late and
overwritten points come too, each once it is stored; a point may come twice, and of two with one
(run, path, step) the later counts.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import grpc
import pyarrow as pa

from naiad_proto.v1 import query_pb2 as pb
from naiad_query.chunks import Endless
from naiad_query.errors import Refused
from naiad_query.naming import Names
from naiad_store import Store
from naiad_store.selects.points import metric_points
from naiad_store.selects.runs import RunRow
from naiad_store.selects.scope import Scope
from naiad_store.selects.tail import Stored, Writer, fresh_records, points_of, stored_records

MOST_TAILS = 64
MOST_RUNS = 1000
POLL_SECONDS = 0.5
# Pauses are so many times what a look takes.
_PAUSES = 4
# After so long without a word an empty message goes out.
HEARTBEAT_SECONDS = 5.0
# Which runs and metrics there are is asked again after this, also while nothing is stored.
_AGAIN_SECONDS = 5.0


class Followed(NamedTuple):
    """What a subscriber is told of."""

    rows: Sequence[RunRow]
    scope: Scope
    names: Names
    paths: Sequence[str]


class Tail:
    """One subscriber's place. Its methods are for threads, one at a time."""

    def __init__(
        self,
        store: Store,
        request: pb.StreamMetricsRequest,
        ask: Callable[[], Followed],
        schema: pa.Schema,
        shown: Callable[[pa.RecordBatch, Names], pa.RecordBatch],
    ) -> None:
        """`ask` finds the runs and metrics; `shown` makes rows of `schema` of points."""
        self._store = store
        self._request = request
        self._ask = ask
        self._shown = shown
        self._arrow = Endless(schema)
        self._seen: dict[Writer, Stored] = {}
        self._known: set[int] = set()
        self._asked: Followed | None = None
        self._asked_at = 0.0

    def begin(self) -> Generator[bytes]:
        """The schema, and the end of each series if that was asked for."""
        asked = self._again()
        self._known = {row.run for row in asked.rows}
        # Before its points are read: what is stored meanwhile comes once more, not never.
        self._seen = self._stored(asked)
        if not self._request.tail_limit or not asked.paths:
            yield from self._arrow.pieces([])
            return
        found = metric_points(
            self._store,
            asked.scope,
            asked.paths,
            tail_limit=self._request.tail_limit,
            include_previews=self._request.include_previews,
        )
        yield from self._pieces(found, asked)

    def more(self) -> Generator[bytes]:
        """What is new. A run that the question did not find before comes whole."""
        asked = self._asked
        assert asked
        now = self._stored(asked)
        if now == self._seen and time.monotonic() - self._asked_at < _AGAIN_SECONDS:
            return
        asked = self._again()
        now = self._stored(asked)
        new = {place for place, row in enumerate(asked.rows) if row.run not in self._known}
        old = {place for place, row in enumerate(asked.rows) if row.run in self._known}
        fresh = list(fresh_records(now, self._seen))
        if asked.paths:
            if new:
                scope = asked.scope.part(new)
                found = metric_points(
                    self._store, scope, asked.paths,
                    include_previews=self._request.include_previews,
                )  # fmt: skip
                yield from self._pieces(found, asked)
            if old and fresh:
                scope = asked.scope.part(old)
                found = points_of(
                    self._store, scope, asked.paths, fresh,
                    include_previews=self._request.include_previews,
                )  # fmt: skip
                yield from self._pieces(found, asked)
        self._seen = now
        self._known.update(row.run for row in asked.rows)

    def _pieces(self, found: Iterator[pa.RecordBatch], asked: Followed) -> Iterator[bytes]:
        yield from self._arrow.pieces(
            self._shown(batch, asked.names) for batch in found if batch.num_rows
        )

    def _stored(self, asked: Followed) -> dict[Writer, Stored]:
        return stored_records(self._store, asked.scope.project, asked.scope.sources)

    def _again(self) -> Followed:
        asked = self._ask()
        if len(asked.rows) > MOST_RUNS:
            raise Refused(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"{len(asked.rows):,} runs are chosen; at most {MOST_RUNS:,} are followed at a"
                " time: choose fewer",
            )
        self._asked, self._asked_at = asked, time.monotonic()
        return asked


class Tails:
    """All subscribers of a server."""

    def __init__(self) -> None:
        self._open = 0
        self._ending = asyncio.Event()

    def end(self) -> None:
        """The server is about to stop: they end at once."""
        self._ending.set()

    @contextmanager
    def _counted(self) -> Iterator[None]:
        if self._open >= MOST_TAILS:
            raise Refused(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"{self._open} live tails are open, which is all that this server has; close one,"
                " or read again every few seconds instead",
            )
        self._open += 1
        try:
            yield
        finally:
            self._open -= 1

    async def follow(
        self, tail: Tail, in_thread: Callable[[Callable[[], Any]], Awaitable[Any]]
    ) -> AsyncGenerator[bytes]:
        """Pieces of one Arrow stream, and empty ones as a sign of life, until the caller goes.
        Raises Refused, StoreError."""
        with self._counted():
            said = time.monotonic()
            look = tail.begin
            while True:
                began = time.monotonic()
                pieces = look()
                try:
                    while (piece := await _next(pieces, in_thread)) is not None:
                        yield piece
                        said = time.monotonic()
                finally:
                    # Ends the store's question when the caller has gone.
                    await in_thread(pieces.close)
                look = tail.more
                now = time.monotonic()
                if now - said >= HEARTBEAT_SECONDS:
                    yield b""
                    said = now
                try:
                    async with asyncio.timeout(max(POLL_SECONDS, _PAUSES * (now - began))):
                        await self._ending.wait()
                except TimeoutError:
                    continue
                raise Refused(grpc.StatusCode.UNAVAILABLE, "the server is stopping; ask again")


async def _next(
    pieces: Generator[bytes], in_thread: Callable[[Callable[[], Any]], Awaitable[Any]]
) -> bytes | None:
    """The next one, None after the last; cancelled only once no thread is at it."""
    step = asyncio.ensure_future(in_thread(lambda: next(pieces, None)))
    try:
        found: bytes | None = await asyncio.shield(step)
    except asyncio.CancelledError:
        await asyncio.wait({step})
        raise
    return found
