"""Which of a project's attributes matter where: told from paths and types alone."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

Attribute = tuple[str, str]
"""Path and type."""

METRIC = "float_series"
CONFIG_TYPES = frozenset({"int", "float", "string", "bool", "datetime", "string_set"})
FILE_TYPES = frozenset({"file", "file_series"})

# What Naiad's client records by itself, in folders of its own.
_RECORDED = ("sys/", "runtime/", "source_code/")
_CONSOLE = re.compile(r"(^|/)(stdout|stderr)(_\d+)?$")
# Words of the metrics that people look at first; a better match comes earlier.
_MAIN = tuple(
    re.compile(word)
    for word in (
        r"(val|valid|validation|test|eval)[^/]*(/|_|-|\.)?.*(loss|acc|error|score|f1|auc|reward)",
        r"(loss|acc|accuracy|reward|score|perplexity|f1|auc|error)([^a-z]|$)",
    )
)

# States of a run that may yet change by themselves: pages that show one go on looking.
LIVE_STATES = frozenset({"running", "unreachable"})


def is_recorded(path: str) -> bool:
    """Whether the client recorded it by itself."""
    return path.startswith(_RECORDED)


def configs(attributes: Iterable[Attribute]) -> list[str]:
    """Paths of the single values that users logged, each once."""
    return list(
        dict.fromkeys(
            path for path, kind in attributes if kind in CONFIG_TYPES and not is_recorded(path)
        )
    )


def metrics(attributes: Iterable[Attribute]) -> list[str]:
    """Paths of the metrics that users logged."""
    return [path for path, kind in attributes if kind == METRIC and not is_recorded(path)]


def hardware(attributes: Sequence[Attribute]) -> list[str]:
    """Metrics of the machines: what stands under runtime/, or beside a recorded console."""
    beside = {path.rpartition("/")[0] + "/" for path in console(attributes) if "/" in path}
    folders = ("runtime/", *sorted(beside - {"/"}))
    return [path for path, kind in attributes if kind == METRIC and path.startswith(folders)]


def console(attributes: Iterable[Attribute]) -> list[str]:
    """String series that hold what a process printed."""
    return [path for path, kind in attributes if kind == "string_series" and _CONSOLE.search(path)]


def stream_of(path: str) -> str:
    """stdout or stderr, of a console's path."""
    found = _CONSOLE.search(path)
    return found[2] if found else "stdout"


def main_metrics(paths: Iterable[str], count: int) -> list[str]:
    """Those of `paths` that a reader wants first, at most `count`, best first."""

    def rank(path: str) -> tuple[int, int, str]:
        name = path.lower()
        places = [place for place, word in enumerate(_MAIN) if word.search(name)]
        return (places[0] if places else len(_MAIN), path.count("/"), path)

    return sorted(dict.fromkeys(paths), key=rank)[:count]
