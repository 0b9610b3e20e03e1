"""WriteBatch on a real server and a real log: what is logged, and what is answered."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import grpc
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from support_batches import PROJECT, RUN, WRITER, batch, group, heartbeat, text
from support_ingest import serving_ingest

from naiad_auth import TokenStore
from naiad_eventlog import EventLogError, EventLogFull, Position, open_event_log
from naiad_eventlog.topics import ALL_TOPICS, RECORDS, run_key
from naiad_proto.limits import MAX_MESSAGE_BYTES
from naiad_proto.v1 import records_pb2
from naiad_proto.v1.ingest_pb2 import WriteBatchRequest, WriteBatchResponse
from naiad_proto.v1.records_pb2 import Batch


async def test_a_batch_is_logged_byte_for_byte_before_the_answer(tmp_path: Path) -> None:
    sent = batch(group(rows=3), text("hello")).SerializeToString()
    # What a newer client adds to a batch: field 1000, which nobody here knows.
    sent += bytes.fromhex("c23e03") + b"new"
    async with serving_ingest(tmp_path) as ingest:
        request = b"\x0a" + bytes([len(sent) & 0x7F | 0x80, len(sent) >> 7]) + sent
        answer = WriteBatchResponse.FromString(await ingest.write_batch(request))
        assert not answer.rejections
        assert answer.position.topic == RECORDS.name
        (envelope,) = await ingest.logged()
        assert envelope.batch == sent
        assert envelope.min_reader_version == 1
        assert envelope.principal == "anonymous"
        assert not envelope.rejections
        assert abs(envelope.received_at / 1000 - time.time()) < 60


async def test_the_generated_client_works_and_a_runs_batches_share_a_partition(
    tmp_path: Path,
) -> None:
    async with serving_ingest(tmp_path) as ingest:
        positions = []
        for _ in range(5):
            answer = await ingest.stub.WriteBatch(WriteBatchRequest(batch=batch(group())))
            positions.append((answer.position.partition, answer.position.offset))
        assert len({partition for partition, _ in positions}) == 1
        assert positions == sorted(set(positions))


async def test_a_bad_item_is_named_in_the_answer_and_in_the_log(tmp_path: Path) -> None:
    bad = group(paths=("loss", ""), rows=2)
    async with serving_ingest(tmp_path) as ingest:
        answer = await ingest.stub.WriteBatch(WriteBatchRequest(batch=batch(bad, text("hello"))))
        (rejection,) = answer.rejections
        assert (rejection.group_index, rejection.path_index) == (0, 1)
        assert rejection.reason == records_pb2.REJECTION_REASON_INVALID_PATH
        (envelope,) = await ingest.logged()
        assert list(envelope.rejections) == [rejection]


async def test_a_batch_of_which_nothing_is_taken_and_a_heartbeat_are_logged(
    tmp_path: Path,
) -> None:
    async with serving_ingest(tmp_path) as ingest:
        answer = await ingest.stub.WriteBatch(WriteBatchRequest(batch=batch(group(paths=("",)))))
        assert len(answer.rejections) == 1
        answer = await ingest.stub.WriteBatch(WriteBatchRequest(batch=heartbeat()))
        assert not answer.rejections
        first, second = await ingest.logged()
        # Its records are accounted for: the spool may let go of them.
        assert Batch.FromString(first.batch).records.last == 1
        assert not Batch.FromString(second.batch).HasField("records")


async def test_large_batches_are_taken_up_to_the_message_limit(tmp_path: Path) -> None:
    async with serving_ingest(tmp_path) as ingest:
        large = group(rows=300_000)
        answer = await ingest.stub.WriteBatch(WriteBatchRequest(batch=batch(large)))
        assert not answer.rejections
        too_large = WriteBatchRequest(batch=batch(group(rows=MAX_MESSAGE_BYTES // 24 + 1)))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await ingest.stub.WriteBatch(too_large)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        # No delay is given: sending it again won't help.
        assert _retry_delay(caught.value) is None
        assert len(await ingest.logged()) == 1


def _retry_delay(error: grpc.aio.AioRpcError) -> float | None:
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            status = Status.FromString(value)
            assert status.code == error.code().value[0]
            info = RetryInfo()
            for detail in status.details:
                if detail.Unpack(info):
                    return float(info.retry_delay.ToTimedelta().total_seconds())
    return None


async def test_a_full_log_says_how_long_to_wait_and_takes_again_later(tmp_path: Path) -> None:
    log = await open_event_log(f"sqlite:///{tmp_path}/log.db?max_bytes=1048576")
    async with log:
        await log.create_topics(ALL_TOPICS)
        # Somebody who has not read yet: nothing may be dropped.
        reader = await log.subscribe(RECORDS.name, "writer")
        await reader.commit(dict.fromkeys(await log.end_offsets(RECORDS.name), 0))
        async with serving_ingest(tmp_path, log=log) as ingest:
            request = WriteBatchRequest(batch=batch(group(rows=10_000)))
            taken = 0
            refused = None
            while refused is None:
                try:
                    await ingest.stub.WriteBatch(request)
                    taken += 1
                except grpc.aio.AioRpcError as error:
                    refused = error
            assert 0 < taken < 20
            assert refused.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert (_retry_delay(refused) or 0) > 0
            assert len(await ingest.logged()) == taken


@pytest.mark.parametrize(
    ("error", "code", "delay"),
    [
        (EventLogError("disk gone"), grpc.StatusCode.UNAVAILABLE, None),
        (EventLogFull("disk full", 2.5), grpc.StatusCode.RESOURCE_EXHAUSTED, 2.5),
    ],
)
async def test_what_the_log_can_not_do_is_never_ok(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: EventLogError,
    code: grpc.StatusCode,
    delay: float | None,
) -> None:
    async def fail(*_args: object, **_more: object) -> Position:
        raise error

    request = WriteBatchRequest(batch=batch(group()))
    async with serving_ingest(tmp_path) as ingest:
        with monkeypatch.context() as patch:
            patch.setattr(ingest.log, "append", fail)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await ingest.stub.WriteBatch(request)
        assert caught.value.code() is code
        assert str(error) in (caught.value.details() or "")
        assert _retry_delay(caught.value) == delay
        await ingest.stub.WriteBatch(request)
        assert len(await ingest.logged()) == 1


async def test_many_at_once_are_all_taken(tmp_path: Path) -> None:
    async with serving_ingest(tmp_path) as ingest:
        batches = [batch(group(), run_id=f"run-{index}") for index in range(100)]
        await asyncio.gather(
            *(ingest.stub.WriteBatch(WriteBatchRequest(batch=sent)) for sent in batches)
        )
        logged = [Batch.FromString(envelope.batch) for envelope in await ingest.logged()]
        assert {b.run_id for b in logged} == {b.run_id for b in batches}
        assert len(logged) == 100


async def test_only_who_may_write_the_project_does(tmp_path: Path) -> None:
    tokens = TokenStore(tmp_path / "tokens.json")
    other = tokens.create(project="team/other")
    reader = tokens.create(read_only=True)
    writer = tokens.create(project=PROJECT, name="ann")
    request = WriteBatchRequest(batch=batch(group()))
    async with serving_ingest(tmp_path, tokens) as ingest:
        for token in (other, reader):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await ingest.stub.WriteBatch(
                    request, metadata=[("authorization", f"Bearer {token}")]
                )
            assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
            assert PROJECT in (caught.value.details() or "")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await ingest.stub.WriteBatch(request)
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
        await ingest.stub.WriteBatch(request, metadata=[("authorization", f"Bearer {writer}")])
        (envelope,) = await ingest.logged()
        assert envelope.principal == "ann"


async def test_the_key_is_the_run(tmp_path: Path) -> None:
    async with serving_ingest(tmp_path) as ingest:
        await ingest.stub.WriteBatch(WriteBatchRequest(batch=batch(group())))
        async with await ingest.log.subscribe(RECORDS.name, "keys") as subscription:
            (record,) = await subscription.poll(wait=5)
        assert record.key == run_key(PROJECT, RUN)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"project": "digits"}, "'digits' is not of the form"),
        ({"project": ""}, "project is empty"),
        ({"run_id": "a/b"}, "'a/b' has a slash"),
        ({"run_id": ""}, "run id is empty"),
        ({"writer_id": WRITER.upper()}, "32 lower-case"),
        ({"writer_id": WRITER + "0"}, "32 lower-case"),
        ({"writer_id": WRITER + "\n"}, "32 lower-case"),
        ({"epoch": 0}, "epoch 0"),
        ({"epoch": 1 << 63}, "epoch"),
        ({"records": None}, "no `records` interval"),
        ({"records": (0, 5)}, "records 0 to 5"),
        ({"records": (5, 4)}, "records 5 to 4"),
        ({"records": (1, 1 << 44)}, "records 1 to"),
    ],
)
async def test_a_batch_with_a_wrong_head_is_refused_and_not_logged(
    tmp_path: Path, change: dict[str, object], said: str
) -> None:
    async with serving_ingest(tmp_path) as ingest:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await ingest.stub.WriteBatch(WriteBatchRequest(batch=batch(group(), **change)))
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert said in (caught.value.details() or "")
        assert not await ingest.logged()
