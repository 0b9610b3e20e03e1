"""OpenWriter: the epochs that a new writer must be above, also after a crash."""

from __future__ import annotations

import asyncio
import shutil
import time
from pathlib import Path
from typing import Any

import grpc
import pytest
from support_batches import EPOCH, PROJECT, RUN, WRITER, batch, group, heartbeat
from support_ingest import Ingest, serving_ingest
from support_naiad import LONGER

from naiad_auth import TokenStore
from naiad_eventlog import EventLogError, Position, Topic, open_event_log
from naiad_eventlog.topics import ALL_TOPICS, RECORDS
from naiad_ingest.epochs import EPOCHS
from naiad_proto.v1.ingest_pb2 import OpenWriterRequest, WriteBatchRequest
from naiad_proto.v1.records_pb2 import Batch

OTHER = "f" * 32


async def highest(ingest: Ingest, writer_id: str = OTHER, run_id: str = RUN) -> int:
    request = OpenWriterRequest(project=PROJECT, run_id=run_id, writer_id=writer_id)
    return int((await ingest.stub.OpenWriter(request, timeout=20 * LONGER)).highest_epoch)


async def write(ingest: Ingest, sent: Batch) -> None:
    await ingest.stub.WriteBatch(WriteBatchRequest(batch=sent), timeout=20 * LONGER)


async def test_the_highest_epoch_of_the_runs_other_writers(tmp_path: Path) -> None:
    async with serving_ingest(tmp_path) as ingest:
        assert await highest(ingest) == 0
        await write(ingest, batch(group(), epoch=EPOCH))
        assert await highest(ingest) == EPOCH
        # Its own is no reason to go higher: a shipper that was restarted asks again.
        assert await highest(ingest, WRITER) == 0
        await write(ingest, batch(group(), epoch=EPOCH + 5, writer_id="a" * 32))
        await write(ingest, batch(group(), epoch=EPOCH + 3, writer_id="b" * 32))
        assert await highest(ingest) == EPOCH + 5
        assert await highest(ingest, WRITER) == EPOCH + 5
        assert await highest(ingest, run_id="another") == 0


async def test_a_heartbeat_tells_an_epoch_too(tmp_path: Path) -> None:
    async with serving_ingest(tmp_path) as ingest:
        await write(ingest, heartbeat(epoch=EPOCH))
        assert await highest(ingest) == EPOCH


async def test_the_servers_clock_comes_along(tmp_path: Path) -> None:
    async with serving_ingest(tmp_path) as ingest:
        request = OpenWriterRequest(project=PROJECT, run_id=RUN, writer_id=WRITER)
        answer = await ingest.stub.OpenWriter(request)
        assert abs(answer.server_time / 1000 - time.time()) < 60


async def test_epochs_are_known_after_a_crash_before_anything_was_stored(tmp_path: Path) -> None:
    before, after = tmp_path / "before", tmp_path / "after"
    before.mkdir()
    async with serving_ingest(before) as ingest:
        await write(ingest, batch(group(), epoch=EPOCH))
        # What a machine that lost its power finds: no process came to close anything, and
        # no consumer has read a record.
        shutil.copytree(before, after)
    async with serving_ingest(after) as ingest:
        assert await highest(ingest) == EPOCH
        assert len(await ingest.logged()) == 1


async def test_an_epoch_is_in_the_log_before_its_first_batch_and_only_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving_ingest(tmp_path) as ingest:
        append, topics = ingest.log.append, []

        async def watched(topic: str, *args: Any, **more: Any) -> Position:
            topics.append(topic)
            return await append(topic, *args, **more)

        monkeypatch.setattr(ingest.log, "append", watched)
        for _ in range(3):
            await write(ingest, batch(group()))
        assert topics == [EPOCHS.name] + [RECORDS.name] * 3


async def test_a_run_stays_in_its_partition_when_some_are_added(tmp_path: Path) -> None:
    runs = [f"run-{n}" for n in range(12)]

    async def partitions(ingest: Ingest, runs: list[str], **more: Any) -> dict[str, int]:
        found = {}
        for run in runs:
            sent = WriteBatchRequest(batch=batch(group(), run_id=run, **more))
            found[run] = (
                await ingest.stub.WriteBatch(sent, timeout=20 * LONGER)
            ).position.partition
        return found

    async with serving_ingest(tmp_path) as ingest:
        before = await partitions(ingest, runs)
        await ingest.log.create_topics([Topic(RECORDS.name, RECORDS.partitions * 8)])
        assert await partitions(ingest, runs) == before
        # Another writer of a run, and an ingest that starts later, follow.
        assert await partitions(ingest, runs, writer_id=OTHER, epoch=EPOCH + 1) == before
    async with serving_ingest(tmp_path) as ingest:
        assert await partitions(ingest, runs, writer_id="c" * 32, epoch=EPOCH + 2) == before
        fresh = await partitions(ingest, [f"late-{n}" for n in range(24)])
        assert max(fresh.values()) >= RECORDS.partitions


async def test_a_batch_whose_epoch_could_not_be_kept_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving_ingest(tmp_path) as ingest:
        append = ingest.log.append

        async def fail_for_epochs(topic: str, *args: Any, **more: Any) -> Position:
            if topic == EPOCHS.name:
                raise EventLogError("no")
            return await append(topic, *args, **more)

        with monkeypatch.context() as patch:
            patch.setattr(ingest.log, "append", fail_for_epochs)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await write(ingest, batch(group()))
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert not await ingest.logged()
        await write(ingest, batch(group()))
        assert await highest(ingest) == EPOCH


async def test_two_ingests_on_one_log_know_of_each_others_writers_at_once(tmp_path: Path) -> None:
    log = await open_event_log(f"sqlite:///{tmp_path}/log.db")
    async with log:
        await log.create_topics(ALL_TOPICS)
        async with (
            serving_ingest(tmp_path, log=log) as one,
            serving_ingest(tmp_path, log=log) as other,
        ):
            for index in range(20):
                await write(one, batch(group(), epoch=EPOCH + index, writer_id=f"{index:032x}"))
                # No wait: what was acknowledged anywhere is known everywhere.
                assert await highest(other) == EPOCH + index


async def test_many_writers_open_at_once(tmp_path: Path) -> None:
    async with serving_ingest(tmp_path) as ingest:
        await write(ingest, batch(group()))
        answers = await asyncio.gather(*(highest(ingest, f"{n:032x}") for n in range(50)))
        assert set(answers) == {EPOCH}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"project": "one"}, "workspace/name"),
        ({"run_id": "a/b"}, "slash"),
        ({"writer_id": ""}, "32 lower-case"),
    ],
)
async def test_a_wrong_question_is_told_what_is_wrong(
    tmp_path: Path, change: dict[str, str], said: str
) -> None:
    asked = {"project": PROJECT, "run_id": RUN, "writer_id": WRITER} | change
    async with serving_ingest(tmp_path) as ingest:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await ingest.stub.OpenWriter(OpenWriterRequest(**asked))
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert said in (caught.value.details() or "")


async def test_only_who_may_write_opens_a_writer(tmp_path: Path) -> None:
    tokens = TokenStore(tmp_path / "tokens.json")
    reader = tokens.create(project=PROJECT, read_only=True)
    async with serving_ingest(tmp_path, tokens) as ingest:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await ingest.stub.OpenWriter(
                OpenWriterRequest(project=PROJECT, run_id=RUN, writer_id=WRITER),
                metadata=[("authorization", f"Bearer {reader}")],
            )
        assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
