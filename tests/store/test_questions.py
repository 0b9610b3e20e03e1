"""Questions under settings of their own, streams, and many callers at once."""

from __future__ import annotations

import gc
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pytest

from naiad_store import RowsRefused, Store, StoreError, StoreUnavailable

ROWS = 300_000


@pytest.fixture
def numbers(store: Store) -> Store:
    """`t` has a column `a` of 0 .. ROWS - 1."""
    store.command("CREATE TABLE t (a Int64) ENGINE = MergeTree ORDER BY a")
    store.insert("t", pa.table({"a": range(ROWS)}))
    return store


def test_settings_hold_for_one_question_alone(numbers: Store) -> None:
    filters = {f"{numbers.database}.t": "a < 10"}
    found = numbers.query(
        "SELECT count() AS n FROM t",
        settings={"additional_table_filters": str(filters), "readonly": 1},
    )
    assert found.to_pydict() == {"n": [10]}
    # A client that stayed read-only or filtered would be the next one lent.
    numbers.insert("t", pa.table({"a": [-1]}))
    assert numbers.query("SELECT count() AS n FROM t").to_pydict() == {"n": [ROWS + 1]}


def test_a_read_only_question_changes_nothing_and_keeps_its_settings(numbers: Store) -> None:
    with pytest.raises(StoreError, match="READONLY"):
        numbers.query("INSERT INTO t VALUES (7)", settings={"readonly": 1})
    with pytest.raises(StoreError, match="readonly"):
        numbers.query("SELECT a FROM t SETTINGS max_threads = 3", settings={"readonly": 1})
    with pytest.raises(StoreError, match="not the name of a setting"):
        numbers.query("SELECT 1", settings={"readonly = 0, x": 1})
    with pytest.raises(StoreError, match="UNKNOWN_SETTING"):
        numbers.query("SELECT 1", settings={"no_such_setting": 1})


def test_a_stream_gives_every_row_in_batches(numbers: Store) -> None:
    # One row in 999: far less than a batch in each block that chDB hands out.
    sql = "SELECT a FROM t WHERE a % {every:Int64} = 0 ORDER BY a"
    few = pa.Table.from_batches(numbers.stream(sql, {"every": 999}))
    assert few.column("a").to_pylist() == list(range(0, ROWS, 999))
    batches = list(numbers.stream(sql, {"every": 1}, {"max_threads": 1}))
    assert sum(batch.num_rows for batch in batches) == ROWS
    assert 1 < len(batches) <= 5


def test_a_stream_without_rows_still_has_a_schema(numbers: Store) -> None:
    (batch,) = numbers.stream("WITH 3 AS x SELECT a, 'y' AS s FROM t WHERE a < -x -- none")
    assert (batch.num_rows, batch.schema.names) == (0, ["a", "s"])


def test_a_failing_stream_says_why(numbers: Store) -> None:
    with pytest.raises(StoreError, match="throwIf"):
        list(numbers.stream("SELECT throwIf(a = 299999) FROM t"))
    with pytest.raises(StoreError, match="nowhere"):
        list(numbers.stream("SELECT * FROM nowhere"))


@pytest.mark.parametrize(
    "failing",
    [
        # After its header is out, and before.
        "SELECT throwIf(a = 299999) FROM t",
        "SELECT match(toString(a), '(') FROM t",
        "SELECT * FROM nowhere",
    ],
)
def test_an_answer_is_whole_after_a_question_that_failed(
    numbers: Store, failing: str, in_process: bool
) -> None:
    for _ in range(3):
        with pytest.raises(StoreError):
            numbers.query(failing)
        assert numbers.query("SELECT 1 AS a").to_pydict() == {"a": [1]}
        numbers.insert("t", pa.table({"a": [-1]}))
    assert numbers.query("SELECT min(a) AS a FROM t").to_pydict() == {"a": [-1]}
    if in_process:
        # Failures don't add clients.
        assert len(numbers._clients._idle) == 1


def test_other_questions_go_on_beside_an_open_stream(numbers: Store) -> None:
    stream = numbers.stream("SELECT a FROM t")
    first = next(stream)
    assert numbers.query("SELECT count() AS n FROM t").to_pydict() == {"n": [ROWS]}
    assert first.num_rows + sum(batch.num_rows for batch in stream) == ROWS
    left_alone = numbers.stream("SELECT a FROM t")
    next(left_alone)
    del left_alone
    gc.collect()
    numbers.command("TRUNCATE TABLE t SYNC")


