"""`naiad.Run` from the call to the log of a real server."""

from __future__ import annotations

import logging
import math
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support_naiad import LONGER, wait_until
from support_runs import own_settings, plain_run, sending_to
from support_server import Server, serving

import naiad
from naiad.exceptions import NaiadTypeError, NaiadValueError
from naiad.spool.folder import host_folder, spools
from naiad_proto.series import group_arrays, string_arrays
from naiad_proto.v1 import records_pb2 as pb
from naiad_store import Store


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    own_settings(monkeypatch, tmp_path / "root")


@pytest.fixture
def server(server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with sending_to(server, monkeypatch):
        yield server


def points(server: Server) -> dict[tuple[str, float], float]:
    found: dict[tuple[str, float], float] = {}
    for batch in server.batches():
        for group in batch.groups:
            arrays = group_arrays(group)
            for row, path in enumerate(group.paths):
                for step, value in zip(arrays.steps, arrays.values[row], strict=True):
                    found[path, int(step) / 1e6] = float(value)
    return found


def strings(server: Server) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for batch in server.batches():
        for series in batch.string_series:
            string_arrays(series)
            found.setdefault(series.path, []).extend(series.values)
    return found


def items(server: Server, kind: str) -> list[Any]:
    return [
        getattr(item, kind)
        for batch in server.batches()
        for item in batch.items
        if item.WhichOneof("kind") == kind
    ]


def test_everything_that_can_be_logged_arrives(server: Server, tmp_path: Path) -> None:
    born = datetime(2026, 1, 2, tzinfo=UTC)
    (tmp_path / "weights.bin").write_bytes(b"w" * 100)
    with plain_run(experiment_name="exp", creation_time=born) as run:
        run.log_metrics({"loss": 0.5, "acc": 1}, step=0)
        run.log_metrics({"loss": math.nan, "acc": math.inf}, step=1.5)
        run.log_metrics({"loss": np.float32(0.25), "acc": np.int64(3)}, step=np.int64(2))
        run.log_metrics({"loss": 0.1}, step=3, preview=True, preview_completion=0.5)
        run.log_configs({"lr": 0.1, "n": 3, "ok": True, "name": "x", "at": born, "s": {"b", "a"}})
        run.log_configs({"deep": {"er": [1, 2]}}, flatten=True)
        run.log_string_series({"said": "hello\nthere"}, step=0)
        run.log_histograms({"h": naiad.Histogram([0, 1, 2], counts=[3, 4])}, step=0)
        run.add_tags(["t1", "t2"])
        run.remove_tags(["t2"])
        run.add_tags(["g"], group_tags=True)
        run.assign_files({"text": b"content", "weights": tmp_path / "weights.bin"})
        run.log_files({"frames": naiad.File(b"png", mime_type="image/png")}, step=4)

    found = points(server)
    assert math.isnan(found.pop(("loss", 1.5)))
    assert found == {
        ("loss", 0): 0.5, ("acc", 0): 1, ("acc", 1.5): math.inf,
        ("loss", 2): 0.25, ("acc", 2): 3, ("loss", 3): 0.1,
    }  # fmt: skip
    previews = [g for b in server.batches() for g in b.groups if g.preview]
    assert [group_arrays(group).steps.tolist() for group in previews] == [[3_000_000]]
    assert strings(server) == {"said": ["hello\nthere"]}
    values = {change.path: change.value for change in items(server, "set_attribute")}
    assert values["sys/name"].string_value == "exp"
    assert values["lr"].float_value == 0.1
    assert values["n"].int_value == 3
    assert values["ok"].bool_value is True
    assert values["at"].datetime_value == int(born.timestamp() * 1000)
    assert values["deep/er/0"].int_value == 1
    assert values["text"].file_value.size_bytes == 7
    assert values["weights"].file_value.name == "weights.bin"
    sets = [(c.path, list(c.add), list(c.remove)) for c in items(server, "update_string_set")]
    assert ("s", ["a", "b"], []) in sets
    assert ("sys/tags", ["t1", "t2"], []) in sets
    assert ("sys/tags", [], ["t2"]) in sets
    assert ("sys/group_tags", ["g"], []) in sets
    (histogram,) = items(server, "histogram_point")
    assert list(histogram.histogram.edges) == [0, 1, 2]
    assert list(histogram.histogram.counts.values) == [3, 4]
    (file,) = items(server, "file_point")
    assert (file.step, file.file.mime_type) == (4_000_000, "image/png")
    (birth,) = items(server, "create_run")
    assert birth.created_at == int(born.timestamp() * 1000)
    states = [status.state for status in items(server, "writer_status")]
    assert states == [pb.WRITER_STATE_RUNNING, pb.WRITER_STATE_FINISHED]
    wait_until(lambda: not spools(host_folder(tmp_path / "root")), 10, "the spool is gone")


class Told(list[str]):
    def __call__(self, error: BaseException, seen: float | None) -> None:
        self.append(str(error))


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda run: run.log_metrics({"good": 1.0, "bad": "high"}, step=0), "'bad'"),
        (lambda run: run.log_metrics({"good": 1.0, "flag": None}, step=0), "'flag'"),
        (lambda run: run.log_metrics({"good": 1.0, "x" * 2000: 1.0}, step=0), "1024"),
        (lambda run: run.log_metrics({"good": 1.0, "": 1.0}, step=0), "empty"),
        (lambda run: run.log_metrics({"good": 1.0, 7: 1.0}, step=0), "7"),
        (lambda run: run.log_metrics({"good": 1.0, "huge": 10**400}, step=0), "'huge'"),
        (lambda run: run.log_metrics({"a": 1.0}, step=-1), "-1"),
        (lambda run: run.log_metrics({"a": 1.0}, step="one"), "one"),
        (lambda run: run.log_metrics({"a": 1.0}, step=10**12), "out of range"),
        (lambda run: run.log_metrics({"a": 1.0}, step=0, timestamp="now"), "now"),
        (lambda run: run.log_metrics({"a": 1.0}, step=0, preview_completion=0.5), "preview"),
        (
            lambda run: run.log_metrics(
                {"a": 1.0}, step=0, preview=True, preview_completion=1.5
            ),
            "1.5",
        ),
        (lambda run: run.log_metrics([1.0], step=0), "metrics"),
        (lambda run: run.log_configs({"o": object()}), "'o'"),
        (lambda run: run.log_configs("lr"), "lr"),
        (lambda run: run.log_string_series({"s": 5}, step=0), "'s'"),
        (lambda run: run.log_histograms({"h": [1, 2]}, step=0), "'h'"),
        (lambda run: run.add_tags(["", "fine"]), "empty"),
        (lambda run: run.assign_files({"f": "/no/such/file"}), "/no/such/file"),
    ],
)  # fmt: skip
def test_a_bad_item_is_named_and_nothing_is_raised(server: Server, call: Any, named: str) -> None:
    told = Told()
    run = plain_run(on_error_callback=told)
    call(run)
    run.close()
    assert len(told) == 1, told
    assert named in told[0]
    assert set(points(server)) <= {("good", 0.0)}


