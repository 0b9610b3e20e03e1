"""Live tails: what is stored arrives within a second or so, late and overwritten points too."""

from __future__ import annotations

import contextlib
import itertools
import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from support_naiad import wait_until
from support_query import PATIENCE, Reading, Spool

from naiad.exceptions import NaiadAuthError, NaiadConnectionError, NaiadQueryError
from naiad.query.client import Attributes, QueryClient, Runs
from naiad_auth import TokenStore
from naiad_query import tails
from naiad_store.selects.tail import merged, without

_NUMBERS = itertools.count()
Point = tuple[str, str, float, float]


class Listener:
    """A live tail on a thread of its own, and the points that came. It has begun once it is made:
    none is missed from then on."""

    def __init__(self, client: QueryClient, *asked: Any, **more: Any) -> None:
        self._batches: queue.Queue[Any] = queue.Queue()
        self._stream = client.stream_metrics(*asked, **more)
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()
        # The empty one.
        self._next()

    def _listen(self) -> None:
        try:
            for batch in self._stream:
                self._batches.put(batch)
        except Exception as error:
            self._batches.put(error)

    def wait(self, count: int) -> list[Point]:
        """The next `count` points, (run, path, step, value). One that is stored while its run is
        found may come twice."""
        found: dict[Point, None] = {}
        while len(found) < count:
            for row in self._next().to_pylist():
                found[row["run"], row["path"], row["step"] / 1e6, row["value"]] = None
        assert len(found) == count
        return list(found)

    def _next(self) -> Any:
        batch = self._batches.get(timeout=PATIENCE)
        if isinstance(batch, Exception):
            raise batch
        return batch

    def error(self) -> Exception:
        while not isinstance(found := self._batches.get(timeout=PATIENCE), Exception):
            pass
        return found

    def close(self) -> None:
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()


@pytest.fixture
def project() -> str:
    return f"team/tail-{next(_NUMBERS)}"


@pytest.fixture
def listen(server: Reading, token: str) -> Iterator[Callable[..., Listener]]:
    """Each with a client of its own, whose end is that of its tail."""
    opened = []
    with contextlib.ExitStack() as ending:

        def listen(*asked: Any, **more: Any) -> Listener:
            client = ending.enter_context(server.client(token))
            opened.append(Listener(client, *asked, **more))
            return opened[-1]

        yield listen
    for one in opened:
        one.close()


def test_new_late_and_overwritten_points(
    server: Reading, project: str, listen: Callable[..., Listener]
) -> None:
    first = Spool(project, "a").create().metrics({"loss": [3.0, 2.0], "acc": [0.1, 0.2]})
    server.write(first, Spool(project, "b").create())
    tail = listen(project, Runs("^a"), Attributes("loss"), tail_limit=1)
    assert tail.wait(1) == [("a", "loss", 1.0, 2.0)]
    # Others' points and metrics are none of its own.
    server.write(
        first.metrics({"loss": [1.0], "acc": [0.3]}, steps=[2]),
        Spool(project, "b").metrics({"loss": [9.0]}),
    )
    assert tail.wait(1) == [("a", "loss", 2.0, 1.0)]
    first.metrics({"loss": [7.0]}, steps=[0]).metrics({"loss": [6.0]}, steps=[1.5])
    server.write(first)
    assert sorted(tail.wait(2)) == [("a", "loss", 0.0, 7.0), ("a", "loss", 1.5, 6.0)]
    # A second writer, another metric that fits, and a run that was not there.
    server.write(
        Spool(project, "a").metrics({"val/loss": [4.0]}),
        Spool(project, "ab").create().metrics({"loss": [5.0]}),
    )
    assert sorted(tail.wait(2)) == [("a", "val/loss", 0.0, 4.0), ("ab", "loss", 0.0, 5.0)]


def test_what_an_older_writer_sends_late_does_not_count(
    server: Reading, project: str, listen: Callable[..., Listener]
) -> None:
    older, newer = Spool(project, "a").create(), Spool(project, "a")
    server.write(older, newer.metrics({"loss": [2.0]}, steps=[1]))
    tail = listen(project, tail_limit=5)
    assert tail.wait(1) == [("a", "loss", 1.0, 2.0)]
    server.write(older.metrics({"loss": [1.0, 1.0, 1.0]}))
    assert tail.wait(2) == [("a", "loss", 0.0, 1.0), ("a", "loss", 2.0, 1.0)]


