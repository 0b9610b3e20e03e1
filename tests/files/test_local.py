"""The local file store: whole files or none, one per content."""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from naiad_files import (
    FileNotFound,
    FileStoreError,
    LocalFileStore,
    WrongContent,
    open_file_store,
)


async def pieces(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(chunks=st.lists(st.binary(max_size=100)))
def test_any_content_in_any_pieces_comes_back(tmp_path: Path, chunks: list[bytes]) -> None:
    async def round_trip() -> None:
        store = open_file_store(f"file://{tmp_path}/files")
        put = await store.put(pieces(*chunks), name="a.bin", mime_type="x/y")
        content = b"".join(chunks)
        assert put.key == put.sha256 == hashlib.sha256(content).hexdigest()
        assert (put.size_bytes, put.name, put.mime_type) == (len(content), "a.bin", "x/y")
        assert b"".join([piece async for piece in store.read(put.key)]) == content
        assert await store.exists(put.key)

    asyncio.run(round_trip())


async def test_the_same_content_is_kept_once_also_when_it_comes_twice_at_a_time(
    tmp_path: Path,
) -> None:
    store = LocalFileStore(tmp_path)
    puts = [store.put(pieces(b"abc"), name=f"{i}", mime_type="") for i in range(10)]
    assert len({put.key for put in await asyncio.gather(*puts)}) == 1
    assert len(files_in(tmp_path)) == 1


async def test_content_of_another_digest_leaves_nothing(tmp_path: Path) -> None:
    store = LocalFileStore(tmp_path)
    wanted = hashlib.sha256(b"that").hexdigest()
    with pytest.raises(WrongContent, match=wanted):
        await store.put(pieces(b"this"), name="", mime_type="", sha256=wanted)
    assert files_in(tmp_path) == []


async def test_an_upload_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    async def breaking() -> AsyncIterator[bytes]:
        yield b"half"
        raise ConnectionError("gone")

    store = LocalFileStore(tmp_path)
    with pytest.raises(ConnectionError):
        await store.put(breaking(), name="", mime_type="")
    assert files_in(tmp_path) == []


@pytest.mark.parametrize("key", ["", "../../etc/passwd", "a" * 63, "A" * 64, "0" * 64])
async def test_a_key_that_is_none_reads_nothing(tmp_path: Path, key: str) -> None:
    store = LocalFileStore(tmp_path)
    with pytest.raises(FileNotFound):
        [piece async for piece in store.read(key)]


async def test_what_a_killed_process_left_goes_after_a_day(tmp_path: Path) -> None:
    LocalFileStore(tmp_path)
    old, new = tmp_path / "coming" / "old", tmp_path / "coming" / "new"
    old.write_bytes(b"1")
    new.write_bytes(b"2")
    os.utime(old, (time.time() - 90_000,) * 2)
    LocalFileStore(tmp_path)
    assert files_in(tmp_path) == [new]


@pytest.mark.parametrize("url", ["", "/tmp/x", "s3://bucket", "file://host/x", "file:relative"])
def test_a_url_that_is_none_is_named(url: str) -> None:
    with pytest.raises(ValueError, match="file:///absolute/folder"):
        open_file_store(url)


def test_a_folder_that_cannot_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(FileStoreError, match="taken"):
        open_file_store(f"file://{tmp_path}/taken")
