"""Native for clients of a protocol version: where columns end, for every type that the engine
writes, by the engine's own bytes."""

from __future__ import annotations

from pathlib import Path

import pytest
from support_query import Reading

from naiad_query.clickhouse_http import AskedWrongly
from naiad_query.clickhouse_http.native import framed

VALUES = [
    "1", "-1", "toInt128(1)", "toUInt256(5)", "1.5", "toFloat32(1)", "'x'", "''", "true",
    "toDate('2026-01-01')", "toDate32('1950-01-01')", "toDateTime('2026-01-01 00:00:00', 'UTC')",
    "toDateTime64('2026-01-01 00:00:00', 3, 'Asia/Tokyo')", "toDecimal32(1, 2)",
    "toDecimal64(1, 6)", "toDecimal128(1, 2)", "toDecimal256(1, 2)", "toFixedString('ab', 5)",
    "generateUUIDv4()", "toIPv4('1.2.3.4')", "toIPv6('::1')", "NULL", "toNullable('x')",
    "if(n % 2, NULL, n)", "[]", "[1, 2]", "arrayMap(x -> toString(x), range(n))",
    "arrayMap(x -> range(x), range(n))", "(1, 'a')", "tuple()", "[(1, 'a'), (2, 'b')]",
    "CAST((1, 'a, (b'), 'Tuple(`x, (y` Int8, z String)')", "map('a', 1, 'b', n)", "map()",
    "toLowCardinality(toString(n % 3))", "toLowCardinality(toNullable(toString(n)))",
    "CAST([toString(n)], 'Array(LowCardinality(String))')",
    "CAST([], 'Array(LowCardinality(String))')",
    "CAST((toString(n), 'b'), 'Tuple(LowCardinality(String), LowCardinality(String))')",
    "CAST(map(toString(n), 'v'), 'Map(LowCardinality(String), String)')",
    "CAST('a\\'b', 'Enum8(\\'a\\\\\\'b\\' = 1, \\'c, (d\\' = 2)')", "INTERVAL 1 DAY",
    "toLowCardinality(repeat('y', n))",
]  # fmt: skip


BEFORE = b"\x01\x00\x02\xff\xff\xff\xff\x00"


def answered(
    server: Reading, sql: str, settings: dict[str, object] | None = None
) -> tuple[bytes, int | None]:
    """What the engine writes, and how many rows it says that there are."""
    pieces, answer = [], server.store.formatted(sql, "Native", settings)
    while True:
        try:
            pieces.append(next(answer))
        except StopIteration as end:
            return b"".join(pieces), end.value


def whole(data: bytes, revision: int) -> bytes:
    return b"".join(framed([data], revision))


@pytest.fixture(scope="module")
def store_url(chdb_folder: Path) -> str:
    """What `naiad up` has."""
    return f"chdb://{chdb_folder}"


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("rows", [1, 300])
def test_columns_end_where_the_engine_ends_them(server: Reading, value: str, rows: int) -> None:
    sql = f"SELECT {value} AS v, 'end' AS e FROM (SELECT arrayJoin(range({rows})) AS n)"
    data, found = answered(server, sql)
    assert found == rows
    # The words before the block, and nothing else: all else is as it was.
    assert whole(data, 54405).replace(BEFORE, b"", 1) == data
    new = whole(data, 54480)
    assert len(new) == len(data) + 8 + 2
    last = new.index(b"\x01e\x06String")
    assert new[last + 9 : last + 14] == b"\x00\x03end"


def test_blocks_follow_each_other(server: Reading) -> None:
    sql = "SELECT toString(number) AS v FROM numbers(200000)"
    data, _ = answered(server, sql, {"max_block_size": 1000})
    blocks = whole(data, 54480).count(BEFORE)
    assert blocks > 1
    assert len(whole(data, 54480)) == len(data) + 9 * blocks


def test_a_type_that_cant_be_read_is_said(server: Reading) -> None:
    data, _ = answered(server, "SELECT sumState(1) AS v")
    with pytest.raises(AskedWrongly, match=r"AggregateFunction.* toString"):
        whole(data, 54480)


def test_blocks_may_be_cut_anywhere(server: Reading) -> None:
    sql = f"SELECT {', '.join(VALUES)} FROM (SELECT number AS n FROM numbers(40))"
    data, _ = answered(server, sql, {"max_block_size": 7})
    expected = whole(data, 54480)
    assert expected.count(BEFORE) > 3
    for size in (1, 3, 1000):
        pieces = [data[begin : begin + size] for begin in range(0, len(data), size)]
        assert b"".join(framed(pieces, 54480)) == expected
    with pytest.raises(AskedWrongly, match="in the middle of a block"):
        whole(data[:-1], 54480)