def test_a_fork_gets_its_parents_points_up_to_where_it_forked(
    server: Reading, project: str, listen: Callable[..., Listener]
) -> None:
    parent = Spool(project, "parent").create().metrics({"loss": [1.0]})
    child = Spool(project, "child").create(fork=("parent", 2)).metrics({"loss": [30.0]}, steps=[3])
    server.write(parent, child)
    tail = listen(project, Runs(names=["child"]), tail_limit=9)
    assert tail.wait(2) == [("child", "loss", 0.0, 1.0), ("child", "loss", 3.0, 30.0)]
    server.write(parent.metrics({"loss": [2.0, 3.0, 4.0]}, steps=[1, 2, 3]))
    assert tail.wait(2) == [("child", "loss", 1.0, 2.0), ("child", "loss", 2.0, 3.0)]


def test_previews_only_when_asked_for(
    server: Reading, project: str, listen: Callable[..., Listener]
) -> None:
    run = Spool(project, "a").create()
    server.write(run)
    all_of_it, committed = listen(project, include_previews=True), listen(project, tail_limit=1)
    run.metrics({"loss": [1.0]}, steps=[0], completions=[0.5])
    server.write(run)
    assert all_of_it.wait(1) == [("a", "loss", 0.0, 1.0)]
    server.write(run.metrics({"loss": [2.0]}, steps=[0]))
    assert all_of_it.wait(1) == committed.wait(1) == [("a", "loss", 0.0, 2.0)]


def test_signs_of_life_and_a_bounded_number(
    server: Reading, client: QueryClient, monkeypatch: pytest.MonkeyPatch, token: str,
    listen: Callable[..., Listener],
) -> None:  # fmt: skip
    monkeypatch.setattr(tails, "HEARTBEAT_SECONDS", 0.0)
    monkeypatch.setattr(tails, "POLL_SECONDS", 0.02)
    monkeypatch.setattr(tails, "MOST_TAILS", 2)
    with server.client(token) as mine:
        call = mine._stub.StreamMetrics(_request(), timeout=PATIENCE)
        assert [bool(next(call).arrow) for _ in range(4)] == [True, False, False, False]
        with server.client(token) as other:
            second = other._stub.StreamMetrics(_request())
            next(second)
            with pytest.raises(NaiadQueryError, match="2 live tails are open, which is all"):
                next(client.stream_metrics("team/vision"))
            second.cancel()

        def is_free() -> bool:
            third = mine._stub.StreamMetrics(_request(), timeout=PATIENCE)
            try:
                next(third)
            except grpc.RpcError:
                return False
            third.cancel()
            return True

        wait_until(is_free, 20, "the place of a caller that has gone is free")
        call.cancel()


def _request() -> Any:
    from naiad_proto.v1.query_pb2 import StreamMetricsRequest

    return StreamMetricsRequest(project="team/vision")


def test_what_is_refused(
    server: Reading, client: QueryClient, tokens: TokenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def first(client: QueryClient, *asked: Any) -> None:
        next(client.stream_metrics(*asked))

    with pytest.raises(NaiadQueryError, match="there is no project 'team/nothing'"):
        first(client, "team/nothing")
    with pytest.raises(NaiadQueryError, match="not a regular expression"):
        first(client, "team/vision", Runs("("))
    with (
        server.client(tokens.create(project="other/one")) as stranger,
        pytest.raises(NaiadAuthError, match="may not read project"),
    ):
        first(stranger, "team/vision")
    monkeypatch.setattr(tails, "MOST_RUNS", 1)
    with pytest.raises(NaiadQueryError, match="4 runs are chosen; at most 1 are followed"):
        first(client, "team/vision")


def test_it_ends_with_the_server(
    server: Reading, token: str, tmp_path: Any, tokens: TokenStore
) -> None:
    other = Reading(server.store, tmp_path, tokens)
    with contextlib.closing(other), other.client(token) as client:
        tail = Listener(client, "team/vision", tail_limit=1)
        assert tail.wait(5)
        other.stop(PATIENCE / 2)
        error = tail.error()
        assert isinstance(error, NaiadConnectionError)
        assert str(error).endswith("the server is stopping; ask again")
        tail.close()


@pytest.mark.parametrize(
    ("now", "seen", "left"),
    [
        ([(1, 9)], [], [(1, 9)]),
        ([(1, 9)], [(1, 9)], []),
        ([(1, 9)], [(1, 4)], [(5, 9)]),
        ([(1, 9)], [(3, 4), (6, 6)], [(1, 2), (5, 5), (7, 9)]),
        ([(1, 3), (5, 9)], [(2, 2), (6, 12)], [(1, 1), (3, 3), (5, 5)]),
    ],
)
def test_what_is_left_of_intervals(now: Any, seen: Any, left: Any) -> None:
    assert without(now, seen) == left
    assert merged([(5, 6), (1, 2), (3, 3), (6, 9)]) == [(1, 3), (5, 9)]
