"""Messages that are small on the wire and huge when they are unpacked."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import grpc
import pytest
from support_batches import batch, group
from support_child import child
from support_ingest import SERVICE
from support_naiad import LONGER

from naiad_proto.limits import MAX_MESSAGE_BYTES
from naiad_proto.v1.ingest_pb2 import WriteBatchRequest, WriteBatchResponse

# Of zeros, gzip makes a thousandth of it.
BOMB = bytes(12 * MAX_MESSAGE_BYTES)
# A process of its own, whose memory is nobody else's; says its port, and at the end its peak and
# how many batches it has logged.
SERVER = """
import asyncio, logging, resource, sys
from pathlib import Path
from support_ingest import serving_ingest

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

async def serve():
    logging.basicConfig(stream=sys.stdout)
    async with serving_ingest(Path(sys.argv[1])) as ingest:
        print(ingest.port, peak(), flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        print(peak(), len(await ingest.logged()), flush=True)

asyncio.run(serve())
"""


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_a_message_that_inflates_beyond_the_limit_is_refused_and_costs_nothing(
    tmp_path: Path, compression: grpc.Compression
) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    with subprocess.Popen(
        child(sys.executable, "-c", SERVER, str(tmp_path)),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
    ) as server:  # fmt: skip
        assert server.stdout
        port, before = server.stdout.readline().split()
        with grpc.insecure_channel(
            f"127.0.0.1:{port}", options=[("grpc.max_send_message_length", -1)]
        ) as channel:
            write = channel.unary_unary(f"{SERVICE}/WriteBatch")
            for _ in range(3):
                with pytest.raises(grpc.RpcError) as caught:
                    write(BOMB, compression=compression, timeout=60 * LONGER)
                assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            # The next one is served, packed too.
            good = WriteBatchRequest(batch=batch(group(rows=1000))).SerializeToString()
            answer = write(good, compression=compression, timeout=60 * LONGER)
            assert not WriteBatchResponse.FromString(answer).rejections
        after, logged = server.communicate("\n", timeout=30 * LONGER)[0].split()
    assert int(logged) == 1
    assert int(after) - int(before) < 4 * MAX_MESSAGE_BYTES
