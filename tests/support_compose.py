"""deploy/compose/compose.yaml as Compose reads it, and the variables of the image."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from click.testing import CliRunner, Result
from support_naiad import LONGER

from naiad.cli import main

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "deploy" / "compose"
DOCKERFILE = ROOT / "deploy" / "docker" / "Dockerfile"

_VARIABLE = re.compile(r"\$(?:(\$)|\{(\w+)(?:(:[-?])([^}]*))?\})")


class Unset(Exception):
    """A variable that has to be set is not."""


def interpolated(value: Any, variables: Mapping[str, str]) -> Any:
    """As Compose does: ${A}, ${A:-default}, ${A:?message}, and $$ for a dollar."""
    if isinstance(value, dict):
        return {name: interpolated(entry, variables) for name, entry in value.items()}
    if isinstance(value, list):
        return [interpolated(entry, variables) for entry in value]
    if not isinstance(value, str):
        return value

    def replace(match: re.Match[str]) -> str:
        dollar, name, kind, rest = match.groups()
        if dollar:
            return "$"
        if found := variables.get(name):
            return found
        if kind == ":?":
            raise Unset(f"{name}: {rest}")
        return rest or ""

    return _VARIABLE.sub(replace, value)


def raw() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text())
    return loaded


def made_env(folder: Path) -> dict[str, str]:
    """What make-env writes, made in `folder`."""
    script = folder / "make-env"
    script.write_text((FOLDER / "make-env").read_text())
    subprocess.run(["sh", str(script)], check=True, timeout=20 * LONGER, capture_output=True)
    lines = (folder / ".env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def image_environment() -> dict[str, str]:
    """The variables that the image itself sets."""
    final = DOCKERFILE.read_text().rpartition("\nFROM ")[2].replace("\\\n", " ")
    line = next(line for line in final.splitlines() if line.startswith("ENV "))
    found = dict(word.split("=", 1) for word in line.split()[1:])
    del found["PATH"]
    return found


def naiad(arguments: list[str], environment: Mapping[str, str]) -> Result:
    """The real command with the image's variables and these; no other setting of Naiad."""
    # None takes a variable away.
    clean = {name: None for name in os.environ if name.startswith(("NAIAD_", "AWS_"))}
    given = {**clean, **image_environment(), **environment}
    return CliRunner(env=given).invoke(main, arguments)
