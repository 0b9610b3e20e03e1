"""What the values of settings may be; each check raises ValueError in words for the user."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator
from pydantic_settings import NoDecode

from naiad_serve.address import Address


def _event_log(url: str) -> str:
    from naiad_eventlog import EventLogError
    from naiad_eventlog.kafka.address import KafkaAddress

    scheme = urlsplit(url).scheme
    if scheme == "sqlite":
        raise ValueError(
            "is an embedded log, which one process opens; separate processes need"
            " kafka://host:port[,host:port], and `naiad up` runs all in one"
        )
    if scheme != "kafka":
        raise ValueError("is not of the form kafka://host:port[,host:port]")
    try:
        KafkaAddress.parse(url)
    except EventLogError as error:
        raise ValueError(f"can't be used: {error}") from error
    return url


def _store(url: str) -> str:
    from naiad_store import StoreError
    from naiad_store.address import parse_address

    try:
        parse_address(url)
    except StoreError as error:
        raise ValueError(f"can't be used: {error}") from error
    return url


def _state(url: str) -> str:
    from naiad_state import StateAddress, StateUrlError

    try:
        StateAddress.parse(url)
    except StateUrlError as error:
        raise ValueError(f"can't be used: {error}") from error
    return url


def _limits(text: str) -> str:
    from naiad_state import Limits, LimitsError

    try:
        Limits.parse(text)
    except LimitsError as error:
        raise ValueError(f"can't be used: {error}") from error
    return text


def _files(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme == "s3":
        from naiad_files.s3_url import Bucket

        try:
            Bucket.from_url(url)
        except ValueError as error:
            raise ValueError(f"can't be used: {error}") from error
    elif parts.scheme != "file" or parts.netloc or not parts.path.strip("/"):
        raise ValueError("is neither file:///absolute/folder nor s3://bucket/prefix")
    return url


def _server(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in {"grpc", "grpcs"} or not parts.hostname:
        raise ValueError("is not of the form grpc://host:port or grpcs://host:port")
    _port(parts.netloc)
    return url.rstrip("/")


def _port(netloc: str) -> None:
    host = netloc.rpartition("@")[2]
    port = re.search(r":(\d*)$", host)
    if (port and not 0 < int(port[1] or 0) < 65536) or (":" in host and not port):
        if host.startswith("[") and host.endswith("]"):
            return
        raise ValueError(f"has {host!r}, which is not host:port")


def _web(url: str) -> str:
    if urlsplit(url).scheme not in {"http", "https"} or not urlsplit(url).hostname:
        raise ValueError("is not of the form https://host")
    return url


def _alerts(path: Path) -> Path:
    from naiad_consumers import AlertConfig, AlertConfigError

    try:
        AlertConfig.load(path)
    except AlertConfigError as error:
        raise ValueError(f"can't be used: {error}") from error
    return path


EventLogUrl = Annotated[str, AfterValidator(_event_log)]
StoreUrl = Annotated[str, AfterValidator(_store)]
StateUrl = Annotated[str, AfterValidator(_state)]
LimitsText = Annotated[str, AfterValidator(_limits)]
FilesUrl = Annotated[str, AfterValidator(_files)]
ServerUrl = Annotated[str, AfterValidator(_server)]
WebUrl = Annotated[str, AfterValidator(_web)]
AlertsFile = Annotated[Path, AfterValidator(_alerts)]
Listen = Annotated[Address, NoDecode, BeforeValidator(
    lambda value: Address.parse(value) if isinstance(value, str) else value
)]  # fmt: skip
