"""Changes of runs and projects on a real ingest: epochs, resends, late runs, rights, bad ones."""

from __future__ import annotations

from pathlib import Path

import grpc
import pytest
from support_batches import EPOCH, NOW, PROJECT, RUN, WRITER, batch, group
from support_ingest import Ingest, serving_ingest

from naiad_auth import TokenStore
from naiad_proto.changes import READER_VERSION, change_of_run
from naiad_proto.v1.ingest_pb2 import (
    ChangeProjectRequest,
    OpenWriterRequest,
    WriteBatchRequest,
    WriteBatchResponse,
)
from naiad_proto.v1.log_pb2 import Envelope
from naiad_proto.v1.records_pb2 import (
    Batch,
    DeleteRun,
    Item,
    PurgeRun,
    RecordInterval,
    RestoreRun,
    SetRetention,
)

CHANGE = "c" * 32
FAR = EPOCH * 2


def change(run_id: str = RUN, writer_id: str = CHANGE, epoch: int = 1, **kind: object) -> Batch:
    kind = kind or {"delete_run": DeleteRun()}
    return Batch(
        project=PROJECT, run_id=run_id, writer_id=writer_id, epoch=epoch,
        records=RecordInterval(first=1, last=1), items=[Item(record=1, timestamp=NOW, **kind)],
    )  # fmt: skip


async def write(ingest: Ingest, sent: Batch) -> WriteBatchResponse:
    return await ingest.stub.WriteBatch(WriteBatchRequest(batch=sent))


async def logged(ingest: Ingest) -> list[tuple[Envelope, Batch]]:
    return [(one, Batch.FromString(one.batch)) for one in await ingest.logged()]


async def refused(ingest: Ingest, sent: Batch) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as info:
        await write(ingest, sent)
    return info.value.code(), info.value.details() or ""


async def test_a_change_is_above_all_writers_and_below_the_next(tmp_path: Path) -> None:
    async with serving_ingest(tmp_path) as ingest:
        await write(ingest, batch(group(), epoch=FAR))
        await write(ingest, change())
        (_, _), (envelope, sent) = await logged(ingest)
        assert sent.epoch == FAR + 1
        # Who doesn't know what a deletion is must not go on.
        assert envelope.min_reader_version == READER_VERSION == 2
        opened = await ingest.stub.OpenWriter(
            OpenWriterRequest(project=PROJECT, run_id=RUN, writer_id="d" * 32)
        )
        assert opened.highest_epoch == FAR + 1


async def test_what_the_sender_says_of_the_epoch_does_not_count(tmp_path: Path) -> None:
    async with serving_ingest(tmp_path) as ingest:
        await write(ingest, change(epoch=FAR))
        ((_, sent),) = await logged(ingest)
        assert EPOCH < sent.epoch < FAR


async def test_a_change_sent_again_is_the_same_one(tmp_path: Path) -> None:
    async with serving_ingest(tmp_path) as ingest:
        await write(ingest, batch(group()))
        await write(ingest, change())
        # A new life begins between the two.
        await write(ingest, batch(group(), writer_id="d" * 32, epoch=FAR))
        await write(ingest, change())
    # Also after a restart.
    async with serving_ingest(tmp_path) as ingest:
        await write(ingest, change())
        found = [sent for _, sent in await logged(ingest) if sent.writer_id == CHANGE]
        assert len(found) == 3
        assert len({sent.epoch for sent in found}) == 1
        assert found[0].epoch < FAR


BAD = [
    (Batch(items=[Item(record=1, delete_run=DeleteRun()), Item(record=1)]), "other content"),
    (Batch(items=[Item(record=1, delete_run=DeleteRun())], groups=[group()]), "other content"),
    (Batch(items=[Item(record=1, set_retention=SetRetention(days=1))], run_id=RUN), "run_id"),
]


@pytest.mark.parametrize(("content", "message"), BAD)
async def test_changes_come_alone(tmp_path: Path, content: Batch, message: str) -> None:
    sent = change()
    sent.ClearField("items")
    sent.MergeFrom(content)
    async with serving_ingest(tmp_path) as ingest:
        code, said = await refused(ingest, sent)
        assert code == grpc.StatusCode.INVALID_ARGUMENT
        assert message in said
        assert await logged(ingest) == []


async def test_a_change_of_a_run_needs_a_run(tmp_path: Path) -> None:
    async with serving_ingest(tmp_path) as ingest:
        code, said = await refused(ingest, change(run_id=""))
        assert code == grpc.StatusCode.INVALID_ARGUMENT
        assert "run id" in said


