"""`naiad.v1.QueryService` over a store and a file store."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc

from naiad_files import FileStore
from naiad_proto.v1 import query_pb2 as pb
from naiad_proto.v1.query_pb2_grpc import add_QueryServiceServicer_to_server
from naiad_query.calls import (
    Audit,
    AuditCalls,
    ChartCalls,
    FileCalls,
    PointCalls,
    RunCalls,
    SqlCalls,
)
from naiad_query.calls.answering import Context
from naiad_query.sql import Sql
from naiad_query.tails import Tails
from naiad_state import Cache
from naiad_store import Store

__all__ = ["Audit", "QueryService"]

# Questions at a time; the store's own threads do the work.
THREADS = 16


class QueryService(RunCalls, PointCalls, ChartCalls, SqlCalls, FileCalls, AuditCalls):
    """Answers from `store` and `files`, as the principal that the interceptor found."""

    def __init__(
        self,
        store: Store,
        files: FileStore,
        *,
        version: str,
        dashboard_url: str = "",
        mode: str = "embedded",
        threads: int = THREADS,
        cache: Cache | None = None,
        audit: Audit | None = None,
    ) -> None:
        """`dashboard_url` and `mode` ("embedded", "cluster") are what GetServerInfo says;
        `threads` is how many questions are asked at a time; `cache` is where tables and charts
        are kept, and its maker closes what it stands on; `audit` compares log and store, where
        this process has a way to the log."""
        super().__init__(store, version=version, threads=threads, cache=cache)
        self._files = files
        self._sql = Sql(store)
        self._tails = Tails()
        self._info = pb.GetServerInfoResponse(
            version=version, dashboard_url=dashboard_url, mode=mode
        )
        self._audit = audit
        self._auditing = asyncio.Semaphore(1)

    def add_to(self, server: grpc.aio.Server) -> None:
        add_QueryServiceServicer_to_server(self, server)

    def end_streams(self) -> None:
        """For before the server stops: calls that go on until the caller goes end now."""
        self._tails.end()

    async def GetServerInfo(self, request: pb.GetServerInfoRequest, context: Context) -> Any:
        return self._info
