"""Which runs there are, and which types each path of a run has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from naiad_consumers.writer.names import NameGroup
from naiad_proto.limits import shorten
from naiad_proto.v1.records_pb2 import Warning
from naiad_store import Store, run_key
from naiad_store.lives import Lives, lives_of_runs
from naiad_store.lookups import names_of_runs, paths_warned_of, tombstones, types_of_run

# A bit for each, so that what a path has is one small number.
TYPES = (
    "int",
    "float",
    "string",
    "bool",
    "datetime",
    "string_set",
    "file",
    "float_series",
    "string_series",
    "histogram_series",
    "file_series",
)
_BITS = {name: 1 << place for place, name in enumerate(TYPES)}


class RunKeyTaken(ValueError):
    """Two runs came to the same 64-bit key."""


class Life(NamedTuple):
    """Whose rows a writer's are."""

    run: int
    incarnation: int
    purged: bool


class RunBook:
    """Runs met, by key, and the ends of their lives. Only the owner of a run's partition ends
    them, so they are known for one tenure.

    Names a collision when a key is first met under another name: its
    points would otherwise mix with a stranger's.

    Nothing is allotted here, so owners of different partitions may meet a run at the same time,
    as they do once partitions were added: a key comes from the name alone, and of the rows that
    both of them make the earliest creation stays."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._names: dict[int, tuple[str, str]] = {}
        self._lives: dict[tuple[str, str], Lives] = {}
        # Run -> path -> bits of its types.
        self._types: dict[int, dict[str, int]] = {}
        # Run -> path -> how many warnings were said of it.
        self._said: dict[int, Counter[str]] = {}
        # Run -> groups of paths, as (serial, type), that have been looked at.
        self._met: dict[int, set[tuple[int, str]]] = {}

    def load(self, runs: Iterable[tuple[str, str, int]]) -> None:
        """Asks the store for those (project, run id, epoch) that aren't known yet."""
        runs = set(runs)
        self.load_lives((project, run_id) for project, run_id, _ in runs)
        self.load_keys(self._life(*one).run for one in runs)

    def load_keys(self, keys: Iterable[int]) -> None:
        unknown = set(keys) - self._names.keys()
        if unknown:
            self._names |= names_of_runs(self._store, unknown)

    def load_lives(self, runs: Iterable[tuple[str, str]]) -> None:
        unknown = set(runs) - self._lives.keys()
        if unknown:
            projects, run_ids = ({names[place] for names in unknown} for place in (0, 1))
            rows = tombstones(self._store, projects, run_ids)
            self._lives |= lives_of_runs(rows, unknown)

    def forget_lives(self, runs: Iterable[tuple[str, str]]) -> None:
        """They are asked of the store again."""
        for names in runs:
            self._lives.pop(names, None)

    def lives(self, project: str, run_id: str) -> Lives:
        """They have been asked for."""
        return self._lives[project, run_id]

    def life(self, project: str, run_id: str, epoch: int) -> Life:
        """Raises RunKeyTaken. The run has been asked for in `load`."""
        found = self._life(project, run_id, epoch)
        known = self._names.get(found.run)
        if known is not None and known != (project, run_id):
            raise RunKeyTaken(
                f"run {shorten(run_id)!r} of project {project!r} has the same key as run"
                f" {shorten(known[1])!r} of project {known[0]!r}; give it another run id"
            )
        return found

    def _life(self, project: str, run_id: str, epoch: int) -> Life:
        lives = self._lives[project, run_id]
        if not lives.ends:
            return Life(run_key(project, run_id), 0, False)
        incarnation = lives.incarnation(epoch)
        return Life(lives.key(incarnation), incarnation, lives.is_purged(incarnation))

    def is_known(self, key: int) -> bool:
        """Does the store have a row for the run?"""
        return key in self._names

    def gone(self, runs: Iterable[int]) -> None:
        """Their rows are no longer in the store."""
        for run in runs:
            self._names.pop(run, None)
            self.forget(run)

    def settle(self, runs: Iterable[tuple[int, str, str]], most_paths: int = 1_000_000) -> None:
        """These are in the store now; a good time to forget what was not used of late."""
        for key, project, run_id in runs:
            self._names[key] = (project, run_id)
        while sum(map(len, self._types.values())) > most_paths and len(self._types) > 1:
            self.forget(next(iter(self._types)))

    def forget(self, run: int) -> None:
        """What its paths are is asked of the store again: it isn't what was thought."""
        self._types.pop(run, None)
        self._said.pop(run, None)
        self._met.pop(run, None)

    def meet(
        self,
        project: str,
        run: int,
        kind: str,
        paths: Iterable[str],
        record: int,
        group: NameGroup | None = None,
    ) -> list[Warning]:
        """A warning for each of `paths` that has another type in this run already, said once
        for each type after the first: when it is new, or later if an owner before us got no
        further than storing it. `group` says that these are all the paths of it."""
        met = self._met.setdefault(run, set())
        if group is not None and (group.serial, kind) in met:
            return []
        types = self._types.get(run)
        if types is None:
            types = self._types[run] = {}
            for path, name in types_of_run(self._store, project, run):
                types[path] = types.get(path, 0) | _BITS[name]
            several = any(bits & (bits - 1) for bits in types.values())
            self._said[run] = Counter(paths_warned_of(self._store, project, run) if several else ())
        said = self._said[run]
        warnings = []
        bit = _BITS[kind]
        for path in paths:
            before = types.get(path, 0)
            after = before | bit
            if before == after and after.bit_count() - 1 <= said[path]:
                continue
            if after != bit:
                others = [name for name in TYPES if after & ~bit & _BITS[name]]
                said[path] += 1
                warnings.append(
                    Warning(
                        path=path,
                        record=record,
                        message=(
                            f"{shorten(path)!r} has the types {', '.join(others)} and {kind} in"
                            " this run; all are kept, and a reader has to say which"
                        ),
                    )
                )
            types[path] = after
        if group is not None:
            met.add((group.serial, kind))
        return warnings
