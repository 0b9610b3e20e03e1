"""What `naiad up` was asked for, checked before anything starts."""

from __future__ import annotations

import ipaddress
import ssl
from dataclasses import dataclass
from pathlib import Path


class OptionError(Exception):
    """An option can't be used; one line that names it and says what to do."""


@dataclass(frozen=True, slots=True)
class Options:
    data: Path
    host: str = "127.0.0.1"
    # 0 takes any free port; the ready line says which.
    port: int = 7420
    # None: no dashboard.
    dashboard_port: int | None = 8501
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    # Only clients with a certificate that it signed may connect.
    tls_client_ca: Path | None = None
    alerts: Path | None = None
    # Ask for a token on loopback too, for a reverse proxy in front.
    login: bool = False
    # How long, and how much of it, the event log keeps what is stored already.
    retention_hours: int = 168
    retention_bytes: int | None = None

    @property
    def log_query(self) -> str:
        """What the event log's URL ends with."""
        query = f"?retention_hours={self.retention_hours}"
        if self.retention_bytes is not None:
            query += f"&retention_bytes={self.retention_bytes}"
        return query

    @property
    def needs_login(self) -> bool:
        return self.login or not is_loopback(self.host)

    @property
    def tls(self) -> bool:
        return self.tls_certificate is not None

    def check(self) -> None:
        """Raises OptionError for what could only fail later, and worse."""
        for name, port in (("--port", self.port), ("--dashboard-port", self.dashboard_port)):
            if port is not None and not 0 <= port <= 65535:
                raise OptionError(f"{name} {port} is not a port; ports go from 0 to 65535")
        if self.port and self.port == self.dashboard_port:
            raise OptionError(f"--port and --dashboard-port are both {self.port}; change one")
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise OptionError("--tls-cert and --tls-key go together; give both or neither")
        if self.tls_client_ca:
            if self.tls_certificate is None:
                raise OptionError("--tls-client-ca needs --tls-cert and --tls-key")
            if not self.tls_client_ca.is_file():
                raise OptionError(f"--tls-client-ca {self.tls_client_ca} is not a file")
        if self.tls_certificate and self.tls_key:
            for option, file in (("--tls-cert", self.tls_certificate), ("--tls-key", self.tls_key)):
                if not file.is_file():
                    raise OptionError(f"{option} {file} is not a file")
            try:
                ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(
                    self.tls_certificate, self.tls_key
                )
            except (ssl.SSLError, OSError) as error:
                raise OptionError(
                    f"--tls-cert {self.tls_certificate} and --tls-key {self.tls_key} are not a"
                    f" PEM certificate and its key: {error}"
                ) from error


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def is_any(host: str) -> bool:
    """Whether the address stands for all of the machine's."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_unspecified
    except ValueError:
        return False


def authority(host: str, port: int) -> str:
    """`host:port`, with the brackets that an IPv6 address needs."""
    host = host.strip("[]")
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
