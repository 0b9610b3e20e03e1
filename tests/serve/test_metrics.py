"""What Prometheus scrapes is what was sent, stored and asked."""

from __future__ import annotations

import json
from pathlib import Path

import grpc
import pytest
from support_batches import batch, group, heartbeat, text
from support_kafka import LONG_SESSION_SECONDS, fresh, kafka_url
from support_naiad import LONGER, wait_until
from support_ports import free_port
from support_serve import Stage, Stages

from naiad.connection import open_channel
from naiad.query import QueryClient
from naiad_auth import TokenStore
from naiad_eventlog import open_event_log
from naiad_eventlog.topics import ALL_TOPICS, RECORDS
from naiad_proto.v1.ingest_pb2 import WriteBatchRequest
from naiad_proto.v1.ingest_pb2_grpc import IngestServiceStub
from naiad_proto.v1.records_pb2 import Batch
from naiad_serve.describing import metrics

__all__ = ["kafka_url"]
# Processes start slowly where many tests run at once.
pytestmark = [pytest.mark.crowd, pytest.mark.slow, pytest.mark.timeout(600)]


def send(url: str, *batches: Batch, token: str | None = None) -> list[grpc.StatusCode]:
    """The status of each."""
    found = []
    with open_channel(url, token) as channel:
        for one in batches:
            try:
                IngestServiceStub(channel).WriteBatch(
                    WriteBatchRequest(batch=one), timeout=30 * LONGER
                )
                found.append(grpc.StatusCode.OK)
            except grpc.RpcError as error:
                found.append(error.code())
    return found


@pytest.mark.long
async def test_every_count_is_what_happened(tmp_path: Path, kafka_url: str) -> None:
    # A writer that stood still for longer than its session would read everything twice.
    url = fresh(kafka_url, session_seconds=LONG_SESSION_SECONDS)
    tokens = TokenStore(tmp_path / "tokens.json")
    token, reader = tokens.create(), tokens.create(read_only=True)
    with Stages(
        tmp_path, event_log=url, store=f"chdb://{tmp_path / 'store'}",
        tokens=str(tmp_path / "tokens.json"), NAIAD_LOG_FORMAT="json",
    ) as stages:  # fmt: skip
        ingest = stages.start("ingest")
        good = [batch(group(("a", "b"), rows=100), text("x", "y", "z")), heartbeat()]
        # Of 2 x 50 points one path is bad.
        partial = batch(group(("loss", ""), rows=50))
        for one in [*good, partial]:
            assert send(ingest.url, one, token=token) == [grpc.StatusCode.OK]
        assert send(ingest.url, good[0]) == [grpc.StatusCode.UNAUTHENTICATED]
        assert send(ingest.url, good[0], token=reader) == [grpc.StatusCode.PERMISSION_DENIED]
        wrong = batch(group(), project="nowhere")
        assert send(ingest.url, wrong, wrong, token=token) == [grpc.StatusCode.INVALID_ARGUMENT] * 2

        # A caller knows that it is refused before that is counted.
        batches = "naiad_ingest_batches_total"
        wait_until(lambda: ingest.metric(batches, outcome="refused") == 4, 10, "all are counted")
        assert ingest.metric(batches, outcome="accepted") == 2
        assert ingest.metric(batches, outcome="partial") == 1
        refused = "naiad_ingest_refused_batches_total"
        assert ingest.metric(refused, code="UNAUTHENTICATED") == 1
        assert ingest.metric(refused, code="PERMISSION_DENIED") == 1
        assert ingest.metric(refused, code="INVALID_ARGUMENT") == 2
        assert ingest.metric(refused) == 4
        assert ingest.metric("naiad_ingest_points_total") == 2 * 100 + 3 + 50
        sent = sum(len(one.SerializeToString()) for one in [*good, partial])
        assert ingest.metric("naiad_ingest_bytes_total") == sent
        rejected = "naiad_ingest_rejected_items_total"
        assert ingest.metric(rejected, reason="invalid_path") == ingest.metric(rejected) == 1
        assert ingest.metric("naiad_ingest_append_seconds_count") == 3
        assert ingest.metric("naiad_ingest_append_seconds_sum") > 0
        assert ingest.metric("naiad_ingest_in_flight_bytes") == 0

        # Nobody has stored them yet, which ingest tells, so that a missing writer is seen.
        lag = "naiad_consumer_lag_records"
        wait_until(lambda: ingest.metric(lag, group="naiad.writer") == 3, 30, "the lag is told")
        # One that nobody can read.
        async with await open_event_log(url) as log:
            await log.create_topics(ALL_TOPICS)
            partition = (await log.append(RECORDS.name, b"team/digits/run-1", b"\xff")).partition

        writer = stages.start("writer")
        points = 2 * 100 + 3 + 50
        wait_until(lambda: writer.metric("naiad_writer_points_total") == points, 60, "stored")
        read = "naiad_consumer_records_total"
        wait_until(lambda: writer.metric(read, group="naiad.writer") == 4, 30, "all is read")
        assert writer.metric("naiad_writer_insert_rows_sum", table="points") == 250
        assert writer.metric("naiad_writer_insert_rows_sum", table="string_points") == 3
        inserts = writer.metric("naiad_writer_insert_rows_count", table="points")
        assert writer.metric("naiad_writer_insert_seconds_count", table="points") == inserts >= 1
        dead = "naiad_dead_letters_total"
        wait_until(lambda: writer.metric(dead, group="naiad.writer") == 1, 30, "it is put aside")
        assert writer.metric("naiad_consumer_restarts_total", consumer="writer") == 0
        waiting = "naiad_dead_letters_waiting"
        wait_until(lambda: ingest.metric(lag) == writer.metric(lag) == 0, 30, "no lag")
        wait_until(lambda: ingest.metric(waiting) == writer.metric(waiting) == 1, 30, "a letter")
        wait_until(
            lambda: [name for name, _ in writer.metrics()].count(lag) == RECORDS.partitions,
            30, "a lag of each partition",
        )  # fmt: skip
        assert writer.stop() == 0
        # The log names whose it is and where it stands.
        (told,) = [line for line in map(json.loads, writer.said.splitlines()) if "offset" in line]
        assert (told["project"], told["run"]) == ("team/digits", "run-1")
        assert (told["topic"], told["partition"]) == (RECORDS.name, partition)
        assert told["level"] == "ERROR"

        # Readers need no log but for an audit, which says so.
        query = stages.start("query", NAIAD_EVENT_LOG=f"kafka://127.0.0.1:{free_port()}")
        check_query(query, token)


