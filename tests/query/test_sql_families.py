"""Families of hostile SQL through gRPC and HTTP, put together at random too; and what would be
left of another project if all of the parsing were wrong."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support_hostile_families import CANARIES, FAMILIES
from support_naiad import LONGER
from support_query import PATIENCE, Reading

from naiad.exceptions import NaiadQueryError
from naiad.query.client import QueryClient
from naiad_auth import Principal
from naiad_query import sql
from naiad_query.clickhouse_http import ReadOnly, authentication, clickhouse_app
from naiad_serve.address import Address, listening_socket
from naiad_serve.httpserver import HttpServer
from naiad_store.selects import views

# How a statement ended: was it refused, and what was said or shown.
Told = tuple[bool, str]


@pytest.fixture(scope="module")
def token(server: Reading) -> str:
    """Of somebody who may read team/vision only."""
    assert server.tokens
    return server.tokens.create(project="team/vision", read_only=True)


@pytest.fixture(scope="module")
def by_grpc(server: Reading, token: str) -> Iterator[Callable[[str], Told]]:
    with server.client(token) as client:

        def ask(statement: str) -> Told:
            try:
                return False, str(client.sql(statement, limit=1000).to_pydict())
            except NaiadQueryError as error:
                return True, str(error)

        yield ask


@pytest.fixture(scope="module")
def by_http(server: Reading, token: str) -> Iterator[Callable[[str], Told]]:
    app = clickhouse_app(ReadOnly(server.store), authentication(server.tokens))

    async def serve() -> HttpServer:
        listening = listening_socket(Address("127.0.0.1", 0), host_option="", port_option="")
        http = HttpServer(app, listening)
        await http.start()
        return http

    http = server.call(serve())
    with httpx.Client(
        base_url=f"http://127.0.0.1:{http.port}", auth=("me", token), timeout=PATIENCE,
        # Sooner than the server closes one.
        limits=httpx.Limits(keepalive_expiry=1),
    ) as client:  # fmt: skip

        def ask(statement: str) -> Told:
            headers = {"Content-Type": "text/plain"}
            done = client.post("/", content=statement.encode(), headers=headers)
            return done.status_code >= 400, done.text

        yield ask
    server.call(http.stop())


def leaks(statement: str, told: str) -> list[str]:
    """What must not be told, unless who asks said it."""
    ours = ("test_query", "_view_", "_own_", "Traceback", "\x1b", "/home/", "root:x:")
    return [word for word in (*CANARIES, *ours) if word in told and word not in statement]


# HTTP takes FORMAT, and answers what drivers ask of system.* with the views alone.
ANSWERED_BY_HTTP = re.compile(
    r"\(select 1\) select \* from naiad\.writers|system\.(one|tables|columns)"
    "|INFORMATION_SCHEMA|into outfile|show columns|format Null",
    re.IGNORECASE,
)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_is_refused(
    by_grpc: Callable[[str], Told], by_http: Callable[[str], Told], family: str
) -> None:
    reasons, statements = FAMILIES[family]
    may_be_read = family == "what two parsers might read differently"
    wrong = []
    for statement in statements:
        refused, told = by_grpc(statement)
        if not (refused or may_be_read) or not re.search(reasons, told) or leaks(statement, told):
            wrong.append(("gRPC", statement[:200], told[:300]))
        refused, told = by_http(statement)
        answered = may_be_read or ANSWERED_BY_HTTP.search(statement)
        if not (refused or answered) or leaks(statement, told):
            wrong.append(("HTTP", statement[:200], told[:300]))
    assert not wrong, "\n".join(map(str, wrong))


def test_there_are_many() -> None:
    assert sum(len(statements) for _, statements in FAMILIES.values()) > 350


TABLES = [
    "writers", "view_points", "system.one", "naiad.writers", "merge('naiad', '.*')",
    "file('/etc/passwd', 'LineAsString')", "numbers(3)", "mergeTreeIndex('naiad', 'points')",
    "`view_points`", "remote('127.0.0.1', 'naiad', 'points')",
]  # fmt: skip
VALUES = [
    "file('/etc/passwd')", "dictGet('a', 'b', 1)", "getSetting('readonly')", "sleep(3)",
    "`sleep`(3)", "joinGet('a', 'b', 1)", "getMacro('x')", "1 in writers", "{x:String}",
    "arrayMap(file, ['x'])",
]  # fmt: skip
AROUND_TABLES = [
    "(select * from {})", "(select a.* from {} as a)",
    "(with z as (select * from {}) select * from z)",
    "(select 1 union all select 1 from {})", "(select 1 from points as q, {})",
    "(select p.* from points as p left join {} as o on 1 = 1)", "(select * from {} limit 1 by 1)",
    "(select * from points where exists (select 1 from {}))", "(select 1 from {} except select 1)",
    "(select * from points where value in (select 1 from {}))",
]  # fmt: skip
AS_VALUE = ["(select count() from {})", "exists(select 1 from {})", "1 in (select 1 from {})"]
AROUND_VALUES = [
    "if(1, {}, 0)", "arrayMap(x -> {}, [1])", "[{}]", "({}, 1)", "case when {} then 1 end",
    "cast({} as String)", "(select {})", "sum({}) over ()", "not {}", "coalesce(null, {})",
    "arrayFold((a, x) -> {}, [1], 0)", "toString({}) || 'x'", "map('k', {})", "({} as y)",
]  # fmt: skip
STATEMENTS = [
    "select {}", "select 1 from points where {}", "select 1 from points order by {}",
    "select count() from points group by {}", "select 1 from points having {}",
    "with {} as v select v", "select 1 limit {}", "select distinct {} from tags",
    "select * replace({} as value) from points", "select 1 union all select {}",
    "select * from points array join [{}] as z", "select {} from points -- '",
    "/* ' */ select {}", "select * from (select {} as a) as b",
]  # fmt: skip


@st.composite
def composed(draw: st.DrawFn) -> str:
    """A statement with something that is not allowed somewhere in it."""
    if draw(st.booleans()):
        table = draw(st.sampled_from(TABLES))
        for around in draw(st.lists(st.sampled_from(AROUND_TABLES), max_size=3)):
            table = around.format(table)
        value = draw(st.sampled_from(AS_VALUE)).format(table)
    else:
        value = draw(st.sampled_from(VALUES))
    for around in draw(st.lists(st.sampled_from(AROUND_VALUES), max_size=3)):
        # Parameters have braces of their own.
        value = around.replace("{}", value)
    return draw(st.sampled_from(STATEMENTS)).replace("{}", value)


@settings(
    max_examples=150, deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
@given(statement=composed())
def test_whatever_is_put_around_it(by_grpc: Callable[[str], Told], statement: str) -> None:
    refused, told = by_grpc(statement)
    assert refused, statement
    assert not leaks(statement, told), told
    assert len(told) > 10


@pytest.mark.parametrize("table", ["points", "runs", "attributes", "series", "writers"])
@pytest.mark.parametrize("name", ["{0}", "test_query.{0}", "(select * from {0} as x)"])
def test_if_the_parsing_let_everything_through(server: Reading, table: str, name: str) -> None:
    """The engine's own filter, without the other fences."""
    fences = sql.Sql(server.store)
    reader = Principal(name="reader", read=frozenset({"team/vision"}))
    nobody = Principal(name="nobody", read=frozenset())
    question = f"SELECT DISTINCT project FROM {name.format(table)}"
    asked = server.store.query(question, settings=fences.fence(reader))
    assert asked["project"].to_pylist() == ["team/vision"]
    assert server.store.query(question, settings=fences.fence(nobody)).num_rows == 0
    # What is nobody's project's is nobody's.
    for kept in ("migrations", "owners"):
        for who in (reader, Principal(name="all", read=None)):
            counted = server.store.query(
                f"SELECT count() AS n FROM {kept}", settings=fences.fence(who)
            )
            assert counted["n"].to_pylist() == [0]


