"""Secrets in a command line and in addresses, left out before they are recorded.

No rule finds all: what looks like a password, a token or a key by its option's name or by its
form is masked. docs/client.md says how to record no command line at all.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import urlsplit, urlunsplit

MASK = "***"

# The last word of an option's name, or its last two: --api-key, --db_password, HF_TOKEN. Not
# --tokenizer, --max-tokens, --token-file.
_WORDS = frozenset(
    {
        "password", "passwd", "passphrase", "pwd", "secret", "secrets", "token", "credential",
        "credentials", "apikey", "apitoken", "authtoken", "accesskey", "secretkey", "privatekey",
        "bearer",
    }
)  # fmt: skip
_PAIRS = frozenset(
    (first, "key") for first in ("api", "access", "secret", "private", "auth", "account", "license")
)
# Values that say themselves what they are.
_FORMS = re.compile(
    r"\b(?:hf_|gh[pousr]_|github_pat_|glpat-|sk-|xox[abprs]-|AKIA|ASIA|ya29\.|naiad_|local-)"
    r"[A-Za-z0-9_\-]{16,}"
    r"|\beyJ[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]*"
)
_USER = re.compile(r"(?<=://)[^/@\s]+@")
_OPTION = re.compile(r"(-{0,2}[A-Za-z_][\w.\-/]*)=(.*)", re.DOTALL)


def without_secrets(arguments: Sequence[str]) -> list[str]:
    """A command line's words, of which those that look like secrets are masked."""
    found = []
    follows = False
    for argument in arguments:
        if follows and not argument.startswith("-"):
            found.append(MASK)
            follows = False
            continue
        option = _OPTION.fullmatch(argument)
        if option and _is_secret(option[1]):
            found.append(f"{option[1]}={MASK}")
            follows = False
            continue
        # `--password hunter2`; a word alone is no option.
        follows = argument.startswith("-") and option is None and _is_secret(argument)
        found.append(_FORMS.sub(MASK, _USER.sub(f"{MASK}@", argument)))
    return found


def _is_secret(name: str) -> bool:
    words = [word for word in re.split(r"[\W_]+", _camel(name).lower()) if word]
    return bool(words) and (words[-1] in _WORDS or tuple(words[-2:]) in _PAIRS)


def _camel(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name)


def without_password(url: str) -> str:
    """A remote's URL without user and password."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return re.sub(r"//[^@/]*@", "//", url)
    if not parts.scheme or "@" not in parts.netloc:
        return url
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
