"""The shipper: everything that a spool holds arrives, whatever happens on the way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from support_naiad import LONGER, wait_until
from support_server import Server, serving
from support_shipping import Shipping, acknowledged, points, spool_for

from naiad.shipper.shipper import Shipper
from naiad.spool.folder import (
    read_progress,
    read_token,
    spools,
    write_json,
)
from naiad.spool.layout import WAITING
from naiad_auth import TokenStore
from naiad_proto.v1 import records_pb2 as pb
from naiad_store import Store


def test_metrics_become_columns_and_are_acknowledged(
    server: Server, host: Path, shipping: Callable[..., Shipping]
) -> None:
    writer = spool_for(host, server.url)
    for step in range(1000):
        writer.metrics({"a": step, "b": -step}, step, 7)
    shipping()
    wait_until(lambda: acknowledged(writer), 20, "all acknowledged")
    found = points(server)
    assert found == {("r", p, s): s * k for p, k in (("a", 1), ("b", -1)) for s in range(1000)}
    assert sum(len(batch.groups) for batch in server.batches()) <= 3
    writer.close()


def test_the_spool_goes_when_its_writer_ended_and_all_is_acknowledged(
    server: Server, host: Path, shipping: Callable[..., Shipping]
) -> None:
    writer = spool_for(host, server.url, token="t")
    writer.metrics({"a": 1.0}, 0, 0)
    shipping()
    wait_until(lambda: acknowledged(writer), 20, "all acknowledged")
    assert read_token(writer.folder) == "t"
    writer.close()
    wait_until(lambda: spools(host) == [], 20, "the folder is gone")


def test_segments_are_freed_while_the_writer_lives(
    server: Server, host: Path, shipping: Callable[..., Shipping]
) -> None:
    writer = spool_for(host, server.url)
    row = {f"m{i}": float(i) for i in range(1000)}
    for step in range(500):
        writer.metrics(row, step, 0)
    shipping()
    wait_until(lambda: acknowledged(writer), 30, "all acknowledged")
    wait_until(lambda: len(list(writer.folder.glob("*.spool"))) == 1, 10, "one segment left")
    assert len(points(server)) == 500_000
    writer.close()


def test_a_server_that_comes_late_and_goes_away_loses_nothing(
    server: Server, host: Path, shipping: Callable[..., Shipping]
) -> None:
    server.stop()
    writer = spool_for(host, server.url)
    shipping()
    steps = 0
    for _ in range(3):
        for _ in range(100):
            writer.metrics({"a": float(steps)}, steps, 0)
            steps += 1
        wait_until(lambda: read_progress(writer.folder).get("trouble"), 30, "trouble is told")
        server.start()
        wait_until(lambda: acknowledged(writer), 30, "all acknowledged")
        assert not read_progress(writer.folder)["trouble"]
        if steps < 300:
            server.stop()
            writer.metrics({"a": float(steps)}, steps, 0)
            steps += 1
    assert points(server) == {("r", "a", step): float(step) for step in range(steps)}
    writer.close()


def test_a_shipper_that_is_killed_is_followed_by_one_that_goes_on(
    server: Server, host: Path, shipping: Callable[..., Shipping]
) -> None:
    writer = spool_for(host, server.url)
    for step in range(500):
        writer.metrics({"a": float(step)}, step, 0)
    process = subprocess.Popen([sys.executable, "-m", "naiad.shipper", str(host)])
    wait_until(lambda: acknowledged(writer), 30, "all acknowledged")
    epoch = read_progress(writer.folder)["epoch"]
    process.kill()
    process.wait(10 * LONGER)
    for step in range(500, 1000):
        writer.metrics({"a": float(step)}, step, 0)
    shipping()
    wait_until(lambda: acknowledged(writer), 30, "all acknowledged")
    assert points(server) == {("r", "a", step): float(step) for step in range(1000)}
    # The versions of resent rows have to be the same.
    assert {batch.epoch for batch in server.batches()} == {epoch}
    writer.close()


def test_one_shipper_at_a_time(host: Path, shipping: Callable[..., Shipping]) -> None:
    # Its writer lives, so that the first one stays.
    writer = spool_for(host, "grpc://127.0.0.1:1")
    shipping()
    lock = host / "shipper.lock"
    wait_until(lock.exists, 10, "the lock is there")
    from naiad.spool.folder import is_taken

    wait_until(lambda: is_taken(lock), 10, "the lock is taken")
    stop = threading.Event()
    stop.set()
    assert Shipper(host, sample_hardware=False).run(stop) is False
    writer.close()


DYING = """
import os, signal, sys
from pathlib import Path
from naiad.spool.layout import Header
from naiad.spool.writer import SpoolWriter

writer = SpoolWriter(Path(sys.argv[1]), Header(
    project="team/p", run_id="r", writer_id="a" * 32, epoch=1, url=sys.argv[2], host="h",
    pid=os.getpid(), mode="async", role=sys.argv[3]))
