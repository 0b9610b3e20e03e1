"""`naiad export`: runs, metrics or series into a file, a batch at a time."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import click

from naiad.cli._choosing import need_project, of_points, runs_of, steps_of
from naiad.cli._tables import plain, said_plainly

if TYPE_CHECKING:
    import pyarrow as pa

    from naiad.query.streams import Batches

_FORMATS = ("parquet", "csv")


class _Writer(Protocol):
    def write_batch(self, batch: pa.RecordBatch) -> None: ...
    def close(self) -> None: ...


@click.command()
@click.argument("what", type=click.Choice(("runs", "metrics", "series")))
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@of_points
@click.option(
    "--attributes", metavar="REGEX", help="Those in whose path RE2 finds this; default all."
)
@click.option(
    "--format", "kind", type=click.Choice(_FORMATS), help="Default: as FILE ends, .parquet or .csv."
)
@click.option("--force", is_flag=True, help="Overwrite FILE.")
def export(
    what: str,
    file: Path,
    project: str | None,
    names: tuple[str, ...],
    experiments: bool,
    match: str | None,
    filter: str | None,
    step_range: str | None,
    own_points: bool,
    url: str | None,
    token: str | None,
    attributes: str | None,
    kind: str | None,
    force: bool,
) -> None:
    """Writes the table of runs, every point of metrics, or series of texts, histograms and files
    to FILE, as Parquet or CSV.

    \b
    naiad export runs runs.parquet
    naiad export metrics loss.csv --attributes ^train/loss$ --filter 'lr < 0.1'

    It is written as it comes, and FILE is there once it is whole. In CSV a cell with a list or
    several parts is JSON.
    """
    name = need_project(project)
    kind = kind or file.suffix.lower().removeprefix(".")
    if kind not in _FORMATS:
        raise click.UsageError(
            f"{file.name} ends in neither .parquet nor .csv; say --format parquet or csv"
        )
    if what == "runs" and (step_range or own_points):
        raise click.UsageError("--step-range and --own-points are about points, not runs")
    if file.exists() and not force:
        raise click.ClickException(f"{file} is there already; --force overwrites it")
    steps = steps_of(step_range) if step_range else (None, None)
    with said_plainly():
        from naiad.query.attributes import OTHER_SERIES
        from naiad.query.client import Attributes, QueryClient

        runs = runs_of(names, experiments, match, filter)
        noun = "experiment" if experiments else "run"
        convert = _points(noun) if what != "runs" else _runs
        with QueryClient(url, token, timeout=24 * 3600) as client:
            if what == "runs":
                found = client.runs_table_batches(name, runs, Attributes(pattern=attributes))
            elif what == "metrics":
                found = client.metrics_batches(
                    name, runs, Attributes(pattern=attributes), steps=steps,
                    own_points_only=own_points,
                )  # fmt: skip
            else:
                found = client.series_batches(
                    name, runs, Attributes(pattern=attributes, types=OTHER_SERIES), steps=steps,
                    own_points_only=own_points,
                )  # fmt: skip
            with found:
                rows = _written(found, convert, file, kind, force=force)
        size = file.stat().st_size
    counted = "1 row" if rows == 1 else f"{rows:,} rows"
    click.echo(f"{counted} in {file} ({size:,} bytes)", err=True)


def _written(
    found: Batches,
    convert: Callable[[pa.RecordBatch], pa.RecordBatch],
    file: Path,
    kind: str,
    *,
    force: bool,
) -> int:
    """How many rows. Whatever ends it, also Ctrl-C, leaves no part of a file."""
    import pyarrow as pa

    part = file.with_name(f".{file.name}.{os.getpid()}.part")
    flat = _as_text if kind == "csv" else _as_it_is
    schema = flat(convert(pa.RecordBatch.from_pylist([], schema=found.schema))).schema
    rows = 0
    try:
        with contextlib.closing(_writer(part, kind, schema)) as writer, _progress() as told:
            for batch in found:
                writer.write_batch(flat(convert(batch)))
                rows += batch.num_rows
                told(rows)
        if force:
            part.replace(file)
        else:
            # Fails where somebody has made it meanwhile.
            os.link(part, file)
    except FileExistsError:
        raise click.ClickException(f"{file} is there by now; --force overwrites it") from None
    finally:
        part.unlink(missing_ok=True)
    return rows


def _writer(path: Path, kind: str, schema: pa.Schema) -> _Writer:
    if kind == "csv":
        from pyarrow import csv

        writer: _Writer = csv.CSVWriter(path, schema)
        return writer
    from pyarrow import parquet

    made: _Writer = parquet.ParquetWriter(path, schema, compression="zstd")
    return made


def _runs(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Columns by path alone where that says which."""
    import pyarrow as pa

    columns = batch.schema.names[2:]
    paths = [column.rpartition(":")[0] for column in columns]
    shown = [
        column if paths.count(path) > 1 or path in ("run_id", "experiment") else path
        for column, path in zip(columns, paths, strict=True)
    ]
    return pa.RecordBatch.from_arrays(batch.columns, ["run_id", "experiment", *shown])


def _points(noun: str) -> Callable[[pa.RecordBatch], pa.RecordBatch]:
    """Names as texts and steps as they were logged."""
    import pyarrow as pa

    from naiad_proto.steps import MICRO

    def convert(batch: pa.RecordBatch) -> pa.RecordBatch:
        columns: dict[str, Any] = {}
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            if name in ("preview", "preview_completion"):
                continue
            if name == "step":
                column = pa.array(column.to_numpy() / MICRO)
            elif pa.types.is_dictionary(column.type):
                column = column.cast(pa.string())
            columns[noun if name == "run" else name] = column
        return pa.record_batch(columns)

    return convert


def _as_it_is(batch: pa.RecordBatch) -> pa.RecordBatch:
    return batch


def _as_text(batch: pa.RecordBatch) -> pa.RecordBatch:
    """What has no cell of its own in CSV, as JSON."""
    import pyarrow as pa

    columns = []
    for column in batch.columns:
        if pa.types.is_nested(column.type):
            texts = [
                None if value is None else json.dumps(plain(value), ensure_ascii=False)
                for value in column.to_pylist()
            ]
            column = pa.array(texts, pa.string())
        columns.append(column)
    return pa.RecordBatch.from_arrays(columns, batch.schema.names)


@contextlib.contextmanager
def _progress() -> Iterator[Callable[[int], None]]:
    if not sys.stderr.isatty():
        yield lambda rows: None
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    with Progress(
        SpinnerColumn(), TextColumn("{task.completed:,.0f} rows"), TimeElapsedColumn(),
        console=Console(stderr=True), transient=True,
    ) as progress:  # fmt: skip
        task = progress.add_task("rows", total=None)
        yield lambda rows: progress.update(task, completed=rows)
