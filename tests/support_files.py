"""What every file store must do. A store's test module subclasses `FileStoreContract` and gives
the fixtures `files_url` and `kept`."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support_naiad import LONGER

from naiad_files import FileNotFound, WrongContent, open_file_store

# More than a bucket takes in one request.
LARGE = 36 * 1024 * 1024
Kept = Callable[[], list[str]]


async def pieces(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def many(size: int, chunk: int = 1_000_003) -> AsyncIterator[bytes]:
    """`size` bytes that don't repeat from chunk to chunk."""
    for start in range(0, size, chunk):
        pattern = start.to_bytes(8, "little")
        yield (pattern * (chunk // 8 + 1))[: min(chunk, size - start)]


async def digest_of(chunks: AsyncIterator[bytes]) -> str:
    digest = hashlib.sha256()
    async for chunk in chunks:
        digest.update(chunk)
    return digest.hexdigest()


class FileStoreContract:
    @pytest.fixture
    def files_url(self) -> str:
        raise NotImplementedError

    @pytest.fixture
    def kept(self) -> Kept:
        """What is kept in the store, half a file too."""
        raise NotImplementedError

    @settings(
        # Both stores run it, each in its own class: that is no flakiness.
        suppress_health_check=[
            HealthCheck.function_scoped_fixture,
            HealthCheck.differing_executors,
        ],
        max_examples=20,
        deadline=None,
    )
    @given(chunks=st.lists(st.binary(max_size=100)), announced=st.booleans())
    def test_any_content_in_any_pieces_comes_back(
        self, files_url: str, chunks: list[bytes], announced: bool
    ) -> None:
        content = b"".join(chunks)
        digest = hashlib.sha256(content).hexdigest()

        async def round_trip() -> None:
            store = open_file_store(files_url)
            put = await store.put(
                pieces(*chunks),
                name="a.bin",
                mime_type="x/y",
                sha256=digest if announced else "",
            )
            assert put.key == put.sha256 == digest
            assert (put.size_bytes, put.name, put.mime_type) == (len(content), "a.bin", "x/y")
            assert b"".join([piece async for piece in store.read(put.key)]) == content
            assert await store.exists(put.key)

        asyncio.run(round_trip())

    @pytest.mark.parametrize("announced", [True, False])
    @pytest.mark.parametrize("size", [16 * 1024 * 1024, LARGE + 1])
    async def test_a_large_file_comes_back(
        self, files_url: str, kept: Kept, size: int, announced: bool
    ) -> None:
        store = open_file_store(files_url)
        digest = await digest_of(many(size))
        put = await store.put(many(size), name="", mime_type="", sha256=digest if announced else "")
        assert (put.key, put.size_bytes) == (digest, size)
        assert await digest_of(store.read(put.key)) == digest
        # Again, when it is there.
        again = await store.put(
            many(size), name="", mime_type="", sha256=digest if announced else ""
        )
        assert again == put
        assert len(kept()) == 1

    async def test_who_opens_the_same_url_reads_it(self, files_url: str) -> None:
        put = await open_file_store(files_url).put(pieces(b"abc"), name="", mime_type="")
        other = open_file_store(files_url)
        assert [piece async for piece in other.read(put.key)] == [b"abc"]

    async def test_the_same_content_is_kept_once_also_when_it_comes_twice_at_a_time(
        self, files_url: str, kept: Kept
    ) -> None:
        store = open_file_store(files_url)
        puts = [store.put(pieces(b"abc"), name=f"{i}", mime_type="") for i in range(10)]
        assert len({put.key for put in await asyncio.gather(*puts)}) == 1
        assert len(kept()) == 1

    async def test_a_file_is_removed_unless_it_was_put_since(
        self, files_url: str, kept: Kept
    ) -> None:
        store = open_file_store(files_url)
        put = await store.put(pieces(b"abc"), name="", mime_type="")
        assert await store.remove(put.key, time.time() - 3600) == 0
        assert await store.exists(put.key)
        assert await store.remove(put.key, time.time() + 3600) == 3
        assert not await store.exists(put.key)
        assert kept() == []
        # Nothing is left to remove, and it can be put again.
        assert await store.remove(put.key, time.time() + 3600) == 0
        await store.put(pieces(b"abc"), name="", mime_type="")
        assert [piece async for piece in store.read(put.key)] == [b"abc"]

    @pytest.mark.parametrize("size", [4, LARGE])
    async def test_content_of_another_digest_leaves_nothing(
        self, files_url: str, kept: Kept, size: int
    ) -> None:
        store = open_file_store(files_url)
        wanted = hashlib.sha256(b"that").hexdigest()
        with pytest.raises(WrongContent, match=wanted):
            await store.put(many(size), name="", mime_type="", sha256=wanted)
        assert kept() == []
        assert not await store.exists(wanted)

    @pytest.mark.parametrize("size", [4, LARGE])
    async def test_content_of_another_digest_is_refused_where_the_announced_is_there(
        self, files_url: str, kept: Kept, size: int
    ) -> None:
        store = open_file_store(files_url)
        there = await store.put(pieces(b"that"), name="", mime_type="")
        with pytest.raises(WrongContent):
            await store.put(many(size), name="", mime_type="", sha256=there.key)
        assert len(kept()) == 1
        assert [piece async for piece in store.read(there.key)] == [b"that"]

    @pytest.mark.parametrize("announced", ["", "1" * 64])
    @pytest.mark.parametrize("size", [4, LARGE])
    async def test_an_upload_that_breaks_off_leaves_nothing(
        self, files_url: str, kept: Kept, size: int, announced: str
    ) -> None:
        async def breaking() -> AsyncIterator[bytes]:
            async for chunk in many(size):
                yield chunk
            raise ConnectionError("gone")

        store = open_file_store(files_url)
        with pytest.raises(ConnectionError, match="gone"):
            await store.put(breaking(), name="", mime_type="", sha256=announced)
        assert kept() == []

    @pytest.mark.parametrize("announced", ["", "1" * 64])
    @pytest.mark.parametrize("size", [4, LARGE])
    async def test_an_upload_that_is_cancelled_leaves_nothing(
        self, files_url: str, kept: Kept, size: int, announced: str
    ) -> None:
        waits = asyncio.Event()

        async def stalling() -> AsyncIterator[bytes]:
            async for chunk in many(size):
                yield chunk
            waits.set()
            await asyncio.Event().wait()

        store = open_file_store(files_url)
        putting = asyncio.create_task(
            store.put(stalling(), name="", mime_type="", sha256=announced)
        )
        async with asyncio.timeout(30 * LONGER):
            await waits.wait()
            putting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await putting
        assert kept() == []

    @pytest.mark.parametrize("key", ["", "../../etc/passwd", "a" * 63, "A" * 64, "0" * 64])
    async def test_a_key_that_is_none_reads_nothing(self, files_url: str, key: str) -> None:
        store = open_file_store(files_url)
        with pytest.raises(FileNotFound):
            [piece async for piece in store.read(key)]
        assert not await store.exists(key)

    async def test_a_store_that_works_says_so(self, files_url: str) -> None:
        await open_file_store(files_url).check()
