"""A laptop's data by ClickHouse's HTTP interface, asked by a real driver and by curl."""

from __future__ import annotations

import gzip
import json
import re
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import clickhouse_connect
import httpx
import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError
from starlette.applications import Starlette
from support_hostile_sql import REFUSED
from support_query import PATIENCE, Reading

from naiad_query.clickhouse_http import ReadOnly, authentication, clickhouse_app
from naiad_query.clickhouse_http import reading as module
from naiad_serve.address import Address, listening_socket
from naiad_serve.httpserver import HttpServer

OTHER = "rivals/secret"
VIEWS = [
    "attributes", "configs", "files", "histograms", "logs", "points", "runs", "series", "strings",
    "tags",
]  # fmt: skip


@pytest.fixture(scope="module")
def store_url(chdb_folder: Path) -> str:
    """What `naiad up` has."""
    return f"chdb://{chdb_folder}"


async def serve(app: Starlette) -> HttpServer:
    http = HttpServer(
        app, listening_socket(Address("127.0.0.1", 0), host_option="", port_option="")
    )
    await http.start()
    return http


@pytest.fixture(scope="module")
def port(server: Reading) -> Iterator[int]:
    app = clickhouse_app(ReadOnly(server.store), authentication(server.tokens))

    http = server.call(serve(app))
    yield http.port
    server.call(http.stop())


def connect(port: int, token: str, **options: object) -> Client:
    return clickhouse_connect.get_client(
        host="127.0.0.1", port=port, username="me", password=token, dedicated_pool=True, **options
    )


@pytest.fixture(scope="module")
def all_of_it(port: int, token: str) -> Iterator[Client]:
    with connect(port, token) as client:
        yield client


@pytest.fixture(scope="module")
def reader_token(server: Reading) -> str:
    assert server.tokens
    return server.tokens.create(project="team/vision", read_only=True)


@pytest.fixture(scope="module")
def reader(port: int, reader_token: str) -> Iterator[Client]:
    with connect(port, reader_token) as client:
        yield client


@pytest.fixture(scope="module")
def http(port: int, token: str) -> Iterator[httpx.Client]:
    with httpx.Client(
        base_url=f"http://127.0.0.1:{port}", auth=("me", token), timeout=PATIENCE,
        # Sooner than the server closes one.
        limits=httpx.Limits(keepalive_expiry=1),
    ) as client:  # fmt: skip
        yield client


def test_a_driver_reads_rows_in_every_way_it_has(all_of_it: Client) -> None:
    question = "select run_id, min(value) as best from points where path = 'loss'" \
        " and isFinite(value) group by run_id order by best limit 2"  # fmt: skip
    rows = all_of_it.query(question).result_rows
    assert rows == [("sgd", 1.0), ("adam-2", 4.0)]
    assert all_of_it.query_df(question)["run_id"].tolist() == ["sgd", "adam-2"]
    assert all_of_it.query_arrow(question).to_pydict() == {
        "run_id": ["sgd", "adam-2"], "best": [1.0, 4.0],
    }  # fmt: skip
    with all_of_it.query_row_block_stream("select step from points") as blocks:
        assert sum(len(block) for block in blocks) == 15
    assert all_of_it.command("select count() from runs") == 5
    assert all_of_it.ping(timeout=PATIENCE)
    assert all_of_it.query("select * from points limit 0").column_names[:2] == ("project", "run_id")


@pytest.mark.parametrize("compress", [False, "lz4", "zstd", "gzip"])
def test_answers_are_compressed_as_asked(port: int, token: str, compress: object) -> None:
    with connect(port, token, compress=compress) as client:
        assert client.query("select count() from points").result_rows == [(15,)]


def test_what_a_driver_asks_at_connect(all_of_it: Client) -> None:
    """What clickhouse-connect, Grafana's driver and JDBC ask."""
    assert re.fullmatch(r"\d+\.\d+\.\d+\.\d+", all_of_it.server_version)
    assert all_of_it.compression
    hello = all_of_it.query("SELECT displayName(), version(), revision(), timezone()")
    assert hello.column_names[1] == "version()"
    (name, version, revision, zone) = hello.result_rows[0]
    assert (name, version, revision > 50_000) == ("Naiad", all_of_it.server_version, True)
    assert str(hello.column_types[2].name) == "UInt32"
    jdbc = "SELECT currentUser() AS user, timezone() AS timezone, version() AS version LIMIT 1"
    assert all_of_it.query(jdbc).result_rows[0][1:] == (zone, version)
    assert all_of_it.query("select currentDatabase()").result_rows == [("naiad",)]
    # A call in the middle of a statement, and words that only look like one.
    rows = all_of_it.query("select 'version()', length(version()) > 3 where version() != ''")
    assert rows.result_rows == [("version()", 1)]


