"""`naiad sql`: a read-only question in SQL."""

from __future__ import annotations

import re
import sys

import click

from naiad.cli._tables import said_plainly, show


class _Statement(click.Command):
    """A statement may begin with a comment, which is no option."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        statements = [argument for argument in args if re.match(r"--(\s|\S*\s)", argument)]
        others = [argument for argument in args if argument not in statements]
        return super().parse_args(ctx, [*others, "--", *statements] if statements else others)


@click.command(cls=_Statement)
@click.argument("statement")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only the first N rows.")
@click.option("--json", "as_json", is_flag=True, help="A JSON array with an object per row.")
@click.option("--url", help="Server; default NAIAD_URL, then grpc://127.0.0.1:7420.")
@click.option("--token", help="API token; default NAIAD_API_TOKEN.")
def sql(
    statement: str, limit: int | None, as_json: bool, url: str | None, token: str | None
) -> None:
    """Asks STATEMENT, one SELECT in ClickHouse's SQL, and prints the rows; "-" reads it from
    stdin.

    `naiad sql "show tables"` names what can be read, `naiad sql "describe runs"` its columns.
    A table on a terminal; elsewhere one row a line, cells parted by tabs, nothing cut off.
    """
    if statement == "-":
        statement = sys.stdin.read()
    with said_plainly():
        from naiad.query.client import QueryClient

        with QueryClient(url, token) as client:
            table = client.sql(statement, limit=limit or 0)
    rows = list(zip(*(column.to_pylist() for column in table.columns), strict=True))
    show(table.column_names, rows, as_json=as_json)
