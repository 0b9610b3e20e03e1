"""One client of a ClickHouse server, over HTTP, which all threads share.

It has no session, so that calls run at once; each takes a connection of the pool.
"""

from __future__ import annotations

import contextlib
import io
import logging
import re
import threading
from collections.abc import Iterator
from typing import Any

import clickhouse_connect
import urllib3
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError
from clickhouse_connect.driver.httputil import get_pool_manager_options

from naiad_store.address import Address, Cluster
from naiad_store.errors import StoreError

# They tell at WARNING of every error that they raise, too.
for noisy in ("clickhouse_connect.driver", "urllib3.connectionpool"):
    logging.getLogger(noisy).setLevel(logging.ERROR)

# Where the end of an answer that broke off is looked for ClickHouse's reason, in bytes.
_TAIL = 16_384
_REASON = re.compile(rb"Code: \d+\. DB::.*?(?=\r?\n\d+ \w{16}\r\n__exception__|$)", re.DOTALL)


class ServerClient:
    """Connects at the first call, and again if that did not work."""

    def __init__(self, address: Address) -> None:
        self._address = address
        options: dict[str, Any] = {"maxsize": address.pool}
        if address.tls:
            options["verify"] = address.verify
            options["ca_cert"] = str(address.ca) if address.ca else None
        self._pool = urllib3.PoolManager(**get_pool_manager_options(**options))
        self._client: Client | None = None
        self._closed = False
        self._guard = threading.Lock()

    @contextlib.contextmanager
    def one(self) -> Iterator[Client]:
        """The client. Raises StoreError after `close`, and what clickhouse-connect raises when
        the server can't be asked."""
        if self._closed:
            raise StoreError("the store is closed")
        client = self._client
        if client is None:
            # Not under the lock: others would wait for each other's connecting.
            made = self.connect(self._address.database)
            with self._guard:
                client = self._client = self._client or made
        yield client

    def connect(self, database: str | None) -> Client:
        """A client of its own on the same connections."""
        address = self._address
        return clickhouse_connect.get_client(
            interface="https" if address.tls else "http",
            host=address.host,
            port=address.port,
            username=address.user or "default",
            password=address.password,
            database=database,
            pool_mgr=self._pool,
            connect_timeout=address.connect_timeout,
            send_receive_timeout=address.timeout,
            autogenerate_session_id=False,
            client_name="naiad",
            settings=_settings_of(address.cluster),
        )

    def close(self) -> None:
        """Idempotent."""
        with self._guard:
            self._closed = True
            client, self._client = self._client, None
        if client is not None:
            with contextlib.suppress(Exception):
                client.close()
        pools = [self._pool.pools[key] for key in self._pool.pools.keys()]  # noqa: SIM118
        self._pool.clear()
        for pool in pools:
            pool.close()


def _settings_of(cluster: Cluster | None) -> dict[str, Any]:
    """Of every call."""
    if cluster is None:
        return {}
    # When an insert returns, most replicas of its shard have it; and none takes it for a block
    # that it has had before: rows commute here.
    settings: dict[str, Any] = {"insert_quorum": "auto", "insert_deduplicate": 0}
    if cluster.sharded:
        # It has reached the shards, too; tables that a question joins or looks into are read
        # from all shards; and as long as a shard's first replica lives, what is read is what
        # was written there.
        settings |= {
            "distributed_foreground_insert": 1,
            "distributed_product_mode": "global",
            "load_balancing": "in_order",
        }
    return settings


class Answered(io.RawIOBase):
    """The bytes of an answer as they come. One that breaks off raises BrokenOff."""

    def __init__(self, response: Any) -> None:
        super().__init__()
        self._response = response
        # By chunks: a read across the last one would lose what came of it.
        self._chunks: Iterator[bytes] = response.stream(1 << 16)
        self._rest = b""
        self._tail = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._rest:
            try:
                self._rest = next(self._chunks, b"")
            except urllib3.exceptions.HTTPError as error:
                raise BrokenOff(self.reason(), error) from error
            self._tail = (self._tail + self._rest)[-_TAIL:]
        size = min(len(buffer), len(self._rest))
        buffer[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size

    def pieces(self) -> Iterator[bytes]:
        """The same, without what the server says of an error behind the rows, which is raised."""
        tag = self._response.headers.get("X-ClickHouse-Exception-Tag")
        marker = f"__exception__\r\n{tag}".encode() if tag else b""
        # What may be the begin of the marker, or of the line break before it, waits.
        held = b""
        while piece := self.read(1 << 16):
            held += piece
            if marker and (place := held.find(marker)) >= 0:
                yield held[:place].removesuffix(b"\r\n")
                while self.read(1 << 16):
                    pass
                raise BrokenOff(self.reason(), EOFError("an error behind the rows"))
            done = max(0, len(held) - len(marker) - 1) if marker else len(held)
            if done:
                yield held[:done]
                held = held[done:]
        if held:
            yield held

    def reason(self) -> str | None:
        """What the server said last, behind the rows, if that was an error."""
        found = list(_REASON.finditer(self._tail))
        return found[-1][0].decode("utf-8", "replace") if found else None

    def close(self) -> None:
        if not self.closed:
            self._response.close()
        super().close()


class BrokenOff(ClickHouseError):
    """An answer ended before its end; `reason` is what the server said of it, if it did."""

    def __init__(self, reason: str | None, error: Exception) -> None:
        super().__init__(reason or f"the answer broke off: {error}")
        self.reason = reason
