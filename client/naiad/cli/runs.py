"""`naiad runs`: a command in a module of its own for each thing that is done with runs."""

from __future__ import annotations

import click

from naiad.cli.runslist import list_runs


@click.group()
def runs() -> None:
    """Looks at runs."""


runs.add_command(list_runs)
