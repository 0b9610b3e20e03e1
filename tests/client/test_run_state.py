"""What the shipper says of writers that can't say it themselves."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support_naiad import wait_until
from support_server import Server, serving

from naiad.shipper.shipper import Shipper
from naiad.spool.folder import host_folder, new_writer_id, spools
from naiad.spool.layout import Header
from naiad.spool.writer import SpoolWriter
from naiad_proto.v1 import records_pb2 as pb


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with serving(tmp_path / "server") as server:
        yield server


def ends(server: Server) -> list[tuple[int, int]]:
    return [
        (item.writer_status.state, item.timestamp)
        for batch in server.batches()
        for item in batch.items
        if item.HasField("writer_status")
    ]


@pytest.mark.parametrize("hours", [0, 2])
def test_a_writer_found_dead_died_when_it_last_wrote(
    server: Server, tmp_path: Path, hours: int
) -> None:
    """Else a run that was resumed meanwhile would read killed."""
    host = host_folder(tmp_path / "root")
    header = Header(
        project="team/p", run_id="r", writer_id=new_writer_id(), epoch=1, url=server.url,
        host="h", pid=1, mode="async",
    )  # fmt: skip
    writer = SpoolWriter(host, header, None)
    writer.metrics({"a": 1.0}, 0, 0)
    writer.close()
    then = time.time() - 3600 * hours
    for file in (*writer.folder.iterdir(), writer.folder):
        os.utime(file, (then, then))
    Shipper(host, watch=False, sample_hardware=False).run()
    assert spools(host) == []
    ((state, at),) = ends(server)
    assert state == pb.WRITER_STATE_KILLED
    assert abs(at / 1000 - then) < 60


def test_heartbeats_go_on_while_a_file_is_uploaded(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import threading

    from naiad.shipper import spool as shipping
    from naiad.shipper.server import Server as Target

    monkeypatch.setattr(shipping, "HEARTBEAT_SECONDS", 0.05)
    goes_on = threading.Event()
    upload = Target.upload

    def slow_upload(self: Target, *arguments: object) -> pb.FileReference:
        assert goes_on.wait(30)
        return upload(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Target, "upload", slow_upload)
    host = host_folder(tmp_path / "root")
    header = Header(
        project="team/p", run_id="r", writer_id=new_writer_id(), epoch=1, url=server.url,
        host="h", pid=1, mode="async",
    )  # fmt: skip
    writer = SpoolWriter(host, header, None)
    source = writer.place_for_file()
    source.write_bytes(b"x")
    item = pb.Item(timestamp=5, set_attribute=pb.SetAttribute(path="model"))
    writer.file(item, {"source": str(source), "name": "m", "mime_type": "x/y", "own": True})
    stop = threading.Event()
    thread = threading.Thread(target=Shipper(host, sample_hardware=False).run, args=(stop,))
    thread.start()
    try:
        wait_until(
            lambda: sum(not batch.HasField("records") for batch in server.batches()) >= 3,
            20,
            "three heartbeats",
        )
        goes_on.set()
        wait_until(
            lambda: any(batch.HasField("records") for batch in server.batches()), 20, "the file"
        )
    finally:
        goes_on.set()
        stop.set()
        thread.join()
        writer.close()
