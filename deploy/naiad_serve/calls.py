"""Tells of each call of a gRPC server how it ended and how long it took."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import grpc

_Request = TypeVar("_Request")
_Response = TypeVar("_Response")

if TYPE_CHECKING:
    _Handler = grpc.RpcMethodHandler[Any, Any]
    _Context = grpc.aio.ServicerContext[Any, Any]

# Method, name of the gRPC status, seconds.
Observer = Callable[[str, str, float], None]
# What gRPC makes of an error that nobody caught.
_UNCAUGHT = "UNKNOWN"
_CODES = {code.value[0]: code.name for code in grpc.StatusCode}


class CallObserver(grpc.aio.ServerInterceptor):
    """Calls the observer of a service (by its full name) at the end of each of its calls."""

    def __init__(self, observers: Mapping[str, Observer]) -> None:
        self._observers = observers

    async def intercept_service(
        self,
        continuation: Callable[
            [grpc.HandlerCallDetails],
            Awaitable[grpc.RpcMethodHandler[_Request, _Response] | None],
        ],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[_Request, _Response] | None:
        handler = await continuation(handler_call_details)
        _, service, method = handler_call_details.method.split("/", 2)
        observer = self._observers.get(service)
        if handler is None or observer is None:
            return handler
        return _observed(handler, method, observer)


def _observed(handler: _Handler, method: str, observer: Observer) -> _Handler:
    inner: Any = (
        handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
    )

    # The two are alike but for what can't be shared: a generator around each call would cost
    # more than all that is counted.
    async def answer(request: Any, context: _Context) -> Any:
        began = time.perf_counter()
        code = _UNCAUGHT
        try:
            answered = await inner(request, context)
            code = _code(context) or "OK"
            return answered
        except BaseException as error:
            code = _code_of(error, context)
            raise
        finally:
            observer(method, code, time.perf_counter() - began)

    async def stream(request: Any, context: _Context) -> AsyncIterator[Any]:
        began = time.perf_counter()
        code = _UNCAUGHT
        try:
            answers = inner(request, context)
            if hasattr(answers, "__aiter__"):
                async for one in answers:
                    yield one
            else:
                # A coroutine, which writes through the context.
                await answers
            code = _code(context) or "OK"
        except BaseException as error:
            code = _code_of(error, context)
            raise
        finally:
            observer(method, code, time.perf_counter() - began)

    make: Any
    if handler.response_streaming:
        make = (
            grpc.stream_stream_rpc_method_handler
            if handler.request_streaming
            else grpc.unary_stream_rpc_method_handler
        )
    else:
        make = (
            grpc.stream_unary_rpc_method_handler
            if handler.request_streaming
            else grpc.unary_unary_rpc_method_handler
        )
    made: _Handler = make(
        stream if handler.response_streaming else answer,
        handler.request_deserializer,
        handler.response_serializer,
    )
    return made


def _code_of(error: BaseException, context: _Context) -> str:
    if isinstance(error, asyncio.CancelledError | GeneratorExit):
        return "CANCELLED"
    # An abort has set one.
    return _code(context) or _UNCAUGHT


def _code(context: _Context) -> str | None:
    """None where nothing has set one."""
    code: Any = context.code()
    number = code.value[0] if isinstance(code, grpc.StatusCode) else code
    return _CODES.get(number) if number else None
