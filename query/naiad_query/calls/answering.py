"""How a call is answered: in a thread, as the caller, and with a reason where it can't be."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

import grpc
import pyarrow as pa

from naiad_auth import current_principal
from naiad_proto.v1 import query_pb2 as pb
from naiad_proto.v1.query_pb2_grpc import QueryServiceServicer
from naiad_query import asking
from naiad_query.ahead import ahead
from naiad_query.errors import WITH_REASON, refusal
from naiad_query.keeping import KeptTables
from naiad_query.naming import Names
from naiad_state import Cache
from naiad_store import Store
from naiad_store.selects import attributes, inheritance
from naiad_store.selects.attributes import Attribute, What
from naiad_store.selects.runs import RunRow
from naiad_store.selects.scope import Scope

Context = grpc.aio.ServicerContext[Any, Any]
T = TypeVar("T")


class Asked(NamedTuple):
    """Of a question about points: whose, by which name, and which series they have."""

    rows: Sequence[RunRow]
    scope: Scope
    runs: Names
    names: Sequence[Attribute]


class Answering(QueryServiceServicer):
    """What the calls of all kinds stand on."""

    def __init__(self, store: Store, *, version: str, threads: int, cache: Cache | None) -> None:
        """`threads` is how many questions are asked at a time; `cache` is where tables and charts
        are kept, and its maker closes what it stands on."""
        self._store = store
        self._kept = KeptTables(cache, version) if cache else None
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="naiad query")

    def close(self) -> None:
        """For after the last call."""
        self._threads.shutdown(wait=True, cancel_futures=True)

    def _need(self, project: str) -> None:
        asking.need_project(self._store, current_principal(), project)

    def _asked(
        self, project: str, selector: pb.RunSelector, what: What, own_points_only: bool
    ) -> Asked:
        """Raises Refused, also when there is no such project: of one with runs that needs no
        question of its own."""
        runs = asking.chosen_runs(self._store, project, selector)
        if not runs:
            self._need(project)
        if own_points_only:
            found = attributes.names(self._store, project, [run.run for run in runs], what)
        else:
            found = inheritance.names(self._store, project, runs, what)
        return Asked(
            runs,
            Scope.of(self._store, project, runs, own_points_only=own_points_only),
            Names(runs, by_experiment=selector.by_experiment),
            found,
        )

    def _table(
        self,
        question: bytes,
        watermark: Callable[[], bytes],
        make: Callable[[], pa.Table],
        *,
        keep: bool = True,
    ) -> pa.Table:
        """What `make` returns, now or, with `keep`, when it was asked the same before."""
        if self._kept is None or not keep:
            return make()
        return self._kept.table(current_principal(), question, watermark, make)

    def _batches(
        self,
        question: bytes,
        watermark: Callable[[], bytes],
        make: Callable[[], tuple[pa.Schema, Iterator[pa.RecordBatch]]],
    ) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
        """The same for what is handed on while it is made."""
        if self._kept is None:
            return make()
        return self._kept.batches(current_principal(), question, watermark, make)

    def _in_thread(self, work: Callable[[], T]) -> Awaitable[T]:
        # With the context, which holds the principal.
        run = functools.partial(contextvars.copy_context().run, work)
        return asyncio.get_running_loop().run_in_executor(self._threads, run)

    async def _one(self, context: Context, answer: Callable[[], T]) -> T:
        try:
            return await self._in_thread(answer)
        except WITH_REASON as error:
            reason = refusal(error)
        await context.abort(reason.code, reason.message)
        raise AssertionError("abort raises")

    async def _stream(
        self, context: Context, answer: Callable[[], Iterator[T]]
    ) -> AsyncIterator[T]:
        if self._kept:
            self._kept.loop = asyncio.get_running_loop()
        try:
            async with contextlib.aclosing(ahead(answer, self._threads)) as pieces:
                async for piece in pieces:
                    yield piece
            return
        except WITH_REASON as error:
            reason = refusal(error)
        await context.abort(reason.code, reason.message)