def test_the_catalog_is_the_documented_views(all_of_it: Client, server: Reading) -> None:
    asked = all_of_it.query
    assert asked("select name, engine from system.databases").result_rows == [("naiad", "Atomic")]
    tables = asked("select database, name, engine, comment from system.tables order by name")
    assert [row[1] for row in tables.result_rows] == VIEWS
    assert {row[0] for row in tables.result_rows} == {"naiad"}
    assert all(row[3] for row in tables.result_rows)
    columns = asked(
        "select name, type from system.columns where database = 'naiad' and table = 'runs'"
        " order by position"
    ).result_rows
    assert columns[:2] == [("project", "LowCardinality(String)"), ("run_id", "String")]
    described = asked("describe table naiad.runs").result_rows
    assert [row[:2] for row in described] == columns
    assert asked("show tables from naiad").result_rows == [(name,) for name in VIEWS]
    assert asked("SHOW DATABASES").result_rows == [("naiad",)]
    assert asked("exists table naiad.runs").result_rows == [(1,)]
    assert asked("exists naiad.writers").result_rows == [(0,)]
    functions = {row[0] for row in asked("select name from system.functions").result_rows}
    assert {"count", "quantile", "toStartOfHour"} <= functions
    assert not functions & {"file", "url", "sleep", "getSetting", "hostName"}
    settings = dict(asked("select name, readonly from system.settings").result_rows)
    assert settings["max_execution_time"] == settings["readonly"] == 1
    assert settings["output_format_json_quote_64bit_integers"] == 0
    # All else that a whole row shows says nothing of how and where it is kept.
    for table in ("databases", "tables", "columns", "settings"):
        told = str(asked(f"select * from system.{table}").result_rows)
        for ours in (
            server.store.database,
            "view_",
            "/store",
            "CREATE VIEW",
        ):
            assert ours not in told, table


def test_a_view_may_be_named_with_its_database(all_of_it: Client, port: int, token: str) -> None:
    for name in ("naiad.points", '"naiad"."points"', "`default`.points", "points"):
        assert all_of_it.query(f"select count() from {name}").result_rows == [(15,)]
    assert all_of_it.query(
        "select points.step from naiad.points where points.run_id = 'adam-1' order by 1 limit 1"
    ).result_rows == [(0.0,)]
    assert all_of_it.query(
        "select system.tables.name, naiad.points.step from system.tables, naiad.points"
        " where naiad.points.run_id = 'adam-1' and system.tables.name = 'runs' order by 2 limit 1"
    ).result_rows == [("runs", 0.0)]
    joined = "select t.name, count(c.name) > 5 from system.tables t join system.columns as c" \
        " on c.table = t.name group by t.name order by t.name"  # fmt: skip
    assert [row[0] for row in all_of_it.query(joined).result_rows] == VIEWS
    for database in ("naiad", "default"):
        with connect(port, token, database=database) as client:
            assert client.query("select count() from points").result_rows == [(15,)]
    with pytest.raises(DatabaseError, match="there is no database 'mine'; there is naiad") as told:
        connect(port, token, database="mine")
    assert told.value.code == 81


ANSWERED = {
    "select * from system.tables": 10,
    "select (select count() from system.tables)": 1,
    "select hostName(), 1": 1,
    "select fqdn()": 1,
    "select currentDatabase()": 1,
    "select DATABASE()": 1,
    "select currentUser()": 1,
    "select user()": 1,
    "show databases": 1,
    "select * from points format JSON": 14,
}


