"""What a server answers, and what becomes of the batch that it answers so."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path

import grpc
import pytest
from click.testing import CliRunner
from support_naiad import wait_until
from support_proxy import CuttingProxy, MeddlingProxy
from support_server import Server, serving
from support_shipping import Shipping, acknowledged, points, spool_for

from naiad.cli import main
from naiad.shipper import judge
from naiad.shipper.server import _told_pause, pause_after
from naiad.shipper.shipper import Shipper
from naiad.spool.folder import read_progress, spools
from naiad_auth import TokenStore
from naiad_proto.v1.ingest_pb2 import ProgressResponse
from naiad_proto.v1.log_pb2 import WriterProgress


@pytest.fixture
def proxy(server: Server) -> Iterator[MeddlingProxy]:
    proxy = MeddlingProxy(f"127.0.0.1:{server.port}", seed=1, rate=0)
    yield proxy
    proxy.close()


def test_a_batch_that_the_server_stumbles_over_holds_up_no_other(
    server: Server, proxy: MeddlingProxy, host: Path,
    shipping: Callable[..., Shipping], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    # Not set aside before it is looked at, however slow all of this is.
    monkeypatch.setattr(judge, "SUSPECT_SECONDS", 3600.0)
    monkeypatch.setattr(judge, "SUSPECT_TRIES", 4)
    proxy.poison = b"poison"
    bad = spool_for(host, proxy.url, run="bad")
    bad.string("s", "poison", 0, 0)
    shipping()
    wait_until(lambda: proxy.done["poisoned"], 20, "it was tried")
    bad.metrics({"after": 1.0}, 0, 0)
    good = spool_for(host, proxy.url, run="good")
    good.metrics({"a": 1.0}, 0, 0)
    wait_until(lambda: len(points(server)) == 2, 20, "what is beside it is taken meanwhile")
    assert not acknowledged(bad)
    monkeypatch.setattr(judge, "SUSPECT_SECONDS", 1.0)
    wait_until(lambda: acknowledged(bad), 30, "it is set aside in the end")
    assert proxy.done["poisoned"] >= 4
    told = read_progress(bad.folder)
    assert "the server stumbles" in told["messages"][-1]["text"]
    # The run's creation was in the same batch.
    assert told["rejected_tally"] == [2, 1, 0]
    (kept,) = (bad.folder / "rejected").glob("*.batch")
    assert b"poison" in kept.read_bytes()
    for writer in (bad, good):
        writer.close()
    wait_until(lambda: spools(host) == [], 20, "the spools are gone")
    # The server is put right, and what is parked can be had after all.
    still = CliRunner().invoke(main, ["sync", "--again", str(host.parent)])
    assert still.exit_code == 1
    assert "0 batches were taken this time, 1 were not" in still.output
    proxy.poison = b""
    done = CliRunner().invoke(main, ["sync", "--again", str(host.parent)])
    assert done.exit_code == 0, done.output
    strings = [text for batch in server.batches() for s in batch.string_series for text in s.values]
    assert strings == ["poison"]
    assert not list((host / "rejected").rglob("*.batch"))


@pytest.mark.parametrize(
    "answer",
    [
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.PERMISSION_DENIED,
    ],
)
def test_a_server_that_takes_nothing_is_waited_for(
    server: Server, proxy: MeddlingProxy, host: Path, answer: grpc.StatusCode,
    shipping: Callable[..., Shipping], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """It says nothing about the batch: a misrouted gateway must not empty the spools."""
    monkeypatch.setattr(judge, "SUSPECT_SECONDS", 0.0)
    monkeypatch.setattr(judge, "SUSPECT_TRIES", 2)
    monkeypatch.setattr("naiad.shipper.server._BLOCKED_PAUSE", 0.3)
    proxy.answer = answer
    writer = spool_for(host, proxy.url)
    writer.metrics({"a": 1.0}, 0, 0)
    shipping()
    wait_until(lambda: proxy.done["answered"] > 8, 30, "it is tried again and again")
    wait_until(
        lambda: answer.name in str(read_progress(writer.folder).get("trouble")), 20, "it is told"
    )
    assert read_progress(writer.folder)["rejected"] == 0
    proxy.answer = None
    wait_until(lambda: acknowledged(writer), 30, "it is sent when the server takes it")
    assert not read_progress(writer.folder)["trouble"]
    assert len(points(server)) == 1
    writer.close()


def test_silence_is_told_while_it_lasts(
    server: Server, host: Path, shipping: Callable[..., Shipping], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("naiad.shipper.spool.SILENT_SECONDS", 0.5)
    proxy = CuttingProxy(server.port, seed=1)
    proxy.calm = True
    try:
        writer = spool_for(host, proxy.url)
        shipping()
        wait_until(lambda: acknowledged(writer), 20, "sent")
        proxy.hold = True
        writer.metrics({"a": 1.0}, 0, 0)
        wait_until(
            lambda: "has not answered" in str(read_progress(writer.folder)["trouble"]),
            20,
            "silence is told",
        )
        proxy.hold = False
        wait_until(lambda: acknowledged(writer), 20, "sent")
        assert not read_progress(writer.folder)["trouble"]
        writer.close()
    finally:
        proxy.close()


def test_silence_is_told_also_of_a_server_that_was_away_before(
    server: Server, host: Path, shipping: Callable[..., Shipping], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("naiad.shipper.spool.SILENT_SECONDS", 0.5)
    network = CuttingProxy(server.port, seed=1)
    network.calm = True
    gateway = MeddlingProxy(f"127.0.0.1:{network.port}", seed=1, rate=0)
    gateway.answer = grpc.StatusCode.UNAVAILABLE

    def trouble() -> str:
        return str(read_progress(writer.folder).get("trouble", ""))

    try:
        writer = spool_for(host, gateway.url)
        writer.metrics({"a": 1.0}, 0, 0)
        shipping()
        wait_until(lambda: "not today" in trouble(), 20, "it is told that the server is away")
        # Not even the first call of all is answered.
        network.hold = True
        gateway.answer = None
        wait_until(lambda: "has not answered" in trouble(), 20, "silence is told")
        network.hold = False
        wait_until(lambda: acknowledged(writer), 20, "sent")
        assert not trouble()
        writer.close()
    finally:
        gateway.close()
        network.close()


def test_a_file_without_a_server_keeps_nothing_from_ending(
    host: Path, shipping: Callable[..., Shipping]
) -> None:
    from naiad_proto.v1 import records_pb2 as pb

    writer = spool_for(host, "grpc://127.0.0.1:1")
    for n in range(10):
        source = writer.place_for_file()
        source.write_bytes(b"x")
        where = {"source": str(source), "name": "n", "mime_type": "x/y", "own": True}
        item = pb.Item(timestamp=1, set_attribute=pb.SetAttribute(path=f"f{n}"))
        writer.file(item, where)
    before = threading.active_count()
    started = shipping()
    wait_until(lambda: read_progress(writer.folder).get("trouble"), 20, "it tries")
    started.end()
    wait_until(lambda: threading.active_count() <= before, 10, "its threads are gone")
    writer.close()
    assert len(list((writer.folder / "files").iterdir())) == 10


def test_a_refused_file_is_kept(
    server: Server, host: Path, shipping: Callable[..., Shipping]
) -> None:
    from naiad_proto.v1 import records_pb2 as pb

    writer = spool_for(host, server.url)
    source = writer.place_for_file()
    source.write_bytes(b"the only copy")
    # A path that no client of this release lets through.
    item = pb.Item(timestamp=1, set_attribute=pb.SetAttribute(path="x" * 2000))
    writer.file(item, {"source": str(source), "name": "n", "mime_type": "x/y", "own": True})
    name = writer.folder.name
    writer.close()
    shipping()
    wait_until(lambda: spools(host) == [], 20, "everything is sent")
    kept = host / "rejected" / name
    reasons = [json.loads(line) for line in (kept / "rejected.jsonl").read_text().splitlines()]
    assert "2000 bytes" in reasons[0]["reason"]
    (file,) = kept.glob("*.file")
    assert file.read_bytes() == b"the only copy"


def test_pauses_grow_are_bounded_and_jittered() -> None:
    pauses = [pause_after(failures) for failures in range(2000)]
    assert pauses[0] < 0.3
    assert max(pauses) <= 15 * 1.2
    assert len(set(pauses[50:])) > 1000


def test_a_new_run_does_not_wait_for_the_pause_of_those_before(host: Path) -> None:
    url = "grpc://127.0.0.1:1"
    old, new = spool_for(host, url, run="old"), spool_for(host, url, run="new")
    shipper = Shipper(host, sample_hardware=False)
    hidden = new.folder.rename(host / "not yet")
    try:
        shipper.tick()
        (ship,) = shipper.ships.values()
        error = ship.server.progress("p", "r", "w").exception()
        for _ in range(20):
            ship.server.try_again_at = 0.0
            failed_at = time.monotonic()
            ship.server.failed(error)
        assert ship.server.try_again_at > failed_at + 10
        hidden.rename(new.folder)
        shipper._next_scan = 0.0
        shipper._scan()
        assert len(shipper.ships) == 2
        assert ship.server.may_call
        # The count begins anew too, or the next failure would bring the long pause back.
        ship.server.failed(error)
        assert ship.server.try_again_at < time.monotonic() + 1
    finally:
        shipper.close()
        for writer in (old, new):
            writer.close()


def test_a_pause_that_was_asked_for_is_nobodys_to_cut_short(tmp_path: Path, host: Path) -> None:
    tokens = TokenStore(tmp_path / "tokens.json")
    tokens.create()
    with serving(tmp_path / "guarded", tokens=tokens) as server:
        writer = spool_for(host, server.url)
        shipper = Shipper(host, sample_hardware=False)
        try:
            shipper.tick()
            (ship,) = shipper.ships.values()
            # This call, since it has a minute for its answer.
            error = ship.server.open_writer("p", "r", "w").exception()
            failed_at = time.monotonic()
            ship.server.failed(error)
            ship.server.hurry()
            assert ship.server.try_again_at > failed_at + 5
        finally:
            shipper.close()
            writer.close()


def test_the_servers_own_delay_counts(
    server: Server, host: Path, shipping: Callable[..., Shipping]
) -> None:
    seen: list[float | None] = []
    proxy = MeddlingProxy(f"127.0.0.1:{server.port}", seed=1, rate=1.0)
    channel = grpc.insecure_channel(f"127.0.0.1:{proxy.port}")
    call = channel.unary_unary("/naiad.v1.IngestService/Progress")
    try:
        for _ in range(200):
            try:
                call(b"", timeout=10)
            except grpc.RpcError as error:
                if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
                    seen.append(_told_pause(error))
                    break
    finally:
        channel.close()
        proxy.close()
    assert seen == [0.05]


def test_what_is_refused_late_is_parked_too_also_when_the_spool_is_gone(
    server: Server, host: Path, shipping: Callable[..., Shipping], monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = spool_for(host, server.url)
    writer.metrics({"a": 1.0}, 0, 0)
    name, last, writer_id = writer.folder.name, writer.last_record, writer.header.writer_id
    asked = 0

    class Clock:
        """The shipper stands still for an hour after it has asked for the first time."""

        @staticmethod
        def monotonic() -> float:
            return time.monotonic() + (3600 if asked else 0)

    def progress(*_: object) -> Future[ProgressResponse]:
        nonlocal asked
        answer: Future[ProgressResponse] = Future()
        told = WriterProgress(writer_id=writer_id)
        if not writer.folder.exists():
            asked += 1
        if asked > 1:
            told.late_rejections.add(record=2, path="a", message="a: found out late")
            told.stored.add(first=1, last=last)
        answer.set_result(ProgressResponse(writers=[told]))
        return answer

    monkeypatch.setattr("naiad.shipper.server.Server.progress", progress)
    monkeypatch.setattr("naiad.shipper.spool.time", Clock)
    writer.close()
    shipping()
    kept = host / "rejected" / name / "rejected.jsonl"
    # It is there for a moment before anything stands in it.
    wait_until(lambda: kept.exists() and kept.read_text().endswith("\n"), 20, "it is parked")
    (line,) = kept.read_text().splitlines()
    assert json.loads(line)["reason"] == "a: found out late"
    shown = CliRunner().invoke(main, ["sync", "--rejected", str(host.parent)])
    assert "a: found out late" in shown.output
