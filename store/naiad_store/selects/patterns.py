"""How names are matched: regular expressions (RE2, found anywhere), joined by and, or, not."""

from __future__ import annotations

import re

from naiad_store.store import Store


def matching(column: str, pattern: str, parameters: dict[str, object]) -> str:
    """A condition on `column`, whose values go into `parameters`.

    In `pattern`, " | " parts alternatives, " & " parts what all must be found, and what begins
    with "!" must not be found, as neptune_query has it; a blank or "!" that is meant as such is
    written \\x20, \\x21.
    """
    alternatives = []
    for alternative in re.split(r"\s+\|\s+", pattern.strip()):
        found = []
        for part in re.split(r"\s+&\s+", alternative):
            name = f"pattern_{len(parameters)}"
            wanted = part.removeprefix("!").lstrip() if part.startswith("!") else part
            parameters[name] = wanted
            found.append(
                f"{'NOT ' if part.startswith('!') else ''}match({column}, {{{name}:String}})"
            )
        alternatives.append(" AND ".join(found))
    return f"({' OR '.join(alternatives)})"


def try_pattern(store: Store, pattern: str) -> None:
    """Raises StoreError for one that is not RE2."""
    store.query("SELECT match('', {pattern:String}) AS found", {"pattern": pattern})