def test_the_filter_is_on_every_table(server: Reading) -> None:
    there = views.tables(server.store)
    assert {name for name, has_project in there.items() if not has_project} >= {
        "listening",
        "migrations",
    }
    fence = sql.Sql(server.store).fence(Principal(name="x", read=frozenset({"a/b'c", "d/e"})))
    for name in set(there) - {"listening"}:
        assert f"'test_query.{name}'" in str(fence["additional_table_filters"])
    # A name that is none can't end the quotes.
    assert "b'c" not in str(fence["additional_table_filters"])


BOMBS = [
    "select length(repeat('x', 4000000000))",
    "select length(range(4000000000))",
    "select length(groupArray(n)) from (select arrayJoin(range(50000000)) as n)",
    "select arrayFold((a, x) -> arrayConcat(a, a), range(60), [1])",
    "select length(randomString(3000000000))",
    "select count() from (select arrayJoin(range(60000000)) as n order by cityHash64(n))",
    "select uniqExact(cityHash64(n)) from (select arrayJoin(range(50000000)) as n)",
    "with recursive r as (select 1 as n union all select n + 1 from r) select count() from r",
    "select count() from points a, points b, points c, points d, points e, points f, points g,"
    " points h, points i",
    "select sum(length(arrayMap(x -> arrayMap(y -> x * y, range(3000)), range(3000))))"
    " from points a, points b",
    "select lpad('x', 3000000000, 'y')",
    "select toFixedString('a', 2000000000)",
]  # fmt: skip


@pytest.mark.parametrize("statement", BOMBS)
def test_a_bomb_goes_off_where_it_hurts_nobody(
    by_grpc: Callable[[str], Told], monkeypatch: pytest.MonkeyPatch, statement: str
) -> None:
    with monkeypatch.context() as narrow:
        narrow.setattr(sql, "MAX_BYTES", 100_000_000)
        narrow.setattr(sql, "MAX_SECONDS", 1)
        began = time.monotonic()
        refused, told = by_grpc(statement)
    assert refused, told[:200]
    assert time.monotonic() - began < 20 * LONGER
    assert not leaks(statement, told)
    assert by_grpc("select 1 as one") == (False, "{'one': [1]}")


def test_a_long_answer_comes_in_pieces_and_an_unread_one_ends(server: Reading, token: str) -> None:
    thousand = "(select arrayJoin(range(1000)) as n)"
    statement = f"select a.n, b.n from {thousand} as a cross join {thousand} as b"
    with server.client(token) as client:
        with client.sql_batches(statement, limit=1_000_000) as answer:
            sizes = [batch.num_rows for batch in answer]
        assert sum(sizes) == 1_000_000
        assert len(sizes) > 5
        with client.sql_batches(statement, limit=1_000_000) as answer:
            assert next(iter(answer)).num_rows
        # A refusal comes before the first row.
        with pytest.raises(NaiadQueryError, match="more than 100,000 rows"):
            client.sql_batches(statement)


def test_an_answer_has_a_limit_in_bytes(
    client: QueryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sql, "MAX_ANSWER_BYTES", 1 << 20)
    with pytest.raises(NaiadQueryError, match="the answer is larger than 1 MiB; ask for fewer"):
        client.sql("select repeat('x', 100000) from (select arrayJoin(range(50)))", limit=1000)
