"""Rounds of faults against a platform under load, each of them audited.

A round: the writers log; at a moment that is drawn the fault strikes, and while it lasts they log
on; it is mended; the time until a point that was logged after that is readable is the time to
recover; then the writers rest and the auditor compares everything.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import grpc
import psutil
import pytest
from support_auditor import Auditor
from support_expected import Diaries
from support_naiad import LONGER, clean_environment, wait_until
from support_proxy import CuttingProxy

from naiad.exceptions import NaiadError
from naiad.query.client import QueryClient
from naiad.spool.folder import host_folder, spools

SEED = int(os.environ.get("NAIAD_SEED", str(time.time_ns() % 1_000_000)))
# How often everything strikes; 0: a few of the faults, once.
ROUNDS = int(os.environ.get("NAIAD_ROUNDS", "0"))
# Which faults, by name and with commas between; all where it isn't set.
ONLY = {name.strip() for name in os.environ.get("NAIAD_FAULTS", "").split(",") if name.strip()}
PROJECT = "faults/platform"
TESTS = Path(__file__).parent
# A platform that is not back by then, on a machine that others use too, is not back.
PATIENCE = 240.0


class Besieged(Protocol):
    """A platform: where writers and readers find it."""

    @property
    def url(self) -> str:
        """Of the reading side."""

    @property
    def port(self) -> int:
        """Of the writing side, on this machine."""

    def told(self) -> str:
        """What its parts say of themselves, for who has to find out what went wrong."""


@dataclass
class Writer:
    author: str
    kind: str
    process: subprocess.Popen[bytes]
    errors: Path


class Load:
    """Writers, and how to have them log, rest and die."""

    def __init__(self, folder: Path, url: str, seed: int, pause: float = 0.03) -> None:
        self.url = url
        self.root = folder / "root"
        self.folder = folder / "diaries"
        self.folder.mkdir(parents=True)
        self.diaries = Diaries(self.folder, seed)
        self.writers: list[Writer] = []
        self._seed = seed
        self._pause = pause
        self._opened = 0

    def start(self, run: str, kind: str = "client") -> Writer:
        """Returns when it is opened, so that the next one's points count above its."""
        self._opened += 1
        author = f"{run}.{self._opened:04}"
        errors = self.folder / f"{author}.err"
        with errors.open("wb") as said:
            process = subprocess.Popen(
                [sys.executable, str(TESTS / "support_load.py"), kind, str(self.folder), PROJECT,
                 run, str(self._seed), str(self._opened), str(self._pause)],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=said,
                env=clean_environment(
                    NAIAD_URL=self.url, NAIAD_LOG_DIRECTORY=str(self.root), NAIAD_QUIET="1",
                    PYTHONPATH=str(TESTS),
                ),
            )  # fmt: skip
        writer = Writer(author, kind, process, errors)
        self.writers.append(writer)
        self._until(lambda: self._said(writer, "opened"), f"{author} begins")
        return writer

    def log(self, calls: int) -> None:
        """Until the clients have logged so many calls more; they do with any server or none."""
        wanted = self._calls() + calls
        self._until(lambda: self._calls() >= wanted, f"{calls} calls")

    def deliver(self, batches: int) -> None:
        """Until the server has taken so many of each spool of the raw writers."""

        def taken() -> bool:
            runs = self.diaries.read().runs.values()
            spools = [spool for run in runs for spool in run.taken.values()]
            return bool(spools) and min(map(len, spools)) >= batches

        self._until(taken, f"{batches} batches of each raw spool")

    def kill(self, writer: Writer) -> None:
        writer.process.kill()
        writer.process.wait(20 * LONGER)
        self.writers.remove(writer)

    def rest(self) -> None:
        """Returns when nobody logs."""
        (self.folder / "rest").touch()
        for writer in self.writers:
            self._until(lambda writer=writer: self._said(writer, "rests"), f"{writer.author} rests")

    def go_on(self) -> None:
        (self.folder / "rest").unlink()
        for writer in self.writers:
            self._until(
                lambda writer=writer: not self._said(writer, "rests"), f"{writer.author} goes on"
            )

    def end(self) -> None:
        """All end well, and everything is sent."""
        (self.folder / "end").touch()
        for writer in self.writers:
            status = writer.process.wait(PATIENCE * LONGER)
            assert status == 0, f"{writer.author}: {status}\n{writer.errors.read_text()}"
        wait_until(lambda: spools(host_folder(self.root)) == [], PATIENCE, "all spools are sent")

    def close(self) -> None:
        for writer in self.writers:
            if writer.process.poll() is None:
                writer.process.send_signal(signal.SIGCONT)
                writer.process.kill()
            writer.process.wait(20 * LONGER)
        # The shipper outlives them while there is something to send.
        for process in psutil.process_iter(["cmdline"]):
            line = process.info["cmdline"] or ()
            if "naiad.shipper" in line and str(host_folder(self.root)) in line:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()

    def clients(self) -> list[Writer]:
        return [writer for writer in self.writers if writer.kind == "client"]

    def _calls(self) -> int:
        returned = self.diaries.read().returned
        return sum(returned[writer.author] for writer in self.clients())

    def _said(self, writer: Writer, word: str) -> bool:
        return bool(self.diaries.read().said[writer.author].get(word))

    def _until(self, condition: Callable[[], object], what: str) -> None:
        def looked() -> object:
            for writer in self.writers:
                status = writer.process.poll()
                assert status is None, f"{writer.author} ended: {writer.errors.read_text()}"
            return condition()

        wait_until(looked, PATIENCE, what)


