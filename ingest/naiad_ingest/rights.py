"""What a principal may do with a project, said so that they know whom to ask."""

from __future__ import annotations

import grpc

from naiad_auth import Principal
from naiad_ingest.errors import Refused
from naiad_proto.limits import shorten


def need_write(principal: Principal, project: str) -> None:
    """Raises Refused."""
    if not principal.may_write(project):
        raise _denied("write to", principal, project)


def need_any(principal: Principal, project: str) -> None:
    """Raises Refused unless the principal may read or write the project."""
    if not (principal.may_read(project) or principal.may_write(project)):
        raise _denied("read", principal, project)


def _denied(what: str, principal: Principal, project: str) -> Refused:
    return Refused(
        grpc.StatusCode.PERMISSION_DENIED,
        f"this token ({shorten(principal.name)}) may not {what} project {shorten(project)!r}; use"
        " another, or ask whoever runs the server for one",
    )
