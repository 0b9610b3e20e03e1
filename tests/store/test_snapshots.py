"""Snapshots: whole or refused, by the name of what is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from naiad_store import Store, StoreTooNew, snapshots
from naiad_store.contents import FROM_LOG, OWN, content_of
from naiad_store.snapshot_places import MANIFEST, MARK, Folder, SnapshotError
from naiad_store.snapshots import check_snapshot, read_manifest, restore_snapshot, take_snapshot

OFFSETS = {"naiad.records": {0: 17, 3: 4}}


@pytest.fixture(scope="module", params=["chdb", "http"])
def store_url(request: pytest.FixtureRequest, chdb_folder: Path) -> str:
    """Not a cluster's tables: they can't be exchanged as a whole, and restoring refuses them."""
    if request.param == "chdb":
        return f"chdb://{chdb_folder}"
    return request.getfixturevalue("clickhouse_server").url


@pytest.fixture
def full(store: Store) -> Store:
    """With rows in most tables, of every kind of column, some of them twice."""
    for version in (5, 6):
        store.command(
            "INSERT INTO points (project, path, run, step, ts, value, completion, version)"
            " SELECT 'p/q', concat('m', toString(number % 7)), 1,"
            " toDecimal64(number, 6), toDateTime64(number, 3), if(number % 5 = 0, nan, number), 1,"
            f" {version} FROM numbers(200000)"
        )
    store.command(
        "INSERT INTO writers (project, run, writer_id, stored, state_version)"
        " VALUES ('p/q', 1, 'w', [(1, 5), (9, 12)], 340282366920938463463374607431768211455)"
    )
    store.command(
        "INSERT INTO string_points VALUES ('p/q', 'out', 1, 0.5, now64(3), 'naïve\n\t\"', 1)"
    )
    store.command("INSERT INTO file_points (project, file) VALUES ('p/q', ('k','n',3,'t','s'))")
    store.command("INSERT INTO alerts (project, occurrence, step) VALUES ('p/q', 'a', NULL)")
    store.command("INSERT INTO alerts (project, occurrence, step) VALUES ('p/q', 'b', 1.5)")
    return store


@pytest.fixture
def place(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "snapshot")


@pytest.fixture
def empty(store: Store) -> Iterator[Store]:
    """A store beside it, without a row."""
    database = f"{store.database}_empty"
    with store.beside(database) as opened:
        opened.migrate()
        yield opened
        opened.command(f"DROP DATABASE {database} SYNC")


def contents(store: Store) -> dict[str, object]:
    return {table: content_of(store, table) for table in (*FROM_LOG, *OWN)}


def test_what_comes_out_is_what_went_in(
    full: Store, empty: Store, place: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshots, "_FILE_ROWS", 5000)
    said: list[str] = []
    manifest = take_snapshot(full, place, OFFSETS, said.append)
    assert manifest == read_manifest(place)
    assert manifest.offsets == OFFSETS
    assert manifest.tables["points"].rows == 200_000
    assert len(manifest.tables["points"].files) > 1
    assert "points: 200,000 rows" in said
    assert place.names() == {MANIFEST, *(f.name for t in manifest.tables.values() for f in t.files)}
    check_snapshot(place, manifest)
    restore_snapshot(empty, place)
    assert contents(empty) == contents(full)
    assert content_of(full, "alerts").checksum > 0
    assert empty.query("SELECT stored FROM writers").to_pylist() == [
        {"stored": [{"1": 1, "2": 5}, {"1": 9, "2": 12}]}
    ]
    # The views look at the tables that are there now.
    assert empty.query("SELECT count() AS n FROM view_points").num_rows == 1


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("name", "harm", "named"),
    [
        ("points-00001.parquet", truncate, r"points-00001.parquet in .* is damaged: it has"),
        ("points-00001.parquet", flip, r"points-00001.parquet in .* is damaged: it changed"),
        ("runs-00001.parquet", Path.unlink, "runs-00001.parquet is missing"),
        (MANIFEST, truncate, f"{MANIFEST} in .* is damaged"),
        (MANIFEST, flip, f"{MANIFEST} in .* is damaged"),
        (MANIFEST, Path.unlink, f"holds no snapshot: there is no {MANIFEST}"),
    ],
)
def test_a_damaged_snapshot_is_refused_by_name(
    full: Store, empty: Store, place: Folder, name: str, harm: Callable[[Path], None], named: str
) -> None:
    take_snapshot(full, place, OFFSETS)
    harm(Path(place.named) / name)
    with pytest.raises(SnapshotError, match=named):
        check_snapshot(place, read_manifest(place))
    with pytest.raises(SnapshotError, match=named):
        restore_snapshot(empty, place)
    assert set(contents(empty).values()) == {(0, 0)}
    beside = empty.query(
        "SELECT 1 FROM system.databases WHERE name = {name:String}",
        {"name": f"{empty.database}_restore"},
    )
    assert beside.num_rows == 0


def test_one_that_was_cut_off_is_none_and_can_be_taken_again(
    full: Store, empty: Store, place: Folder
) -> None:
    class Cut(Exception):
        pass

    def cut(said: str) -> None:
        if said.startswith("points"):
            raise Cut

    with pytest.raises(Cut):
        take_snapshot(full, place, OFFSETS, cut)
    assert MARK in place.names()
    with pytest.raises(SnapshotError, match="was cut off and never finished"):
        restore_snapshot(empty, place)
    manifest = take_snapshot(full, place, OFFSETS)
    restore_snapshot(empty, place)
    assert contents(empty) == contents(full)
    assert manifest.rows == 200_005
    with pytest.raises(SnapshotError, match="holds a snapshot already"):
        take_snapshot(full, place, OFFSETS)


def test_a_folder_with_something_else_is_left_alone(full: Store, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(SnapshotError, match=r"is not empty \(it holds 'thesis.tex'\)"):
        take_snapshot(full, Folder(tmp_path), OFFSETS)
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_store_with_rows_is_left_alone(full: Store, place: Folder) -> None:
    take_snapshot(full, place, OFFSETS)
    before = contents(full)
    with pytest.raises(SnapshotError, match="is not empty: its table writers has rows"):
        restore_snapshot(full, place)
    assert contents(full) == before


def test_a_newer_format_or_store_is_told(full: Store, empty: Store, place: Folder) -> None:
    take_snapshot(full, place, OFFSETS)
    for field in ("format", "migration"):
        file = Path(place.named) / MANIFEST
        original = file.read_bytes()
        inner = json.loads(json.loads(original)["manifest"])
        inner[field] = 99
        body = json.dumps(inner)
        outer = {"sha256": snapshots._sha256(body.encode()), "manifest": body}
        file.write_text(json.dumps(outer))
        with pytest.raises(StoreTooNew, match=f"{field} 99"):
            restore_snapshot(empty, place)
        file.write_bytes(original)


def test_rows_that_do_not_come_out_right_are_not_restored(
    full: Store, empty: Store, place: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_snapshot(full, place, OFFSETS)
    insert = Store.insert

    def lose(store: Store, table: str, rows: pa.Table) -> None:
        insert(store, table, rows.slice(1) if table == "string_points" else rows)

    with monkeypatch.context() as patch:
        patch.setattr(Store, "insert", lose)
        with pytest.raises(SnapshotError, match=r"string_points came out .* with 0 rows"):
            restore_snapshot(empty, place)
    assert set(contents(empty).values()) == {(0, 0)}


def test_a_place_that_is_no_folder_is_named(full: Store, tmp_path: Path) -> None:
    folder = tmp_path / "file"
    folder.write_text("not a folder")
    with pytest.raises(SnapshotError, match=r"file.* can't be (read|written)"):
        take_snapshot(full, Folder(folder), OFFSETS)
