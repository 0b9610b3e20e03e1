"""What `naiad up` was asked for, checked before anything starts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from naiad.address import is_loopback
from naiad_serve.tls import TlsFiles, TlsNames, tls_files

_TLS_NAMES = TlsNames("--tls-cert", "--tls-key", "--tls-client-ca")


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
    # Of loopback, for Prometheus; None: no metrics.
    metrics_port: int | None = None
    # SQL over HTTP, as ClickHouse speaks it. "" for 8123 if it is free, None: none.
    sql_port: int | Literal[""] | None = ""
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
        for name, port in (
            ("--port", self.port),
            ("--dashboard-port", self.dashboard_port),
            ("--metrics-port", self.metrics_port),
            ("--sql-port", self.sql_port),
        ):
            if isinstance(port, int) and not 0 <= port <= 65535:
                raise OptionError(f"{name} {port} is not a port; ports go from 0 to 65535")
        if self.port and self.port == self.dashboard_port:
            raise OptionError(f"--port and --dashboard-port are both {self.port}; change one")
        if self.sql_port and self.sql_port in (self.port, self.dashboard_port, self.metrics_port):
            raise OptionError(
                f"--sql-port {self.sql_port} is another option's port too; change one"
            )
        self.tls_files()

    def tls_files(self) -> TlsFiles | None:
        """Raises OptionError when they can't be used."""
        try:
            return tls_files(self.tls_certificate, self.tls_key, self.tls_client_ca, _TLS_NAMES)
        except ValueError as error:
            raise OptionError(str(error)) from error
