"""A server that takes everything and keeps nothing: as good as one on another machine.

    python benchmarks/client/sink.py

prints its port and serves until it is ended.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

from naiad_ingest import SERVER_OPTIONS


class _Taker(grpc.GenericRpcHandler):
    def service(self, handler_call_details: Any) -> Any:
        # An empty message is a valid answer to all that a shipper asks.
        return grpc.unary_unary_rpc_method_handler(lambda request, context: b"")


@contextlib.contextmanager
def sink() -> Iterator[str]:
    """Its URL, while it runs in a process of its own."""
    with subprocess.Popen([sys.executable, __file__], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            yield f"grpc://127.0.0.1:{process.stdout.readline().strip()}"
        finally:
            process.terminate()


def main() -> None:
    server = grpc.server(
        ThreadPoolExecutor(4),
        handlers=[_Taker()],
        options=[*SERVER_OPTIONS, ("grpc.so_reuseport", 0)],
    )
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    server.start()
    server.wait_for_termination()


if __name__ == "__main__":
    main()
