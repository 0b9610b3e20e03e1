"""Ingest with limits: who sends too much is told how long to wait, and nothing is lost."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from support_batches import PROJECT, batch, group, heartbeat, text
from support_ingest import serving_ingest
from support_naiad import wait_until
from support_server import Server, serving
from support_shipping import PROJECT as SHIPPED_PROJECT
from support_shipping import Shipping, acknowledged, points, spool_for
from support_valkey import Valkey

from naiad.shipper import batches
from naiad_auth import TokenStore
from naiad_ingest import limiting
from naiad_ingest.limiting import points_of
from naiad_proto.v1.ingest_pb2 import WriteBatchRequest
from naiad_proto.v1.records_pb2 import Batch
from naiad_state import Limits, Throttle


def wait_told(error: grpc.aio.AioRpcError) -> float:
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            info = RetryInfo()
            for detail in Status.FromString(value).details:
                if detail.Unpack(info):
                    return float(info.retry_delay.ToTimedelta().total_seconds())
    raise AssertionError(f"no RetryInfo: {error}")


def still() -> float:
    """A clock: what is too much now is too much however slow the machine is."""
    return 100.0


async def test_too_much_is_refused_with_the_wait_and_leaves_a_sign_of_life(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limiting, "_SIGN_SECONDS", 3600.0)
    limits = Limits.parse("project=*:points_per_second=50,burst_seconds=1")
    throttle = Throttle(limits, monotonic=still)
    async with serving_ingest(tmp_path, throttle=throttle) as ingest:
        large = WriteBatchRequest(batch=batch(group(rows=100)))
        await ingest.stub.WriteBatch(large)
        for _ in range(3):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await ingest.stub.WriteBatch(large)
            assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert "may send 50 points per second" in (caught.value.details() or "")
            assert wait_told(caught.value) == pytest.approx(1.0)
        # Heartbeats pass, and other projects.
        await ingest.stub.WriteBatch(WriteBatchRequest(batch=heartbeat()))
        await ingest.stub.WriteBatch(WriteBatchRequest(batch=batch(group(), project="team/other")))
        first, sign, beat, _ = [Batch.FromString(e.batch) for e in await ingest.logged()]
        assert first.HasField("records")
        # Once for the three, and with nothing of what was refused.
        for alive in (sign, beat):
            assert not alive.HasField("records")
            assert not alive.groups
            assert (alive.project, alive.writer_id) == (PROJECT, first.writer_id)


async def test_each_token_has_a_limit(tmp_path: Path) -> None:
    tokens = TokenStore(tmp_path / "tokens.json")
    ann, bob = tokens.create(name="ann"), tokens.create(name="bob")
    limits = Limits.parse("token=*:batches_per_second=0.1,burst_seconds=1")
    throttle = Throttle(limits, monotonic=still)
    async with serving_ingest(tmp_path, tokens, throttle=throttle) as ingest:

        async def write(token: str) -> None:
            await ingest.stub.WriteBatch(
                WriteBatchRequest(batch=batch(group())),
                metadata=[("authorization", f"Bearer {token}")],
            )

        await write(ann)
        with pytest.raises(grpc.aio.AioRpcError, match=r"token .ann. may send 0\.1 batches"):
            await write(ann)
        await write(bob)


def test_points_of_a_batch() -> None:
    assert points_of(heartbeat()) == 0
    made = batch(group(paths=("a", "b"), rows=5), text("x", "y"))
    made.items.add(record=99).histogram_point.path = "h"
    made.items.add(record=100).set_attribute.path = "lr"
    assert points_of(made) == 13


@contextlib.contextmanager
def replicas(folder: Path, valkey: Valkey, limits: Limits) -> Iterator[tuple[Server, Server]]:
    with contextlib.ExitStack() as ending:
        one, other = (
            ending.enter_context(serving(folder / name, limits=limits, state_url=valkey.url))
            for name in ("one", "other")
        )
        yield one, other


@pytest.mark.parametrize("outage", [None, Valkey.stop, Valkey.pause])
def test_clients_of_two_replicas_are_held_to_one_limit_and_lose_nothing(
    tmp_path: Path,
    valkey: Valkey,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
    outage: Callable[[Valkey], None] | None,
) -> None:
    if outage is None:
        request.getfixturevalue("patience")
    rate, calls = 20_000, 600
    monkeypatch.setattr(batches, "TARGET_POINTS", 1000)
    limits = Limits.parse(f"project={SHIPPED_PROJECT}:points_per_second={rate},burst_seconds=0.25")
    with replicas(tmp_path, valkey, limits) as servers, contextlib.ExitStack() as ending:
        expected: dict[tuple[str, str, int], float] = {}
        writers = []
        for number, server in enumerate(servers):
            run, host = f"run-{number}", tmp_path / f"spool-{number}"
            writer = spool_for(host, server.url, run=run)
            ending.callback(writer.close)
            writers.append(writer)
            for step in range(calls):
                # Neighbours of one shape would go as a whole, however many.
                data = {f"m{index}/{step % 2}": float(step * index) for index in range(50)}
                writer.metrics(data, step * 1_000_000, 1_700_000_000_000 + step)
                expected |= {(run, path, step * 1_000_000): data[path] for path in data}
        assert len(expected) == 2 * calls * 50
        began = time.monotonic()
        for number in range(2):
            ending.callback(Shipping(tmp_path / f"spool-{number}").end)
        if outage:
            outage(valkey)
        wait_until(lambda: all(map(acknowledged, writers)), 60, "all is acknowledged")
        seconds = time.monotonic() - began
        if outage is Valkey.pause:
            valkey.resume()
        assert points(servers[0]) | points(servers[1]) == expected
        # Beside a full bucket, what is under way at once may be over: a few batches each.
        over = rate * 0.25 + 2 * 4 * 1000
        replicas_alone = 1 if outage is None else 2
        least = (len(expected) / replicas_alone - over) / rate
        assert seconds >= least, f"{len(expected) / seconds:,.0f} points/s"
