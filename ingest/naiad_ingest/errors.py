"""How a call is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Never

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from grpc_status import rpc_status

if TYPE_CHECKING:
    # Generic for the type checker only.
    Context = grpc.aio.ServicerContext[Any, Any]


class Refused(Exception):
    """The call ends with this status; the message is for the user.

    `retry_after` (seconds) is set when the same call may succeed then.
    """

    def __init__(
        self, code: grpc.StatusCode, message: str, *, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.retry_after = retry_after

    async def end(self, context: Context) -> Never:
        """Ends the call with this status; a delay goes along as google.rpc.RetryInfo."""
        if self.retry_after is None:
            await context.abort(self.code, self.message)
        info = RetryInfo()
        info.retry_delay.FromNanoseconds(int(self.retry_after * 1e9))
        packed = AnyMessage()
        packed.Pack(info)
        number: int = self.code.value[0]
        status = rpc_status.to_status(Status(code=number, message=self.message, details=[packed]))
        await context.abort(self.code, self.message, status.trailing_metadata)


def invalid(message: str) -> Refused:
    """What was sent can't be taken, now or later."""
    return Refused(grpc.StatusCode.INVALID_ARGUMENT, message)
