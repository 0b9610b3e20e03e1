"""The certificate that a server shows, and whose clients it takes."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

import grpc


@dataclass(frozen=True, slots=True)
class TlsNames:
    """What the user calls the three files, for messages."""

    certificate: str
    key: str
    client_ca: str


@dataclass(frozen=True, slots=True)
class TlsFiles:
    certificate: Path
    key: Path
    # Only clients with a certificate that it signed may connect.
    client_ca: Path | None = None

    def credentials(self) -> grpc.ServerCredentials:
        return grpc.ssl_server_credentials(
            [(self.key.read_bytes(), self.certificate.read_bytes())],
            root_certificates=self.client_ca.read_bytes() if self.client_ca else None,
            require_client_auth=self.client_ca is not None,
        )


def tls_files(
    certificate: Path | None, key: Path | None, client_ca: Path | None, names: TlsNames
) -> TlsFiles | None:
    """The three, looked at; None when there are none. Raises ValueError, in one line, for
    what could only fail later, and worse."""
    if (certificate is None) != (key is None):
        raise ValueError(f"{names.certificate} and {names.key} go together; give both or neither")
    if client_ca:
        if certificate is None:
            raise ValueError(f"{names.client_ca} needs {names.certificate} and {names.key}")
        if not client_ca.is_file():
            raise ValueError(f"{names.client_ca} {client_ca} is not a file")
    if certificate is None or key is None:
        return None
    for name, file in ((names.certificate, certificate), (names.key, key)):
        if not file.is_file():
            raise ValueError(f"{name} {file} is not a file")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
    except (ssl.SSLError, OSError) as error:
        raise ValueError(
            f"{names.certificate} {certificate} and {names.key} {key} are not a PEM certificate"
            f" and its key: {error}"
        ) from error
    return TlsFiles(certificate, key, client_ca)
