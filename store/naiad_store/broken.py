"""Parts that the engine could not read when it started, and set aside."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, NamedTuple

from naiad_store.errors import StoreError

if TYPE_CHECKING:
    from naiad_store.store import Store

log = logging.getLogger(__name__)

_SHOWN = 5


class BrokenPart(NamedTuple):
    table: str
    name: str
    # Where it lies now.
    path: str


def broken_parts(store: Store) -> list[BrokenPart]:
    """Of all starts of the server that is asked, until somebody removes them. Raises StoreError."""
    found = store.query(
        "SELECT table, name, path FROM system.detached_parts WHERE database = currentDatabase()"
        " AND reason = 'broken-on-start' ORDER BY table, name"
    )
    return [BrokenPart(**row) for row in found.to_pylist()]


def tell_broken_parts(store: Store) -> None:
    """The engine says so in a log of its own, which nobody reads, and goes on without the rows."""
    try:
        found = broken_parts(store)
    except StoreError as error:
        # No reason not to start: a user of a server may be kept from its system tables.
        log.debug("it isn't known whether parts of %s are broken: %s", store.named, error)
        return
    if found:
        more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        log.error(
            "the store could not read %d of its parts when it started, now or earlier, and set them"
            " aside, as after a power cut or on a failing disk: %s%s. Their rows may be missing:"
            " `naiad audit` says whether they are, and `naiad store rebuild --from-log` brings back"
            " what the log still has. Remove these folders to hear no more of them",
            len(found), ", ".join(f"{one.table} ({one.path})" for one in found[:_SHOWN]), more,
        )  # fmt: skip
