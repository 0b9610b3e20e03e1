"""Which bucket, where, with what keys: from a URL and the environment."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote, urlsplit

_FORM = "s3://bucket/prefix?endpoint=http[s]://host:port&region=name"
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
# Any of these tells where keys come from. Without an endpoint the machine's own role may.
_KEYS = (
    "AWS_ACCESS_KEY_ID",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)


@dataclass(frozen=True, slots=True)
class Bucket:
    """`endpoint` is empty for AWS itself. `prefix` has no slash at its ends."""

    name: str
    prefix: str
    endpoint: str
    region: str

    @staticmethod
    def from_url(url: str, environment: Mapping[str, str] = os.environ) -> Bucket:
        """Raises ValueError, which never repeats what may be a secret."""
        parts = urlsplit(url)
        if "@" in parts.netloc:
            raise ValueError(
                "the file store's URL holds a name or password; put keys into AWS_ACCESS_KEY_ID"
                " and AWS_SECRET_ACCESS_KEY instead"
            )
        name = parts.netloc
        if parts.scheme != "s3" or not _BUCKET.fullmatch(name) or parts.fragment:
            raise ValueError(f"the file store's URL is not of the form {_FORM}: bucket {name!r}")
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
        if unknown := sorted(options.keys() - {"endpoint", "region"}):
            raise ValueError(
                f"the URL of bucket {name!r} has the option {unknown[0]!r}; there are 'endpoint'"
                " and 'region' (keys come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY)"
            )
        endpoint = options.get("endpoint") or environment.get("AWS_ENDPOINT_URL", "")
        region = options.get("region") or environment.get("AWS_REGION") or ""
        region = region or environment.get("AWS_DEFAULT_REGION") or "us-east-1"
        bucket = Bucket(name, unquote(parts.path).strip("/"), endpoint.rstrip("/"), region)
        bucket._check_endpoint()
        bucket._check_keys(environment)
        return bucket

    def __str__(self) -> str:
        return f"bucket {self.name!r} at {self.endpoint or f'AWS S3 ({self.region})'}"

    def _check_endpoint(self) -> None:
        if not self.endpoint:
            return
        parts = urlsplit(self.endpoint)
        if (
            parts.scheme not in {"http", "https"}
            or not parts.hostname
            or "@" in parts.netloc
            or parts.path
            or parts.query
        ):
            raise ValueError(
                f"the endpoint of bucket {self.name!r} is not of the form http[s]://host:port"
                " (without a path or keys)"
            )

    def _check_keys(self, environment: Mapping[str, str]) -> None:
        """Found now, not by a request that waits for a machine's role where there is none."""
        # Compose passes variables that nobody set as empty ones.
        if self.endpoint and not any(environment.get(name) for name in _KEYS):
            raise ValueError(
                f"there are no keys for {self}: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            )
        if environment.get("AWS_ACCESS_KEY_ID") and not environment.get("AWS_SECRET_ACCESS_KEY"):
            raise ValueError(
                f"AWS_ACCESS_KEY_ID is set for {self}, AWS_SECRET_ACCESS_KEY is not: set both"
            )
