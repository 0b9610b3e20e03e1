"""The one gate of a gRPC server: every call passes here and leaves with a principal."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Never, TypeVar

import grpc

from naiad_auth.header import AuthenticationError, authenticate_header
from naiad_auth.principal import ANONYMOUS, become
from naiad_auth.tokens import TokenFileError, TokenStore

log = logging.getLogger(__name__)

# Orchestrators probe these and have no token; they tell nothing but "alive".
_OPEN = frozenset({"/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"})

_Request = TypeVar("_Request")
_Response = TypeVar("_Response")

if TYPE_CHECKING:
    # Generic for the type checker only.
    _Context = grpc.aio.ServicerContext[Any, Any]
    _AnyHandler = grpc.RpcMethodHandler[Any, Any]


class AuthInterceptor(grpc.aio.ServerInterceptor):
    """Authenticates each call against `tokens`; None means that nobody has to log in.

    A refused call ends with UNAUTHENTICATED and a message that says how to send a token,
    or, when the tokens themselves can't be read, with UNAVAILABLE.
    """

    def __init__(self, tokens: TokenStore | None) -> None:
        self._tokens = tokens

    async def intercept_service(
        self,
        continuation: Callable[
            [grpc.HandlerCallDetails],
            Awaitable[grpc.RpcMethodHandler[_Request, _Response] | None],
        ],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[_Request, _Response] | None:
        # grpc.aio runs this and then the handler in one task of the call's own, so what is
        # set here is seen by the handler, whichever its kind, and by no other call.
        if handler_call_details.method in _OPEN:
            become(ANONYMOUS)
            return await continuation(handler_call_details)
        try:
            become(authenticate_header(self._tokens, _header(handler_call_details)))
        except AuthenticationError as error:
            return _refusal(
                await continuation(handler_call_details),
                grpc.StatusCode.UNAUTHENTICATED,
                str(error),
            )
        except TokenFileError as error:
            # Names a file of the server: for its log, not for a stranger.
            log.error("Nobody can be authenticated: %s", error)
            return _refusal(
                await continuation(handler_call_details),
                grpc.StatusCode.UNAVAILABLE,
                "the server can't read its tokens now; its log says why",
            )
        return await continuation(handler_call_details)


def _header(details: grpc.HandlerCallDetails) -> str | None:
    for key, value in details.invocation_metadata or ():
        if key == "authorization":
            return value if isinstance(value, str) else value.decode("utf-8", "replace")
    return None


def _refusal(
    handler: _AnyHandler | None, code: grpc.StatusCode, message: str
) -> _AnyHandler | None:
    """A handler of the same kind as the one asked for that ends the call."""
    if handler is None:
        # No such method: gRPC says UNIMPLEMENTED.
        return None

    async def refuse(_request: object, context: _Context) -> Never:
        await context.abort(code, message)

    # A coroutine serves for streams too: it may write through the context instead of yield.
    # Without deserialisers: nothing of a stranger's request is parsed.
    if handler.request_streaming and handler.response_streaming:
        return grpc.stream_stream_rpc_method_handler(refuse)
    if handler.request_streaming:
        return grpc.stream_unary_rpc_method_handler(refuse)
    if handler.response_streaming:
        return grpc.unary_stream_rpc_method_handler(refuse)
    return grpc.unary_unary_rpc_method_handler(refuse)
