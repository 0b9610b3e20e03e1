"""Settings from the environment: what they have in common, and how a bad one is refused."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

PREFIX = "NAIAD_"

# What else reads the environment: the client, `naiad up`, the event log. Not misspelt.
_ELSEWHERE = frozenset(
    {
        "NAIAD_ALLOW_LOCAL_FALLBACK", "NAIAD_API_TOKEN", "NAIAD_BLOCK_WHEN_FULL",
        "NAIAD_CA_FILE", "NAIAD_DATA", "NAIAD_KAFKA_PASSWORD", "NAIAD_KAFKA_USER", "NAIAD_KILLS",
        "NAIAD_LOG_DIRECTORY", "NAIAD_LOG_FAILURE_ACTION", "NAIAD_MODE", "NAIAD_PROJECT",
        "NAIAD_QUIET", "NAIAD_SEED", "NAIAD_SHIPPER", "NAIAD_SPOOL_IO", "NAIAD_SPOOL_MAX_BYTES",
        "NAIAD_STATE_PASSWORD", "NAIAD_STATE_USER",
        "NAIAD_TEST_KAFKA", "NAIAD_TLS_CA", "NAIAD_URL",
    }
)  # fmt: skip
# Kubernetes adds these for every service of the namespace that is called naiad-….
_OF_KUBERNETES = re.compile(r"_SERVICE_HOST$|_SERVICE_PORT(_|$)|_PORT(_\d+_|$)")
_LIKENESS = 0.8


class SettingsError(Exception):
    """Settings that can't be used, one line each; all of them at once."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines


class Settings(BaseSettings):
    """One process's settings. A field `event_log` is read from NAIAD_EVENT_LOG; a variable
    that is set to nothing counts as not set."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        # Values may hold passwords.
        hide_input_in_errors=True,
        validate_default=False,
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        # The environment alone, so that what a process runs with is to be seen in one place.
        return (env_settings,)


S = TypeVar("S", bound=Settings)


def load(kind: type[S]) -> S:
    """Raises SettingsError that names every setting that is missing or wrong."""
    try:
        return kind()
    except ValidationError as error:
        lines = [_line(kind, one) for one in error.errors(include_url=False)]
        raise SettingsError(lines) from None


def named(field: str) -> str:
    return PREFIX + field.upper()


def settings_of(kind: type[Settings]) -> Iterator[tuple[str, FieldInfo]]:
    """Each setting's variable and what is known of it, in the order of their definition."""
    for field, info in kind.model_fields.items():
        yield named(field), info


def misspelt(
    known: frozenset[str], environment: Mapping[str, str] = os.environ
) -> Iterator[tuple[str, str]]:
    """Variables that nothing reads but whose name is close to one that something does."""
    for name in sorted(environment):
        if not name.startswith(PREFIX) or name in known or name in _ELSEWHERE:
            continue
        if _OF_KUBERNETES.search(name):
            continue
        near = difflib.get_close_matches(name, sorted(known), n=1, cutoff=_LIKENESS)
        if near:
            yield name, near[0]


def _line(kind: type[Settings], error: Any) -> str:
    if not error["loc"]:
        # Of several settings together; the message names them.
        return _plain(error["msg"])
    field = str(error["loc"][0])
    name, info = named(field), kind.model_fields[field]
    if error["type"] == "missing":
        example = f", such as {info.examples[0]}" if info.examples else ""
        return f"{name} is not set; set it to {_first_sentence(info).rstrip('.')}{example}"
    value = os.environ.get(name, "")
    shown = name if is_secret(info) else f"{name}={value}"
    return f"{shown} {_wrong(error)}"


_WORDS = {
    "int_parsing": "is not a whole number",
    "float_parsing": "is not a number",
    "bool_parsing": "is neither true nor false",
    "greater_than_equal": "is too small; it has to be at least {ge}",
    "less_than_equal": "is too large; it may be {le} at the most",
    "literal_error": "is none of {expected}",
}


def _wrong(error: Any) -> str:
    known = _WORDS.get(error["type"])
    if known:
        return known.format(**error.get("ctx", {}))
    return _plain(error["msg"])


def _plain(message: str) -> str:
    message = message.removeprefix("Value error, ")
    return " ".join(message.split())


def _first_sentence(info: FieldInfo) -> str:
    description = info.description or ""
    first = re.split(r"(?<=\.)\s", description, maxsplit=1)[0]
    # Links are for the page of settings; a terminal can't follow them.
    first = re.sub(r"\[([^\]]+)\]\(([\w.]+)[^)]*\)", r"\1 (docs/\2)", first)
    return first[:1].lower() + first[1:]


def is_secret(info: FieldInfo) -> bool:
    """Whether its value may hold a password."""
    extra = info.json_schema_extra
    return isinstance(extra, dict) and bool(extra.get("secret"))
