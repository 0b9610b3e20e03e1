"""One statement of a user: read, judged, and written anew over the views.

What the store gets is made from what was judged, never the user's own text: two parsers that
read one text differently would be a hole. In it each view has a name that only we give, and so
has each of the user's own WITH tables; a name that slips through finds no table.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import sqlglot
from sqlglot import exp

from naiad_query.errors import (
    ACCESS_DENIED,
    READONLY,
    SYNTAX_ERROR,
    UNKNOWN_FUNCTION,
    UNKNOWN_TABLE,
    invalid,
)
from naiad_query.functions import Functions
from naiad_store.selects import views

MAX_SQL_BYTES = 200_000
# Before the names of views and of the user's own tables.
VIEW, OWN = "_view_", "_own_"

_STATEMENTS = (exp.Select, exp.SetOperation, exp.Subquery)
_PLAIN = exp.Describe | exp.Show | exp.Command
_NOT_READING = {
    "insert", "update", "delete", "create", "drop", "alter", "truncate", "rename", "attach",
    "detach", "set", "use", "grant", "revoke", "kill", "optimize", "system", "exchange", "move",
    "check", "undrop", "backup", "restore", "begin", "commit", "rollback",
}  # fmt: skip


@dataclass(frozen=True)
class Question:
    """SQL to put behind WITH, in which `views` stand under `VIEW` + their names."""

    sql: str
    views: Collection[str]


def parsed(text: str) -> exp.Expression:
    """The one statement in `text`. Raises Refused unless it only reads."""
    if len(text.encode()) > MAX_SQL_BYTES:
        raise invalid(f"the statement is longer than {MAX_SQL_BYTES:,} bytes")
    try:
        statements = [one for one in sqlglot.parse(text, read="clickhouse") if one is not None]
    except sqlglot.errors.SqlglotError as error:
        raise _no_sql(text, error) from error
    except RecursionError as error:
        raise invalid("the statement is nested too deeply", SYNTAX_ERROR) from error
    if not statements:
        raise invalid("there is no statement; ask for example: select * from runs", SYNTAX_ERROR)
    if len(statements) > 1:
        raise invalid(f"one statement at a time; there are {len(statements)}", SYNTAX_ERROR)
    statement = statements[0]
    if isinstance(statement, _PLAIN):
        return statement
    if not isinstance(statement, _STATEMENTS):
        raise invalid(f"only SELECT is allowed, not {_verb(text)}: this is for reading", READONLY)
    return statement


def judged(
    statement: exp.Expression,
    functions: Functions,
    there: Collection[str] = tuple(views.VIEWS),
    columns: Collection[str] = (),
) -> Question:
    """The statement over the views that are `there`, which have `columns` that are named like
    functions. Raises Refused for what it may not do."""
    for select in statement.find_all(exp.Query):
        if select.args.get("settings") or select.args.get("format"):
            raise invalid("SETTINGS and FORMAT are not allowed here; leave them out", READONLY)
    if statement.find(exp.Into):
        raise invalid(_INTO, READONLY)
    if statement.find(exp.Final):
        raise invalid("leave FINAL out: the views show each thing once")
    if found := statement.find(exp.Placeholder, exp.Parameter, exp.SessionParameter):
        raise invalid(f"{_shown(found)} is a parameter; write the value itself")
    for place in statement.find_all(exp.In):
        _check_in(place)
    for call in statement.find_all(exp.Anonymous):
        if call.name.lower() == "in":
            raise invalid("write x IN (...) instead of in(x, ...)")
    statement = statement.copy()
    used = _renamed(statement, there)
    try:
        sql = statement.sql("clickhouse", normalize_functions=False, comments=False)
    except RecursionError as error:
        raise invalid("the statement is nested too deeply") from error
    if name := functions.forbidden(sql, columns):
        raise invalid(f"there is no function {name} here: {_FUNCTIONS}", UNKNOWN_FUNCTION)
    return Question(sql, used)


_FUNCTIONS = (
    "those of ClickHouse are allowed that look at nothing but their arguments, and no table"
    f" functions; read the views {', '.join(views.VIEWS)}"
)
_INTO = "INTO is not allowed here; `naiad sql ... > file` keeps the rows"


def _renamed(statement: exp.Expression, there: Collection[str]) -> set[str]:
    """Gives the tables in `statement` their names for the store; returns the views among
    them."""
    used: set[str] = set()
    tables = list(statement.find_all(exp.Table))
    # All are looked up before the first is renamed.
    own = {id(table): _is_own(table) for table in tables}
    for table in tables:
        if not isinstance(table.this, exp.Identifier):
            raise invalid(f"{_shown(table.this)} is a table function, and there are none here;"
                          f" read the views {', '.join(views.VIEWS)}", ACCESS_DENIED)  # fmt: skip
        name = table.name
        if table.db or table.catalog:
            raise invalid(f"{_shown(table)}: name a view alone; {known()}", UNKNOWN_TABLE)
        if not own[id(table)] and name not in there:
            raise invalid(f"there is no view {name!r}; {known()}", UNKNOWN_TABLE)
        prefix = OWN if own[id(table)] else VIEW
        if prefix == VIEW:
            used.add(name)
        table.set("this", exp.to_identifier(prefix + name, quoted=True))
        if not table.alias:
            table.set("alias", exp.TableAlias(this=exp.to_identifier(name, quoted=True)))
    for cte in statement.find_all(exp.CTE):
        if not cte.args.get("scalar"):
            cte.args["alias"].set("this", exp.to_identifier(OWN + cte.alias, quoted=True))
    return used


def _is_own(table: exp.Table) -> bool:
    """Does the name stand for a WITH of the statement that is in scope there?"""
    inside: Any = table
    while (around := inside.parent) is not None:
        clause = around.args.get("with_")
        if clause is not None and clause is not inside and _has(clause.expressions, table.name):
            return True
        if isinstance(around, exp.With):
            # In one of the WITH's own tables: those before it, and itself if it may.
            before = around.expressions[: _place(around.expressions, inside)]
            if around.args.get("recursive"):
                before = [*before, inside]
            if _has(before, table.name):
                return True
        inside = around
    return False


def _has(ctes: Collection[exp.Expression], name: str) -> bool:
    return any(cte.alias == name and not cte.args.get("scalar") for cte in ctes)


def _place(ctes: Collection[exp.Expression], one: exp.Expression) -> int:
    return next(place for place, cte in enumerate(ctes) if cte is one)


def _check_in(place: exp.In) -> None:
    """ClickHouse takes a name alone, right of IN, for a table."""
    field, listed = place.args.get("field"), place.expressions
    if field is None and len(listed) == 1:
        field = listed[0]
    while isinstance(field, exp.Paren | exp.Alias):
        field = field.this
    if isinstance(field, exp.Column | exp.Identifier | exp.Table | exp.Dot):
        raise invalid(
            f"IN {_shown(field)}: write IN (SELECT ... FROM ...), or has(array, value) for an array"
        )


def _no_sql(text: str, error: sqlglot.errors.SqlglotError) -> Exception:
    verb = _verb(text)
    if verb.lower() in _NOT_READING:
        return invalid(f"only SELECT is allowed, not {verb}: this is for reading", READONLY)
    if re.search(r"\binto\s+outfile\b", text, re.IGNORECASE):
        return invalid(_INTO, READONLY)
    # Without colours and the parser's own classes.
    first = re.sub(r"\x1b\[[0-9;]*m| for <class '[^']*'>", "", str(error).splitlines()[0])
    return invalid(f"this is no SQL: {first}", SYNTAX_ERROR)


def _verb(text: str) -> str:
    try:
        tokens = sqlglot.tokenize(text, read="clickhouse")
    except sqlglot.errors.SqlglotError:
        return ""
    return tokens[0].text.upper() if tokens else ""


def _shown(expression: exp.Expression) -> str:
    return expression.sql("clickhouse", normalize_functions=False)[:200]


def known() -> str:
    return f"there are {', '.join(views.VIEWS)}"
