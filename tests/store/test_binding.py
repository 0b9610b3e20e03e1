"""Long lists as parameters: spelled as the engine reads them, and in parts that a server takes."""

from __future__ import annotations

import ast
import math

import pyarrow as pa
import pytest
from clickhouse_connect.driver.binding import format_bind_value
from hypothesis import given
from hypothesis import strategies as st

from naiad_store import Store, StoreError
from naiad_store.binding import bound

MANY = [(number * 0x9E3779B97F4A7C15) % 2**64 for number in range(40_000)]


def test_a_long_list_chooses_rows(store: Store) -> None:
    store.command("CREATE TABLE t (a UInt64) ENGINE = MergeTree ORDER BY a")
    store.insert("t", pa.table({"a": pa.array([MANY[0], MANY[-1], 3], pa.uint64())}))
    sql = "SELECT a FROM t WHERE a IN {many:Array(UInt64)} ORDER BY a"
    assert store.query(sql, {"many": MANY}).column("a").to_pylist() == [MANY[0], MANY[-1]]
    streamed = pa.Table.from_batches(store.stream(sql, {"many": MANY}))
    assert streamed.column("a").to_pylist() == [MANY[0], MANY[-1]]


def test_every_kind_of_list_arrives_as_it_is(store: Store) -> None:
    texts = [f"it's \\ number {number}\n\tü" for number in range(9000)]
    floats = [math.inf, -math.inf, -0.0, 1e-300, *(number / 7 for number in range(9000))]
    signed = [-(2**63), 2**63 - 1, *range(-9000, 9000)]
    found = store.query(
        "SELECT {texts:Array(String)} AS texts, {floats:Array(Float64)} AS floats,"
        " {signed:Array(Int64)} AS signed, {none:Array(UInt64)} AS none, {one:UInt8} AS one,"
        " transform(toUInt64(9), {many:Array(UInt64)}, {places:Array(UInt32)}, toUInt32(7))"
        " AS seven",
        {
            "texts": texts, "floats": floats, "signed": signed, "none": [], "one": 1,
            "many": MANY, "places": list(range(len(MANY))),
        },
    )  # fmt: skip
    assert found.to_pydict() == {
        "texts": [texts], "floats": [floats], "signed": [signed], "none": [[]], "one": [1],
        "seven": [7],
    }  # fmt: skip


def test_a_server_refuses_what_is_not_cut(store: Store, in_process: bool) -> None:
    if in_process:
        pytest.skip("there are no form fields")
    with store._clients.one() as client, pytest.raises(Exception, match="Field value too long"):
        client.query_arrow("SELECT length({many:Array(UInt64)})", parameters={"many": MANY})
    with pytest.raises(StoreError, match="Field value too long"):
        store.query("SELECT length({one:String})", {"one": "x" * 200_000})


@given(
    st.lists(st.integers(-(2**63), 2**64 - 1)) | st.lists(st.text()) | st.lists(st.floats()),
    st.integers(30, 200),
)
def test_parts_are_short_and_make_the_whole(value: list[object], longest: int) -> None:
    sql, parts = bound("a {x:Array(T)} b {xy:Array(T)} {x:Array(T)}", {"x": value}, longest)
    whole: list[object] = []
    for part in parts.values():
        # One that is too long by itself stays so.
        assert len(_list(part)) < 2 or len(format_bind_value(part).encode()) <= longest
        whole += _list(part)
    assert repr(whole) == repr(value)
    names = ", ".join(f"{{{name}:Array(T)}}" for name in parts)
    said = f"arrayConcat({names})" if len(parts) > 1 else names
    assert sql == f"a {said} b {{xy:Array(T)}} {said}"


def _list(part: object) -> list[object]:
    return part if isinstance(part, list) else list(ast.literal_eval(str(part)))
