"""What a batch takes from the limits of its project and its token, and what becomes of a writer
that has to wait."""

from __future__ import annotations

import time
from collections import OrderedDict

import grpc

from naiad_auth import current_principal
from naiad_ingest.counting import points_of
from naiad_ingest.errors import Refused
from naiad_proto.v1.records_pb2 import Batch
from naiad_state import Cost, Throttle

# Seconds between two signs of life that are noted of one writer that has to wait, and how many
# such writers are remembered.
_SIGN_SECONDS = 5.0
_MOST_WRITERS = 10_000


class Limiting:
    """Holds what is sent to the limits of `throttle`."""

    def __init__(self, throttle: Throttle) -> None:
        self._throttle = throttle
        # Writer id -> when a sign of life was noted last.
        self._noted: OrderedDict[str, float] = OrderedDict()

    async def refusal_of(self, batch: Batch, size: int) -> Refused | None:
        """With how long to wait, when more is sent than is allowed. `size`: bytes of the
        request. A heartbeat passes always."""
        if not batch.HasField("records"):
            return None
        cost = Cost(points=points_of(batch), bytes=size)
        excess = await self._throttle.take(batch.project, current_principal().name, cost)
        if excess is None:
            return None
        return Refused(grpc.StatusCode.RESOURCE_EXHAUSTED, excess.reason, retry_after=excess.wait)

    def sign_of_life(self, batch: Batch, refusal: Refused) -> tuple[memoryview, Batch]:
        """A heartbeat to log in place of the batch; raises `refusal` when one was logged just
        now."""
        now, writer_id = time.monotonic(), batch.writer_id
        if now - self._noted.get(writer_id, -_SIGN_SECONDS) < _SIGN_SECONDS:
            raise refusal
        self._noted[writer_id] = now
        self._noted.move_to_end(writer_id)
        if len(self._noted) > _MOST_WRITERS:
            self._noted.popitem(last=False)
        heartbeat = Batch(
            project=batch.project, run_id=batch.run_id, writer_id=writer_id, epoch=batch.epoch
        )
        return memoryview(heartbeat.SerializeToString()), heartbeat
