"""The bucket keeps the contract over real HTTP; its errors are clear; it tries again."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from support_files import LARGE, FileStoreContract, Kept, many, pieces
from support_naiad import LONGER
from support_s3 import REGION, S3, Stumbling, running_s3

from naiad_files import FileNotFound, FileStoreError, open_file_store
from naiad_files import s3 as s3_store
from naiad_files.s3_url import Bucket

SECRET = "a/very+secret=one"


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    with running_s3(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "some-key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    # An upload that is given up ends when the store has answered what was under way.
    monkeypatch.setattr(s3_store, "_GIVE_UP_SECONDS", 30 * LONGER)


@pytest.fixture
def bucket(s3: S3) -> str:
    return s3.new_bucket()


class TestS3FileStore(FileStoreContract):
    @pytest.fixture
    def files_url(self, s3: S3, bucket: str) -> str:
        return s3.url(bucket)

    @pytest.fixture
    def kept(self, s3: S3, bucket: str) -> Kept:
        return lambda: s3.kept(bucket)


async def test_files_stand_under_the_prefix_by_their_digest(s3: S3, bucket: str) -> None:
    put = await open_file_store(s3.url(bucket)).put(pieces(b"x"), name="", mime_type="")
    assert s3.kept(bucket) == [f"some/where/{put.key[:2]}/{put.key[2:]}"]
    without = f"s3://{bucket}?endpoint={s3.endpoint}&region={REGION}"
    await open_file_store(without).put(pieces(b"x"), name="", mime_type="")
    assert f"{put.key[:2]}/{put.key[2:]}" in s3.kept(bucket)


async def test_503_and_cut_connections_are_tried_again(s3: S3, bucket: str) -> None:
    proxy = Stumbling(urlsplit(s3.endpoint).port or 0, ["503", "cut", "503"])
    try:
        store = open_file_store(s3.url(bucket, proxy.endpoint))
        put = await store.put(pieces(b"abc"), name="", mime_type="")
        assert proxy.left == []
        proxy.left = ["cut"]
        assert [piece async for piece in store.read(put.key)] == [b"abc"]
        proxy.left = ["cut", "503", "cut"]
        await store.put(many(LARGE), name="", mime_type="")
    finally:
        proxy.close()


async def used(url: str) -> list[str]:
    """What each way to use the store says."""
    store = open_file_store(url)

    async def read() -> None:
        [piece async for piece in store.read("0" * 64)]

    ways: list[Callable[[], object]] = [
        store.check,
        read,
        lambda: store.exists("0" * 64),
        lambda: store.put(pieces(b"abc"), name="", mime_type=""),
        lambda: store.put(many(LARGE), name="", mime_type="", sha256="1" * 64),
    ]
    said = []
    for way in ways:
        with pytest.raises(FileStoreError) as caught:
            await way()  # type: ignore[misc]
        assert not isinstance(caught.value, FileNotFound)
        said.append(str(caught.value))
        # Nor what the store repeats of a request and its signature.
        assert SECRET not in str(caught.value)
        assert "<" not in str(caught.value)
        assert caught.value.__cause__ is None
    return said


async def test_a_missing_bucket_is_said_and_not_a_missing_file(s3: S3) -> None:
    for said in await used(s3.url("no-such-bucket")):
        assert said == (
            f"bucket 'no-such-bucket' at {s3.endpoint} answers NoSuchBucket: there is no such"
            " bucket: make it, or correct the URL"
        )


async def test_a_wrong_secret_is_said(s3: S3, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with s3.checked() as (key, secret):
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", key)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret)
        await open_file_store(s3.url(bucket)).check()
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        first, *rest = await used(s3.url(bucket))
        assert "SignatureDoesNotMatch: the secret does not fit the key" in first
        assert all("SignatureDoesNotMatch" in said or "403 Forbidden" in said for said in rest)


async def test_an_unknown_key_is_said(s3: S3, bucket: str) -> None:
    with s3.checked():
        first, *rest = await used(s3.url(bucket))
        assert "InvalidAccessKeyId: it does not know the key: correct AWS_ACCESS_KEY_ID" in first
        assert all("InvalidAccessKeyId" in said or "403 Forbidden" in said for said in rest)


async def test_a_store_that_goes_away_within_an_upload_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = 0

    async def chunks() -> AsyncIterator[bytes]:
        nonlocal sent
        async for chunk in many(4 * LARGE):
            sent += 1
            if sent == 40:
                leave.set()
                await gone.wait()
            yield chunk

    leave, gone = asyncio.Event(), asyncio.Event()
    with running_s3(tmp_path) as server:
        url = server.url(server.new_bucket())
        store = open_file_store(url)
        putting = asyncio.create_task(store.put(chunks(), name="", mime_type="", sha256="1" * 64))
        async with asyncio.timeout(60 * LONGER):
            await leave.wait()
    gone.set()
    async with asyncio.timeout(60 * LONGER):
        with pytest.raises(FileStoreError, match=f"at {server.endpoint} can't be reached"):
            await putting


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("s3://", "is not of the form s3://bucket/prefix"),
        ("s3:///x", "is not of the form"),
        ("s3://UPPER", "is not of the form"),
        (f"s3://key:{SECRET.replace('/', '')}@bucket", "put keys into AWS_ACCESS_KEY_ID"),
        (f"s3://bucket?secret={SECRET}", "option 'secret'"),
        ("s3://bucket?endpoint=minio:9000", r"not of the form http\[s\]://host:port"),
        (f"s3://bucket?endpoint=http://key:{SECRET}@minio:9000", "without a path or keys"),
        ("s3://bucket?endpoint=http://minio:9000/path", "without a path or keys"),
    ],
)
def test_a_url_that_is_none_is_named(url: str, said: str) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        open_file_store(url)
    assert SECRET not in str(caught.value)
    assert "secret=one" not in str(caught.value)


@pytest.mark.parametrize("empty", [{}, {"AWS_ACCESS_KEY_ID": ""}])
def test_missing_keys_are_named(empty: dict[str, str]) -> None:
    url = "s3://bucket?endpoint=http://minio:9000"
    with pytest.raises(ValueError, match="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"):
        Bucket.from_url(url, empty)
    with pytest.raises(ValueError, match="AWS_SECRET_ACCESS_KEY is not"):
        Bucket.from_url(url, {"AWS_ACCESS_KEY_ID": "k"})


def test_endpoint_and_region_come_from_the_url_then_the_environment() -> None:
    keys = {"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s"}
    both = {**keys, "AWS_ENDPOINT_URL": "http://a:1", "AWS_REGION": "r"}
    assert Bucket.from_url("s3://bucket/p/q/", both) == Bucket("bucket", "p/q", "http://a:1", "r")
    url = "s3://bucket?endpoint=https://b:2/&region=q"
    assert Bucket.from_url(url, both) == Bucket("bucket", "", "https://b:2", "q")
    # On AWS a role of the machine will do.
    assert Bucket.from_url("s3://bucket", {}) == Bucket("bucket", "", "", "us-east-1")


UPLOADER = f"""
import asyncio, re, sys
sys.path.insert(0, {str(Path(__file__).parent.parent)!r})
from support_files import digest_of, many
from naiad_files import open_file_store

def highest():
    # Not getrusage: that starts at what the parent had.
    return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])

async def main(url, size, announced):
    store = open_file_store(url)
    await store.check()
    digest = await digest_of(many(size))
    before = highest()
    put = await store.put(many(size), name="", mime_type="", sha256=digest if announced else "")
    assert put.key == digest
    assert await digest_of(store.read(digest)) == digest
    print(highest() - before)

asyncio.run(main(sys.argv[1], int(sys.argv[2]), sys.argv[3] == "True"))
"""


@pytest.mark.long
@pytest.mark.parametrize("announced", [True, False])
def test_memory_does_not_grow_with_the_file(
    s3: S3, bucket: str, announced: bool, report_figure: Callable[[str], None]
) -> None:
    size = 256 * 1024 * 1024
    grown = subprocess.run(
        [sys.executable, "-c", UPLOADER, s3.url(bucket), str(size), str(announced)],
        capture_output=True, text=True, timeout=110 * LONGER, check=True,
    ).stdout  # fmt: skip
    report_figure(f"{int(grown) // 1024} MiB more memory to send and read a file of 256 MiB")
    assert int(grown) * 1024 < size / 2
