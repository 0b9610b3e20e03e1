"""What the shipper says of writers that can't say it themselves."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from support_naiad import LONGER, clean_environment, wait_until
from support_server import Server
from support_spools import spool_header

from naiad.shipper.shipper import Shipper
from naiad.spool.folder import host_folder, spools
from naiad.spool.layout import LOCK
from naiad.spool.writer import SpoolWriter
from naiad_proto.v1 import records_pb2 as pb


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
    header = spool_header(url=server.url, pid=1)
    writer = SpoolWriter(host, header, None)
    writer.metrics({"a": 1.0}, 0, 0)
    writer.close()
    # One that ends by itself takes it along; one that is killed can't.
    (writer.folder / LOCK).touch()
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
        assert goes_on.wait(60 * LONGER)
        return upload(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Target, "upload", slow_upload)
    host = host_folder(tmp_path / "root")
    header = spool_header(url=server.url, pid=1)
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


CONTAINER = """
import os, sys, multiprocessing, time
import naiad

def work(run):
    run.log_metrics({"child": 1.0}, step=0)
    print("child", flush=True)
    time.sleep(600)

if __name__ == "__main__":
    run = naiad.Run(project="team/p", run_id="r", hardware_interval=1, console="fd",
                    source_tracking_config=None)
    child = multiprocessing.get_context("fork").Process(target=work, args=(run,), daemon=True)
    child.start()
    sys.stdin.readline()
    run.close()
    print("closed", flush=True)
    sys.stdin.readline()
"""


def test_what_dies_with_a_container_does_not_outlive_the_run(
    server: Server, tmp_path: Path
) -> None:
    """The training has ended; sampler, console and children are swept away with the rest."""
    script = tmp_path / "script.py"
    script.write_text(CONTAINER)
    process = subprocess.Popen(
        [sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env=clean_environment(
            NAIAD_URL=server.url, NAIAD_LOG_DIRECTORY=str(tmp_path / "root"), NAIAD_QUIET="1"
        ),
    )  # fmt: skip
    assert process.stdin
    assert process.stdout
    assert process.stdout.readline() == "child\n"

    def writers() -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for batch in server.batches():
            for item in batch.items:
                if item.HasField("writer_status"):
                    found.setdefault(batch.writer_id, []).append(item.writer_status.state)
        return found

    def ended() -> int:
        return sum(states[-1] == pb.WRITER_STATE_FINISHED for states in writers().values())

    # All but the process itself say both at their beginning.
    wait_until(
        lambda: (len(writers()), ended()) == (4, 3), 30,
        "process, child, sampler and console are known",
    )  # fmt: skip
    tree = psutil.Process(process.pid).children(recursive=True)
    process.stdin.write("\n")
    process.stdin.flush()
    assert process.stdout.readline() == "closed\n"
    for one in (psutil.Process(process.pid), *tree):
        # Some end by themselves with those before them.
        with contextlib.suppress(psutil.NoSuchProcess):
            one.kill()
    process.communicate()
    assert {states[-1] for states in writers().values()} == {pb.WRITER_STATE_FINISHED}
