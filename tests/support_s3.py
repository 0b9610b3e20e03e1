"""An S3 over HTTP for tests: moto's server, in a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import re
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
from support_child import child
from support_naiad import LONGER
from support_proxy import OwnLoop

REGION = "eu-central-1"
_RUNNING = re.compile(r"Running on (http://127\.0\.0\.1:\d+)\n")


class S3:
    """`client` is boto3's: other software than what is tested, to prepare and to look."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self.client: Any = self.service("s3")

    def service(self, name: str) -> Any:
        return boto3.client(
            name,
            endpoint_url=self.endpoint,
            region_name=REGION,
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )

    def new_bucket(self) -> str:
        name = f"test-{uuid.uuid4().hex}"
        self.client.create_bucket(
            Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION}
        )
        return name

    def url(self, bucket: str, endpoint: str = "") -> str:
        return f"s3://{bucket}/some/where?endpoint={endpoint or self.endpoint}&region={REGION}"

    def kept(self, bucket: str) -> list[str]:
        """What is in the bucket, unfinished uploads too."""
        objects = self.client.list_objects_v2(Bucket=bucket).get("Contents", [])
        uploads = self.client.list_multipart_uploads(Bucket=bucket).get("Uploads", [])
        return [entry["Key"] for entry in [*objects, *uploads]]

    @contextlib.contextmanager
    def checked(self) -> Iterator[tuple[str, str]]:
        """Until left, only this key and its secret are let in; moto asks nobody otherwise."""
        iam = self.service("iam")
        user = f"u{uuid.uuid4().hex}"
        iam.create_user(UserName=user)
        iam.put_user_policy(
            UserName=user,
            PolicyName="all",
            PolicyDocument='{"Version": "2012-10-17", "Statement":'
            ' [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}',
        )
        key = iam.create_access_key(UserName=user)["AccessKey"]
        self._after(0)
        try:
            yield key["AccessKeyId"], key["SecretAccessKey"]
        finally:
            self._after(float("inf"))

    def _after(self, calls: float) -> None:
        url = f"{self.endpoint}/moto-api/reset-auth"
        httpx.post(url, content=str(calls), timeout=30 * LONGER).raise_for_status()


@contextlib.contextmanager
def running_s3(folder: Path) -> Iterator[S3]:
    # It takes a port by itself: one that was free may be taken until it has started.
    with (folder / "moto.log").open("wb") as output:
        process = subprocess.Popen(
            child(sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        deadline = time.monotonic() + 60 * LONGER
        while not (found := _RUNNING.search(said := (folder / "moto.log").read_text())):
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"no S3: {said}")
            time.sleep(0.05)
        server = S3(found[1])
        try:
            yield server
        finally:
            server.client.close()
    finally:
        process.kill()
        process.wait()


class Stumbling:
    """In front of `port`: does to each new connection what the next word of `trouble` says, and
    passes the rest through. "503" answers so, "cut" ends it within the request."""

    def __init__(self, port: int, trouble: Sequence[str]) -> None:
        self._port = port
        self.left = list(trouble)
        self._own = OwnLoop()
        self._server = self._own.call(self._start())
        self.endpoint = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def close(self) -> None:
        self._own.loop.call_soon_threadsafe(self._server.close)
        self._own.close()

    async def _start(self) -> asyncio.Server:
        return await self._own.listen(self._serve)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        trouble = self.left.pop(0) if self.left else ""
        try:
            if trouble:
                await reader.read(20)
                if trouble == "503":
                    writer.write(
                        b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                    )
                    await writer.drain()
                return
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._port)
            with contextlib.closing(far_writer):
                ways = [_pass(reader, far_writer), _pass(far_reader, writer)]
                await asyncio.gather(*ways)
        finally:
            writer.close()


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(64 * 1024):
            writer.write(data)
            await writer.drain()
    writer.close()
