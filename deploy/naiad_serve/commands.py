"""`naiad serve STAGE`: one stage of the river as a process of its own."""

from __future__ import annotations

import functools
import importlib
import logging
import sys
from collections.abc import Iterator
from typing import TypeVar

import click

from naiad_serve import stages
from naiad_serve.describing import known_settings, shown
from naiad_serve.logs import log_to_stderr
from naiad_serve.settings import Settings, SettingsError, load, misspelt

S = TypeVar("S", bound=Settings)

_HELP = {
    "ingest": "Take batches from clients over gRPC into the event log.",
    "writer": "Read the event log and store what is in it.",
    "live": "Read the event log and keep the newest values in Redis.",
    "alerter": "Read the event log and raise alerts; of several one works, the others stand by.",
    "query": "Answer questions over gRPC from the store.",
    "dashboard": "Serve the web pages.",
}
_MODULES = {
    "ingest": "naiad_serve.ingesting",
    "writer": "naiad_serve.consuming",
    "live": "naiad_serve.consuming",
    "alerter": "naiad_serve.consuming",
    "query": "naiad_serve.querying",
    "dashboard": "naiad_serve.dashing",
}


@click.group()
def store() -> None:
    """Look after the store that NAIAD_STORE names."""


@store.command()
@click.option("--check", is_flag=True, help="Change nothing; end with 1 if something is missing.")
def migrate(check: bool) -> None:
    """Bring the store's tables up to this release.

    A writer does this itself at its start, unless NAIAD_MIGRATE=false. Several at once are
    no harm: one works, the others wait.
    """
    settings = _loaded("naiad store migrate", stages.WithStore)
    log_to_stderr("INFO")
    from naiad_store import Store, StoreError
    from naiad_store.migrating import missing_migrations

    try:
        with Store.open(settings.store) as opened:
            names = missing_migrations(opened)
            if not check:
                opened.migrate()
    except StoreError as error:
        raise click.ClickException(str(error)) from error
    for name in names:
        click.echo(f"{'missing' if check else 'applied'}: {name}")
    if not names:
        click.echo("The store's tables are as this release needs them.")
    sys.exit(1 if check and names else 0)


@click.group()
def serve() -> None:
    """Run one stage of Naiad as a process, on Kafka, ClickHouse and Redis.

    Settings come from NAIAD_… variables (docs/settings.md). SIGTERM drains; a second one
    ends at once.
    """


def _add(name: str) -> None:
    kind = stages.STAGES[name]

    @serve.command(name, help=_HELP[name])
    @click.option("--print-settings", is_flag=True, help="Show the settings and end.")
    def command(print_settings: bool) -> None:
        settings = _loaded(f"naiad serve {name}", kind)
        if print_settings:
            for line in shown(settings):
                click.echo(line)
            return
        log_to_stderr(settings.log_level, settings.log_format, stage=name)
        for line in _misspelt():
            logging.getLogger(__name__).warning(line)
        # Only now, because it takes a second or two: engines and services.
        from naiad_serve.process import run

        stage = getattr(importlib.import_module(_MODULES[name]), name)
        sys.exit(run(name, settings, functools.partial(stage, settings)))


def _loaded(who: str, kind: type[S]) -> S:
    """The settings; a bad one ends the process with 2."""
    try:
        return load(kind)
    except SettingsError as error:
        for line in [*error.lines, *_misspelt()]:
            click.echo(f"{who}: {line}", err=True)
        sys.exit(2)


def _misspelt() -> Iterator[str]:
    for wrong, right in misspelt(known_settings()):
        yield f"{wrong} is set, which nothing reads; is it meant to be {right}?"


for _name in stages.STAGES:
    _add(_name)
