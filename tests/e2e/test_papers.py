"""What the README says works: its Python blocks are run, in their order, as a user would."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from support_naiad import LONGER, clean_environment, running_naiad, wait_until

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]


def naiad_commands(text: str) -> list[list[str]]:
    """The `naiad runs` and `naiad sql` lines of shell blocks, as words."""
    import shlex

    shell = "".join(re.findall(r"```sh\n(.*?)```", text, re.DOTALL))
    return [
        shlex.split(line, comments=True)[1:]
        for line in shell.splitlines()
        if re.match(r"naiad (runs|sql) ", line)
    ]


def test_the_readme_works_as_written(tmp_path: Path) -> None:
    text = (ROOT / "README.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    commands = naiad_commands(text)
    assert len(blocks) >= 2
    assert len(commands) >= 2
    with running_naiad(tmp_path / "data") as naiad:
        environment = clean_environment(NAIAD_URL=naiad.url)

        def run(call: list[str]) -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                call,
                cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
                timeout=60 * LONGER,
            )  # fmt: skip

        def is_readable() -> bool:
            done = run([sys.executable, "-m", "naiad", "audit", "me/first-steps"])
            return done.returncode == 0 and "all there" in done.stdout

        calls = [[sys.executable, "-c", block] for block in blocks]
        calls += [[sys.executable, "-m", "naiad", *command] for command in commands]
        for call in calls:
            done = run(call)
            assert done.returncode == 0, f"{call}\n{done.stdout}\n{done.stderr}"
            assert done.stdout.strip(), f"{call} printed nothing"
            if "naiad.Run(" in call[-1]:
                # What it sent is readable a moment later, before anybody has typed the next one.
                wait_until(is_readable, 20, "what was logged is readable")


def test_links_lead_somewhere() -> None:
    for paper in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]:
        for target in re.findall(r"\]\(\s*([^)#\s]+)(?:#[^)]*)?\s*\)", paper.read_text()):
            if "://" not in target:
                assert (paper.parent / target).exists(), f"{paper.name} links to {target}"
