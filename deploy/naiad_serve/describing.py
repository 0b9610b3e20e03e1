"""The settings told to people: what a process runs with, and docs/settings.md."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from pydantic.fields import FieldInfo

from naiad_serve.settings import Settings, is_secret, settings_of
from naiad_serve.stages import STAGES

_LOGIN = re.compile(r"//[^@/]*@")


def known_settings() -> frozenset[str]:
    return frozenset(name for kind in STAGES.values() for name, _ in settings_of(kind))


def shown(settings: Settings) -> Iterator[str]:
    """Lines NAME=value, without passwords; what is not set stands as a comment."""
    for field, info in type(settings).model_fields.items():
        value = getattr(settings, field)
        name = f"NAIAD_{field.upper()}"
        text = _text(value, info)
        yield f"{name}={text}" if value is not None else f"# {name} is not set"


def _text(value: Any, info: FieldInfo) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return _LOGIN.sub("//…@", text) if is_secret(info) else text
