"""Settings from the environment, read when they are needed."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from naiad import _platform
from naiad.address import CERT_WITHOUT_KEY
from naiad.exceptions import NaiadValueError
from naiad.spool.bounds import Bounds

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


def spool_bounds(most_bytes: int | str | None, block_seconds: float | str | None) -> Bounds:
    """The arguments `spool_max_bytes` and `block_when_full`, or NAIAD_SPOOL_MAX_BYTES and
    NAIAD_BLOCK_WHEN_FULL. Raises NaiadValueError, which names the setting."""
    most = _setting("spool_max_bytes", most_bytes, size_in_bytes)
    block = _setting("block_when_full", block_seconds, _seconds)
    return Bounds(most, block or 0.0)


_T = TypeVar("_T")


def _setting(name: str, given: Any, read: Callable[[Any], _T]) -> _T | None:
    """`given` or, in its absence, the variable of the same name; None without either."""
    if given is None:
        name = f"NAIAD_{name.upper()}"
        given = os.environ.get(name) or None
    if given is None:
        return None
    try:
        return read(given)
    except (ValueError, TypeError, OverflowError) as error:
        raise NaiadValueError(f"{name} is {given!r}: {error}") from None


_UNITS = {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3, "t": 1000**4}
_SMALLEST_SPOOL = 1_000_000


def size_in_bytes(given: int | str) -> int:
    """A number of bytes, or a text like "10GB", "1.5 TiB", "500m". Raises ValueError."""
    if isinstance(given, int) and not isinstance(given, bool):
        size = given
    else:
        text = given if isinstance(given, str) else ""
        found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?\s*", text, re.IGNORECASE)
        if not found or (found[3] and not found[2]):
            raise ValueError("give a number of bytes, or a size like 10GB or 512MiB")
        unit = _UNITS[found[2].lower()]
        if found[3]:
            unit = 1024 ** "kmgt".index(found[2].lower()) * 1024
        size = int(float(found[1]) * unit)
    if size < _SMALLEST_SPOOL:
        raise ValueError("a spool needs 1 MB at least")
    return size


def _seconds(given: Any) -> float:
    seconds = float(given)
    if isinstance(given, bool) or not 0 <= seconds <= 86_400:
        raise ValueError("give seconds, from 0 to 86,400")
    return seconds


def host_name() -> str:
    """This host as it may stand in a path."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", _platform.node_name()) or "localhost"


def default_namespace() -> str:
    """Where hardware and console go: runtime/<host>."""
    return f"runtime/{host_name()}"