for step in range(10):
    writer.metrics({"a": step}, step, 0)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize(
    ("role", "state"),
    [
        ("process", pb.WRITER_STATE_KILLED),
        ("child", pb.WRITER_STATE_FINISHED),
        ("sampler", pb.WRITER_STATE_FINISHED),
    ],
)
def test_a_killed_writer_is_said_to_be_killed(
    server: Server, host: Path, shipping: Callable[..., Shipping], role: str, state: int
) -> None:
    subprocess.run([sys.executable, "-c", DYING, str(host), server.url, role], check=False)
    shipping()
    wait_until(lambda: spools(host) == [], 20, "everything is sent")
    ends = [
        item.writer_status.state
        for batch in server.batches()
        for item in batch.items
        if item.HasField("writer_status")
    ]
    assert ends == [state]
    assert len(points(server)) == 10


def test_what_the_server_refuses_is_kept_with_its_reason(
    server: Server, host: Path, shipping: Callable[..., Shipping]
) -> None:
    writer = spool_for(host, server.url)
    writer.metrics({"good": 1.0}, 0, 0)
    # The client would not let this through; a newer or older one might.
    writer.item(pb.Item(timestamp=1, set_attribute=pb.SetAttribute(path="x" * 2000)))
    writer.metrics({"good": 2.0}, 1, 0)
    shipping()
    wait_until(lambda: acknowledged(writer), 20, "all acknowledged")
    told = read_progress(writer.folder)
    assert told["rejected"] == 1
    assert "2000 bytes" in told["messages"][0]["text"]
    assert len(points(server)) == 2
    name = writer.folder.name
    writer.close()
    wait_until(lambda: spools(host) == [], 20, "the folder is gone")
    assert "2000 bytes" in (host / "rejected" / name / "rejected.jsonl").read_text()


def test_a_batch_that_is_refused_whole_does_not_stop_the_rest(
    server: Server, host: Path, shipping: Callable[..., Shipping]
) -> None:
    bad = spool_for(host, server.url, run="with/slash")
    bad.metrics({"a": 1.0}, 0, 0)
    good = spool_for(host, server.url, run="good")
    good.metrics({"a": 1.0}, 0, 0)
    shipping()
    wait_until(lambda: acknowledged(good) and acknowledged(bad), 20, "both are done with")
    assert {run for run, *_ in points(server)} == {"good"}
    bad.close()
    good.close()
    wait_until(lambda: spools(host) == [], 20, "the folders are gone")
    (kept,) = (host / "rejected").iterdir()
    assert "slash" in (kept / "rejected.jsonl").read_text()
    assert list(kept.glob("*.batch"))


def test_files_are_uploaded_before_their_record(
    server: Server, host: Path, shipping: Callable[..., Shipping], tmp_path: Path
) -> None:
    writer = spool_for(host, server.url)
    source = writer.place_for_file()
    source.write_bytes(b"content" * 1000)
    item = pb.Item(timestamp=5, set_attribute=pb.SetAttribute(path="model"))
    where = {"source": str(source), "name": "m.bin", "mime_type": "x/y", "own": True}
    writer.file(item, where)
    gone = {**where, "source": str(tmp_path / "gone"), "own": False}
    writer.file(pb.Item(timestamp=5, file_point=pb.FilePoint(path="s", step=1)), gone)
    writer.metrics({"a": 1.0}, 0, 0)
    shipping()
    wait_until(lambda: acknowledged(writer), 20, "all acknowledged")
    (value,) = [
        item.set_attribute.value.file_value
        for batch in server.batches()
        for item in batch.items
        if item.HasField("set_attribute")
    ]
    assert (value.name, value.mime_type, value.size_bytes) == ("m.bin", "x/y", 7000)
    wait_until(lambda: not source.exists(), 10, "the copy is gone")
    assert "gone" in read_progress(writer.folder)["messages"][0]["text"]
    assert len(points(server)) == 1
    writer.close()


def test_a_missing_token_is_told_and_nothing_is_given_up(
    host: Path, shipping: Callable[..., Shipping], tmp_path: Path
) -> None:
    tokens = TokenStore(tmp_path / "tokens.json")
    token = tokens.create()
    with serving(tmp_path / "guarded", tokens=tokens) as server:
        without = spool_for(host, server.url, run="without")
        within = spool_for(host, server.url, run="within", token=token)
        shipping()
        wait_until(lambda: acknowledged(within), 20, "the one with a token is sent")
        wait_until(lambda: read_progress(without.folder).get("trouble"), 20, "trouble is told")
        (message,) = read_progress(without.folder)["messages"]
        assert message["kind"] == "auth"
        assert "NAIAD_API_TOKEN" in message["text"]
        assert not acknowledged(without)
        for writer in (without, within):
            writer.close()