async def test_a_time_that_is_none_is_named(tmp_path: Path) -> None:
    async with serving_ingest(tmp_path) as ingest:
        answer = await write(ingest, change(purge_run=PurgeRun(deleted_before=-1)))
        assert "deleted_before" in answer.rejections[0].message
        answer = await write(ingest, change(delete_run=DeleteRun(unless_heard_since=-1)))
        assert "unless_heard_since" in answer.rejections[0].message


async def test_who_may_not_write_may_not_delete(tmp_path: Path) -> None:
    tokens = TokenStore(tmp_path / "tokens.json")
    reader = (("authorization", f"Bearer {tokens.create(read_only=True)}"),)
    async with serving_ingest(tmp_path, tokens) as ingest:
        for call in (
            ingest.stub.WriteBatch(WriteBatchRequest(batch=change()), metadata=reader),
            ingest.stub.ChangeProject(
                ChangeProjectRequest(project=PROJECT, change_id=CHANGE, delete=DeleteRun()),
                metadata=reader,
            ),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as info:
                await call
            assert info.value.code() == grpc.StatusCode.PERMISSION_DENIED
            assert PROJECT in (info.value.details() or "")
        assert await logged(ingest) == []


async def change_project(ingest: Ingest, change_id: str = CHANGE, **kind: object) -> int:
    request = ChangeProjectRequest(project=PROJECT, change_id=change_id, **kind)
    return (await ingest.stub.ChangeProject(request)).runs


async def test_a_project_is_all_of_its_runs(tmp_path: Path) -> None:
    async with serving_ingest(tmp_path) as ingest:
        await write(ingest, batch(group(), run_id="one"))
        await write(ingest, batch(group(), run_id="two", epoch=FAR))
        await write(ingest, batch(group(), run_id="other", project="team/other"))
        assert await change_project(ingest, delete=DeleteRun()) == 2
        # Sent again it is the same.
        assert await change_project(ingest, delete=DeleteRun()) == 2
        changes = [sent for _, sent in (await logged(ingest))[3:]]
        assert {(sent.run_id, sent.writer_id, sent.epoch) for sent in changes} == {
            (run, change_of_run(CHANGE, run), FAR + 1) for run in ("one", "two")
        }
        assert {item.WhichOneof("kind") for sent in changes for item in sent.items} == {
            "delete_run"
        }


async def test_a_run_that_arrives_late_is_deleted_with_its_project(tmp_path: Path) -> None:
    async with serving_ingest(tmp_path) as ingest:
        await write(ingest, batch(group(), run_id="one"))
        await change_project(ingest, purge=PurgeRun())
    async with serving_ingest(tmp_path) as ingest:
        late = batch(group(), run_id="late", writer_id="d" * 32)
        await write(ingest, late)
        await write(ingest, late)
        new = batch(group(), run_id="new", writer_id="e" * 32, epoch=FAR)
        await write(ingest, new)
        found = [
            (sent.run_id, [item.WhichOneof("kind") for item in sent.items])
            for _, sent in (await logged(ingest))[2:]
        ]
        # Its end comes before its first batch, once.
        assert found == [
            ("late", ["delete_run", "purge_run"]), ("late", []), ("late", []), ("new", []),
        ]  # fmt: skip


async def test_what_was_restored_is_no_longer_deleted_when_it_arrives(tmp_path: Path) -> None:
    async with serving_ingest(tmp_path) as ingest:
        await change_project(ingest, delete=DeleteRun())
        await change_project(ingest, "f" * 32, restore=RestoreRun())
        await write(ingest, batch(group(), run_id="late"))
        assert [sent.writer_id for _, sent in await logged(ingest)] == [WRITER]


async def test_how_long_runs_are_kept_is_a_record_of_the_project(tmp_path: Path) -> None:
    async with serving_ingest(tmp_path) as ingest:
        said = SetRetention(days=30, trash_days=7)
        assert await change_project(ingest, set_retention=said) == 0
        ((_, sent),) = await logged(ingest)
        assert (sent.run_id, sent.items[0].set_retention) == ("", said)
        with pytest.raises(grpc.aio.AioRpcError) as info:
            await change_project(ingest, "f" * 32, set_retention=SetRetention(days=99_999))
        assert info.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert "99,999" in (info.value.details() or "")


@pytest.mark.parametrize(
    "request_",
    [
        ChangeProjectRequest(project="nonsense", change_id=CHANGE, delete=DeleteRun()),
        ChangeProjectRequest(project=PROJECT, change_id="short", delete=DeleteRun()),
        ChangeProjectRequest(project=PROJECT, change_id=CHANGE),
    ],
)
async def test_a_bad_change_of_a_project_is_refused(
    tmp_path: Path, request_: ChangeProjectRequest
) -> None:
    async with serving_ingest(tmp_path) as ingest:
        with pytest.raises(grpc.aio.AioRpcError) as info:
            await ingest.stub.ChangeProject(request_)
        assert info.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert await logged(ingest) == []
