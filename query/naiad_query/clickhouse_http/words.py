"""What is done to a statement's words before it is parsed: its FORMAT taken off, and functions
that ask about the server answered.

Nothing here has to be safe: what comes out is judged like any statement.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import sqlglot
from sqlglot.tokens import Token, TokenType  # type: ignore[attr-defined]

from naiad_query.clickhouse_http.errors import SYNTAX_ERROR, AskedWrongly

_NAME = re.compile(r"[^\W\d]\w*")
_FORMAT = re.compile(r"\s+FORMAT\s+(\w+)\s*;?\s*$", re.IGNORECASE)


def tokens_of(text: str) -> list[Token]:
    """Without a semicolon at the end. Raises AskedWrongly."""
    try:
        tokens = list(sqlglot.tokenize(text, read="clickhouse"))
    except sqlglot.errors.SqlglotError as error:
        raise AskedWrongly(f"this is no SQL: {str(error).splitlines()[0]}", SYNTAX_ERROR) from error
    while tokens and tokens[-1].token_type == TokenType.SEMICOLON:
        tokens.pop()
    return tokens


def without_format(text: str) -> tuple[str, str]:
    """The statement, and the format that it names at its end or ""."""
    tokens = tokens_of(text)
    if tokens and tokens[0].text.upper() == "SHOW":
        # Whose rest is one word to the tokenizer.
        found = _FORMAT.search(text)
        return (text[: found.start()], found[1]) if found else (text, "")
    if (
        len(tokens) >= 3
        and tokens[-2].text.upper() == "FORMAT"
        and _NAME.fullmatch(tokens[-1].text)
    ):
        return text[: tokens[-2].start], tokens[-1].text
    return text, ""


def answered(text: str, answers: Mapping[str, str]) -> str:
    """Calls without arguments of the functions in `answers` (in lower case), as what they give;
    a column keeps the name that it would have."""
    tokens = tokens_of(text)
    out, done, depth = [], 0, 0
    for place, token in enumerate(tokens):
        depth += {"(": 1, ")": -1}.get(token.text, 0)
        called = [other.text for other in tokens[place + 1 : place + 3]] == ["(", ")"]
        if not called or token.text.lower() not in answers or token.token_type == TokenType.STRING:
            continue
        end = tokens[place + 2].end + 1
        before = tokens[place - 1].text.upper() if place else ""
        after = tokens[place + 3].text.upper() if place + 3 < len(tokens) else ""
        column = depth == 0 and before in ("SELECT", ",") and after in ("", ",", "FROM", "LIMIT")
        out.append(text[done : token.start] + answers[token.text.lower()])
        if column:
            out.append(f" AS `{text[token.start : end]}`")
        done = end
    return "".join(out) + text[done:]
