"""The server's commands: `naiad up`, `naiad doctor`, `naiad token`.

Only what a command runs is imported: `naiad doctor` has to work where half is missing.
"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from naiad_standalone.options import OptionError, Options

_data_option = click.option(
    "--data", type=click.Path(path_type=Path, file_okay=False), default=Path(".naiad"),
    envvar="NAIAD_DATA", show_default=True, show_envvar=True,
    help="Folder that holds everything; made if missing.",
)  # fmt: skip
_file = click.Path(path_type=Path, dir_okay=False)


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
    alerts: Path | None, retention_hours: int, retention_bytes: int | None, verbose: bool,
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

    A token is shown once; the data folder keeps its hash. A running server sees changes at
    once. Clients take theirs from NAIAD_API_TOKEN.
    """


@token.command("create")
@_data_option
@click.option("--project", help="Only this project, as workspace/name; else all.")
@click.option("--read-only", is_flag=True, help="May read but not write.")
@click.option("--name", default="", help="Whom or what it is for, to tell it from others.")
def create_token(data: Path, project: str | None, read_only: bool, name: str) -> None:
    """Create a token and print it; it can't be shown again."""
    from naiad_auth import TokenStore
    from naiad_proto.limits import check_project
    from naiad_standalone.datafolder import tokens_file

    if project is not None and (problem := check_project(project)):
        raise click.ClickException(problem)
    file = tokens_file(data)
    _need_folder(file.parent)
    click.echo(TokenStore(file).create(project=project, read_only=read_only, name=name))


@token.command("list")
@_data_option
def list_tokens(data: Path) -> None:
    """List the tokens there are, without their secrets."""
    from rich.console import Console
    from rich.table import Table

    from naiad_auth import TokenStore
    from naiad_standalone.datafolder import tokens_file

    file = tokens_file(data)
    _need_folder(file.parent)
    table = Table("id", "name", "project", "may", "created")
    for entry in TokenStore(file).list():
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
@click.argument("id")
def revoke_token(data: Path, id: str) -> None:
    """End a token; ID is what `naiad token list` shows."""
    from naiad_auth import TokenStore
    from naiad_standalone.datafolder import tokens_file

    file = tokens_file(data)
    _need_folder(file.parent)
    if not TokenStore(file).revoke(id):
        raise click.ClickException(f"there is no token {id!r}; see: naiad token list")
    click.echo(f"Token {id} is revoked.")


def _need_folder(folder: Path) -> None:
    if not (folder / "format.json").is_file():
        raise click.ClickException(
            f"{folder} is not a data folder of Naiad; name the server's with --data"
            " (`naiad up` makes it)"
        )
