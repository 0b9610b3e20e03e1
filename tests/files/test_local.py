"""The local file store keeps the contract, and what is its own."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from support_files import FileStoreContract, Kept

from naiad_files import FileStoreError, LocalFileStore, open_file_store


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


class TestLocalFileStore(FileStoreContract):
    @pytest.fixture
    def files_url(self, tmp_path: Path) -> str:
        return f"file://{tmp_path}/files"

    @pytest.fixture
    def kept(self, tmp_path: Path) -> Kept:
        return lambda: [str(path) for path in files_in(tmp_path)]


async def test_what_a_killed_process_left_goes_after_a_day(tmp_path: Path) -> None:
    LocalFileStore(tmp_path)
    old, new = tmp_path / "coming" / "old", tmp_path / "coming" / "new"
    old.write_bytes(b"1")
    new.write_bytes(b"2")
    os.utime(old, (time.time() - 90_000,) * 2)
    LocalFileStore(tmp_path)
    assert files_in(tmp_path) == [new]


@pytest.mark.parametrize("url", ["", "/tmp/x", "ftp://bucket", "file://host/x", "file:relative"])
def test_a_url_that_is_none_is_named(url: str) -> None:
    with pytest.raises(ValueError, match=r"file:///absolute/folder or s3://"):
        open_file_store(url)


def test_a_folder_that_cannot_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(FileStoreError, match="taken"):
        open_file_store(f"file://{tmp_path}/taken")


async def test_a_folder_that_went_away_is_found_by_a_check(tmp_path: Path) -> None:
    store = open_file_store(f"file://{tmp_path}/files")
    (tmp_path / "files" / "coming").rmdir()
    with pytest.raises(FileStoreError, match="coming"):
        await store.check()
