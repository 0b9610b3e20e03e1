"""The service as a gRPC service: known by its name, its types and its four methods."""

from __future__ import annotations

from pathlib import Path

import grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2, reflection_pb2_grpc
from support_ingest import serving_ingest
from support_naiad import LONGER

from naiad_auth import AuthInterceptor
from naiad_eventlog import open_event_log
from naiad_eventlog.topics import ALL_TOPICS
from naiad_files import open_file_store
from naiad_ingest import IngestService
from naiad_ingest.service import SERVICE
from naiad_proto.v1 import ingest_pb2


async def test_reflection_lists_the_service_and_gives_its_file(tmp_path: Path) -> None:
    async with await open_event_log(f"sqlite:///{tmp_path}/log.db") as log:
        await log.create_topics(ALL_TOPICS)
        server = grpc.aio.server(interceptors=[AuthInterceptor(None)])
        IngestService(log, open_file_store(f"file://{tmp_path}/files")).add_to(server)
        reflection.enable_server_reflection((SERVICE, reflection.SERVICE_NAME), server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        request = reflection_pb2.ServerReflectionRequest(file_containing_symbol=SERVICE)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub = reflection_pb2_grpc.ServerReflectionStub(channel)
            answer = await stub.ServerReflectionInfo(iter([request])).read()
        await server.stop(None)
    files = answer.file_descriptor_response.file_descriptor_proto
    assert ingest_pb2.DESCRIPTOR.serialized_pb in list(files)


async def test_every_method_of_the_contract_is_served(tmp_path: Path) -> None:
    async with serving_ingest(tmp_path) as ingest:
        methods = ingest_pb2.DESCRIPTOR.services_by_name["IngestService"].methods
        for method in methods:
            kind = "stream_unary" if method.client_streaming else "unary_unary"
            call = getattr(ingest.channel, kind)(f"/{SERVICE}/{method.name}")
            answer = call(iter([b""]) if method.client_streaming else b"", timeout=20 * LONGER)
            # Nothing is asked, so that is what each complains about.
            assert await answer.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert await answer.details()
        unknown = ingest.channel.unary_unary(f"/{SERVICE}/Nothing")(b"", timeout=20 * LONGER)
        assert await unknown.code() is grpc.StatusCode.UNIMPLEMENTED
