"""What the store said is stored is there after a power cut, also where the engine has merged or
rewritten it since. Needs root, for a disk of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support_mounts import boot, lose_power, on_loop
from support_naiad import LONGER

# Fills every table in a few inserts, runs the statements that it is given on each, removes what the
# engine keeps of the parts that were there before, and says how many rows there are.
FILL = """
import os, shutil, sys, time
from naiad_store import Store

with Store.open(f"chdb://{sys.argv[1]}") as store:
    store.migrate()
    tables = store.query("SELECT name FROM system.tables WHERE database = currentDatabase()"
                         " AND engine LIKE '%MergeTree%' AND name != 'migrations'")
    for table in tables.column(0).to_pylist():
        columns = store.query("SELECT name, type FROM system.columns WHERE database ="
                              f" currentDatabase() AND table = '{table}'").to_pylist()
        structure = ", ".join(f"{one['name']} {one['type']}" for one in columns)
        structure = structure.replace("'", "''")
        for number in range(3):
            store.command(f"INSERT INTO {table} SELECT * FROM generateRandom('{structure}',"
                          f" {number}, 5, 2) LIMIT 40")
        for statement in sys.argv[2:]:
            store.command(statement.format(table=table))
    old = ("SELECT path FROM system.parts WHERE database = currentDatabase() AND NOT active"
           " AND table != 'migrations'")
    gone = store.query(old).column(0).to_pylist()
    assert len(gone) >= 3 * tables.num_rows, gone
    for path in gone:
        shutil.rmtree(path)
    # Also commits to the disk's journal that they are gone.
    with open(f"{sys.argv[1]}/synced", "wb") as file:
        os.fsync(file.fileno())
    for table in tables.column(0).to_pylist():
        print(table, store.query(f"SELECT count() FROM {table}").column(0)[0], flush=True)
    print("done", flush=True)
    time.sleep(3600)
"""
COUNT = """
import sys
from naiad_store import Store

with Store.open(f"chdb://{sys.argv[1]}") as store:
    for table in sys.argv[2:]:
        print(table, store.query(f"SELECT count() FROM {table}").column(0)[0])
"""


@contextmanager
def _filled(data: Path, *statements: str) -> Iterator[dict[str, int]]:
    """By a process that has the store open; it is killed at the end."""
    process = subprocess.Popen(
        [sys.executable, "-c", FILL, str(data), *statements], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    try:
        counts = {}
        for line in process.stdout:
            if line == "done\n":
                break
            table, count = line.split()
            counts[table] = int(count)
        else:
            raise AssertionError("it ended before it was done")
        yield counts
    finally:
        process.kill()
        process.wait(20 * LONGER)
        process.stdout.close()


@pytest.mark.parametrize(
    "statements",
    [
        pytest.param(["OPTIMIZE TABLE {table} FINAL"], id="merged"),
        pytest.param(
            ["ALTER TABLE {table} DELETE WHERE rand() % 2 SETTINGS mutations_sync = 2"],
            id="rewritten",
        ),
        pytest.param(["DELETE FROM {table} WHERE rand() % 2"], id="marked as deleted"),
    ],
)
def test_what_was_merged_or_rewritten_is_there(tmp_path: Path, statements: list[str]) -> None:
    """The engine removes the parts that it made a new one of whenever it likes, and chDB soon
    (`old_parts_lifetime` is 0 there). So the new one has to be on the disk by then."""
    image = tmp_path / "image"
    with on_loop(tmp_path / "disk", image, 1 << 29, "ext4") as disk:
        with _filled(disk / "store", *statements) as counts:
            lose_power(disk)
        boot(disk, image)
        done = subprocess.run(
            [sys.executable, "-c", COUNT, str(disk / "store"), *counts],
            capture_output=True, text=True, timeout=60 * LONGER, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    found = {table: int(count) for table, count in map(str.split, done.stdout.splitlines())}
    assert len(counts) > 15
    assert min(counts.values()) > 20
    assert found == counts


# Says where the parts of `points` lie, or how many rows there are; and what it has to tell.
OPEN = """
import logging, sys
from naiad_store import Store

logging.basicConfig(format="%(levelname)s %(message)s")
with Store.open(f"chdb://{sys.argv[1]}") as store:
    store.migrate()
    if sys.argv[2:]:
        for path in sys.argv[2:]:
            store.command("INSERT INTO points (project, path, run, step) VALUES"
                          f" ('team/p', '{path}', 1, 0)")
        found = store.query("SELECT path FROM system.parts WHERE active AND table = 'points'"
                            " AND database = currentDatabase() ORDER BY name")
        print(*found.column(0).to_pylist(), sep="\\n")
    else:
        print(*store.query("SELECT path FROM points").column(0).to_pylist(), sep="\\n")
"""


def _opened(store: Path, *paths: str) -> tuple[list[str], str]:
    done = subprocess.run(
        [sys.executable, "-c", OPEN, str(store), *paths], capture_output=True, text=True,
        timeout=60 * LONGER, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.split(), done.stderr


def test_what_the_engine_set_aside_is_told(tmp_path: Path) -> None:
    """It drops a part that it can't read without a word to who asks."""
    store = tmp_path / "store"
    (first, _), said = _opened(store, "loss", "accuracy")
    assert said == ""
    # As a disk leaves a file whose bytes were on their way.
    (Path(first) / "checksums.txt").write_bytes(b"")
    for _ in range(2):
        found, said = _opened(store)
        assert found == ["accuracy"]
        (line,) = said.splitlines()
        assert line.startswith("ERROR the store could not read 1 of its parts when it started")
        (aside,) = store.glob("store/*/*/detached/*")
        assert f"points ({aside}" in line
        assert "`naiad audit`" in line
        assert "`naiad store rebuild --from-log`" in line
    for file in aside.iterdir():
        file.unlink()
    aside.rmdir()
    assert _opened(store) == (["accuracy"], "")
