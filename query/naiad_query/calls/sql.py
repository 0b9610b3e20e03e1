"""Calls in the asker's own SQL."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import AsyncIterator, Iterator

from naiad_auth import current_principal
from naiad_proto.v1 import query_pb2 as pb
from naiad_query.calls.answering import Answering, Context
from naiad_query.chunks import chunks
from naiad_query.sql import Sql


class SqlCalls(Answering):
    _sql: Sql

    async def ExecuteSql(
        self, request: pb.ExecuteSqlRequest, context: Context
    ) -> AsyncIterator[pb.ExecuteSqlResponse]:
        principal = current_principal()

        def answer() -> Iterator[bytes]:
            with contextlib.closing(self._sql.execute(principal, request)) as batches:
                first = next(batches)
                yield from chunks(first.schema, itertools.chain([first], batches))

        async for arrow in self._stream(context, answer):
            yield pb.ExecuteSqlResponse(arrow=arrow)
