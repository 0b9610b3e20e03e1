"""The whole of Naiad on this machine: starts it, trains 12 small networks on handwritten
digits, reads the result back and serves it until Ctrl-C. `make demo` runs this.

With --once it ends after the table, with status 1 if anything that was logged is missing.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

import naiad.query.runs as runs
from digits import PROJECT
from naiad.exceptions import NaiadError
from naiad.query import QueryClient

HERE = Path(__file__).resolve().parent
SIZES = (8, 32, 64, 128)
LEARNING_RATES = (0.1, 0.01, 0.001)
EPOCHS = 25
# Two at a time suits a laptop: each uses one core.
AT_ONCE = 2

console = Console(highlight=False, soft_wrap=True)


class DemoError(Exception):
    """The demo can't go on; the message says why."""


# --- The platform -------------------------------------------------------------------------


@dataclass(frozen=True)
class Platform:
    url: str
    dashboard: str


@contextlib.contextmanager
def platform(data: Path, port: int, dashboard_port: int) -> Iterator[Platform]:
    """`naiad up`, from its ready line until the block ends."""
    command = [
        # Takes the platform along should this process be killed.
        *(sys.executable, "-m", "naiad_serve.child", str(os.getpid())),
        *(sys.executable, "-m", "naiad", "up", "--data", str(data)),
        *("--port", str(port), "--dashboard-port", str(dashboard_port)),
    ]
    # A session of its own: on Ctrl-C the demo ends first, then the platform, in that order.
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    try:
        assert process.stdout
        line = process.stdout.readline()
        if not line.startswith("Naiad is ready: "):
            process.wait()
            raise DemoError("the platform did not start; what it said stands above")
        words = line.split()
        yield Platform(words[3], words[words.index("dashboard") + 1])
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout:
            process.stdout.close()


@contextlib.contextmanager
def running_platform(url: str) -> Iterator[Platform]:
    """One that others started."""
    with QueryClient(url) as client:
        try:
            yield Platform(url, client.server_info().dashboard_url)
        except NaiadError as error:
            raise DemoError(str(error)) from error


# --- The trainings ------------------------------------------------------------------------


async def train_all(url: str, witnesses: Path, epochs: int) -> list[dict[str, Any]]:
    """Trains every size with every learning rate, each in a process of its own.

    Returns what each one says that it logged. Raises DemoError if one failed.
    """
    environment = {
        **os.environ,
        "NAIAD_URL": url,
        # One core each; without this every small product of matrices wakes all of them.
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "NAIAD_LOG_DIRECTORY": str(witnesses / "spool"),
    }
    environment.pop("NAIAD_PROJECT", None)
    environment.pop("NAIAD_MODE", None)
    slots = asyncio.Semaphore(AT_ONCE)
    columns = (
        TextColumn("{task.description:<20}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total} epochs  {task.fields[said]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        whole = progress.add_task(
            "12 networks", total=epochs * len(SIZES) * len(LEARNING_RATES), said=""
        )

        async def train(number: int, hidden: int, rate: float) -> dict[str, Any]:
            async with slots:
                name = f"mlp-{hidden}-lr-{rate:g}"
                witness = witnesses / f"{number}.json"
                process = await asyncio.create_subprocess_exec(
                    *(sys.executable, str(HERE / "demo_worker.py")),
                    *("--hidden", str(hidden), "--learning-rate", str(rate)),
                    *("--epochs", str(epochs), "--witness", str(witness)),
                    env=environment,
                    stdout=asyncio.subprocess.PIPE,
                    stderr=asyncio.subprocess.PIPE,
                )
                assert process.stdout
                assert process.stderr
                errors = asyncio.create_task(process.stderr.read())
                task = progress.add_task(name, total=epochs, said="")
                try:
                    async for line in process.stdout:
                        text = line.decode().strip()
                        if text.startswith("epoch "):
                            said = text.partition(": ")[2]
                            progress.update(task, advance=1, said=said)
                            progress.update(whole, advance=1)
                    code = await process.wait()
                finally:
                    if process.returncode is None:
                        with contextlib.suppress(ProcessLookupError):
                            process.terminate()
                        await process.wait()
                    progress.remove_task(task)
                said = (await errors).decode().strip()
                if code != 0:
                    raise DemoError(f"training {name} failed with status {code}:\n{said}")
                if said:
                    progress.console.print(said, markup=False)
                result: dict[str, Any] = json.loads(await asyncio.to_thread(witness.read_text))
                return result

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(train(number, hidden, rate))
                    for number, (hidden, rate) in enumerate(
                        itertools.product(SIZES, LEARNING_RATES)
                    )
                ]
        except ExceptionGroup as failed:
            # One says enough: the others were only stopped.
            raise failed.exceptions[0] from None
    return [task.result() for task in tasks]


# --- What came back -----------------------------------------------------------------------