def test_the_good_items_of_a_call_are_kept(server: Server) -> None:
    with plain_run() as run:
        run.log_metrics({"good": 1.0, "bad": "high", "fine": 2}, step=0)
    assert points(server) == {("good", 0): 1.0, ("fine", 0): 2.0}


def test_one_can_ask_for_exceptions(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAIAD_LOG_FAILURE_ACTION", "raise")
    with plain_run() as run:
        with pytest.raises(NaiadValueError, match="'bad'"):
            run.log_metrics({"good": 1.0, "bad": "high"}, step=0)
        with pytest.raises(NaiadValueError, match="-1"):
            run.log_metrics({"good": 1.0}, step=-1)


def test_a_loop_of_bad_items_does_not_bury_the_console(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    told = Told()
    with caplog.at_level(logging.ERROR, "naiad"), plain_run(on_error_callback=told) as run:
        for step in range(1000):
            run.log_metrics({"bad": "high"}, step=step)
    assert len(told) == 1000
    assert 20 <= len(caplog.records) < 40


@pytest.mark.parametrize(
    ("arguments", "kind", "named"),
    [
        ({"project": "one-word"}, NaiadValueError, "'one-word'"),
        ({"project": 7}, NaiadTypeError, "project"),
        ({"run_id": "with/slash"}, NaiadValueError, "slash"),
        ({"run_id": "x" * 731}, NaiadValueError, "730"),
        ({"run_id": ""}, NaiadValueError, "empty"),
        ({"experiment_name": "x" * 731}, NaiadValueError, "730"),
        ({"mode": "sometimes"}, NaiadValueError, "'sometimes'"),
        ({"fork_step": 3}, NaiadValueError, "fork_run_id"),
        ({"fork_run_id": "a"}, NaiadValueError, "fork_step"),
        ({"fork_run_id": "a", "fork_step": -3}, NaiadValueError, "fork_step"),
        ({"url": "http://x"}, NaiadValueError, "grpc://host:port"),
        ({"runtime_namespace": "x" * 2000}, NaiadValueError, "runtime_namespace"),
        ({"hardware_interval": 0.01}, NaiadValueError, "hardware_interval"),
        ({"hardware_interval": "often"}, NaiadTypeError, "hardware_interval"),
        ({"creation_time": "today"}, NaiadValueError, "creation_time"),
    ],
)
def test_wrong_arguments_raise(
    arguments: dict[str, Any], kind: type[Exception], named: str
) -> None:
    with pytest.raises(kind, match=named):
        plain_run(**arguments)


def test_no_project_says_what_to_do() -> None:
    with pytest.raises(NaiadValueError, match="NAIAD_PROJECT"):
        naiad.Run()


def test_disabled_does_nothing(tmp_path: Path) -> None:
    with plain_run(mode="disabled") as run:
        run.log_metrics({"a": "whatever"}, step=-5)  # type: ignore[dict-item]
        run.log_configs({"a": object()})
        assert run.wait_for_processing(timeout=0.1)
    assert not (tmp_path / "root").exists()


def test_offline_keeps_and_sync_sends(server: Server, tmp_path: Path) -> None:
    from click.testing import CliRunner

    from naiad.cli import main

    with plain_run(mode="offline") as run:
        for step in range(100):
            run.log_metrics({"a": step}, step=step)
        run.assign_files({"f": b"content"})
        assert run.wait_for_submission(timeout=0.1) is False
    from naiad.shipper.starting import LOCK, stop_threads
    from naiad.spool.folder import is_taken

    stop_threads()
    lock = host_folder(tmp_path / "root") / LOCK
    wait_until(lambda: not is_taken(lock), 20, "the run's shipper has ended")
    status = CliRunner().invoke(main, ["sync", "--status"])
    assert "team/p/r" in status.output
    assert "offline" in status.output
    done = CliRunner().invoke(main, ["sync"])
    assert done.exit_code == 0, done.output
    assert "sent 1 of 1 spools" in done.output
    assert len(points(server)) == 100
    again = CliRunner().invoke(main, ["sync"])
    assert "nothing is waiting" in again.output
    nowhere = CliRunner().invoke(main, ["sync", str(tmp_path / "elsewhere")])
    assert nowhere.exit_code == 1
    assert "no spools in" in nowhere.output


def test_a_server_that_is_away_is_told_once_and_costs_nothing(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.stop()
    told = Told()
    run = plain_run(on_network_error_callback=told)
    run.log_metrics({"a": 1.0}, step=0)
    wait_until(lambda: told, 30, "the callback is called")
    assert run.wait_for_submission(timeout=0.2, verbose=False) is False
    run.close(timeout=0.2)
    assert len(told) == 1
    assert "spool" in told[0]
    server.start()
    # The next run's shipper takes it along.
    with plain_run(run_id="next") as following:
        following.log_metrics({"b": 2.0}, step=0)
    wait_until(lambda: len(points(server)) == 2, 30, "both arrived")


def test_a_closed_run_takes_nothing_and_says_so(server: Server) -> None:
    told = Told()
    run = plain_run(on_error_callback=told)
    run.close()
    run.close()
    run.log_metrics({"a": 1.0}, step=0)
    assert "closed" in told[0]
    assert points(server) == {}


def test_an_exception_makes_the_run_fail_with_its_traceback(server: Server) -> None:
    with pytest.raises(ZeroDivisionError), plain_run(runtime_namespace="runtime/here"):
        print(1 / 0)
    last = items(server, "writer_status")[-1]
    assert last.state == pb.WRITER_STATE_FAILED
    assert last.reason == "ZeroDivisionError: division by zero"
    (trace,) = [
        change.value.string_value
        for change in items(server, "set_attribute")
        if change.path == "runtime/here/traceback"
    ]
    assert "print(1 / 0)" in trace


def test_ctrl_c_and_terminate_stop_the_run(server: Server) -> None:
    with pytest.raises(KeyboardInterrupt), plain_run():
        raise KeyboardInterrupt
    plain_run(run_id="second").terminate()
    wait_until(
        lambda: (
            sum(s.state == pb.WRITER_STATE_STOPPED for s in items(server, "writer_status")) == 2
        ),
        20,
        "both are stopped",
    )


def test_the_console_arrives_line_by_line_and_goes_on(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for turn in range(2):
        with plain_run(enable_console_log_capture=True, runtime_namespace="rt") as run:
            print(f"first {turn}")
            print(f"second {turn}", file=sys.stderr)
            sys.stdout.write("10%\r50%\r100%\n")
            assert run.wait_for_submission(timeout=20 * LONGER)
    found = strings(server)
    assert found["rt/stdout"] == ["first 0", "100%", "first 1", "100%"]
    assert found["rt/stderr"] == ["second 0", "second 1"]
    steps = [
        step
        for batch in server.batches()
        for series in batch.string_series
        if series.path == "rt/stdout"
        for step in string_arrays(series).steps.tolist()
    ]
    assert steps == [0, 1_000_000, 2_000_000, 3_000_000]


def test_hardware_is_sampled_under_the_namespace(server: Server) -> None:
    with plain_run(hardware_interval=1, runtime_namespace="rt") as run:
        wait_until(
            lambda: any(path.startswith("rt/cpu") for path, _ in points(server)), 30, "samples"
        )
        run.log_metrics({"mine": 1.0}, step=0)
    names = {path for path, _ in points(server)}
    assert any(name.startswith("rt/memory") for name in names)


def test_the_source_is_recorded(server: Server) -> None:
    config = naiad.SourceTrackingConfig()
    with plain_run(source_tracking_config=config):
        pass
    names = {change.path for change in items(server, "set_attribute")}
    assert any("python" in name for name in names), names


def test_threads_share_a_run(server: Server) -> None:
    with plain_run() as run:

        def log(which: int) -> None:
            for step in range(500):
                run.log_metrics({f"m{which}": step}, step=step)

        threads = [threading.Thread(target=log, args=(i,)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(points(server)) == 2000


def test_waiting_for_processing_means_readable(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(tmp_path / "storing", store) as server, plain_run(url=server.url) as run:
        for step in range(1000):
            run.log_metrics({"a": step}, step=step)
        assert run.wait_for_processing(timeout=30 * LONGER)
        count = store.query("SELECT count() AS n FROM points FINAL").to_pylist()
        assert count == [{"n": 1000}]
    from naiad.shipper.starting import stop_threads

    stop_threads()


def test_an_unwritable_folder_is_told_and_another_one_is_used(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setattr("tempfile.tempdir", None)
    (tmp_path / "tmp").mkdir()
    told = Told()
    with plain_run(log_directory=tmp_path / "file", on_warning_callback=told) as run:
        run.log_metrics({"a": 1.0}, step=0)
    assert str(tmp_path / "tmp") in told[0]
    assert points(server) == {("a", 0): 1.0}


def test_no_writable_folder_at_all_is_told_and_nothing_raises(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path / "file"))
    told = Told()
    run = plain_run(log_directory=tmp_path / "file", on_queue_full_callback=told)
    run.log_metrics({"a": 1.0}, step=0)
    run.close()
    assert "NOTHING" in told[0]


def test_addresses(server: Server) -> None:
    with plain_run(run_id="a b", experiment_name="e&f") as run:
        assert run.get_run_url().endswith("/run?project=team%2Fp&run=a%20b")
        assert run.get_experiment_url().endswith("/runs?project=team%2Fp&experiment=e%26f")


def test_a_callback_that_raises_harms_nothing(server: Server) -> None:
    def raising(error: BaseException, seen: float | None) -> None:
        raise RuntimeError("from the callback")

    with plain_run(on_error_callback=raising) as run:
        run.log_metrics({"a": "bad"}, step=0)
        run.log_metrics({"a": 1.0}, step=1)
    assert points(server) == {("a", 1): 1.0}
