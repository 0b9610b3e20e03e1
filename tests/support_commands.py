"""Commands as who runs them sees them."""

from __future__ import annotations

from click.testing import CliRunner, Result

from naiad.cli import main


def naiad(*arguments: object, **environment: str) -> Result:
    """In this process, since a start of it takes a second; where it looks is named by what is
    given here alone."""
    nowhere = {"NAIAD_DATA": None, "NAIAD_EVENT_LOG": None, "NAIAD_STORE": None}
    return CliRunner().invoke(main, list(map(str, arguments)), env={**nowhere, **environment})


def well(*arguments: object, **environment: str) -> str:
    done = naiad(*arguments, **environment)
    assert done.exit_code == 0, done.output
    return done.stdout


def ill(*arguments: object, **environment: str) -> str:
    done = naiad(*arguments, **environment)
    assert done.exit_code in (1, 2), done.output
    return done.stderr
