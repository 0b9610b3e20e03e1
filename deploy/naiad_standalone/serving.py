"""One `naiad up`, from the first line to the last: logs, signals, messages, exit status."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import click

from naiad_serve.errors import StartError
from naiad_serve.logs import log_to_stderr
from naiad_serve.signals import stop_on_signals
from naiad_standalone.datafolder import DataFolder, DataFolderError
from naiad_standalone.options import OptionError, Options

if TYPE_CHECKING:
    from naiad_standalone.standalone import Standalone


def serve(options: Options, *, verbose: bool = False) -> int:
    """Serves until a signal; returns the exit status.

    What the user can mend (a taken port, a folder in use, a bad file) is one line on
    stderr and status 1; anything else is a fault of ours and shows its traceback.
    """
    log_to_stderr("INFO" if verbose else "WARNING")
    try:
        with DataFolder.open(options.data) as folder:
            return asyncio.run(_serve(options, folder))
    except (DataFolderError, OptionError) as error:
        click.echo(f"naiad up: {error}", err=True)
        return 1


async def _serve(options: Options, folder: DataFolder) -> int:
    stop = asyncio.Event()
    stop_on_signals(stop)

    # Only now, because it takes a second or two: an engine, two gRPC services.
    from naiad_consumers import AlertConfigError
    from naiad_eventlog import EventLogError
    from naiad_standalone.standalone import Standalone
    from naiad_store import StoreError

    standalone = Standalone(options, folder)
    starting = asyncio.create_task(standalone.start())
    stopped = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({starting, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            starting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await starting
            return 0
        try:
            await starting
        except (OptionError, StartError, EventLogError, StoreError, AlertConfigError) as error:
            click.echo(f"naiad up: {error}", err=True)
            return 1
        _announce(standalone, folder)
        await stopped
        click.echo("Naiad is stopping ...", err=True)
        await standalone.stop()
        return 0
    finally:
        stopped.cancel()


def _announce(standalone: Standalone, folder: DataFolder) -> None:
    if standalone.new_token:
        click.echo(
            "Everyone needs a token here. This one may do everything and is shown only now:\n"
            f"    export NAIAD_API_TOKEN={standalone.new_token}\n"
            "More: naiad token create --help",
            err=True,
        )
    if standalone.sql_lacks:
        click.echo(f"There is no SQL over HTTP: {standalone.sql_lacks}", err=True)
    parts = [f"Naiad is ready: {standalone.url}"]
    if standalone.dashboard_url:
        parts.append(f"dashboard {standalone.dashboard_url}")
    if standalone.sql_url:
        parts.append(f"sql {standalone.sql_url}")
    if standalone.metrics_url:
        parts.append(f"metrics {standalone.metrics_url}")
    parts.append(f"data in {folder.path}")
    # Someone who closed our stdout still wants the server.
    with contextlib.suppress(BrokenPipeError):
        click.echo("  ".join(parts))