@dataclass
class Round:
    fault: str
    points: int
    seconds: float


# Strikes and mends; returns the moment (time.monotonic) from which the platform recovers.
Fault = Callable[["Siege"], float]


@dataclass
class Siege:
    """`platform` under `load`, by way of `proxy`."""

    platform: Besieged
    load: Load
    proxy: CuttingProxy
    seed: int
    random: random.Random = field(init=False)
    rounds: list[Round] = field(default_factory=list)
    # What a fault leaves to be mended when it was seen that the platform goes on without.
    afterwards: list[Callable[[], object]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        ingest = f"grpc://127.0.0.1:{self.platform.port}"
        self.auditor = Auditor(self.platform.url, ingest, PROJECT, self.load.diaries)

    def moment(self, longest: float = 0.5) -> None:
        """A moment is what is asked for here, not a state."""
        time.sleep(self.random.uniform(0, longest))

    def round(self, name: str, fault: Fault) -> None:
        number = len(self.rounds) + 1
        began = time.monotonic()
        try:
            before = self.load.diaries.points
            self.load.log(self.random.randint(50, 300))
            self.moment()
            recovers = fault(self)
            seconds = self.recovered() - recovers
            while self.afterwards:
                self.afterwards.pop()()
            self.load.rest()
            audit = time.monotonic()
            self.auditor.check(PATIENCE * LONGER, downloads=5)
            audit = time.monotonic() - audit
            self.load.go_on()
            self.rounds.append(Round(name, self.load.diaries.points - before, seconds))
        except BaseException as error:
            error.add_note(
                f"in round {number} ({name}) of seed {self.seed}: the same again with"
                f" NAIAD_SEED={self.seed} NAIAD_ROUNDS={min(ROUNDS, 1)}"
            )
            error.add_note(self.platform.told())
            raise
        made = self.rounds[-1]
        print(
            f"round {number}: {name}: {made.points} points, readable after {seconds:.1f} s, all of"
            f" {self.load.diaries.points} audited in {audit:.1f} s; took"
            f" {time.monotonic() - began:.1f} s",
            flush=True,
        )

    def rage(self, faults: dict[str, Fault], few: int) -> None:
        """Each of the faults once, in an order that is drawn; `few` of them where no rounds
        were asked for."""
        chosen = sorted(ONLY & faults.keys() if ONLY else faults)
        if not chosen:
            pytest.skip(
                f"NAIAD_FAULTS names none of what befalls this platform: {', '.join(faults)}"
            )
        for name in self.random.sample(chosen, len(chosen) if ROUNDS or ONLY else few):
            self._change_writers()
            self.round(name, faults[name])

    def end(self) -> None:
        """The last word, when everything was sent."""
        self.load.end()
        self.auditor.check(PATIENCE * LONGER)

    def figures(self) -> Iterator[str]:
        for name in sorted({made.fault for made in self.rounds}):
            some = [made for made in self.rounds if made.fault == name]
            times = sorted(made.seconds for made in some)
            yield (
                f"{name}: {len(some)} rounds, {sum(made.points for made in some):,} points,"
                f" readable after {times[0]:.1f} to {times[-1]:.1f} s"
            )

    def _change_writers(self) -> None:
        """Now and then a client is killed and its run resumed by another."""
        if self.random.random() < 0.3:
            victim = self.random.choice(self.load.clients())
            self.load.kill(victim)
            self.load.start(victim.author.rpartition(".")[0])

    def recovered(self) -> float:
        """Waits until a point that is logged from now on is readable; returns when."""
        writer = self.load.clients()[0]
        run, _, ordinal = writer.author.rpartition(".")
        path = f"w{int(ordinal)}/loss"
        before = self.load.diaries.read().last[writer.author].get(path, -1)
        self.load.log(100)
        wait_until(
            lambda: self.load.diaries.read().last[writer.author].get(path, -1) > before,
            PATIENCE, "a point is logged",
        )  # fmt: skip
        question = (
            f"SELECT max(step) FROM points WHERE project = '{PROJECT}' AND run_id = '{run}'"
            f" AND path = '{path}'"
        )

        def readable() -> bool:
            try:
                with QueryClient(self.platform.url, timeout=5) as client:
                    (step,) = client.sql(question).column(0).to_pylist()
            except (NaiadError, grpc.RpcError):
                return False
            return step is not None and step * 1_000_000 > before

        wait_until(readable, PATIENCE, "what is logged after the fault is readable")
        return time.monotonic()


@contextlib.contextmanager
def siege(
    platform: Besieged, folder: Path, *, runs: Sequence[str], seed: int = SEED, clients: int = 2
) -> Iterator[Siege]:
    """With `clients` writers to each of the runs, and a raw one to a run of its own."""
    print(f"seed {seed}")
    proxy = CuttingProxy(platform.port, seed)
    proxy.calm = True
    load = Load(folder, proxy.url, seed)
    try:
        for run in runs:
            for _ in range(clients):
                load.start(run)
        load.start("raw", "raw")
        yield Siege(platform, load, proxy, seed)
    finally:
        load.close()
        proxy.close()
