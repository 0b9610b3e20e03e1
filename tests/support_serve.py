"""Stages of Naiad as the processes that they are in a cluster, for tests from outside.

    with Stages(tmp_path, event_log=url, store=store_url) as stages:
        stages.start("writer")
        ingest = stages.start("ingest")
        ... ingest.url, ingest.metrics(), ingest.stop(), ingest.kill()

Each runs `naiad serve STAGE` on free ports with nothing but the settings it is given, writes
what it says to a file of its own, and is ended by its pid when the block ends.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil
from prometheus_client.parser import text_string_to_metric_families
from support_child import child
from support_naiad import LONGER, START_SECONDS, clean_environment, wait_until
from support_ports import free_port

# Loopback, whatever proxy the environment names.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
_GRPC = frozenset({"ingest", "query"})


@dataclass
class Stage:
    """One process. `start` again after it has ended, on the same ports."""

    name: str
    settings: dict[str, str]
    output: Path
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def pid(self) -> int:
        assert self.process
        return self.process.pid

    @property
    def listen(self) -> str:
        return self.settings["NAIAD_LISTEN"]

    @property
    def port(self) -> int:
        return int(self.listen.rpartition(":")[2])

    @property
    def url(self) -> str:
        """For clients; the dashboard's for browsers."""
        return f"{'http' if self.name == 'dashboard' else 'grpc'}://{self.listen}"

    @property
    def said(self) -> str:
        """All that it has written to stdout and stderr, in all its lives."""
        return self.output.read_text() if self.output.exists() else ""

    def spawn(self) -> Stage:
        """Starts it and returns at once."""
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(
                child(sys.executable, "-m", "naiad", "serve", self.name),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=clean_environment(**self.settings),
                start_new_session=True,
            )
        return self

    def start(self, seconds: float = START_SECONDS) -> Stage:
        """Returns when /readyz says so."""
        self.spawn()
        self.until_ready(seconds)
        return self

    def until_ready(self, seconds: float = START_SECONDS) -> None:
        def ready() -> bool:
            assert self.process
            code = self.process.poll()
            assert code is None, f"naiad serve {self.name} ended with {code}:\n{self.said}"
            return self.get("/readyz")[0] == 200

        try:
            wait_until(ready, seconds, f"naiad serve {self.name} is ready")
        except AssertionError as error:
            error.add_note(f"{self.get('/readyz')[1]}\n{self.said}")
            raise

    def get(self, path: str) -> tuple[int, str]:
        """Status and body; (0, reason) when nothing answers."""
        url = f"http://{self.settings['NAIAD_METRICS_LISTEN']}{path}"
        try:
            with _OPENER.open(url, timeout=10 * LONGER) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except OSError as error:
            return 0, str(error)

    def because(self) -> dict[str, str]:
        """What it lacks to be ready."""
        status, body = self.get("/readyz")
        assert status in {200, 503}, body
        found: dict[str, str] = json.loads(body)["because"]
        return found

    def metrics(self) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        """Every sample by its name and labels."""
        status, text = self.get("/metrics")
        assert status == 200, text
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def metric(self, name: str, **labels: str) -> float:
        """The sum of the samples that have these labels; 0 when there are none."""
        wanted = set(labels.items())
        return sum(
            value for (found, of), value in self.metrics().items()
            if found == name and wanted <= of
        )  # fmt: skip

    def until_said(self, text: str, seconds: float = 30) -> None:
        wait_until(lambda: text in self.said, seconds, f"{self.name} says {text!r}: {self.said}")

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def pause(self) -> None:
        self.signal(signal.SIGSTOP)

    def wake(self) -> None:
        self.signal(signal.SIGCONT)

    def stop(self, seconds: float = 60) -> int:
        """SIGTERM; returns the exit status when it has drained."""
        if self.process is None:
            return 0
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
        return self.wait(seconds)

    def wait(self, seconds: float = 60) -> int:
        assert self.process
        try:
            return self.process.wait(seconds * LONGER)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(
                f"naiad serve {self.name} did not end within {seconds * LONGER:g} s:\n{self.said}"
            ) from None

    def kill(self) -> None:
        """SIGKILL to it and what it started."""
        # One that has ended may have left its number to a process of somebody else.
        if self.process is None or self.process.poll() is not None:
            return
        with contextlib.suppress(psutil.NoSuchProcess):
            found = psutil.Process(self.pid)
            for process in [*found.children(recursive=True), found]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
        self.process.wait(10 * LONGER)


class Stages:
    """Processes that share engines; ended with the block, in the reverse of their start."""

    def __init__(
        self,
        folder: Path,
        *,
        event_log: str = "",
        store: str = "",
        state: str = "",
        files: str = "",
        tokens: str = "",
        **settings: str,
    ) -> None:
        """`settings`: more variables by their full names, for every stage."""
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        files = files or f"file://{folder / 'files'}"
        # 25 is what a stage takes by itself; where machines stand still, 0 is still its status.
        settings = {"NAIAD_DRAIN_SECONDS": f"{25 * LONGER:g}", **settings}
        self._settings = {
            "NAIAD_EVENT_LOG": event_log, "NAIAD_STORE": store, "NAIAD_STATE": state,
            "NAIAD_FILES": files, "NAIAD_TOKENS": tokens, **settings,
        }  # fmt: skip
        self._numbers = itertools.count(1)
        self.all: list[Stage] = []

    def make(self, name: str, **settings: str) -> Stage:
        """A stage that isn't started yet; `settings` override those of all."""
        where = {"NAIAD_METRICS_LISTEN": f"127.0.0.1:{free_port()}"}
        if name in _GRPC or name == "dashboard":
            where["NAIAD_LISTEN"] = f"127.0.0.1:{free_port()}"
        output = self.folder / f"{name}-{next(self._numbers)}.log"
        given = {**self._settings, **where, **settings}
        stage = Stage(name, {key: value for key, value in given.items() if value}, output)
        self.all.append(stage)
        return stage

    def start(self, name: str, **settings: str) -> Stage:
        """Started and ready."""
        return self.make(name, **settings).start()

    def close(self) -> None:
        """Ends what still runs; whoever must drain is stopped before."""
        for stage in reversed(self.all):
            stage.kill()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if value is not None:
            for stage in self.all:
                value.add_note(f"--- {stage.name} ({stage.output.name}) said:\n{stage.said}")
        self.close()
