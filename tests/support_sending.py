"""Sends spools that a test made by hand to a running server, as a shipper would."""

from __future__ import annotations

from support_naiad import LONGER, wait_until
from support_query import Spool

from naiad.connection import open_channel
from naiad_proto.v1.ingest_pb2 import ProgressRequest, WriteBatchRequest
from naiad_proto.v1.ingest_pb2_grpc import IngestServiceStub


def send(url: str, *spools: Spool, token: str | None = None) -> None:
    """Their batches to the server at `url`; returns when all of it is readable."""
    with open_channel(url, token) as channel:
        service = IngestServiceStub(channel)
        lasts = [spool.batches[-1].records.last for spool in spools]
        for spool in spools:
            for batch in spool.batches:
                answer = service.WriteBatch(WriteBatchRequest(batch=batch), timeout=60 * LONGER)
                assert not answer.rejections, answer.rejections
            spool.batches.clear()
        for spool, last in zip(spools, lasts, strict=True):
            asked = ProgressRequest(
                project=spool.project, run_id=spool.run_id, writer_ids=[spool.writer_id]
            )

            def stored(asked: ProgressRequest = asked, last: int = last) -> bool:
                answer = service.Progress(asked, timeout=60 * LONGER)
                return any(part.last >= last for w in answer.writers for part in w.stored)

            wait_until(stored, 60, f"{spool.run_id} is stored")
