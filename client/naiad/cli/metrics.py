"""`naiad metrics`: metrics of runs as figures, points or buckets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from naiad.cli._choosing import need_project, of_points, runs_of, steps_of
from naiad.cli._tables import said_plainly, show_batches

if TYPE_CHECKING:
    import pyarrow as pa

    from naiad.query.client import Attributes, QueryClient, Runs

_FIGURES = ("points", "first_step", "last_step", "last", "min", "max", "mean", "not_finite")

_NOTHING = "nothing there: no such metric, or no such run; `naiad metrics` shows all that there are"


@click.command()
@click.argument("paths", nargs=-1, metavar="[METRIC]...")
@of_points
@click.option("--points", is_flag=True, help="Every point, instead of a line of figures a metric.")
@click.option(
    "--tail", type=click.IntRange(min=1), metavar="N", help="The last N points of each metric."
)
@click.option(
    "--buckets", type=click.IntRange(1, 10_000), metavar="N",
    help="What a chart N points wide shows: first, last, least, greatest of each bucket.",
)  # fmt: skip
@click.option("--previews", is_flag=True, help="Provisional points too.")
@click.option("--json", "as_json", is_flag=True, help="A JSON array with an object per row.")
@click.option("--csv", "as_csv", is_flag=True, help="CSV with a line of names.")
def metrics(
    paths: tuple[str, ...],
    project: str | None,
    names: tuple[str, ...],
    experiments: bool,
    match: str | None,
    filter: str | None,
    step_range: str | None,
    own_points: bool,
    url: str | None,
    token: str | None,
    points: bool,
    tail: int | None,
    buckets: int | None,
    previews: bool,
    as_json: bool,
    as_csv: bool,
) -> None:
    """Shows metrics of runs: each METRIC by its path, such as train/loss, or all.

    \b
    naiad metrics                            # a line for each metric of each run
    naiad metrics train/loss --run brave-otter --tail 5
    naiad metrics val/acc --filter 'tags has "prod"' --points --csv > acc.csv

    A table on a terminal; elsewhere one row a line, cells parted by tabs, nothing cut off.
    """
    if points + (tail is not None) + (buckets is not None) > 1:
        raise click.UsageError("--points, --tail and --buckets are each a view of their own")
    if step_range is not None and not points and tail is None:
        raise click.UsageError("--step-range goes with --points or --tail")
    name = need_project(project)
    steps = steps_of(step_range) if step_range else (None, None)
    with said_plainly():
        from naiad.query.client import Attributes, QueryClient

        runs = runs_of(names, experiments, match, filter)
        wanted = Attributes(paths=list(dict.fromkeys(paths)) or None, types=["float_series"])
        noun = "experiment" if experiments else "run"
        with QueryClient(url, token, timeout=3600) as client:
            if points or tail is not None:
                shown = _points(
                    client, name, runs, wanted, noun, steps, tail or 0, own_points, previews
                )
            else:
                table = client.metric_buckets(
                    name, runs, wanted, max_buckets=buckets or 1,
                    own_points_only=own_points, include_previews=previews,
                )  # fmt: skip
                shown = _buckets(table, noun) if buckets else _figures(table, noun)
                if not table.num_rows:
                    click.echo(_NOTHING, err=True)
            columns, rows = shown
            show_batches(columns, rows, as_json=as_json, as_csv=as_csv)


Shown = tuple[list[str], Iterator[list[tuple[Any, ...]]]]


def _points(
    client: QueryClient,
    project: str,
    runs: Runs,
    wanted: Attributes,
    noun: str,
    steps: tuple[int | None, int | None],
    tail: int,
    own_points: bool,
    previews: bool,
) -> Shown:
    from naiad_proto.steps import MICRO

    def rows() -> Iterator[list[tuple[Any, ...]]]:
        with client.metrics_batches(
            project, runs, wanted, steps=steps, tail_limit=tail, own_points_only=own_points,
            include_previews=previews,
        ) as found:  # fmt: skip
            for batch in found:
                columns = [
                    batch.column("run").to_pylist(),
                    batch.column("path").to_pylist(),
                    [step / MICRO for step in batch.column("step").to_pylist()],
                    batch.column("timestamp").to_pylist(),
                    batch.column("value").to_pylist(),
                ]
                if previews:
                    columns.append(batch.column("preview").to_pylist())
                yield list(zip(*columns, strict=True))

    extra = ["preview"] if previews else []
    return [noun, "metric", "step", "time", "value", *extra], rows()


def _buckets(table: pa.Table, noun: str) -> Shown:
    names = {"run": noun, "path": "metric"}
    rows = list(zip(*(column.to_pylist() for column in table.columns), strict=True))
    return [names.get(name, name) for name in table.column_names], iter([rows])


def _figures(table: pa.Table, noun: str) -> Shown:
    """Of each metric, from the few buckets that it has."""
    folded: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for bucket in table.to_pylist():
        folded.setdefault((bucket["run"], bucket["path"]), []).append(bucket)
    rows = [(*series, *_folded(buckets)) for series, buckets in folded.items()]
    return [noun, "metric", *_FIGURES], iter([rows])


def _folded(buckets: list[dict[str, Any]]) -> tuple[Any, ...]:
    buckets.sort(key=lambda bucket: bucket["from_x"])
    finite = [bucket for bucket in buckets if bucket["finite_count"]]
    count = sum(bucket["finite_count"] for bucket in finite)
    others = sum(
        bucket[f"{kind}_count"]
        for bucket in buckets
        for kind in ("nan", "positive_infinity", "negative_infinity")
    )
    if not finite:
        return (others, None, None, None, None, None, None, others)
    return (
        count + others,
        finite[0]["first_x"],
        finite[-1]["last_x"],
        finite[-1]["last_y"],
        min(bucket["min_y"] for bucket in finite),
        max(bucket["max_y"] for bucket in finite),
        sum(bucket["sum_y"] for bucket in finite) / count,
        others,
    )
