"""The `naiad` command. Enters: a command line. Leaves: tables, JSON, a running server.

Each subcommand lives in a module of its own and is imported only when it is called, so
that `naiad sync` starts fast and works where only the light client is installed. The
server's own commands come from its package by name; without it they say what to install.
"""

from __future__ import annotations

import importlib
from typing import NamedTuple

import click


class _Command(NamedTuple):
    module: str
    attribute: str
    # The extra of the distribution that brings the module and what it imports.
    extra: str
    help: str


_STANDALONE = "naiad_standalone.commands"
COMMANDS = {
    "up": _Command(_STANDALONE, "up", "server,dashboard", "Start the platform on this machine."),
    "serve": _Command(
        "naiad_serve.commands", "serve", "server,dashboard", "Run one stage, on Kafka and the like."
    ),
    "store": _Command(
        "naiad_standalone.storecommands", "store", "server", "Copy, make anew and migrate a store."
    ),
    "dead": _Command(
        "naiad_standalone.deadcommands", "dead", "server", "Look at records not stored."
    ),
    "log": _Command(
        "naiad_standalone.logcommands", "event_log", "server", "Look at who reads the event log."
    ),
    "doctor": _Command(_STANDALONE, "doctor", "server", "Say what is wrong with an installation."),
    "token": _Command(_STANDALONE, "token", "server", "Create, list and revoke access tokens."),
    "runs": _Command("naiad.cli.runs", "runs", "query", "List, show, tag and delete runs."),
    "projects": _Command(
        "naiad.cli.projects", "projects", "query", "List and delete projects; how long runs stay."
    ),
    "metrics": _Command("naiad.cli.metrics", "metrics", "query", "Show metrics of runs."),
    "export": _Command("naiad.cli.export", "export", "query", "Write runs or points to a file."),
    "sql": _Command("naiad.cli.sql", "sql", "query", "Ask a read-only SQL question."),
    "audit": _Command("naiad.cli.audit", "audit", "query", "Is all there that was logged?"),
    "sync": _Command("naiad.cli.sync", "sync", "", "Send what offline or dead processes left."),
}


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        found = COMMANDS.get(cmd_name)
        if found is None:
            return None
        try:
            command = getattr(importlib.import_module(found.module), found.attribute)
        except ModuleNotFoundError as error:
            missing = error.name or found.module
            return _missing(cmd_name, found, missing)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        # From the table above: help must not import half the platform.
        with formatter.section("Commands"):
            formatter.write_dl([(name, command.help) for name, command in COMMANDS.items()])


def _missing(name: str, wanted: _Command, module: str) -> click.Command:
    """A command that can't be imported here says so when it is called, in one line."""

    @click.command(
        name,
        help=wanted.help,
        context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
        add_help_option=False,
    )
    def explain() -> None:
        package = f"'naiad[{wanted.extra}]'" if wanted.extra else "naiad"
        raise click.ClickException(
            f"`naiad {name}` needs the Python package {module!r}, which is not installed."
            f" Run: pip install {package}"
        )

    return explain


def _version(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        from importlib.metadata import version

        click.echo(f"naiad {version('naiad')}")
        ctx.exit()


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_version,
    help="Print the version and exit.",
)  # fmt: skip
def main() -> None:
    """Naiad keeps the metrics, configs, logs and files of machine-learning runs."""