def test_offline_spools_wait_for_sync(
    server: Server, host: Path, shipping: Callable[..., Shipping]
) -> None:
    writer = spool_for(host, "grpc://127.0.0.1:1", mode="offline")
    writer.metrics({"a": 1.0}, 0, 0)
    writer.close()
    first = shipping()
    wait_until(lambda: first.shipper.waiting_offline == 1, 10, "it is seen")
    first.end()
    assert len(spools(host)) == 1
    shipping(offline_too=True, watch=False, forced_url=server.url)
    wait_until(lambda: spools(host) == [], 20, "everything is sent")
    assert len(points(server)) == 1


def test_a_writer_that_waits_learns_at_once_when_its_points_are_readable(
    host: Path, shipping: Callable[..., Shipping], tmp_path: Path, store: Store
) -> None:
    with serving(tmp_path / "storing", store) as server:
        writer = spool_for(host, server.url)
        shipping()
        for step in range(20):
            writer.metrics({"a": float(step)}, step, 0)
        (writer.folder / WAITING).touch()
        wait_until(
            lambda: read_progress(writer.folder).get("stored", 0) >= writer.last_record,
            30,
            "stored",
        )
        writer.close()


def test_a_clock_that_is_behind_does_not_make_a_writer_the_older_one(
    host: Path, shipping: Callable[..., Shipping], tmp_path: Path, store: Store
) -> None:
    with serving(tmp_path / "epochs", store) as server:
        first = spool_for(host, server.url, epoch=2_000_000)
        first.metrics({"a": 1.0}, 0, 0)
        shipping()
        wait_until(lambda: acknowledged(first), 20, "sent")
        second = spool_for(host, server.url, epoch=1_000)
        second.metrics({"a": 2.0}, 0, 0)
        wait_until(lambda: acknowledged(second), 20, "sent")
        epochs = {batch.writer_id: batch.epoch for batch in server.batches()}
        assert epochs[second.header.writer_id] > epochs[first.header.writer_id]
        first.close()
        second.close()


def test_a_spool_that_cannot_be_read_is_left_alone(
    server: Server, host: Path, shipping: Callable[..., Shipping]
) -> None:
    broken = host / "spools" / "20200101T000000-broken"
    broken.mkdir(parents=True)
    write_json(broken / "spool.json", {"schema": 99})
    os.utime(broken, (0, 0))
    writer = spool_for(host, server.url)
    started = shipping()
    wait_until(lambda: acknowledged(writer), 20, "the other one is sent")
    wait_until(lambda: broken in started.shipper.unreadable, 20, "it is known")
    assert broken.exists()
    writer.close()


def test_it_ends_by_itself_when_nothing_is_left(server: Server, host: Path) -> None:
    writer = spool_for(host, server.url)
    writer.metrics({"a": 1.0}, 0, 0)
    writer.close()
    process = subprocess.Popen([sys.executable, "-m", "naiad.shipper", str(host)])
    assert process.wait(30 * LONGER) == 0
    assert spools(host) == []


def test_sigterm_ends_it_at_once_and_its_successor_goes_on(server: Server, host: Path) -> None:
    server.stop()
    writer = spool_for(host, server.url)
    writer.metrics({"a": 1.0}, 0, 0)
    process = subprocess.Popen([sys.executable, "-m", "naiad.shipper", str(host)])
    wait_until(lambda: read_progress(writer.folder).get("trouble"), 20, "it tries")
    process.send_signal(signal.SIGTERM)
    assert process.wait(10 * LONGER) == 0
    writer.close()
    server.start()
    subprocess.run(
        [sys.executable, "-m", "naiad.shipper", str(host)], check=True, timeout=30 * LONGER
    )
    assert len(points(server)) == 1


def test_a_folder_of_a_process_that_died_while_making_it_goes(
    host: Path, shipping: Callable[..., Shipping]
) -> None:
    empty = host / "spools" / "20200101T000000-empty"
    empty.mkdir(parents=True)
    (empty / "token").write_text("secret")
    os.utime(empty, (0, 0))
    shipping()
    wait_until(lambda: spools(host) == [], 20, "it is gone, and the token with it")


def test_a_long_backlog_is_read_to_its_end_before_the_end_is_said(
    server: Server, host: Path, shipping: Callable[..., Shipping]
) -> None:
    """What the reader gives at once may end where a batch is full; the spool does not."""
    writer = spool_for(host, server.url)
    for step in range(13):
        writer.string("s", "x" * 1024 * 1024, step, 0)
    end = pb.WriterStatus(state=pb.WRITER_STATE_FINISHED)
    writer.item(pb.Item(timestamp=1, writer_status=end))
    last = writer.last_record
    writer.close()
    shipping()
    wait_until(lambda: spools(host) == [], 60, "everything is sent")
    batches = server.batches()
    items = [item for batch in batches for item in batch.items if item.HasField("writer_status")]
    assert [item.writer_status.state for item in items] == [pb.WRITER_STATE_FINISHED]
    assert [item.record for item in items] == [last]
    assert sum(len(s.values) for batch in batches for s in batch.string_series) == 13
