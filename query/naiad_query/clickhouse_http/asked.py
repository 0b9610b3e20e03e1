"""What a request asks, wherever in it the client put that."""

from __future__ import annotations

import base64
import binascii
import email
import email.policy
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl

from starlette.requests import Request

from naiad_query.clickhouse_http.compression import decompressed
from naiad_query.clickhouse_http.errors import BAD_ARGUMENTS, AskedWrongly

# What the interface itself takes; every other parameter is a setting.
_OWN = frozenset(
    {
        "query", "database", "default_format", "user", "password", "session_id", "session_timeout",
        "session_check", "query_id", "quota_key", "compress", "decompress", "role", "stacktrace",
        "wait_end_of_query", "buffer_size", "client_protocol_version", "enable_http_compression",
        "http_zlib_compression_level", "send_progress_in_http_headers",
        "http_headers_progress_interval_ms", "cancel_http_readonly_queries_on_client_close",
        "framing",
    }
)  # fmt: skip
_SETTING = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True)
class Credentials:
    """`password` is None where none was sent."""

    user: str = ""
    password: str | None = None


@dataclass(frozen=True)
class Asked:
    """`query` and `data`: what stood in the URL or a form, and the body behind it."""

    query: str
    data: bytes
    database: str
    default_format: str
    parameters: Mapping[str, str]
    settings: Mapping[str, str]
    # A GET, which must not change anything.
    reading: bool
    session: str
    # An error in the middle of the answer is to be told as one from the start.
    whole: bool = False
    # The revision of Native that the client speaks; 0 for the one of files.
    protocol: int = 0

    @property
    def statement(self) -> bytes:
        """All that was asked, as ClickHouse joins it."""
        if not self.query:
            return self.data
        return self.query.encode() + (b"\n" + self.data if self.data else b"")


async def asked(request: Request, *, max_bytes: int) -> Asked:
    """Raises AskedWrongly."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > max_bytes:
            raise AskedWrongly(f"the request is larger than {max_bytes:,} bytes", 223)
    data = decompressed(bytes(body), request.headers.get("content-encoding", ""), max_bytes)
    given = dict(request.query_params)
    if given.get("decompress", "0") not in ("", "0"):
        raise AskedWrongly(
            "decompress=1, ClickHouse's own compressed blocks, is not spoken here; use"
            " Content-Encoding: lz4, zstd or gzip",
            BAD_ARGUMENTS,
        )
    if given.get("compress", "0") not in ("", "0"):
        raise AskedWrongly(
            "compress=1, ClickHouse's own compressed blocks, is not spoken here; use"
            " Accept-Encoding: lz4, zstd or gzip with enable_http_compression=1",
            BAD_ARGUMENTS,
        )
    kind = request.headers.get("content-type", "")
    if kind.startswith("multipart/form-data"):
        given |= _form(kind, data)
        data = b""
    elif kind.startswith("application/x-www-form-urlencoded") and _is_form(data):
        given |= dict(parse_qsl(data.decode("utf-8", "replace"), keep_blank_values=True))
        data = b""
    headers = request.headers
    return Asked(
        query=given.get("query", ""),
        data=data,
        database=given.get("database") or headers.get("x-clickhouse-database", ""),
        default_format=given.get("default_format") or headers.get("x-clickhouse-format", ""),
        parameters={n[6:]: v for n, v in given.items() if n.startswith("param_")},
        settings={
            name: value
            for name, value in given.items()
            if name not in _OWN and not name.startswith("param_") and _is_setting(name)
        },
        reading=request.method in ("GET", "HEAD"),
        session=given.get("session_id", ""),
        protocol=_number(given.get("client_protocol_version", "")),
        whole=given.get("wait_end_of_query", "0") not in ("", "0"),
    )


def credentials(request: Request) -> Credentials:
    """Who the request says that it is. Raises AskedWrongly for a header that can't be read."""
    header = request.headers.get("authorization", "").strip()
    if header:
        scheme, _, value = header.partition(" ")
        if scheme.lower() == "bearer":
            return Credentials(password=value.strip())
        if scheme.lower() == "basic":
            try:
                text = base64.b64decode(value.strip(), validate=True).decode()
            except (binascii.Error, UnicodeDecodeError):
                text = ""
            user, colon, password = text.partition(":")
            if colon:
                return Credentials(user, password or None)
        raise AskedWrongly(
            "the authorization header is neither 'Basic base64(user:password)' nor 'Bearer TOKEN'",
            BAD_ARGUMENTS,
        )
    headers, query = request.headers, request.query_params
    sent = headers.get("x-clickhouse-key") or query.get("password")
    return Credentials(headers.get("x-clickhouse-user") or query.get("user") or "", sent or None)


def _is_setting(name: str) -> bool:
    if _SETTING.fullmatch(name):
        return True
    raise AskedWrongly(f"{name[:100]!r} is not the name of a setting", BAD_ARGUMENTS)


def _number(text: str) -> int:
    return int(text) if re.fullmatch(r"[0-9]{1,9}", text) else 0


def _is_form(data: bytes) -> bool:
    """curl says that it sends a form whatever it sends."""
    return bool(re.match(rb"(query|param_\w+|database)=", data))


def _form(kind: str, data: bytes) -> dict[str, str]:
    parts = email.message_from_bytes(
        b"Content-Type: " + kind.encode("latin-1") + b"\r\n\r\n" + data, policy=email.policy.HTTP
    )
    fields: dict[str, str] = {}
    for part in parts.iter_parts() if parts.is_multipart() else ():
        name = part.get_param("name", header="content-disposition")
        if part.get_filename() is not None or not isinstance(name, str):
            raise AskedWrongly("external tables are not taken here", BAD_ARGUMENTS)
        content = part.get_payload(decode=True)
        fields[name] = content.decode("utf-8", "replace") if isinstance(content, bytes) else ""
    return fields
