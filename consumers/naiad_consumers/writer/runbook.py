"""Which runs there are, and which types each path of a run has."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from naiad_proto.limits import shorten
from naiad_store import Store, run_key


class RunKeyTaken(ValueError):
    """Two runs came to the same 64-bit key."""


class RunBook:
    """Runs met, by key. Names a collision when a key is first met under another name: its
    points would otherwise mix with a stranger's."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._names: dict[int, tuple[str, str]] = {}
        self._kinds: dict[int, dict[str, set[str]]] = {}

    def key(self, project: str, run_id: str) -> int:
        """Raises RunKeyTaken."""
        key = run_key(project, run_id)
        known = self._names.get(key)
        if known is None:
            rows = self._store.query(
                "SELECT project, run_id FROM runs WHERE run = {run:UInt64} LIMIT 1", {"run": key}
            ).to_pylist()
            known = (rows[0]["project"], rows[0]["run_id"]) if rows else None
        if known is not None and known != (project, run_id):
            raise RunKeyTaken(
                f"run {shorten(run_id)!r} of project {project!r} has the same key as run"
                f" {shorten(known[1])!r} of project {known[0]!r}; give it another run id"
            )
        return key

    def is_known(self, key: int) -> bool:
        """Does the store have a row for the run?"""
        if key in self._names:
            return True
        rows = self._store.query(
            "SELECT project, run_id FROM runs WHERE run = {run:UInt64} LIMIT 1", {"run": key}
        ).to_pylist()
        if rows:
            self._names[key] = (rows[0]["project"], rows[0]["run_id"])
        return bool(rows)

    def settle(self, runs: Iterable[tuple[int, str, str]]) -> None:
        """These are in the store now."""
        for key, project, run_id in runs:
            self._names[key] = (project, run_id)

    def kinds(self, project: str, run: int) -> dict[str, set[str]]:
        """Types by path, of one run; add to it what comes."""
        found = self._kinds.get(run)
        if found is None:
            found = self._kinds[run] = defaultdict(set)
            rows = self._store.query(
                "SELECT DISTINCT path, type FROM (SELECT path, type FROM series"
                " WHERE project = {project:String} AND run = {run:UInt64} UNION ALL"
                " SELECT path, type FROM attributes"
                " WHERE project = {project:String} AND run = {run:UInt64} UNION ALL"
                " SELECT path, 'string_set' FROM string_sets"
                " WHERE project = {project:String} AND run = {run:UInt64})",
                {"project": project, "run": run},
            )
            for row in rows.to_pylist():
                found[row["path"]].add(row["type"])
        return found

    def forget_kinds(self, most: int = 1_000_000) -> None:
        """Keeps the memory bounded; what is forgotten is loaded again when it comes."""
        while sum(map(len, self._kinds.values())) > most and len(self._kinds) > 1:
            self._kinds.pop(next(iter(self._kinds)))