def missing(logged: list[dict[str, Any]]) -> list[str]:
    """Compares all that was logged with what the query API gives; names each difference."""
    ids = [report["run_id"] for report in logged]
    wait_for_end(ids)
    paths = sorted({path for report in logged for path in report["points"]})
    points = runs.fetch_metrics(project=PROJECT, runs=ids, attributes=paths)
    console_lines = runs.fetch_series(project=PROJECT, runs=ids, attributes="/stdout$")
    problems: list[str] = []
    for report in logged:
        run, name = report["run_id"], report["experiment"]
        table = runs.fetch_runs_table(
            project=PROJECT, runs=[run], attributes=[*report["configs"], "sys/tags", "sys/state"]
        )
        if run not in table.index:
            problems.append(f"{name}: the run is not there")
            continue
        row = table.loc[run]
        problems += [
            f"{name}: {path} is {row.get(path)!r}, logged was {value!r}"
            for path, value in report["configs"].items()
            if row.get(path) != value
        ]
        if set(row["sys/tags"]) != set(report["tags"]):
            problems.append(f"{name}: tags are {row['sys/tags']}, logged were {report['tags']}")
        if row["sys/state"] != "finished":
            problems.append(f"{name}: its state is {row['sys/state']!r}, not 'finished'")
        own = points.loc[run]
        for path, values in report["points"].items():
            found = own[path].dropna()
            if not found.equals(pd.Series(dict(values), name=path).rename_axis(found.index.name)):
                problems.append(
                    f"{name}: {path} has {len(found)} points that differ from the"
                    f" {len(values)} logged"
                )
        lines = int(console_lines.loc[run].notna().sum().sum())
        if lines < report["lines"]:
            problems.append(f"{name}: {lines} console lines, printed were {report['lines']}")
    hardware = runs.fetch_runs_table(project=PROJECT, runs=ids, attributes=r"^runtime/.*cpu")
    for report in logged:
        if hardware.loc[report["run_id"]].notna().sum() == 0:
            problems.append(f"{report['experiment']}: no hardware sample")
    return problems


def wait_for_end(ids: list[str], seconds: float = 120) -> None:
    """Until all runs have said their end; `missing` tells if they haven't by then."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        states = runs.fetch_runs_table(project=PROJECT, runs=ids, attributes=["sys/state"])
        if len(states) == len(ids) and (states["sys/state"] != "running").all():
            return
        time.sleep(0.1)


def show_best(logged: list[dict[str, Any]]) -> None:
    columns = {
        "model/hidden_units": "units",
        "optimizer/learning_rate": "lr",
        "val/accuracy": "val acc",
        "val/loss": "val loss",
        "train/loss": "train loss",
        "sys/trained_time": "s",
    }
    found = runs.fetch_runs_table(
        project=PROJECT,
        runs=[report["run_id"] for report in logged],
        attributes=["sys/name", *columns],
        sort_by="val/accuracy",
        sort_direction="desc",
    )
    # Narrow enough for a terminal of 80 columns, so that no name is cut.
    table = Table(
        title="12 runs, read back from the store",
        title_justify="left",
        box=box.SIMPLE,
        pad_edge=False,
        collapse_padding=True,
    )
    for name in ("", "experiment", *columns.values()):
        table.add_column(name, no_wrap=True, justify="left" if name == "experiment" else "right")
    for rank, (_, row) in enumerate(found.iterrows(), start=1):
        table.add_row(str(rank), row["sys/name"], *(cell(path, row.get(path)) for path in columns))
    console.print(table)


def cell(path: str, value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if path.endswith(("accuracy", "loss")):
        return f"{value:.4f}"
    return f"{value:.1f}" if path == "sys/trained_time" else f"{value:g}"


# --- All of it ----------------------------------------------------------------------------


def run_demo(served: AbstractContextManager[Platform], epochs: int, once: bool) -> int:
    console.print("Starting Naiad ...")
    with served as up, tempfile.TemporaryDirectory() as witnesses:
        console.print(f"Naiad is ready: {up.url}  dashboard {up.dashboard or 'none'}")
        console.print(f"Training 12 small networks, {AT_ONCE} at a time; watch them there.")
        os.environ["NAIAD_URL"] = up.url
        logged = asyncio.run(train_all(up.url, Path(witnesses), epochs))
        problems = missing(logged)
        show_best(logged)
        count = sum(len(v) for report in logged for v in report["points"].values())
        if problems:
            console.print(f"[red]{len(problems)} things that were logged did not come back:[/]")
            for problem in problems:
                console.print(f"  {problem}", markup=False)
        else:
            console.print(
                f"Everything that the 12 runs logged came back, {count:,} points among it."
            )
        if not once:
            console.print(f"\nOpen {up.dashboard}/runs?project={PROJECT}  (Ctrl-C ends it)")
            with contextlib.suppress(KeyboardInterrupt):
                signal.pause()
            console.print("\nStopping. `make up` serves the same data again.")
        return 1 if problems else 0


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--epochs", type=int, default=EPOCHS, help="of each training")
    arguments.add_argument("--once", action="store_true", help="end after the table")
    arguments.add_argument("--data", type=Path, default=Path(".naiad"), help="(.naiad)")
    arguments.add_argument("--port", type=int, default=7420, help="(7420; 0: any)")
    arguments.add_argument("--dashboard-port", type=int, default=8501, help="(8501; 0: any)")
    arguments.add_argument("--url", help="use the server there instead of starting one")
    given = arguments.parse_args()
    # So that a SIGTERM ends the platform in good order, as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        served = (
            running_platform(given.url)
            if given.url
            else platform(given.data, given.port, given.dashboard_port)
        )
        return run_demo(served, given.epochs, given.once)
    except DemoError as error:
        console.print(f"demo: {error}", markup=False)
        return 1
    except KeyboardInterrupt:
        console.print("\nStopped.")
        return 130


if __name__ == "__main__":
    sys.exit(main())