@pytest.mark.parametrize(("statement", "message"), REFUSED)
def test_the_hostile_are_refused(
    reader_token: str, server: Reading, port: int, statement: str, message: str
) -> None:
    url = f"http://127.0.0.1:{port}/"
    done = httpx.post(
        url, content=statement, auth=("x", reader_token),
        params={"default_format": "JSONCompact"}, headers={"Content-Type": "text/plain"},
        timeout=PATIENCE,
    )  # fmt: skip
    for secret in (
        OTHER,
        "Traceback",
        "test_query",
        "_view_points",
        "view_points",
    ):
        assert secret not in done.text or secret in statement
    if statement in ANSWERED:
        assert done.status_code == 200
        assert done.json()["rows"] == ANSWERED[statement]
        return
    assert done.status_code >= 400
    code = int(done.headers["X-ClickHouse-Exception-Code"])
    assert done.text.startswith(f"Code: {code}. DB::Exception: ")
    if "format" not in statement.lower():
        assert re.search(message, done.text)


def test_the_hostile_in_other_places(http: httpx.Client, server: Reading) -> None:
    def refused(code: int, words: str, **sent: object) -> None:
        done = http.request(sent.pop("method", "POST"), sent.pop("path", "/"), **sent)
        assert (done.headers.get("X-ClickHouse-Exception-Code"), done.status_code) != (None, 200)
        assert int(done.headers["X-ClickHouse-Exception-Code"]) == code, done.text
        assert words in done.text

    # The statement in the URL with more of it behind, and in a form.
    refused(62, "one statement", params={"query": "select 1;"}, content="drop table points")
    refused(164, "only SELECT", params={"query": "insert into points format CSV"}, content="1")
    refused(164, "only SELECT", data={"query": "drop table points"})
    refused(164, "only SELECT", files={"query": (None, "drop table points")})
    refused(36, "external tables", files={"t": ("t.csv", b"1,2")}, params={"query": "select 1"})
    refused(62, "Empty query", content="")
    refused(62, "there is no statement", content=" ; ")
    refused(62, "not UTF-8", content=b"select '\xff'")
    # Settings, as parameters.
    for name, value in (
        ("readonly", "0"), ("max_execution_time", "x"), ("additional_table_filters", "{}"),
        ("allow_introspection_functions", "1"), ("format_schema", "/etc/passwd"),
        ("max_rows_to_read", "1"), ("x) = 1, (y", "1"), ("role", "admin"), ("log_queries", "0"),
    ):  # fmt: skip
        done = http.post("/", content="select 1", params={name: value})
        assert name == "role" or done.status_code >= 400, name
    refused(164, "Cannot modify 'log_queries'", content="select 1", params={"log_queries": "1"})
    # Formats that read or write files, and none.
    for name in ("Template", "Protobuf", "CapnProto", "nonsense"):
        refused(73, "Unknown format", content=f"select 1 format {name}")
        refused(73, "Unknown format", content="select 1", params={"default_format": name})
    refused(36, "param_", content="select 1", params={"param_x": "1"})
    # Bodies that are not what they say, or grow.
    packed = {"Content-Encoding": "gzip"}
    refused(36, "Content-Encoding", content=b"select 1", headers=packed)
    refused(36, "Content-Encoding", content=b"select 1", headers={"Content-Encoding": "snappy"})
    refused(223, "larger than", content=gzip.compress(b" " * 50_000_000), headers=packed)
    refused(223, "larger than", content=b" " * 300_000)
    refused(36, "not spoken", content=b"x", params={"decompress": "1"})
    refused(36, "not spoken", content="select 1", params={"compress": "1"})
    assert http.post("/", content=gzip.compress(b"select 1"), headers=packed).text == "1\n"
    assert server.store.query("SELECT count() AS n FROM points").to_pydict() == {"n": [15]}
    for path in ("/play", "/dashboard", "/metrics", "/js/lz-string.js"):
        assert http.get(path).status_code == 404
    assert http.put("/", content="select 1").status_code == 405


