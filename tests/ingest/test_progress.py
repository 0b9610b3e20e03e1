"""Progress: what the store's writer has published, as soon as it has."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc
import pytest
from support_batches import EPOCH, PROJECT, RUN, WRITER
from support_ingest import Ingest, serving_ingest
from support_naiad import LONGER

from naiad_auth import TokenStore
from naiad_eventlog import EventLogError, Subscription
from naiad_eventlog.topics import PROGRESS
from naiad_proto.v1.ingest_pb2 import ProgressRequest
from naiad_proto.v1.log_pb2 import WriterProgress
from naiad_proto.v1.records_pb2 import RecordInterval, Rejection

OTHER = "f" * 32


def stored(*intervals: tuple[int, int], writer_id: str = WRITER) -> WriterProgress:
    return WriterProgress(
        project=PROJECT,
        run_id=RUN,
        writer_id=writer_id,
        epoch=EPOCH,
        stored=[RecordInterval(first=first, last=last) for first, last in intervals],
        late_rejections=[Rejection(item_index=0, message="late")],
        late_rejection_count=1,
    )


async def publish(ingest: Ingest, entry: WriterProgress) -> None:
    await ingest.log.append(PROGRESS.name, entry.writer_id.encode(), entry.SerializeToString())


async def ask(
    ingest: Ingest, *writer_ids: str, run_id: str = RUN, token: str = ""
) -> list[WriterProgress]:
    request = ProgressRequest(project=PROJECT, run_id=run_id, writer_ids=writer_ids)
    metadata = [("authorization", f"Bearer {token}")] if token else []
    return list(
        (await ingest.stub.Progress(request, metadata=metadata, timeout=20 * LONGER)).writers
    )


async def until(ingest: Ingest, *expected: WriterProgress) -> None:
    async with asyncio.timeout(20 * LONGER):
        # Only asking tells; a client has nothing else to wait on either.
        while await ask(ingest) != list(expected):  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def test_the_newest_of_each_writer_comes_soon_after_it_is_published(tmp_path: Path) -> None:
    async with serving_ingest(tmp_path) as ingest:
        assert await ask(ingest) == []
        await publish(ingest, stored((1, 5)))
        await until(ingest, stored((1, 5)))
        await publish(ingest, stored((1, 9), (12, 13)))
        await publish(ingest, stored((1, 1), writer_id=OTHER))
        await until(ingest, stored((1, 9), (12, 13)), stored((1, 1), writer_id=OTHER))
        assert await ask(ingest, OTHER) == [stored((1, 1), writer_id=OTHER)]
        # One of which nothing is stored is left out.
        assert await ask(ingest, "0" * 32) == []
        assert await ask(ingest, run_id="another") == []


async def test_what_was_stored_before_a_restart_is_known_from_the_first_call(
    tmp_path: Path,
) -> None:
    async with serving_ingest(tmp_path) as ingest:
        for last in range(1, 700):
            await publish(ingest, stored((1, last)))
    async with serving_ingest(tmp_path) as ingest:
        assert await ask(ingest) == [stored((1, 699))]


async def test_a_record_that_can_not_be_read_stops_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving_ingest(tmp_path) as ingest:
        await ingest.log.append(PROGRESS.name, b"?", b"\xff\xff\xff")
        await publish(ingest, stored((1, 2)))
        await until(ingest, stored((1, 2)))
    assert "can't be read" in caplog.text


async def test_it_goes_on_after_the_log_failed_for_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving_ingest(tmp_path) as ingest:
        await publish(ingest, stored((1, 2)))
        await until(ingest, stored((1, 2)))
        subscribe, failed = ingest.log.subscribe, asyncio.Event()

        async def fail_once(*arguments: object) -> Subscription:
            failed.set()
            monkeypatch.setattr(ingest.log, "subscribe", subscribe)
            raise EventLogError("gone")

        monkeypatch.setattr(ingest.log, "subscribe", fail_once)
        # Its member is taken away, as a broker that restarts does.
        for members in list(ingest.log._groups.values()):  # type: ignore[attr-defined]
            for member in list(members):
                await member.close()
        await publish(ingest, stored((1, 3)))
        await asyncio.wait_for(failed.wait(), 20 * LONGER)
        await until(ingest, stored((1, 3)))
    assert "can't be read now" in caplog.text


async def test_who_may_read_or_write_the_project_may_ask(tmp_path: Path) -> None:
    tokens = TokenStore(tmp_path / "tokens.json")
    async with serving_ingest(tmp_path, tokens) as ingest:
        await publish(ingest, stored((1, 2)))
        for token in (tokens.create(project=PROJECT), tokens.create(read_only=True)):
            await ask(ingest, token=token)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await ask(ingest, token=tokens.create(project="team/other"))
        assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
        assert PROJECT in (caught.value.details() or "")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await ask(ingest, token=tokens.create(), run_id="a/b")
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
