"""A store behind HTTP: what goes wrong on the way to it, and what is said and done then."""

from __future__ import annotations

import contextlib
import http.client
import logging
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pyarrow as pa
import pytest
import trustme
from support_clickhouse import PASSWORD, USER, ClickHouse, clickhouse
from support_naiad import LONGER

from naiad_store import RowsRefused, Store, StoreError, StoreUnavailable

ROWS = pa.table({"a": [1, 2, 3]})
Answer = tuple[int, dict[str, str], bytes]


class Between(ThreadingHTTPServer):
    """A proxy before the store, which does as told: `answers` are given, one a request, before
    requests go through again. Bytes alone are sent as they are and the connection is cut."""

    daemon_threads = True

    def __init__(self, target: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.target = urlsplit(target)
        self.answers: list[Answer | bytes] = []
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"clickhouse://{USER}:{PASSWORD}@127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Between

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.asked.append(body[:200].decode("utf-8", "replace"))
        if self.server.answers:
            answer = self.server.answers.pop(0)
            if isinstance(answer, bytes):
                self.wfile.write(answer)
                self.close_connection = True
                return
            status, headers, content = answer
        else:
            target = self.server.target
            onward = http.client.HTTPConnection(target.hostname, target.port, timeout=30 * LONGER)
            onward.request("POST", self.path, body, dict(self.headers))
            answered = onward.getresponse()
            status, content = answered.status, answered.read()
            headers = {
                name: value
                for name, value in answered.getheaders()
                if name.lower() not in ("transfer-encoding", "content-length", "connection")
            }
            onward.close()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST

    def log_message(self, *_: object) -> None:
        pass


def error(status: int, code: int, name: str, words: str = "words") -> Answer:
    text = f"Code: {code}. DB::Exception: {words}. ({name}) (version 26.3.1.1)\n"
    return status, {"X-ClickHouse-Exception-Code": str(code)}, text.encode()


HTML = b"<html><head><style>b{}</style></head><body><h1>Sign in</h1> to the guest net</body></html>"


@pytest.fixture
def between(clickhouse_server: ClickHouse) -> Iterator[Between]:
    proxy = Between(clickhouse_server.url)
    thread = threading.Thread(target=proxy.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield proxy
    finally:
        proxy.shutdown()
        thread.join()
        proxy.server_close()


@pytest.fixture
def store(between: Between) -> Iterator[Store]:
    with Store.open(between.url, database="test_between") as store:
        store.command("CREATE OR REPLACE TABLE t (a Int64) ENGINE = MergeTree ORDER BY a")
        between.asked.clear()
        yield store
        between.answers.clear()
        store.command("DROP DATABASE test_between SYNC")


def count(store: Store) -> int:
    return store.query("SELECT count() AS n FROM t").column("n")[0].as_py()


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (error(500, 252, "TOO_MANY_PARTS"), StoreUnavailable, "TOO_MANY_PARTS"),
        (error(500, 243, "NOT_ENOUGH_SPACE"), StoreUnavailable, "NOT_ENOUGH_SPACE"),
        (error(500, 241, "MEMORY_LIMIT_EXCEEDED"), StoreUnavailable, "MEMORY_LIMIT"),
        (error(500, 242, "TABLE_IS_READ_ONLY"), StoreUnavailable, "TABLE_IS_READ_ONLY"),
        (error(408, 159, "TIMEOUT_EXCEEDED"), StoreUnavailable, "TIMEOUT_EXCEEDED"),
        (error(503, 209, "SOCKET_TIMEOUT"), StoreUnavailable, "SOCKET_TIMEOUT"),
        (error(500, 394, "QUERY_WAS_CANCELLED"), StoreUnavailable, "CANCELLED"),
        (error(500, 999, "KEEPER_EXCEPTION"), StoreUnavailable, "KEEPER"),
        (
            error(500, 1001, "STD_EXCEPTION", "filesystem error: No space left on device"),
            StoreUnavailable,
            "No space left",
        ),
        (error(500, 164, "READONLY"), StoreError, "READONLY"),
        (error(403, 497, "ACCESS_DENIED"), StoreError, "ACCESS_DENIED"),
        (error(404, 60, "UNKNOWN_TABLE"), StoreError, "UNKNOWN_TABLE"),
        (error(403, 516, "AUTHENTICATION_FAILED"), StoreError, "does not take the user 'tests'"),
        (error(400, 53, "TYPE_MISMATCH"), RowsRefused, "TYPE_MISMATCH"),
        ((500, {}, b"out of order"), StoreUnavailable, "HTTP status 500"),
        ((502, {}, HTML), StoreUnavailable, "HTTP status 502"),
        ((504, {}, b""), StoreUnavailable, "HTTP status 504"),
        ((413, {}, HTML), StoreError, "HTTP status 413"),
        ((200, {}, HTML), StoreUnavailable, "is not ClickHouse"),
        (b"", StoreUnavailable, "can't be reached"),
        (b"HTTP/1.1 200 OK\r\nContent-Le", StoreUnavailable, "inserting 3 rows"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", StoreUnavailable, "inserting 3 rows"),
    ],
)
def test_an_insert_that_went_wrong_is_told_by_what_to_do(
    between: Between, store: Store, answer: Answer | bytes, kind: type[StoreError], words: str
) -> None:
    between.answers += [answer]
    with pytest.raises(StoreError) as told:
        store.insert("t", ROWS)
    assert type(told.value) is kind
    assert words in str(told.value)
    for never in (PASSWORD, "<", "\n"):
        assert never not in str(told.value)
    # An insert is repeated by who knows how far it got, never underneath.
    assert len(between.asked) == 1
    store.insert("t", ROWS)
    assert count(store) == 3


@pytest.mark.parametrize(
    "answers",
    [
        [b""],
        [b"", b"HTTP/1.1 200 OK\r\nContent-Le"],
        [(503, {}, b""), (502, {}, HTML)],
        [(200, {}, HTML)],
    ],
)
def test_a_read_is_asked_again(
    between: Between, store: Store, answers: list[Answer | bytes]
) -> None:
    store.insert("t", ROWS)
    between.answers += answers
    assert count(store) == 3
    if HTML not in answers[0]:
        between.answers += answers
        assert sum(batch.num_rows for batch in store.stream("SELECT a FROM t")) == 3


def test_a_read_is_not_asked_for_ever(between: Between, store: Store) -> None:
    between.answers += [(500, {}, HTML)] * 3
    with pytest.raises(StoreUnavailable, match=r"HTTP status 500.*: Sign in to the guest net"):
        count(store)
    assert not between.answers
    # The server's own word is taken at once.
    between.asked.clear()
    between.answers += [error(500, 241, "MEMORY_LIMIT_EXCEEDED")]
    with pytest.raises(StoreUnavailable):
        count(store)
    assert len(between.asked) == 1


def test_a_stream_that_is_cut_says_so(between: Between, store: Store) -> None:
    begun = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
    between.answers += [begun]
    with pytest.raises(StoreUnavailable, match="a query failed"):
        list(store.stream("SELECT a FROM t"))
    assert [batch.num_rows for batch in store.stream("SELECT a FROM t")] == [0]


def test_an_old_servers_reason_stands_behind_the_rows(between: Between, store: Store) -> None:
    """Before it had tags, and with the answer ended as if it were whole."""
    schema = pa.schema([("a", pa.int64())])
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as writer:
        writer.write_table(ROWS)
    rows = sink.getvalue().to_pybytes()[:-8]
    text = b"Code: 241. DB::Exception: Memory limit exceeded. (MEMORY_LIMIT_EXCEEDED)\n"
    between.answers += [(200, {"X-ClickHouse-Query-Id": "x"}, rows + text)]
    with pytest.raises(StoreUnavailable, match="MEMORY_LIMIT_EXCEEDED") as told:
        list(store.stream("SELECT a FROM t"))
    assert told.value.code == 241


@contextlib.contextmanager
def nobody_there() -> Iterator[int]:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


def test_a_server_that_is_not_there(caplog: pytest.LogCaptureFixture) -> None:
    with nobody_there() as port, caplog.at_level(logging.WARNING):
        with pytest.raises(StoreUnavailable) as told:
            Store.open(f"clickhouse://me:{PASSWORD}@127.0.0.1:{port}")
        assert str(told.value) == (
            f"opening the store clickhouse://…@127.0.0.1:{port} failed: the store at"
            f" 127.0.0.1:{port} can't be reached: Connection refused"
        )
    with pytest.raises(StoreUnavailable, match="can't be reached: its name is not known"):
        Store.open("clickhouse://no-such-host.invalid")
    assert PASSWORD not in caplog.text
    # One line is for the user; what the driver says of it besides is not.
    assert not caplog.text


def test_a_server_that_takes_and_never_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        url = f"clickhouse://127.0.0.1:{deaf.getsockname()[1]}?timeout=1"
        with pytest.raises(StoreUnavailable, match="can't be reached: no answer in time"):
            Store.open(url)


def test_a_wrong_user_or_password(clickhouse_server: ClickHouse) -> None:
    for user in (f"{USER}:wrong", "nobody:x", USER):
        url = clickhouse_server.url.replace(f"{USER}:{PASSWORD}", user)
        with pytest.raises(StoreError, match="does not take the user") as told:
            Store.open(url)
        assert type(told.value) is StoreError
        assert "wrong" not in str(told.value)


def test_another_service_is_told_from_a_store(tmp_path: Path) -> None:
    class Page(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(HTML)

        do_GET = do_POST

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            with pytest.raises(StoreError, match=r"can't be read.*Sign in"):
                Store.open(f"clickhouse://127.0.0.1:{server.server_address[1]}")
        finally:
            server.shutdown()
            thread.join()


def test_the_store_is_back_after_a_restart(tmp_path: Path) -> None:
    with clickhouse(tmp_path / "server") as server, Store.open(server.url) as store:
        store.command("CREATE TABLE t (a Int64) ENGINE = MergeTree ORDER BY a"
                      " SETTINGS fsync_after_insert = 1, fsync_part_directory = 1")  # fmt: skip
        store.insert("t", ROWS)
        server.kill()
        for work in (lambda: store.insert("t", ROWS), lambda: count(store)):
            with pytest.raises(StoreUnavailable, match="can't be reached"):
                work()
        server.start()
        assert count(store) == 3
        store.insert("t", ROWS)
        assert count(store) == 6
        # Between two calls, of which the first's connection is kept.
        server.stop()
        server.start()
        assert count(store) == 6


@pytest.fixture
def tls(tmp_path: Path, clickhouse_server: ClickHouse) -> Iterator[tuple[int, Path]]:
    """The store behind TLS: a port, and the authority's certificate."""
    authority = trustme.CA()
    ca = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    proxy = Between(clickhouse_server.url)
    proxy.socket = context.wrap_socket(
        proxy.socket, server_side=True, do_handshake_on_connect=False
    )
    thread = threading.Thread(target=proxy.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield proxy.server_address[1], ca
    finally:
        proxy.shutdown()
        thread.join()
        proxy.server_close()


@pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")
def test_tls(tls: tuple[int, Path]) -> None:
    port, ca = tls
    at = f"{USER}:{PASSWORD}@127.0.0.1:{port}"
    for option in (f"ca={ca}", "verify=0"):
        with Store.open(f"clickhouses://{at}?{option}", database="default") as store:
            assert store.query("SELECT 1 AS a").to_pydict() == {"a": [1]}
    with pytest.raises(StoreError, match=r"TLS with .* does not come about.*ca=FILE") as told:
        Store.open(f"clickhouses://{at}")
    assert type(told.value) is StoreError
    with pytest.raises(StoreError, match=r"opening the store clickhouse://…@127"):
        Store.open(f"clickhouse://{at}")


def test_tls_with_a_server_that_has_none(clickhouse_server: ClickHouse) -> None:
    with pytest.raises(StoreError, match="clickhouse:// goes without TLS"):
        Store.open(clickhouse_server.url.replace("clickhouse://", "clickhouses://"))


def test_many_threads_and_one_pool(clickhouse_server: ClickHouse) -> None:
    from concurrent.futures import ThreadPoolExecutor

    url = f"{clickhouse_server.url}/default?pool=2"
    with Store.open(url) as store, ThreadPoolExecutor(8) as pool:
        asked: list[Callable[[], int]] = [
            lambda n=n: store.query(f"SELECT {n} AS n").column("n")[0].as_py() for n in range(40)
        ]
        assert list(pool.map(lambda ask: ask(), asked)) == list(range(40))


def test_another_database_of_the_same_server(clickhouse_server: ClickHouse) -> None:
    with Store.open(clickhouse_server.url, database="default") as store:
        with store.beside("test_beside") as other:
            assert other.database == "test_beside"
            other.command("CREATE TABLE t (a Int64) ENGINE = Memory")
        store.command("DROP DATABASE test_beside SYNC")
