"""Snapshots in a bucket: the same promises as in a folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support_s3 import S3, running_s3

from naiad_standalone.snapshotting import place_of
from naiad_store import Store
from naiad_store.contents import content_of
from naiad_store.snapshot_places import MANIFEST, SnapshotError
from naiad_store.snapshots import check_snapshot, read_manifest, restore_snapshot, take_snapshot

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    with running_s3(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "some-key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cret")


def test_taken_checked_restored(s3: S3, store: Store) -> None:
    bucket = s3.new_bucket()
    store.command(
        "INSERT INTO points (project, path, step, value, version)"
        " SELECT 'p/q', 'm', number, number, number FROM numbers(200000)"
    )
    before = content_of(store, "points")

    class Cut(Exception):
        pass

    def cut(_: str) -> None:
        raise Cut

    with place_of(s3.url(bucket)) as place:
        assert bucket in place.named
        with pytest.raises(Cut):
            take_snapshot(store, place, {}, cut)
        with pytest.raises(SnapshotError, match="was cut off and never finished"):
            read_manifest(place)
        take_snapshot(store, place, {"naiad.records": {0: 5}})
        with pytest.raises(SnapshotError, match="holds a snapshot already"):
            take_snapshot(store, place, {})
        check_snapshot(place, read_manifest(place))
    assert f"some/where/{MANIFEST}" in s3.kept(bucket)
    store.command("TRUNCATE TABLE points")
    with place_of(s3.url(bucket)) as place:
        assert restore_snapshot(store, place).offsets == {"naiad.records": {0: 5}}
    assert content_of(store, "points") == before


def test_damage_and_a_missing_bucket_are_named(s3: S3, store: Store) -> None:
    bucket = s3.new_bucket()
    with place_of(s3.url(bucket)) as place:
        manifest = take_snapshot(store, place, {})
        key = "some/where/points-00001.parquet"
        s3.client.put_object(Bucket=bucket, Key=key, Body=b"something else")
        with pytest.raises(SnapshotError, match=r"points-00001.parquet in .* is damaged"):
            check_snapshot(place, manifest)
        s3.client.delete_object(Bucket=bucket, Key=key)
        with pytest.raises(SnapshotError, match=r"points-00001\.parquet is missing"):
            check_snapshot(place, manifest)
    told = pytest.raises(SnapshotError, match=r"no-such-bucket.* can't be listed")
    with place_of(s3.url("no-such-bucket")) as place, told:
        read_manifest(place)
