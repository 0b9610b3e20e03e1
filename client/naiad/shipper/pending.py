"""A batch on its way to the server."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from naiad.spool.reader import ItemRow
from naiad.tally import Tally
from naiad_proto.v1 import records_pb2 as pb


@dataclass
class Pending:
    """A batch that is not acknowledged yet."""

    first: int
    last: int
    request: bytes
    tally: Tally = field(default_factory=Tally)
    call: Any = None
    called_at: float = 0.0
    done: bool = False
    # It ended because of its size, not for want of more.
    full: bool = False
    # Its content has to be there first; the request is made then.
    upload: Future[pb.FileReference] | None = None
    row: ItemRow | None = None
    # The server stumbled over it so often, since then; and what it had taken by then.
    failures: int = 0
    failing_since: float = 0.0
    taken_then: int = 0
    try_again_at: float = 0.0

    @property
    def at_rest(self) -> bool:
        return self.call is None and self.upload is None and not self.done

    def settle(self) -> None:
        """It is answered for, whatever the answer was; the bytes are not needed any more."""
        self.done, self.request = True, b""
