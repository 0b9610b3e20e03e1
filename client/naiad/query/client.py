"""The query service, one call a method, tables as Arrow.

What `naiad.query`'s functions, the command line and the dashboard are made of. Nothing
here asks more than the service answers: errors come as `NaiadQueryError`s with the
server's own sentence.
"""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import pyarrow as pa

from naiad.query._calls.charts import Axis, ChartCalls
from naiad.query._calls.points import PointCalls
from naiad.query._calls.runs import RunCalls, RunGroups, RunsPage
from naiad.query._calls.selectors import Attributes, Runs
from naiad.query.streams import Batches
from naiad_proto.v1.query_pb2 import (
    AuditRequest,
    AuditResponse,
    ChartInfo,
    DownloadFileRequest,
    ExecuteSqlRequest,
    GetServerInfoRequest,
    GetServerInfoResponse,
    Project,
)
from naiad_proto.v1.records_pb2 import FileReference

__all__ = [
    "Attributes",
    "Axis",
    "ChartInfo",
    "Project",
    "QueryClient",
    "RunGroups",
    "Runs",
    "RunsPage",
]


class QueryClient(RunCalls, PointCalls, ChartCalls):
    """Calls of the query service at `url` (default NAIAD_URL) with `token` (default
    NAIAD_API_TOKEN), each bounded by `timeout` seconds. Safe to share between threads.

    Every method raises `NaiadConnectionError` if the server can't be reached,
    `NaiadAuthError` where the token does not do, and `NaiadQueryError` with the server's
    sentence for a question that it refuses.
    """

    def server_info(self) -> GetServerInfoResponse:
        found: GetServerInfoResponse = self._one(self._stub.GetServerInfo, GetServerInfoRequest())
        return found

    def audit(self, project: str, run_id: str = "") -> AuditResponse:
        """What clients, log and store say of a run, or of all runs, held against each other."""
        request = AuditRequest(project=project, run_id=run_id)
        found: AuditResponse = self._one(self._stub.Audit, request)
        return found

    def sql(self, statement: str, *, limit: int = 0) -> pa.Table:
        """One read-only statement over the documented views, `limit` rows at the most (0:
        the server's own limit)."""
        return self._table(self._stub.ExecuteSql, ExecuteSqlRequest(sql=statement, limit=limit))

    def sql_batches(self, statement: str, *, limit: int = 0) -> Batches:
        """The same, to be read as it comes."""
        return self._stream(self._stub.ExecuteSql, ExecuteSqlRequest(sql=statement, limit=limit))

    def download(self, project: str, file: FileReference) -> Iterator[bytes]:
        """The content of `file`, in pieces."""
        try:
            request = DownloadFileRequest(project=project, file=file)
            for piece in self._stub.DownloadFile(request, timeout=self._timeout):
                yield piece.chunk
        except grpc.RpcError as error:
            raise self._explained(error) from error
