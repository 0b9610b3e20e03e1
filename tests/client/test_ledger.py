"""The ledger: every number of it against what was logged and what the server has."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from support_naiad import LONGER, wait_until
from support_proxy import MeddlingProxy
from support_server import Server, serving
from support_shipping import Shipping, acknowledged, spool_for

import naiad
from naiad.cli import main
from naiad.ledger import Ledger, kept_ledgers, ledger_of
from naiad.shipper.batches import after, tally_of_rejected
from naiad.shipper.told import KEPT_MARKS, Told
from naiad.spool.folder import host_folder, read_progress, spools
from naiad.spool.reader import SpoolReader
from naiad.spool.writer import SpoolWriter
from naiad.tally import Tally
from naiad_proto.series import build_group
from naiad_proto.v1 import ingest_pb2
from naiad_proto.v1 import records_pb2 as pb
from naiad_store import Store


@pytest.fixture
def server(tmp_path: Path, store: Store) -> Iterator[Server]:
    with serving(tmp_path / "server", store) as server:
        yield server


def ledger(writer: SpoolWriter) -> Ledger:
    return ledger_of(writer.folder, writer.header)


def log_some(writer: SpoolWriter) -> Tally:
    """Something of each kind; returns what it is."""
    for step in range(100):
        writer.metrics({"a": 1.0, "b": 2.0, "c": 3.0}, step, 0)
    for step in range(10):
        writer.string("s", "text", step, 0)
    for n in range(5):
        value = pb.SetAttribute(path=f"config/{n}", value=pb.Value(int_value=n))
        writer.item(pb.Item(timestamp=1, set_attribute=value))
    writer.item(pb.Item(timestamp=1, update_string_set=pb.UpdateStringSet(path="t", add=["x"])))
    histogram = pb.Histogram(edges=[0, 1], counts=pb.DoubleList(values=[3]))
    point = pb.HistogramPoint(path="h", step=1, histogram=histogram)
    writer.item(pb.Item(timestamp=1, histogram_point=point))
    # `spool_for` has written the run's creation, which is a record and neither of the others.
    return Tally(118, 311, 6)


def test_it_counts_what_waits_what_is_sent_and_what_is_readable(server: Server, host: Path) -> None:
    writer = spool_for(host, server.url)
    logged = log_some(writer)
    before = ledger(writer)
    assert before.logged == before.waiting == logged
    assert before.acknowledged == before.stored == Tally()
    shipping = Shipping(host)
    try:
        wait_until(lambda: ledger(writer).complete, 30, "all of it is readable")
        found = ledger(writer)
        assert found.logged == found.acknowledged == found.stored == logged
        assert found.waiting == Tally()
        assert "all of it can be read" in str(found)
        assert "311" in str(found)
        writer.close()
        wait_until(lambda: spools(host) == [], 20, "the spool is gone")
        wait_until(lambda: kept_ledgers(host)[0]["final"], 20, "the last word is written down")
        # The end that the shipper said for the writer is none of what the writer logged.
        assert ledger(writer).stored == logged
    finally:
        shipping.end()


def test_a_shipper_that_follows_counts_on(server: Server, host: Path) -> None:
    """Each is killed when something was acknowledged; nothing is counted twice or left out."""
    writer = spool_for(host, server.url)
    total = Tally(1)
    for _ in range(4):
        for step in range(50):
            writer.metrics({"a": 1.0, "b": 2.0}, step, 0)
        total += Tally(50, 100, 0)
        process = subprocess.Popen([sys.executable, "-m", "naiad.shipper", str(host)])
        wait_until(lambda: acknowledged(writer), 30, "all acknowledged")
        process.kill()
        process.wait(10 * LONGER)
        # In the same segment: the next one has to begin in the middle of it.
        assert ledger(writer).logged == ledger(writer).acknowledged == total
    writer.close()


def test_a_cut_within_rows_of_one_shape(host: Path) -> None:
    writer = spool_for(host, "grpc://127.0.0.1:1")
    for step in range(10):
        writer.metrics({"a": float(step)}, step, 0)
    (row,) = [r for r in SpoolReader(writer.folder).rows(1 << 20, writer_lives=True) if r.last > 1]
    left = after(row, 5)
    assert left is not None
    assert (left.first, left.last) == (6, 11)
    assert left.steps.tolist() == [4, 5, 6, 7, 8, 9]  # type: ignore[union-attr]
    assert after(row, 1) is row
    assert after(row, 11) is None
    writer.close()


def test_rejections_are_counted_by_what_they_leave_out() -> None:
    batch = pb.Batch()
    group = build_group(
        ["a", "b"], steps=[1, 2, 3], timestamps=[0] * 3, values=[[1.0] * 3] * 2, first_record=1
    )
    batch.groups.append(group)
    batch.groups.append(group)
    batch.string_series.append(pb.StringSeries(path="s", values=["x", "y"]))
    batch.items.append(pb.Item(set_attribute=pb.SetAttribute(path="c")))
    batch.items.append(pb.Item(histogram_point=pb.HistogramPoint(path="h")))
    request = ingest_pb2.WriteBatchRequest(batch=batch).SerializeToString()

    def rejected(**names: int) -> Tally:
        return tally_of_rejected(request, [pb.Rejection(**names)])

    assert rejected(group_index=0) == Tally(1, 6, 0)
    assert rejected(group_index=1, path_index=1) == Tally(1, 3, 0)
    assert rejected(group_index=1, row_index=0) == Tally(1, 2, 0)
    assert rejected(group_index=1, row_index=0, path_index=0) == Tally(1, 1, 0)
    assert rejected(string_series_index=0) == Tally(1, 2, 0)
    assert rejected(string_series_index=0, row_index=1) == Tally(1, 1, 0)
    assert rejected(item_index=0) == Tally(1, 0, 1)
    assert rejected(item_index=1) == Tally(1, 1, 0)


def test_stored_points_never_count_ahead_and_are_exact_in_the_end() -> None:
    told = Told()
    for last in range(10, 5001, 10):
        told.acknowledge(last, Tally(10, 20, 0))
        assert len(told.marks) <= KEPT_MARKS
    for stored in (7, 1234, 3000, 4999):
        told.store(stored)
        assert told.stored_tally[1] <= stored * 2
    assert told.stored_tally[1] > 4000 * 2
    told.store(5000)
    assert told.stored_tally == told.acknowledged_tally == [5000, 10_000, 0]


def test_a_run_says_it_and_sync_shows_it(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NAIAD_QUIET", "1")
    monkeypatch.setenv("NAIAD_SHIPPER", "thread")
    monkeypatch.setenv("NAIAD_LOG_DIRECTORY", str(tmp_path / "root"))
    monkeypatch.setenv("NAIAD_URL", server.url)
    proxy = MeddlingProxy(f"127.0.0.1:{server.port}", seed=1, rate=0)
    run = naiad.Run(
        project="team/p", run_id="r", hardware_interval=None, source_tracking_config=None,
        enable_console_log_capture=False, url=proxy.url,
    )  # fmt: skip
    try:
        run.log_metrics({"a": 1.0, "b": 2.0}, step=0)
        run.log_configs({"lr": 0.1})
        assert run.wait_for_processing(timeout=30 * LONGER)
        ledger = run.ledger()
        assert ledger.complete, str(ledger)
        # The run's creation, that it runs, two calls.
        assert ledger.logged == Tally(4, 2, 1)
        import grpc

        proxy.answer = grpc.StatusCode.UNAVAILABLE
        run.log_metrics({"a": 1.0, "b": 2.0}, step=1)
        assert run.ledger().waiting == Tally(1, 2, 0)
        assert not run.ledger().complete
        status = CliRunner().invoke(main, ["sync", "--status", "--json"])
        (row,) = json.loads(status.output)
        assert (row["logged"], row["acknowledged"], row["points"]) == (5, 4, 4)
        status = CliRunner().invoke(main, ["sync", "--status"])
        assert "1 records in 1 spools are not sent. Send them: naiad sync" in status.output
        proxy.answer = None
    finally:
        run.close(30 * LONGER)
        proxy.close()
    # After the end too, from what the shipper wrote down.
    assert run.ledger().logged == Tally(6, 4, 1)
    status = CliRunner().invoke(main, ["sync", "--status"])
    assert "Nothing is waiting" in status.output
    assert os.environ["NAIAD_LOG_DIRECTORY"] not in status.output
    assert read_progress(tmp_path) == {}


def test_what_was_dropped_is_known_after_the_process_too(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NAIAD_QUIET", "1")
    run = naiad.Run(
        project="team/p", run_id="r", hardware_interval=None, source_tracking_config=None,
        enable_console_log_capture=False, url=server.url, log_directory=tmp_path / "root",
    )  # fmt: skip

    def full(*_: object) -> None:
        raise OSError("no space")

    with monkeypatch.context() as patched:
        assert run._session
        patched.setattr(run._session.spool, "metrics", full)
        for step in range(3):
            run.log_metrics({"a": 1.0}, step=step)
    assert run.ledger().dropped == 3
    assert "3 calls were dropped" in str(run.ledger())
    run.close()
    root = host_folder(tmp_path / "root")
    wait_until(lambda: spools(root) == [], 20, "the spool is gone")
    (kept,) = kept_ledgers(root)
    assert kept["dropped"] == 3
    assert not run.ledger().complete