def test_limits_are_kept_and_can_be_drawn_tighter(
    http: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = "select arrayJoin(range(1000001)) as n"
    done = http.post("/", content=many)
    assert (done.headers["X-ClickHouse-Exception-Code"], "ask for less" in done.text) == (
        "396",
        True,
    )
    for value in ("3", "99999999", "0"):
        asked = {"max_result_rows": value}
        few = http.post("/", content="select arrayJoin(range(5)) as n", params=asked)
        assert (few.status_code == 200) == (value != "3"), few.text
    slow = "select count() from points a, points b, points c, points d, points e, points f," \
        " points g, points h, points i"  # fmt: skip
    with monkeypatch.context() as hasty:
        hasty.setattr("naiad_query.sql.MAX_SECONDS", 1)
        done = http.post("/", content=slow, params={"max_execution_time": "3600"})
    assert (done.status_code, done.headers["X-ClickHouse-Exception-Code"]) == (408, "159")
    monkeypatch.setattr(module, "MAX_ANSWER_BYTES", 1000)
    done = http.post("/", content="select arrayJoin(range(5000)) as n")
    assert done.headers["X-ClickHouse-Exception-Code"] == "396"


# 759,375 rows, which the engine makes as it goes.
MANY = "select repeat('x', 400) as x from points a, points b, points c, points d, points e"
# The one row of 15**5 that can't be read, far behind the first.
BREAKING = (
    "select toInt64(if(a.step + 10 * b.step + 100 * c.step + 1000 * d.step + 10000 * e.step ="
    " (select max(step) * 11111 from points), 'here', '1')) as n, repeat('x', 400) as x"
    " from points a, points b, points c, points d, points e"
)


def test_a_large_answer_is_never_in_memory_whole(http: httpx.Client) -> None:
    whole = 15**5 * (400 + len('{"x":""}\n'))
    size = 0
    tracemalloc.start()
    try:
        # Of blocks that the engine has in hand.
        asked = {"max_memory_usage": str(whole * 2 // 3), "default_format": "JSONEachRow"}
        with http.stream("POST", "/", content=MANY, params=asked) as done:
            assert done.status_code == 200
            # More than none, for JDBC; how many there are is not known yet.
            assert json.loads(done.headers["X-ClickHouse-Summary"])["result_rows"] == "1"
            for piece in done.iter_raw():
                size += len(piece)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size == whole
    # Server and client are this process.
    assert most < whole / 10


@pytest.mark.parametrize("compression", [None, "gzip", "zstd", "lz4"])
def test_an_error_in_the_middle_is_told_behind_the_rows(
    port: int, token: str, compression: str | None
) -> None:
    with connect(port, token, compress=compression or False) as client:
        with pytest.raises(DatabaseError, match=r"Cannot parse|here"):
            client.query(BREAKING, settings={"max_block_size": 10_000})
        assert client.query("select 1").result_rows == [(1,)]


def keep(pieces: Iterator[bytes], received: bytearray) -> None:
    for piece in pieces:
        received += piece


def test_an_error_in_the_middle_stands_between_tags(http: httpx.Client) -> None:
    received = bytearray()
    with http.stream("POST", "/", content=f"{BREAKING} format TSV") as done:
        assert done.status_code == 200
        tag = done.headers["X-ClickHouse-Exception-Tag"]
        with pytest.raises(httpx.RemoteProtocolError):
            keep(done.iter_raw(), received)
    rows, mark, said = bytes(received).partition(b"\r\n__exception__\r\n" + tag.encode() + b"\r\n")
    assert mark
    assert len(rows) > 1 << 20
    found = re.fullmatch(
        rb"(Code: 6\. DB::Exception: .*\n)(\d+) " + tag.encode() + rb"\r\n__exception__\r\n", said
    )
    assert found, said
    assert len(found[1]) == int(found[2])
    # Who waits for the end of a question hears it as a status.
    done = http.post("/", content=BREAKING, params={"wait_end_of_query": "1"})
    assert (done.status_code, done.headers["X-ClickHouse-Exception-Code"]) == (400, "6")
    done = http.post("/", content="select step from points", params={"wait_end_of_query": "1"})
    assert json.loads(done.headers["X-ClickHouse-Summary"])["result_rows"] == "15"
    assert len(done.text.splitlines()) == 15


def test_who_goes_away_ends_the_question(http: httpx.Client, port: int, token: str) -> None:
    for _ in range(10):
        # More than there are workers.
        with httpx.stream(
            "POST", f"http://127.0.0.1:{port}/", content=MANY, auth=("me", token), timeout=PATIENCE
        ) as done:
            next(done.iter_raw())
    assert http.post("/", content="select 1").text == "1\n"


def test_a_reader_sees_its_project_alone(reader: Client, all_of_it: Client) -> None:
    for view in VIEWS:
        question = f"select distinct project from naiad.{view}"
        assert reader.query(question).result_rows == [("team/vision",)], view
    both = all_of_it.query("select distinct project from points order by 1").result_rows
    assert both == [(OTHER,), ("team/vision",)]


def test_who_may_ask(port: int, token: str, server: Reading, tmp_path) -> None:
    url = f"http://127.0.0.1:{port}/"

    def asked(**sent: object) -> httpx.Response:
        return httpx.post(url, content="select 1", timeout=PATIENCE, **sent)

    assert asked().status_code == 401
    assert asked().headers["WWW-Authenticate"].startswith("Basic")
    assert "naiad token create" in asked().text
    for wrong in ({"auth": ("me", "no")}, {"params": {"user": "me", "password": "no"}}):
        done = asked(**wrong)
        assert (done.status_code, done.headers["X-ClickHouse-Exception-Code"]) == (403, "516")
    assert asked(headers={"Authorization": "Basic ???"}).status_code == 400
    for right in (
        {"auth": ("anybody", token)},
        {"headers": {"Authorization": f"Bearer {token}"}},
        {"headers": {"X-ClickHouse-User": "me", "X-ClickHouse-Key": token}},
        {"params": {"user": "me", "password": token}},
    ):
        assert asked(**right).text == "1\n"
    with pytest.raises(DatabaseError, match="no token that is valid here"):
        connect(port, "naiad_wrong")
    # Health checks need none, and say nothing.
    for path in ("ping", "replicas_status", ""):
        done = httpx.get(url + path, auth=("me", token), timeout=PATIENCE)
        assert done.text == "Ok.\n"
    assert httpx.get(f"{url}ping", timeout=PATIENCE).text == "Ok.\n"


def test_without_login_a_page_in_a_browser_reads_nothing(server: Reading) -> None:
    """A page may give a name of its own this machine's address, and then read its answers."""
    app = clickhouse_app(
        ReadOnly(server.store), authentication(None), hosts=frozenset({"127.0.0.1", "localhost"})
    )

    http = server.call(serve(app))
    try:
        url = f"http://127.0.0.1:{http.port}/?query=select+1"
        done = httpx.get(url, timeout=PATIENCE)
        assert done.text == "1\n"
        assert "access-control-allow-origin" not in done.headers
        for host, status in (("evil.example", 403), (f"localhost:{http.port}", 200), ("", 403)):
            done = httpx.get(url, headers={"Host": host}, timeout=PATIENCE)
            assert done.status_code == status
    finally:
        server.call(http.stop())


def test_errors_are_those_that_drivers_know(all_of_it: Client) -> None:
    for statement, code in (
        ("select nope from points", 47), ("select * from nope", 60), ("selec 1", 62),
        ("select toInt64('x')", 6), ("drop table points", 164), ("select file('x')", 46),
    ):  # fmt: skip
        with pytest.raises(DatabaseError) as told:
            all_of_it.query(statement)
        assert told.value.code == code, statement
    assert all_of_it.query("select 1").result_rows == [(1,)]


@pytest.mark.long
def test_many_ask_at_once(port: int, token: str) -> None:
    from concurrent.futures import ThreadPoolExecutor

    def ask(n: int) -> int:
        with connect(port, token) as client:
            return client.query(f"select count() + {n} from points").result_rows[0][0]

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, range(16))) == [15 + n for n in range(16)]


def test_what_drivers_of_other_languages_need(http: httpx.Client) -> None:
    """Found with clickhouse-go 2.50 (Grafana) and clickhouse-jdbc 0.8 (DBeaver)."""
    done = http.post("/", content="select step from points limit 2", params={"async_insert": "0"})
    # JDBC reads no rows where the summary has none.
    assert json.loads(done.headers["X-ClickHouse-Summary"])["result_rows"] == "2"
    # Its metadata names columns with their database, whatever the table is called there.
    named = "select system.tables.database, t.name from system.tables as t" \
        " where system.tables.name = 'runs' format TSV"  # fmt: skip
    assert http.post("/", content=named).text == "naiad\truns\n"
    # Go's native blocks: with a word about each, and how each column is written.
    asked = {"client_protocol_version": "54480"}
    done = http.post("/", content="select toUInt8(7) as a format Native", params=asked)
    assert done.content == b"\x01\0\x02\xff\xff\xff\xff\0\1\1\x01a\x05UInt8\0\x07"


def test_json_is_what_clickhouse_makes(http: httpx.Client) -> None:
    done = http.get("/", params={"query": "select 1 as a, 'x' as b format JSON"})
    assert done.headers["Content-Type"].startswith("application/json")
    assert json.loads(done.text)["data"] == [{"a": 1, "b": "x"}]
    assert done.headers["X-ClickHouse-Format"] == "JSON"
