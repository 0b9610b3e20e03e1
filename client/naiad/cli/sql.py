"""`naiad sql`: a read-only question in SQL."""

from __future__ import annotations

import re
import sys
from typing import TextIO

import click

from naiad.cli._tables import said_plainly, show_batches


class _Statement(click.Command):
    """A statement may begin with a comment, which is no option."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        statements = [argument for argument in args if re.match(r"--(\s|\S*\s)", argument)]
        others = [argument for argument in args if argument not in statements]
        return super().parse_args(ctx, [*others, "--", *statements] if statements else others)


@click.command(cls=_Statement)
@click.argument("statement", required=False)
@click.option(
    "--file", "-f", type=click.File(encoding="utf-8"), help="Read the statement from this file."
)
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only the first N rows.")
@click.option("--json", "as_json", is_flag=True, help="A JSON array with an object per row.")
@click.option("--csv", "as_csv", is_flag=True, help="CSV with a line of names.")
@click.option("--url", help="Server; default NAIAD_URL, then grpc://127.0.0.1:7420.")
@click.option("--token", help="API token; default NAIAD_API_TOKEN.")
def sql(
    statement: str | None,
    file: TextIO | None,
    limit: int | None,
    as_json: bool,
    as_csv: bool,
    url: str | None,
    token: str | None,
) -> None:
    """Asks STATEMENT, one SELECT in ClickHouse's SQL, and prints the rows as they come; "-" reads
    it from stdin.

    `naiad sql "show tables"` names what can be read, `naiad sql "describe runs"` its columns.
    A table on a terminal; elsewhere one row a line, cells parted by tabs, nothing cut off.
    """
    if (statement is None) == (file is None):
        raise click.UsageError(
            'give one statement: naiad sql "select * from runs", or --file, or - for stdin'
        )
    with said_plainly():
        text = file.read() if file else sys.stdin.read() if statement == "-" else statement
        from naiad.query.client import QueryClient

        with (
            QueryClient(url, token) as client,
            client.sql_batches(text or "", limit=limit or 0) as found,
        ):
            rows = (
                list(zip(*(column.to_pylist() for column in batch.columns), strict=True))
                for batch in found
            )
            show_batches(found.schema.names, rows, as_json=as_json, as_csv=as_csv)
