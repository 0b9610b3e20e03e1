"""`naiad runs list`: which runs there are, as a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from naiad.cli._tables import said_plainly, show

# What is shown of a run unless columns are named, and under which name.
_COLUMNS = {
    "sys/state": "state",
    "sys/creation_time": "created",
    "sys/trained_time": "trained_s",
    "sys/tags": "tags",
}
_COLUMNS_IN_TRASH = {
    "sys/state": "state",
    "sys/creation_time": "created",
    "sys/trashed_time": "deleted",
    "sys/trashed_by": "deleted_by",
    "sys/incarnation": "incarnation",
}


@click.command("list")
@click.option(
    "--project",
    envvar="NAIAD_PROJECT",
    metavar="WORKSPACE/NAME",
    help="Whose runs; default NAIAD_PROJECT.",
)
@click.option(
    "--filter", "filter_", metavar="FILTER",
    help="""Only runs for which this is true, as 'val/acc > 0.9 and tags has "prod"'.""",
)  # fmt: skip
@click.option(
    "--match", metavar="REGEX", help="Only runs in whose id (or experiment) RE2 finds this."
)
@click.option("--in-trash", is_flag=True, help="The runs in the trash instead, last deleted first.")
@click.option("--experiments", is_flag=True, help="Only the newest run of each experiment.")
@click.option(
    "--columns",
    multiple=True,
    metavar="PATH[,PATH...]",
    help="Attributes to show instead of the usual ones; of a series its last value.",
)
@click.option(
    "--columns-match", metavar="REGEX", help="Show the attributes in whose path RE2 finds this."
)
@click.option(
    "--sort", metavar="PATH",
    help="Sort by this attribute, or by PATH.min, .max, .mean, .first or .count of a metric;"
    " default: newest first.",
)  # fmt: skip
@click.option("--ascending", is_flag=True, help="Smallest or oldest first.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only the first N.")
@click.option("--json", "as_json", is_flag=True, help="A JSON array with an object per run.")
@click.option("--csv", "as_csv", is_flag=True, help="Comma-separated values, with a head line.")
@click.option("--url", help="Server; default NAIAD_URL, then grpc://127.0.0.1:7420.")
@click.option("--token", help="API token; default NAIAD_API_TOKEN.")
def list_runs(
    project: str | None,
    filter_: str | None,
    match: str | None,
    in_trash: bool,
    experiments: bool,
    columns: tuple[str, ...],
    columns_match: str | None,
    sort: str | None,
    ascending: bool,
    limit: int | None,
    as_json: bool,
    as_csv: bool,
    url: str | None,
    token: str | None,
) -> None:
    """Lists runs, newest first.

    A table on a terminal; elsewhere one run a line, cells parted by tabs, nothing cut off. What
    filters look like says docs/filters.md.
    """
    if not project:
        raise click.UsageError("name the project: --project WORKSPACE/NAME, or set NAIAD_PROJECT")
    if as_json and as_csv:
        raise click.UsageError("--json and --csv are two answers; ask for one of them")
    if columns and columns_match:
        raise click.UsageError("--columns and --columns-match are two choices; make one of them")
    if filter_ is not None and not filter_.strip():
        raise click.UsageError("--filter is empty; leave it out for all runs")
    wanted = list(dict.fromkeys(path for part in columns for path in part.split(",") if path))
    usual = not wanted and columns_match is None
    with said_plainly():
        from naiad.query.client import Attributes, QueryClient, Runs

        named = _COLUMNS_IN_TRASH if in_trash else _COLUMNS
        chosen = Attributes(paths=wanted or list(named))
        if columns_match is not None:
            chosen = Attributes(pattern=columns_match)
        with QueryClient(url, token) as client:
            page = client.runs_page(
                project,
                Runs(
                    pattern=match, by_experiment=experiments, filter=filter_ or "",
                    in_trash=in_trash,
                ),
                chosen,
                sort_by=sort or ("sys/trashed_time" if in_trash else ""),
                ascending=ascending,
                limit=limit or 0,
            )  # fmt: skip
    names = page.table.column_names[2:]
    paths = list(dict.fromkeys(name.rpartition(":")[0] for name in names))
    paths = paths if columns_match is not None else list(chosen.paths or ())
    head = ["run_id", "experiment", *(named[path] if usual else path for path in paths)]
    rows = [_cells(row, paths) for row in page.table.to_pylist()]
    show(head, rows, as_json=as_json, as_csv=as_csv)
    if page.next_cursor:
        # Not among the rows, which a program may read.
        click.echo(f"{len(rows):,} of {page.total_runs:,} runs", err=True)


def _cells(row: dict[str, Any], paths: Sequence[str]) -> list[Any]:
    """Run id, experiment and a value for each path: of several types the first."""
    values: dict[str, Any] = {}
    for column, value in row.items():
        if value is not None:
            values.setdefault(column.rpartition(":")[0], value)
    return [row["run_id"], row["experiment"] or None, *(values.get(path) for path in paths)]
