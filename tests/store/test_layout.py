"""What the migrations become on a cluster: golden files, and the parser's and engine's word.

UPDATE_GOLDEN=1 writes the files anew.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pyarrow as pa
import pytest
from support_clickhouse import migrated, recipe

from naiad_store import Store, StoreError
from naiad_store.address import Cluster
from naiad_store.layout import laid_out, names_made
from naiad_store.migrating import _TABLE, known_migrations, missing_migrations, names_of_tables

GOLDEN = Path(__file__).parent / "golden"
VARIANTS = {
    "replicated": Cluster("main"),
    "replicated_at": Cluster(
        "{cluster}", False, "/clickhouse/tables/{shard}/{database}/{table}", "{replica}"
    ),
    "sharded": Cluster("main", True),
}
ALL = [_TABLE, *(one for found in known_migrations() for one in found.statements())]


def laid(cluster: Cluster | None) -> list[str]:
    return [made for one in ALL for made in laid_out(one, cluster, "naiad", names_of_tables())]


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_golden_files(variant: str) -> None:
    made = "".join(f"{one.strip()};\n\n" for one in laid(VARIANTS[variant]))
    file = GOLDEN / f"{variant}.sql"
    if os.environ.get("UPDATE_GOLDEN"):
        file.parent.mkdir(exist_ok=True)
        file.write_text(made)
    assert made == file.read_text()


def test_one_server_gets_the_statements_as_they_are() -> None:
    assert laid(None) == ALL


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_engines_parser_reads_them(store: Store, variant: str) -> None:
    statements = laid(VARIANTS[variant])
    found = store.query(
        "SELECT formatQueryOrNull(arrayJoin({all:Array(String)})) AS read", {"all": statements}
    )
    read = found.column("read").to_pylist()
    assert None not in read
    for statement, words in zip(statements, read, strict=True):
        assert "ON CLUSTER" in words, statement


def test_nothing_else_is_changed() -> None:
    """Without what is put in, a table or view is as it was."""
    for one in ALL:
        for variant in ("replicated", "replicated_at"):
            (made,) = laid_out(one, VARIANTS[variant], "naiad", names_of_tables())
            made = re.sub(r" ON CLUSTER '[^']*'", "", made)
            made = re.sub(r"Replicated(\w*MergeTree)\('/[^']*', '[^']*', ", r"\1(", made)
            made = re.sub(r"Replicated(\w*MergeTree)\('/[^']*', '[^']*'\)", r"\1", made)
            made = re.sub(r"Replicated(\w*MergeTree)", r"\1", made)
            assert made.replace("`naiad`.", "").replace("`", "") == one.replace("`", "")


def test_what_tests_copy_is_what_migrations_make(store: Store, store_url: str) -> None:
    with store.beside("test_from_scratch") as from_scratch:
        from_scratch.migrate()
        made = recipe(from_scratch)
        from_scratch.command("DROP DATABASE test_from_scratch SYNC")
    # At least the second of its process.
    with migrated(store_url) as copy:
        assert recipe(copy) == made
        assert missing_migrations(copy) == []


def test_every_table_is_named_with_its_database() -> None:
    """In views too: another server runs a statement with another current database."""
    for variant in VARIANTS.values():
        for made in laid(variant):
            for name in names_of_tables():
                bare = re.search(rf"\b(FROM|JOIN|TABLE|VIEW|EXISTS)\s+{name}\b", made)
                assert not bare, made


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("CREATE TABLE a (x Int8) ENGINE = MergeTree ORDER BY x", ["cityHash64(x)"]),
        ("CREATE TABLE a (x Int8, run UInt64) ENGINE=MergeTree() ORDER BY (x, run)",
         ["'a_local', run)", "ReplicatedMergeTree()"]),
        ("CREATE TABLE a (x Int8) ENGINE = Memory COMMENT 'FROM b'",
         ["CREATE TABLE `d`.`a` ON CLUSTER 'c' (x Int8) ENGINE = Memory COMMENT 'FROM b'"]),
        ("DROP TABLE IF EXISTS a SYNC", ["DROP TABLE IF EXISTS `d`.`a` ON CLUSTER 'c' SYNC"]),
        ("ALTER TABLE a MODIFY ORDER BY (x, y)", ["`d`.`a_local` ON CLUSTER 'c' MODIFY ORDER"]),
        ("ALTER TABLE a ADD COLUMN b Array(Tuple(x Int8, y Int8)), DROP COLUMN c",
         ["`d`.`a` ON CLUSTER 'c'\n    ADD COLUMN b Array(Tuple(x Int8, y Int8)),\n    DROP"]),
        ("CREATE OR REPLACE VIEW v AS SELECT * FROM a JOIN (SELECT 'FROM a' FROM x.a) USING y",
         ["FROM `d`.`a` JOIN (SELECT 'FROM a' FROM x.a)"]),
        ("INSERT INTO a SELECT 1", ["INSERT INTO a SELECT 1"]),
    ],
)  # fmt: skip
def test_statements_of_every_kind(statement: str, words: list[str]) -> None:
    made = "\n".join(laid_out(statement, Cluster("c", True), "d", {"a", "v"}))
    for word in words:
        assert word in made
    assert names_made(["CREATE TABLE IF NOT EXISTS `a` (x Int8)", "CREATE OR REPLACE VIEW v AS "
                       "SELECT 1", "DROP TABLE q"]) == {"a", "v"}  # fmt: skip


@pytest.mark.parametrize(
    "statement",
    ["RENAME TABLE a TO b", "OPTIMIZE TABLE a", "TRUNCATE TABLE a", "DROP DATABASE a",
     "CREATE TABLE a (x Int8) ENGINE = MergeTree"],
)  # fmt: skip
def test_what_nobody_has_thought_of_is_refused(statement: str) -> None:
    with pytest.raises(StoreError):
        laid_out(statement, Cluster("c", True), "d", {"a"})


def test_the_version_that_counts_is_the_highest_through_distributed_tables(
    sharded_url: str,
) -> None:
    with Store.open(sharded_url, database="test_sharded") as store:
        store.migrate()
        assert store.migrate() is None
        rows = pa.table({
            "project": ["team/p"] * 2, "path": ["loss"] * 2,
            "run": pa.array([7, 7], pa.uint64()), "value": [1.0, 2.0],
        })  # fmt: skip
        store.insert("points", rows)
        store.insert("points", rows)
        engines = store.query(
            "SELECT engine, count() AS n FROM system.tables WHERE database = 'test_sharded'"
            " GROUP BY engine ORDER BY engine"
        ).to_pydict()
        assert set(engines["engine"]) == {"Distributed", "ReplacingMergeTree", "View"}
        assert store.query("SELECT count() AS n FROM points_local").to_pydict() == {"n": [4]}
        assert store.query("SELECT count() AS n FROM points FINAL").to_pydict() == {"n": [1]}
        inside = "SELECT count() AS n FROM points WHERE run IN (SELECT run FROM points)"
        assert store.query(inside).to_pydict() == {"n": [4]}
        store.command("DROP DATABASE test_sharded SYNC")
