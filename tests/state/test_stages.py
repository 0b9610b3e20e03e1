"""Ingest and query as processes of their own that share a Valkey, as they do in a cluster."""

from __future__ import annotations

from pathlib import Path

import grpc
import pyarrow as pa
import pytest
import redis
from support_batches import PROJECT, batch, group
from support_clickhouse import clickhouse, migrated
from support_kafka import fresh, kafka_url
from support_naiad import LONGER, wait_until
from support_query import Spool, reading
from support_serve import Stage, Stages
from support_valkey import Valkey

from naiad.connection import open_channel
from naiad.query import QueryClient
from naiad_proto.v1.ingest_pb2 import WriteBatchRequest
from naiad_proto.v1.ingest_pb2_grpc import IngestServiceStub
from naiad_query import keeping

__all__ = ["kafka_url"]
pytestmark = [pytest.mark.crowd, pytest.mark.slow]


def send(ingest: Stage) -> None:
    with open_channel(ingest.url) as channel:
        request = WriteBatchRequest(batch=batch(group(rows=1000)))
        IngestServiceStub(channel).WriteBatch(request, timeout=30 * LONGER)


def let_through(ingest: Stage) -> int:
    """How many batches until one is refused; each takes what comes in a thousand seconds."""
    for number in range(10):
        try:
            send(ingest)
        except grpc.RpcError as error:
            if "may send 1 points per second" not in str(error):
                raise
            return number
    raise AssertionError("nothing is refused")


@pytest.mark.long
def test_two_ingests_hold_a_project_to_one_limit(
    tmp_path: Path, kafka_url: str, valkey: Valkey
) -> None:
    with Stages(
        tmp_path / "stages",
        event_log=fresh(kafka_url),
        state=valkey.url,
        NAIAD_LIMITS="project=*:points_per_second=1,burst_seconds=1",
    ) as stages:
        one, other = stages.start("ingest"), stages.start("ingest")
        passed = [let_through(ingest) for ingest in (one, other)]
        errors = [ingest.metric("naiad_state_errors_total") for ingest in (one, other)]
        # On a busy machine Redis may be too slow for one, which goes by its own bucket then.
        assert 1 <= sum(passed) <= 1 + sum(number > 0 for number in errors)
        valkey.stop()
        alone = [let_through(ingest) for ingest in (one, other)]
        # Now each goes by that. The other one's is full, if Redis has always refused.
        assert max(alone) <= 1
        if not any(errors):
            assert (passed, alone) == ([1, 0], [0, 1])
        for ingest in (one, other):
            assert let_through(ingest) == 0
            assert ingest.metric("naiad_state_errors_total") >= 1
            assert ingest.get("/readyz")[0] == 200
            ingest.until_said("can't be used")
            assert ingest.stop() == 0


@pytest.mark.long
def test_what_one_query_kept_another_gives_out(tmp_path: Path, valkey: Valkey) -> None:
    with (
        clickhouse(tmp_path / "store") as server,
        migrated(server.url, "kept") as store,
        reading(store, tmp_path / "r") as writing,
    ):
        # Enough to take longer than what isn't worth a place.
        data = {f"m{number}": [float(step) for step in range(5_000)] for number in range(20)}
        writing.write(Spool(PROJECT, "r").create().metrics(data))
        with Stages(tmp_path / "stages", store=f"{server.url}/kept", state=valkey.url) as stages:
            urls = [stages.start("query").url for _ in range(2)]
            with QueryClient(urls[0]) as one, QueryClient(urls[1]) as other:
                table = one.runs_table(PROJECT)
                assert other.runs_table(PROJECT).equals(table)

                def is_kept() -> bool:
                    # Not each time, where Redis is too slow for it.
                    assert one.runs_table(PROJECT).equals(table)
                    return len(valkey.keys("naiad:answer:*")) == 1

                wait_until(is_kept, 30, "it is kept")
                (key,) = valkey.keys("naiad:answer:*")
                # Marked, to be known again.
                with redis.Redis(unix_socket_path=str(valkey.socket)) as client:
                    kept = keeping._unpacked(client.get(key))
                    marked = kept.set_column(0, "run_id", pa.array(["marked"]))
                    client.set(key, keeping._packed(marked), keepttl=True)
                wait_until(lambda: other.runs_table(PROJECT).equals(marked), 20, "it is given out")
            assert all(stage.stop() == 0 for stage in stages.all)
