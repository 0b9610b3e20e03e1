"""What a process says of itself over HTTP: /metrics, /healthz, /readyz."""

from __future__ import annotations

from prometheus_client import REGISTRY
from prometheus_client.exposition import choose_encoder
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from naiad_serve.readiness import Readiness


def endpoint(readiness: Readiness) -> Starlette:
    def metrics(request: Request) -> Response:
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(REGISTRY), headers={"content-type": content_type})

    async def healthz(request: Request) -> Response:
        # That it answers is the answer: the event loop turns.
        return PlainTextResponse("ok\n")

    async def readyz(request: Request) -> Response:
        ready = readiness.ready
        return JSONResponse(
            {"ready": ready, "because": readiness.because}, status_code=200 if ready else 503
        )

    return Starlette(
        routes=[
            # Not a coroutine, so Starlette encodes in a thread and nobody waits for it.
            Route("/metrics", metrics),
            Route("/healthz", healthz),
            Route("/readyz", readyz),
        ]
    )
