"""The `naiad` command as tests call it: in this process, and on a terminal."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

from click.testing import CliRunner, Result

from naiad.cli import main


def naiad(*arguments: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(main, arguments, input=stdin, prog_name="naiad")


def lines(*arguments: str, stdin: str | None = None) -> list[list[str]]:
    done = naiad(*arguments, stdin=stdin)
    assert done.exit_code == 0, done.output
    return [line.split("\t") for line in done.stdout.splitlines()]


def refused(*arguments: str, status: int = 1) -> str:
    done = naiad(*arguments)
    assert (done.exit_code, done.stdout) == (status, "")
    return done.stderr


def on_a_terminal(*arguments: str, columns: int = 100) -> list[str]:
    """What a person sees who has so many columns."""
    screen, end = pty.openpty()
    command = [sys.executable, "-m", "naiad", *arguments]
    environment = {**os.environ, "COLUMNS": str(columns), "TERM": "dumb", "TZ": "UTC"}
    with subprocess.Popen(command, stdout=end, stdin=end, env=environment) as process:
        os.close(end)
        seen = b""
        try:
            while piece := os.read(screen, 65536):
                seen += piece
        except OSError:
            # Linux' way of saying that the other end is closed.
            pass
    os.close(screen)
    assert process.returncode == 0
    return [line.rstrip() for line in seen.decode().splitlines()]