def test_a_formatted_answer_comes_in_pieces(numbers: Store, in_process: bool) -> None:
    received: list[bytes] = []
    answer = numbers.formatted("SELECT a FROM t ORDER BY a -- all", "CSVWithNames", {"readonly": 1})
    with pytest.raises(StopIteration) as end:
        take(answer, received)
    assert end.value.value == (ROWS if in_process else None)
    assert b"".join(received).decode() == '"a"\n' + "".join(f"{a}\n" for a in range(ROWS))
    assert len(received) > 10
    assert b"".join(numbers.formatted("SELECT a FROM t WHERE a < 0", "TSV")) == b""
    (shown,) = json.loads(b"".join(numbers.formatted("SELECT 'ü' AS a", "JSON")))["data"]
    assert shown == {"a": "ü"}


def test_a_formatted_answer_that_fails_says_why_behind_its_rows(numbers: Store) -> None:
    received: list[bytes] = []
    with pytest.raises(StoreError, match="throwIf"):
        take(
            numbers.formatted(
                "SELECT a, throwIf(a = 299999) FROM t ORDER BY a", "TSV",
                {"max_block_size": 1000, "max_threads": 1},
            ),
            received,
        )  # fmt: skip
    rows = b"".join(received).decode()
    assert rows.startswith("0\t0\n1\t0\n")
    assert "Exception" not in rows
    assert "__exception__" not in rows
    with pytest.raises(StoreError, match="nowhere"):
        list(numbers.formatted("SELECT * FROM nowhere", "TSV"))
    assert b"".join(numbers.formatted("SELECT 1", "TSV")) == b"1\n"


def test_a_formatted_answer_may_be_left_alone(numbers: Store) -> None:
    answer = numbers.formatted("SELECT a FROM t", "TSV")
    first = next(answer)
    assert numbers.query("SELECT count() AS n FROM t").to_pydict() == {"n": [ROWS]}
    assert len(first) + sum(map(len, answer)) == sum(len(str(a)) + 1 for a in range(ROWS))
    left_alone = numbers.formatted("SELECT a FROM t", "TSV")
    next(left_alone)
    del left_alone
    gc.collect()
    numbers.command("TRUNCATE TABLE t SYNC")


def take(pieces: Iterator[bytes], received: list[bytes]) -> None:
    """Raises what `pieces` raises at its end, StopIteration too."""
    while True:
        received.append(next(pieces))


def test_threads_come_and_go_without_leaving_clients(numbers: Store, in_process: bool) -> None:
    def ask(_: int) -> None:
        assert numbers.query("SELECT max(a) AS a FROM t").to_pydict() == {"a": [ROWS - 1]}

    for n in range(20):
        thread = threading.Thread(target=ask, args=(n,))
        thread.start()
        thread.join()
    if in_process:
        # One caller at a time, one client.
        assert len(numbers._clients._idle) == 1
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(ask, range(40)))
    if in_process:
        assert len(numbers._clients._idle) <= 4


def test_close_waits_for_calls_and_ends_streams(chdb_folder) -> None:
    store = Store.open(f"chdb://{chdb_folder}", database="closing")
    stream = store.stream("SELECT number FROM numbers(100000000)")
    next(stream)
    pieces = store.formatted("SELECT number FROM numbers(10000000)", "TSV")
    next(pieces)
    answers: list[int] = []

    def ask() -> None:
        answers.append(store.query("SELECT sleep(0.3)").num_rows)

    thread = threading.Thread(target=ask)
    thread.start()
    # It may be through before this thread looks.
    while store._clients._lent == 0 and not answers:
        time.sleep(0.001)
    # None of its connections is under a call any more; the call got its answer.
    store.close()
    assert store._clients._lent == 0
    thread.join()
    assert answers == [1]
    with pytest.raises(StoreError, match="was closed"):
        list(stream)
    with pytest.raises(StoreError, match="was closed"):
        list(pieces)
    for question in (lambda: store.query("SELECT 1"), lambda: list(store.stream("SELECT 1"))):
        with pytest.raises(StoreError, match="the store is closed"):
            question()
    store.close()


def test_a_second_folder_in_one_process_is_refused(chdb_folder, tmp_path) -> None:
    with (
        Store.open(f"chdb://{chdb_folder}"),
        pytest.raises(StoreError, match="has the store folder"),
    ):
        Store.open(f"chdb://{tmp_path / 'other'}")


def test_errors_tell_rows_from_weather(store: Store) -> None:
    store.command("CREATE TABLE u (a UInt8) ENGINE = MergeTree ORDER BY a")
    with pytest.raises(RowsRefused):
        store.insert("u", pa.table({"a": ["no number"]}))
    with pytest.raises(StoreUnavailable):
        store.query(
            "SELECT groupArray(number) FROM numbers(10000000)",
            settings={"max_memory_usage": 1_000_000},
        )
    with pytest.raises(StoreError) as wrong:
        store.query("SELECT 1 FROM nowhere")
    assert type(wrong.value) is StoreError
    assert wrong.value.code == 60
