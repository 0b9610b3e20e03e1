"""Clients of one store, lent for a call each, so that calls of many threads run at once."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import clickhouse_connect
from clickhouse_connect.driver.client import Client

from naiad_store.errors import StoreError

# A call under way at `close` gets this long to end, in seconds.
_GRACE = 10.0


class Clients:
    """As many clients as calls have ever run at the same time.

    They are not tied to threads: pools of threads come and go, and a client that a dead
    thread left would keep the engine open.
    """

    def __init__(self, url: str, database: str) -> None:
        self._url = url
        self._database = database
        self._idle: list[Client] = []
        self._lent = 0
        self._closed = False
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def one(self) -> Iterator[Client]:
        """A client for this call alone. Raises StoreError after `close`."""
        with self._changed:
            if self._closed:
                raise StoreError("the store is closed")
            self._lent += 1
            client = self._idle.pop() if self._idle else None
        try:
            client = client or connect(self._url, self._database)
        except BaseException:
            self._back(None)
            raise
        try:
            yield client
        except BaseException:
            # What chDB had begun to answer when a statement failed stands before the next
            # answer of the same connection. A new one is there before the old one goes, which
            # may be the last that keeps the engine open.
            fresh = None
            with contextlib.suppress(Exception):
                fresh = connect(self._url, self._database)
            self._back(fresh)
            _close(client)
            raise
        self._back(client)

    def _back(self, client: Client | None) -> None:
        with self._changed:
            self._lent -= 1
            if client is not None and not self._closed:
                self._idle.append(client)
                client = None
            self._changed.notify_all()
        if client is not None:
            # `close` hasn't waited for this call to its end.
            _close(client)

    def close(self) -> None:
        """Waits a while for calls under way, then closes. Idempotent."""
        with self._changed:
            self._closed = True
            self._changed.wait_for(lambda: self._lent == 0, _GRACE)
            idle, self._idle = self._idle, []
        for client in idle:
            _close(client)


def connect(url: str, database: str | None = None) -> Client:
    options: dict[str, Any] = {"database": database} if database else {}
    return clickhouse_connect.get_client(dsn=url, **options)


def _close(client: Client) -> None:
    # What fails to close is gone.
    with contextlib.suppress(Exception):
        client.close()
