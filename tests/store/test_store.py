"""The store: opening, migrations, what a returned insert means."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from naiad_store import Store, StoreBusy, StoreError, StoreTooNew, run_key
from naiad_store.migrating import Migration, known_migrations, migrate

CHANGE = Migration(
    1, "0001_t.sql", "CREATE TABLE IF NOT EXISTS t (a Int64) ENGINE=MergeTree ORDER BY a;\n"
)


@pytest.fixture
def bare(store_url: str, request: pytest.FixtureRequest):
    """A store without tables."""
    name = f"bare_{abs(hash(request.node.nodeid))}"
    with Store.open(store_url, database=name) as store:
        yield store
        store.command(f"DROP DATABASE {name} SYNC")


def test_what_was_inserted_is_readable(bare: Store) -> None:
    migrate(bare, [CHANGE])
    bare.insert("t", pa.table({"a": [3, 1, 2]}))
    bare.insert("t", pa.table({"a": pa.array([], pa.int64())}))
    assert bare.query("SELECT a FROM t ORDER BY a").to_pydict() == {"a": [1, 2, 3]}
    found = bare.query("SELECT a FROM t WHERE a > {least:Int64}", {"least": 2})
    assert found.to_pydict() == {"a": [3]}
    assert [b.to_pydict() for b in bare.stream("SELECT a FROM t WHERE a = 1")] == [{"a": [1]}]


def test_threads_have_clients_of_their_own(bare: Store) -> None:
    migrate(bare, [CHANGE])
    failures: list[Exception] = []

    def work(number: int) -> None:
        try:
            for n in range(5):
                bare.insert("t", pa.table({"a": [number * 100 + n]}))
                bare.query("SELECT count() FROM t")
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert bare.query("SELECT count() AS n FROM t").to_pydict() == {"n": [30]}


def test_errors_are_one_readable_line(bare: Store) -> None:
    with pytest.raises(StoreError) as wrong:
        bare.query("SELECT nonsense FROM nowhere")
    assert "nowhere" in str(wrong.value)
    assert "\n" not in str(wrong.value)
    with pytest.raises(StoreError, match="inserting 1 rows into nowhere"):
        bare.insert("nowhere", pa.table({"a": [1]}))


def test_migrations_run_once_and_can_be_repeated(bare: Store) -> None:
    bare.migrate()
    before = bare.query("SELECT * FROM migrations").num_rows
    bare.migrate()
    assert bare.query("SELECT * FROM migrations").num_rows == before == len(known_migrations())
    # Interrupted after its statements and before it was noted: simply done again.
    bare.command("TRUNCATE TABLE migrations")
    bare.migrate()
    assert bare.query("SELECT * FROM migrations").num_rows == before


def test_an_edited_migration_is_refused(bare: Store) -> None:
    migrate(bare, [CHANGE])
    with pytest.raises(StoreError, match=r"0001_t\.sql was edited"):
        migrate(bare, [CHANGE._replace(sql=CHANGE.sql + "-- more\n")])


def test_a_newer_store_is_refused(bare: Store) -> None:
    migrate(bare, [CHANGE, Migration(2, "0002_u.sql", "SELECT 1;\n")])
    with pytest.raises(StoreTooNew, match="newer Naiad"):
        migrate(bare, [CHANGE])


def test_statements_are_told_apart() -> None:
    sql = "-- a; b;\nSELECT ';' AS x;\n\n-- only words;\nSELECT 2\n  -- in between\n  + 1;\n"
    assert [s.split()[0:2] for s in Migration(1, "x", sql).statements()] == [
        ["SELECT", "';'"],
        ["SELECT", "2"],
    ]


@pytest.mark.parametrize(
    ("url", "named"), [("mysql://x", "'mysql'"), ("chdb:///proc/version/x", "can't be used")]
)
def test_wrong_urls_are_named(url: str, named: str) -> None:
    with pytest.raises(StoreError, match=named):
        Store.open(url)


HOLDER = """
import sys
from naiad_store import Store
with Store.open(sys.argv[1]) as store:
    store.migrate()
    import pyarrow as pa
    store.command("CREATE TABLE IF NOT EXISTS t (a Int64) ENGINE=MergeTree ORDER BY a")
    n = 0
    while True:
        store.insert("t", pa.table({"a": [n]}))
        print(n, flush=True)
        n += 1
"""
READER = """
import sys
from naiad_store import Store
with Store.open(sys.argv[1]) as store:
    print(store.query("SELECT count() AS n, max(a) AS m FROM t").to_pylist())
"""


def test_one_process_a_folder_and_nothing_lost_by_sigkill(tmp_path: Path) -> None:
    url = f"chdb://{tmp_path / 'store'}"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, url], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout
    try:
        for line in holder.stdout:
            if int(line) == 3:
                break
        with pytest.raises(StoreBusy, match=f"open in process {holder.pid}"):
            Store.open(url)
    finally:
        os.kill(holder.pid, signal.SIGKILL)
        rest = holder.stdout.read().splitlines()
        holder.wait()
        holder.stdout.close()
    last = int(rest[-1]) if rest else 3
    done = subprocess.run(
        [sys.executable, "-c", READER, url], capture_output=True, text=True, check=True
    )
    (found,) = eval(done.stdout)
    assert found["n"] == found["m"] + 1 >= last + 1


@given(st.text(), st.text(), st.integers(0, 3))
def test_run_keys_are_64_bits_and_repeatable(project: str, run_id: str, incarnation: int) -> None:
    key = run_key(project, run_id, incarnation)
    assert 0 <= key < 1 << 64
    assert key == run_key(project, run_id, incarnation)
    assert key != run_key(project, run_id, incarnation + 1)


def test_no_table_can_lose_to_a_power_cut_what_an_insert_returned_for(store: Store) -> None:
    """That these are what it takes: test_power_cut.py."""
    found = store.query(
        "SELECT name, engine_full FROM system.tables"
        " WHERE database = currentDatabase() AND engine LIKE '%MergeTree%'"
    ).to_pylist()
    assert len(found) > 10
    wanted = (
        "fsync_after_insert = 1", "fsync_part_directory = 1", "min_rows_to_fsync_after_merge = 1"
    )  # fmt: skip
    unsure = {row["name"] for row in found if any(one not in row["engine_full"] for one in wanted)}
    assert unsure == set()
