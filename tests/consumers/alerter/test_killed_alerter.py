"""SIGKILL in the middle: what was raised is told at least once, under the id it had."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import support_alerter_child
from support_envelopes import Pen, append
from support_webhook import running_receiver

from naiad_eventlog import open_event_log
from naiad_eventlog.topics import ALL_TOPICS
from naiad_proto.v1 import records_pb2

NAN = float("nan")


@contextlib.contextmanager
def living(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A child that lives until the block ends, by SIGKILL."""
    command = [sys.executable, support_alerter_child.__file__, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == "ready\n"
            yield process
            assert process.poll() is None, "it ended by itself"
        finally:
            process.kill()


@pytest.mark.long
def test_killed_again_and_again(tmp_path: Path) -> None:
    log_url = f"sqlite:///{tmp_path}/log.db"

    def write(*batches: records_pb2.Batch) -> None:
        async def appended() -> None:
            async with await open_event_log(log_url) as log:
                await log.create_topics(ALL_TOPICS)
                await append(log, *batches)

        asyncio.run(appended())

    pen = Pen()
    with running_receiver(lambda body: 503) as receiver:
        file = tmp_path / "alerts.yaml"
        file.write_text(f"webhooks:\n  - {{name: team, url: '{receiver.url}'}}\n")
        arguments = (log_url, f"chdb://{tmp_path}/store", str(file))
        write(pen.metrics({"a": [1, NAN, 2], "b": [1, 1, NAN]}))
        with living(*arguments):
            receiver.wait(lambda r: len({b["path"] for b in r.seen}) == 2, "both tried")
        first = {body["path"]: body["id"] for body in receiver.seen}
        assert receiver.taken == []

        # Killed as soon as anything was taken, so perhaps before that was marked; and the
        # log grew while nobody read it.
        write(pen.metrics({"c": [NAN]}))
        receiver.answer = lambda body: 200
        with living(*arguments):
            receiver.wait(lambda r: r.taken, "one taken")
        with living(*arguments):
            receiver.wait(
                lambda r: (
                    {(b["path"], b["state"]) for b in r.taken}
                    == {("a", "firing"), ("a", "resolved"), ("b", "firing"), ("c", "firing")}
                ),
                "all taken",
            )
        ids = {body["path"]: body["id"] for body in receiver.taken}
        assert ids == {**first, "c": ids["c"]}
        # What is open is known to the next process, too.
        write(pen.metrics({"b": [3]}))
        with living(*arguments):
            receiver.wait(lambda r: ids["b"] in r.ids("resolved"), "the end of b")
        assert len(set(receiver.ids())) == 3
