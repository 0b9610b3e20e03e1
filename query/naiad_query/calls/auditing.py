"""The call that holds log and store against each other."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import grpc

from naiad_proto.v1 import query_pb2 as pb
from naiad_query.calls.answering import Answering, Context
from naiad_query.errors import WITH_REASON, refusal

log = logging.getLogger(__name__)

# Project, and a run or None for all of them.
Audit = Callable[[str, str | None], Awaitable[pb.AuditResponse]]


class AuditCalls(Answering):
    _audit: Audit | None
    # Each reads all there is: one at a time is enough for a server.
    _auditing: asyncio.Semaphore

    async def Audit(self, request: pb.AuditRequest, context: Context) -> Any:
        await self._one(context, lambda: self._need(request.project))
        if self._audit is None:
            await context.abort(
                grpc.StatusCode.UNIMPLEMENTED,
                "this query service has no way to the event log: set NAIAD_EVENT_LOG for it",
            )
            raise AssertionError("abort raises")
        try:
            async with self._auditing:
                answer = await self._audit(request.project, request.run_id or None)
        except WITH_REASON as error:
            reason = refusal(error)
            await context.abort(reason.code, reason.message)
        except Exception as error:
            # The log's own errors are not known here.
            log.exception("log and store could not be compared")
            await context.abort(
                grpc.StatusCode.UNAVAILABLE, f"log and store can't be compared now: {error}"
            )
        if request.run_id and not answer.runs:
            await context.abort(
                grpc.StatusCode.NOT_FOUND,
                f"neither log nor store know a run {request.run_id!r} of {request.project}",
            )
        return answer
