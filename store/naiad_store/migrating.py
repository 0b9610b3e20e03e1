"""Numbered SQL files, applied in order, each once, remembered with their checksum."""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Iterator
from importlib.resources import files
from typing import TYPE_CHECKING, NamedTuple

from naiad_store.alone import alone
from naiad_store.errors import StoreError, StoreTooNew
from naiad_store.layout import names_made

if TYPE_CHECKING:
    from naiad_store.store import Store

_NAME = re.compile(r"(\d{4})_[a-z0-9_]+\.sql")
_TABLE = """
CREATE TABLE IF NOT EXISTS migrations
(
    number UInt32,
    name String,
    checksum String,
    applied_at DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = ReplacingMergeTree(applied_at)
ORDER BY number
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1
"""


class Migration(NamedTuple):
    number: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()

    def statements(self) -> Iterator[str]:
        """The file's statements: split at semicolons that end a line."""
        for part in re.split(r";\s*$", self.sql, flags=re.MULTILINE):
            code = re.sub(r"^\s*--.*$", "", part, flags=re.MULTILINE).strip()
            if code:
                yield code


def known_migrations() -> list[Migration]:
    """What this release brings, in order. Numbers are without gaps."""
    found = []
    for entry in files("naiad_store").joinpath("migrations").iterdir():
        match = _NAME.fullmatch(entry.name)
        if match:
            found.append(Migration(int(match[1]), entry.name, entry.read_text()))
    found.sort()
    numbers = [migration.number for migration in found]
    if numbers != list(range(1, len(found) + 1)):
        raise StoreError(f"the migrations are numbered {numbers}, which has gaps or doubles")
    return found


@functools.cache
def names_of_tables() -> frozenset[str]:
    """Of all tables and views that the migrations make."""
    statements = [line for migration in known_migrations() for line in migration.statements()]
    return frozenset(names_made([_TABLE, *statements]))


def missing_migrations(store: Store) -> list[str]:
    """Names of what this release brings and the store doesn't have yet. Raises StoreTooNew
    when the store has more, StoreError when it can't be asked."""
    if not store.query("SELECT 1 FROM system.tables WHERE database = currentDatabase()"
                       " AND name = 'migrations'").num_rows:  # fmt: skip
        return [migration.name for migration in known_migrations()]
    return [migration.name for migration in _missing(store, known_migrations())]


def migrate(store: Store, migrations: list[Migration] | None = None) -> list[str]:
    """Applies what is missing and returns its names, once a swap of tables that was cut off is
    finished. A statement that was interrupted is simply run again. Of several processes that
    start at once one applies and the others wait.

    Raises StoreTooNew when the store has migrations that this release doesn't know,
    StoreError when an applied one was edited since, StoreUnavailable when another process
    doesn't come to an end with it.
    """
    from naiad_store.swapping import finish_swaps

    migrations = known_migrations() if migrations is None else migrations
    store.define(_TABLE)
    finish_swaps(store)
    if not _missing(store, migrations):
        return []
    with alone(store):
        # Another process may have applied some before it was our turn.
        missing = _missing(store, migrations)
        for migration in missing:
            for statement in migration.statements():
                store.define(statement)
            store.command(
                "INSERT INTO migrations (number, name, checksum) VALUES"
                " ({number:UInt32}, {name:String}, {checksum:String})",
                {
                    "number": migration.number,
                    "name": migration.name,
                    "checksum": migration.checksum,
                },
            )
    return [migration.name for migration in missing]


def _missing(store: Store, migrations: list[Migration]) -> list[Migration]:
    applied = _applied(store, migrations)
    missing = []
    for migration in migrations:
        if migration.number in applied:
            if applied[migration.number][1] != migration.checksum:
                raise StoreError(
                    f"migration {migration.name} was edited after it was applied to"
                    f" {store.url}; put it back and add a new one"
                )
            continue
        missing.append(migration)
    return missing


def _applied(store: Store, known: list[Migration]) -> dict[int, tuple[str, str]]:
    """Name and checksum of each, by number. Raises StoreTooNew."""
    rows = store.query("SELECT number, name, checksum FROM migrations FINAL ORDER BY number")
    applied = {row["number"]: (row["name"], row["checksum"]) for row in rows.to_pylist()}
    newest = max(applied, default=0)
    if newest > len(known):
        raise StoreTooNew(
            f"the store {store.url} was made by a newer Naiad (migration {applied[newest][0]});"
            " upgrade with pip install --upgrade naiad"
        )
    return applied
