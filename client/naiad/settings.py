"""Settings from the environment, read when they are needed."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path

DEFAULT_URL = "grpc://127.0.0.1:7420"
# Where `naiad up` serves the dashboard when nothing else was said.
DEFAULT_DASHBOARD = "http://127.0.0.1:8501"
MODES = ("async", "offline", "disabled")


def server_url(url: str | None = None) -> str:
    """`url`, NAIAD_URL, or the server on this machine."""
    return url or os.environ.get("NAIAD_URL") or DEFAULT_URL


def api_token(token: str | None = None) -> str | None:
    return token or os.environ.get("NAIAD_API_TOKEN") or None


def default_project(project: str | None = None) -> str | None:
    return project or os.environ.get("NAIAD_PROJECT") or None


def raise_on_failure() -> bool:
    """Shall logging methods raise? Only where NAIAD_LOG_FAILURE_ACTION=raise asks for it."""
    return os.environ.get("NAIAD_LOG_FAILURE_ACTION", "").lower() == "raise"


def spool_root(directory: str | os.PathLike[str] | None = None) -> Path:
    """The folder of all spools: `directory`, NAIAD_LOG_DIRECTORY, or .naiad/spool here."""
    chosen = directory or os.environ.get("NAIAD_LOG_DIRECTORY") or ".naiad/spool"
    return Path(chosen).expanduser().absolute()


def host_name() -> str:
    """This host as it may stand in a path."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", socket.gethostname()) or "localhost"


def default_namespace() -> str:
    """Where hardware and console go: runtime/<host>."""
    return f"runtime/{host_name()}"