def check_query(query: Stage, token: str) -> None:
    with QueryClient(query.url, token) as client:
        for _ in range(3):
            assert client.sql("SELECT count() FROM points").column(0).to_pylist() == [250]
        with pytest.raises(Exception, match="never"):
            client.sql("SELECT never FROM points")
        with pytest.raises(Exception, match="the event log can't be read"):
            client.audit("team/digits", "run-1")
    with QueryClient(query.url) as client, pytest.raises(Exception, match="token"):
        client.list_projects()
    requests, seconds = "naiad_query_requests_total", "naiad_query_seconds_count"
    wait_until(lambda: query.metric(requests) == query.metric(seconds) == 6, 10, "all is counted")
    assert query.metric(requests, method="ExecuteSql", code="OK") == 3
    assert query.metric(requests, method="ExecuteSql", code="INVALID_ARGUMENT") == 1
    assert query.metric(requests, method="ListProjects", code="UNAUTHENTICATED") == 1
    assert query.metric(seconds, method="ExecuteSql") == 4
    assert query.metric(requests, method="Audit", code="UNAVAILABLE") == 1


def test_the_contract_of_names() -> None:
    """Dashboards and alert rules stand on these."""
    found = {f"{m.name}_total" if m.type == "counter" else m.name for m in metrics()}
    assert found == {
        "naiad_ingest_batches_total", "naiad_ingest_points_total", "naiad_ingest_bytes_total",
        "naiad_ingest_rejected_items_total", "naiad_ingest_refused_batches_total",
        "naiad_ingest_append_seconds", "naiad_ingest_in_flight_bytes",
        "naiad_consumer_lag_records", "naiad_consumer_records_total",
        "naiad_consumer_restarts_total", "naiad_writer_insert_seconds",
        "naiad_writer_insert_rows", "naiad_writer_points_total", "naiad_dead_letters_total",
        "naiad_dead_letters_waiting", "naiad_roller_seconds", "naiad_roller_points_total",
        "naiad_janitor_success_timestamp_seconds", "naiad_janitor_failures_total",
        "naiad_janitor_seconds", "naiad_janitor_runs_total", "naiad_janitor_removed_total",
        "naiad_janitor_freed_bytes_total",
        "naiad_query_requests_total", "naiad_query_seconds",
        "naiad_state_errors_total", "naiad_alerts_raised_total", "naiad_log_bytes",
    }  # fmt: skip
