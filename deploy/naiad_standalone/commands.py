"""The server's commands: `naiad up`, `naiad doctor`, `naiad token`.

Only what a command runs is imported: `naiad doctor` has to work where half is missing.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from naiad_standalone.options import OptionError, Options

if TYPE_CHECKING:
    from naiad_auth import TokenStore

_data_option = click.option(
    "--data", type=click.Path(path_type=Path, file_okay=False), default=Path(".naiad"),
    envvar="NAIAD_DATA", show_default=True, show_envvar=True,
    help="Folder that holds everything; made if missing.",
)  # fmt: skip
_file = click.Path(path_type=Path, dir_okay=False)
_tokens_option = click.option(
    "--tokens", type=_file, envvar="NAIAD_TOKENS", show_envvar=True,
    help="File of tokens, for `naiad serve`; else the one in the data folder.",
)  # fmt: skip


@click.command()
@_data_option
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen on. Any but loopback asks everyone for a token.",
)
@click.option("--port", default=7420, show_default=True, help="Port for gRPC; 0 takes a free one.")
@click.option(
    "--dashboard-port",
    default=8501,
    show_default=True,
    help="Port for the dashboard; 0 takes a free one.",
)
@click.option("--no-dashboard", is_flag=True, help="Run without the dashboard.")
@click.option("--tls-cert", type=_file, help="PEM file with the certificate chain to serve TLS.")
@click.option("--tls-key", type=_file, help="PEM file with its private key.")
@click.option(
    "--tls-client-ca", type=_file, help="PEM file: only clients with a certificate of this CA."
)
@click.option("--login", is_flag=True, help="Ask for a token on loopback too.")
@click.option("--alerts", type=_file, help="YAML file with alert rules (docs/alerts.md).")
@click.option(
    "--metrics-port",
    type=int,
    help="Serve /metrics, /healthz and /readyz on this port of loopback; 0 takes a free one.",
)
@click.option(
    "--sql-port",
    type=int,
    help="Port for SQL over HTTP, as ClickHouse speaks it; 0 takes a free one.  [default: 8123 if"
    " it is free]",
)
@click.option("--no-sql", is_flag=True, help="Run without SQL over HTTP.")
@click.option(
    "--retention-hours",
    type=click.IntRange(min=1),
    default=168,
    show_default=True,
    help="How long the event log keeps what is stored, for a replay.",
)
@click.option(
    "--retention-bytes",
    type=click.IntRange(min=1024 * 1024),
    help="How much of it the log keeps at the most.",
)
@click.option("-v", "--verbose", is_flag=True, help="Say more on stderr.")
def up(
    data: Path, host: str, port: int, dashboard_port: int, no_dashboard: bool,
    tls_cert: Path | None, tls_key: Path | None, tls_client_ca: Path | None, login: bool,
    alerts: Path | None, metrics_port: int | None, sql_port: int | None, no_sql: bool,
    retention_hours: int, retention_bytes: int | None, verbose: bool,
) -> None:  # fmt: skip
    """Start the whole platform on this machine and serve until Ctrl-C.

    Everything is kept in one folder. On loopback there is no login; on any other --host a
    token is asked for, and the first one is made and printed at the first start.
    """
    options = Options(
        data=data,
        host=host,
        port=port,
        dashboard_port=None if no_dashboard else dashboard_port,
        tls_certificate=tls_cert,
        tls_key=tls_key,
        tls_client_ca=tls_client_ca,
        alerts=alerts,
        metrics_port=metrics_port,
        sql_port=None if no_sql else "" if sql_port is None else sql_port,
        login=login,
        retention_hours=retention_hours,
        retention_bytes=retention_bytes,
    )
    try:
        options.check()
    except OptionError as error:
        raise click.ClickException(str(error)) from error
    from naiad_standalone.serving import serve

    sys.exit(serve(options, verbose=verbose))


@click.command()
@_data_option
def doctor(data: Path) -> None:
    """Say what is wrong with this installation and what to do about it.

    Looks at Python and the packages, the data folder, the server that NAIAD_URL names and
    the spools that wait to be sent. Exits with 1 when something is wrong.
    """
    from naiad_standalone.doctor import examine, show

    sys.exit(show(examine(data)))


@click.group()
def token() -> None:
    """Create, list and revoke access tokens.

    A token is shown once; its hash is kept, in the data folder of `naiad up` or in the file
    that `naiad serve` was given as NAIAD_TOKENS. A running server sees changes at once.
    Clients take theirs from NAIAD_API_TOKEN.
    """


@token.command("create")
@_data_option
@_tokens_option
@click.option("--project", help="Only this project, as workspace/name; else all.")
@click.option("--read-only", is_flag=True, help="May read but not write.")
@click.option("--name", default="", help="Whom or what it is for, to tell it from others.")
def create_token(
    data: Path, tokens: Path | None, project: str | None, read_only: bool, name: str
) -> None:
    """Create a token and print it; it can't be shown again."""
    from naiad_proto.limits import check_project

    if project is not None and (problem := check_project(project)):
        raise click.ClickException(problem)
    with _opened(data, tokens) as store:
        click.echo(store.create(project=project, read_only=read_only, name=name))


@token.command("list")
@_data_option
@_tokens_option
def list_tokens(data: Path, tokens: Path | None) -> None:
    """List the tokens there are, without their secrets."""
    from rich.console import Console
    from rich.table import Table

    with _opened(data, tokens) as store:
        found = store.list()
    table = Table("id", "name", "project", "may", "created")
    for entry in found:
        table.add_row(
            entry.id,
            entry.name,
            entry.project or "all",
            "read" if entry.read_only else "read, write",
            f"{entry.created_at:%Y-%m-%d %H:%M} UTC",
        )
    Console().print(table)


@token.command("revoke")
@_data_option
@_tokens_option
@click.argument("id")
def revoke_token(data: Path, tokens: Path | None, id: str) -> None:
    """End a token; ID is what `naiad token list` shows."""
    with _opened(data, tokens) as store:
        known = store.revoke(id)
    if not known:
        raise click.ClickException(f"there is no token {id!r}; see: naiad token list")
    click.echo(f"Token {id} is revoked.")


@contextlib.contextmanager
def _opened(data: Path, tokens: Path | None) -> Iterator[TokenStore]:
    from naiad_auth import TokenFileError, TokenStore
    from naiad_standalone.datafolder import tokens_file

    file = tokens or tokens_file(data)
    if tokens is None:
        _need_folder(file.parent)
    try:
        yield TokenStore(file)
    except (OSError, TokenFileError) as error:
        raise click.ClickException(f"the file of tokens can't be used: {error}") from error


def _need_folder(folder: Path) -> None:
    if not (folder / "format.json").is_file():
        raise click.ClickException(
            f"{folder} is not a data folder of Naiad; name the server's with --data"
            " (`naiad up` makes it)"
        )
