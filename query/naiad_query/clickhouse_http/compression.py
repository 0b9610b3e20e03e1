"""The encodings of HTTP bodies that ClickHouse and its drivers use."""

from __future__ import annotations

import io
import sys
import zlib
from collections.abc import Callable, Generator, Iterable
from typing import Any

import lz4.frame  # type: ignore[import-untyped]

from naiad_query.clickhouse_http.errors import BAD_ARGUMENTS, AskedWrongly

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

# In the order of preference.
ENCODINGS = ("zstd", "lz4", "gzip", "deflate")


def chosen(accepted: str) -> str | None:
    """The encoding for an answer to a client with this Accept-Encoding; None for none."""
    names = set()
    for part in accepted.split(","):
        name, _, rest = part.strip().partition(";")
        if rest.replace(" ", "") not in ("q=0", "q=0.0"):
            names.add(name.strip().lower())
    return next((name for name in ENCODINGS if name in names), None)


def compressed(chunks: Iterable[bytes], encoding: str) -> Generator[bytes]:
    compress, end = _compressor(encoding)
    try:
        for chunk in chunks:
            if out := compress(chunk):
                yield out
    except AskedWrongly:
        # What was said of it has to arrive.
        yield end()
        raise
    yield end()


def decompressed(data: bytes, encoding: str, max_bytes: int) -> bytes:
    """Raises AskedWrongly for what can't be read or grows beyond `max_bytes`."""
    encoding = encoding.strip().lower()
    if encoding in ("", "identity"):
        return data
    try:
        out = _decompressed(data, encoding, max_bytes + 1)
    except (RuntimeError, EOFError, zlib.error, zstd.ZstdError) as error:
        raise AskedWrongly(
            f"the body is not what Content-Encoding says, {encoding}: {error}", BAD_ARGUMENTS
        ) from error
    if len(out) > max_bytes:
        raise AskedWrongly(f"the request is larger than {max_bytes:,} bytes", 223)
    return out


def _compressor(encoding: str) -> tuple[Callable[[bytes], bytes], Callable[[], bytes]]:
    if encoding == "zstd":
        packer = zstd.ZstdCompressor(level=1)
        return packer.compress, packer.flush
    if encoding == "lz4":
        frame: Any = lz4.frame.LZ4FrameCompressor()
        begun = False

        def compress(chunk: bytes) -> bytes:
            nonlocal begun
            start = b"" if begun else frame.begin()
            begun = True
            return bytes(start + frame.compress(chunk))

        return compress, lambda: compress(b"") + frame.flush()
    squeezer = zlib.compressobj(level=3, wbits=31 if encoding == "gzip" else 15)
    return squeezer.compress, squeezer.flush


def _decompressed(data: bytes, encoding: str, at_most: int) -> bytes:
    if encoding in ("gzip", "deflate"):
        inflater = zlib.decompressobj(wbits=47)
        out = inflater.decompress(data, at_most)
        if len(out) < at_most and not inflater.eof:
            raise EOFError("it ends too early")
        return out
    if encoding == "zstd":
        with zstd.ZstdFile(io.BytesIO(data)) as file:
            return bytes(file.read(at_most))
    if encoding == "lz4":
        with lz4.frame.LZ4FrameFile(io.BytesIO(data)) as file:
            return bytes(file.read(at_most))
    raise AskedWrongly(
        f"Content-Encoding {encoding[:50]!r} is not spoken here; there are {', '.join(ENCODINGS)}",
        BAD_ARGUMENTS,
    )
