"""From a URL and a token to a gRPC channel."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import grpc

from naiad.address import CERT_WITHOUT_KEY, check_url, is_loopback
from naiad.settings import server_url
from naiad_proto.limits import MAX_MESSAGE_BYTES

__all__ = ["CHANNEL_OPTIONS", "check_url", "open_channel", "server_url"]

CHANNEL_OPTIONS: tuple[tuple[str, Any], ...] = (
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", 64 * 1024 * 1024),
    # A broken path is noticed within a minute also while nothing is sent.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    # After a server's restart a client is back within seconds.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 5_000),
)


def open_channel(
    url: str | None = None,
    token: str | None = None,
    *,
    ca_file: str | os.PathLike[str] | None = None,
    cert_file: str | os.PathLike[str] | None = None,
    key_file: str | os.PathLike[str] | None = None,
    options: Sequence[tuple[str, Any]] = (),
) -> grpc.Channel:
    """A channel to the server at `url` (default: NAIAD_URL, then this machine).

    grpcs:// checks the server's certificate against `ca_file`, NAIAD_TLS_CA, or the
    system's. Where the server asks for a certificate of the client, it is shown the one in
    `cert_file` with the key in `key_file` (NAIAD_TLS_CERT, NAIAD_TLS_KEY). `token` goes
    along with every call. Connecting is lazy: no error here means only that the URL is
    well-formed. Raises ValueError for one that is not, or for a certificate without its key,
    and OSError for a file that can't be read.
    """
    parts = urlsplit(check_url(server_url(url)))
    target = parts.netloc
    settings = [*CHANNEL_OPTIONS, *options]
    if is_loopback(parts.hostname or ""):
        # http_proxy is about others; gRPC would take a server on this machine there too.
        settings.append(("grpc.enable_http_proxy", 0))
    if parts.scheme == "grpcs":
        certificate = cert_file or os.environ.get("NAIAD_TLS_CERT")
        key = key_file or os.environ.get("NAIAD_TLS_KEY")
        if bool(certificate) != bool(key):
            raise ValueError(CERT_WITHOUT_KEY)
        authority = ca_file or os.environ.get("NAIAD_TLS_CA")
        _check_pem(authority, certificate, key)
        credentials = grpc.ssl_channel_credentials(
            root_certificates=_content(authority),
            certificate_chain=_content(certificate),
            private_key=_content(key),
        )
        channel = grpc.secure_channel(target, credentials, settings)
    else:
        channel = grpc.insecure_channel(target, settings)
    return grpc.intercept_channel(channel, _Bearer(token)) if token else channel


def _check_pem(
    authority: str | os.PathLike[str] | None,
    certificate: str | os.PathLike[str] | None,
    key: str | os.PathLike[str] | None,
) -> None:
    """gRPC takes any bytes, and says much later that it could not create a handshaker."""
    if authority:
        try:
            ssl.create_default_context(cafile=authority)
        except ssl.SSLError as error:
            raise OSError(f"{authority} holds no CA certificate in PEM form: {error}") from error
    if certificate and key:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(certificate, key)
        except ssl.SSLError as error:
            raise OSError(
                f"{certificate} and {key} are not a PEM certificate and its key: {error}"
            ) from error


def _content(file: str | os.PathLike[str] | None) -> bytes | None:
    return Path(file).read_bytes() if file else None


class _Details(grpc.ClientCallDetails):
    def __init__(
        self, like: grpc.ClientCallDetails, metadata: tuple[tuple[str, str | bytes], ...]
    ) -> None:
        self.method = like.method
        self.timeout = like.timeout
        self.metadata = metadata
        self.credentials = like.credentials
        self.wait_for_ready = like.wait_for_ready
        self.compression = like.compression


class _Bearer(
    grpc.UnaryUnaryClientInterceptor,
    grpc.UnaryStreamClientInterceptor,
    grpc.StreamUnaryClientInterceptor,
    grpc.StreamStreamClientInterceptor,
):
    """Adds the token. An interceptor and not call credentials, because gRPC sends those over
    TLS only, and a server behind a proxy on loopback may ask for a token without it."""

    def __init__(self, token: str) -> None:
        self._header = ("authorization", f"Bearer {token}")

    def _call(self, go_on: Callable[..., Any], details: grpc.ClientCallDetails, what: Any) -> Any:
        metadata = (*(details.metadata or ()), self._header)
        return go_on(_Details(details, metadata), what)

    # One function for all four shapes of a call, which are typed as four.
    intercept_unary_unary = _call  # type: ignore[assignment]
    intercept_unary_stream = _call  # type: ignore[assignment]
    intercept_stream_unary = _call  # type: ignore[assignment]
    intercept_stream_stream = _call  # type: ignore[assignment]
