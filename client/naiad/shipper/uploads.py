"""Contents of files, which go before the records that name them."""

from __future__ import annotations

from concurrent.futures import Executor
from pathlib import Path

import grpc

from naiad.shipper.batches import BatchBuilder, request_of
from naiad.shipper.judge import Judge
from naiad.shipper.pending import Pending
from naiad.shipper.report import Report
from naiad.shipper.server import Server
from naiad.spool.layout import Header
from naiad.spool.reader import ItemRow
from naiad_proto.v1 import records_pb2 as pb


class Uploads:
    """Of one spool, on `workers`: they block."""

    def __init__(
        self, header: Header, server: Server, workers: Executor, report: Report, judge: Judge
    ) -> None:
        self._header = header
        self._server = server
        self._workers = workers
        self._report = report
        self._judge = judge
        # Copies of files that the server has, and whose records it may not have yet.
        self._spent: list[tuple[int, Path]] = []

    def begin(self, batch: Pending) -> None:
        row = batch.row
        assert row
        assert row.file
        item = pb.Item.FromString(row.item)
        path = item.set_attribute.path if item.HasField("set_attribute") else item.file_point.path
        batch.upload = self._workers.submit(
            self._server.upload, self._header.project, self._header.run_id, path, row.file
        )

    def take(self, batch: Pending) -> None:
        """Makes the file's record, now that its content is there, or says why it isn't."""
        upload, row = batch.upload, batch.row
        assert upload
        assert row
        assert row.file
        batch.upload = None
        error = upload.exception()
        if isinstance(error, grpc.RpcError) and not self._judge.gives_up(batch, error):
            return
        if error is not None:
            self._refuse(batch, row, error)
            return
        item = pb.Item.FromString(row.item)
        if item.HasField("set_attribute"):
            item.set_attribute.value.file_value.CopyFrom(upload.result())
        else:
            item.file_point.file.CopyFrom(upload.result())
        builder = self._builder(ItemRow(row.first, item.SerializeToString()))
        batch.request, batch.tally = request_of(builder.build()), builder.tally
        batch.failures = 0
        if row.file.get("own"):
            # Not before the record is there too: a shipper that follows uploads it again.
            self._spent.append((row.first, Path(str(row.file["source"]))))

    def _refuse(self, batch: Pending, row: ItemRow, error: BaseException) -> None:
        assert row.file
        text = error.details() if isinstance(error, grpc.RpcError) else str(error)
        batch.tally = self._builder(row).tally
        reason = f"file {row.file['name']!r} could not be uploaded: {text}"
        self._report.refuse(row.first, reason, batch.tally)
        self._report.told.put_aside(row.first, row.last)
        if row.file.get("own"):
            self._report.keep_file(row.first, Path(str(row.file["source"])))
        batch.settle()

    def _builder(self, row: ItemRow) -> BatchBuilder:
        builder = BatchBuilder(self._header, self._report.epoch)
        builder.add(row)
        return builder

    def free(self) -> None:
        """Removes copies whose record is acknowledged."""
        acknowledged = self._report.told.acknowledged
        for record, file in self._spent:
            if record <= acknowledged:
                file.unlink(missing_ok=True)
        self._spent = [(record, file) for record, file in self._spent if record > acknowledged]
