"""Settings from the environment, read when they are needed."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path

from naiad.address import CERT_WITHOUT_KEY

DEFAULT_URL = "grpc://127.0.0.1:7420"
# Where `naiad up` serves the dashboard when nothing else was said.
DEFAULT_DASHBOARD = "http://127.0.0.1:8501"
MODES = ("async", "offline", "disabled")


def server_url(url: str | None = None) -> str:
    """`url`, NAIAD_URL, or the server on this machine."""
    return url or os.environ.get("NAIAD_URL") or DEFAULT_URL


def api_token(token: str | None = None) -> str | None:
    return token or os.environ.get("NAIAD_API_TOKEN") or None


def tls_files(*given: str | os.PathLike[str] | None) -> tuple[str, str, str]:
    """CA, certificate and key for grpcs:// URLs: as given, or NAIAD_TLS_CA, NAIAD_TLS_CERT and
    NAIAD_TLS_KEY; "" where there is none. Absolute, since the process that sends works in
    another folder. Raises ValueError for what can only fail there, unseen."""
    found = []
    for name, value in zip(("CA", "CERT", "KEY"), given, strict=True):
        chosen = value or os.environ.get(f"NAIAD_TLS_{name}")
        path = Path(chosen).expanduser().absolute() if chosen else None
        if path and not path.is_file():
            raise ValueError(f"there is no file {path}: see tls_{name.lower()}, NAIAD_TLS_{name}")
        found.append(str(path or ""))
    ca, cert, key = found
    if bool(cert) != bool(key):
        raise ValueError(CERT_WITHOUT_KEY)
    return ca, cert, key


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
