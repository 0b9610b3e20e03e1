"""Users' SQL: one read-only statement over the documented views.

Three fences, each of which would do: the statement is parsed, and may name nothing but the
views; the views that it names are put in front of it as common table expressions that hold
only the projects that the principal may read; the store is asked read-only, with limits.
"""

from __future__ import annotations

import grpc
import pyarrow as pa
import sqlglot
from sqlglot import exp
from sqlglot.tokens import TokenType  # type: ignore[attr-defined]

from naiad_auth import Principal
from naiad_proto.limits import check_project
from naiad_proto.v1 import query_pb2 as pb
from naiad_query.errors import Refused, invalid
from naiad_store import Store, StoreError, StoreUnavailable
from naiad_store.selects import views

MAX_ROWS = 1_000_000
DEFAULT_ROWS = 100_000
MAX_SECONDS = 60
MAX_BYTES = 4 * 1024**3
MAX_SQL_BYTES = 200_000

# What the parser takes for a function of its own with a table's name is none of ours.
_STATEMENTS = (exp.Select, exp.SetOperation, exp.Subquery)


def execute(store: Store, principal: Principal, request: pb.ExecuteSqlRequest) -> pa.Table:
    """The rows. Raises Refused for a statement that is not allowed or fails."""
    limit = min(request.limit or DEFAULT_ROWS, MAX_ROWS)
    statement = parsed(request.sql)
    if isinstance(statement, exp.Describe | exp.Show | exp.Command):
        return _about(store, statement, request.sql)
    used = tables_of(statement)
    question = with_views(request.sql, statement, used, principal)
    try:
        return store.query(
            f"SELECT * FROM ({question}\n) LIMIT {limit}",
            settings={
                "readonly": 1,
                "max_execution_time": MAX_SECONDS,
                "max_memory_usage": MAX_BYTES,
                "max_result_rows": 0,
            },
        )
    except StoreUnavailable as error:
        raise Refused(
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            f"the statement needs more than {MAX_SECONDS} s or {MAX_BYTES >> 30} GiB: {error}",
        ) from error
    except StoreError as error:
        raise invalid(_told(str(error))) from error


def parsed(text: str) -> exp.Expression:
    """The one statement in `text`. Raises Refused unless it only reads."""
    if len(text.encode()) > MAX_SQL_BYTES:
        raise invalid(f"the statement is longer than {MAX_SQL_BYTES:,} bytes")
    try:
        statements = [one for one in sqlglot.parse(text, read="clickhouse") if one is not None]
    except sqlglot.errors.SqlglotError as error:
        first = str(error).splitlines()[0]
        raise invalid(f"this is no SQL: {_plain(first)}") from error
    except RecursionError as error:
        raise invalid("the statement is nested too deeply") from error
    if len(statements) != 1:
        raise invalid(f"one statement at a time; there are {len(statements)}")
    statement = statements[0]
    if isinstance(statement, exp.Describe | exp.Show | exp.Command):
        return statement
    if not isinstance(statement, _STATEMENTS):
        raise invalid(f"only SELECT is allowed, not {statement.key.upper()}: this is for reading")
    if statement.find(exp.Into):
        raise invalid("INTO is not allowed here: this is for reading")
    for select in statement.find_all(exp.Select):
        if select.args.get("settings") or select.args.get("format"):
            raise invalid("SETTINGS and FORMAT are not allowed here; leave them out")
    return statement


def tables_of(statement: exp.Expression) -> list[str]:
    """Views that the statement reads. Raises Refused for anything else that it reads."""
    own = {cte.alias for cte in statement.find_all(exp.CTE)}
    used = []
    for table in statement.find_all(exp.Table):
        if not isinstance(table.this, exp.Identifier):
            raise invalid(f"{table.this.sql('clickhouse')}: no table functions; read the views"
                          f" {', '.join(views.VIEWS)}")  # fmt: skip
        name = table.name
        if table.db or table.catalog:
            raise invalid(f"{table.sql('clickhouse')}: name a view alone; {_known()}")
        if name in views.VIEWS:
            if name in own:
                raise invalid(f"{name!r} is a view; call your own WITH something else")
            used.append(name)
        elif name not in own:
            raise invalid(f"there is no view {name!r}; {_known()}")
    for call in statement.find_all(exp.Anonymous, exp.Func):
        name = (call.name if isinstance(call, exp.Anonymous) else call.sql_name()).lower()
        if name in _BANNED or name.startswith(("dictget", "joinget")):
            raise invalid(f"the function {name} is not allowed here: it reads more than the views")
    return sorted(set(used))


# Functions that look at something else than their arguments, or wait.
_BANNED = frozenset(
    {
        "file", "getsetting", "getserverport", "getmacro", "hostname", "fqdn", "currentdatabase",
        "currentuser", "user", "current_user", "sleep", "sleepeachrow", "catboostevaluate",
        "showcertificate", "structuretoprotobufschema", "getclienthttpheader", "addresstoline",
        "addresstosymbol", "demangle", "tcpport", "serveruuid", "filesystemavailable",
        "filesystemcapacity", "filesystemunreserved", "hascolumnintable", "buildid", "uptime",
        "connectionid", "initialqueryid", "queryid", "displayname", "getoskernelversion",
    }
)  # fmt: skip


def with_views(text: str, statement: exp.Expression, used: list[str], principal: Principal) -> str:
    """The user's own text behind the views that it reads, which hold only what `principal`
    may read."""
    text = text.strip().rstrip(";")
    allowed = ""
    if principal.read is not None:
        # A name that isn't one is in no row; and it could end the quotes.
        names = [name for name in sorted(principal.read) if not check_project(name)]
        quoted = ", ".join(f"'{name}'" for name in names)
        allowed = f" WHERE project IN ({quoted})" if names else " WHERE 0"
    if not used:
        return text
    ours = ", ".join(f"{name} AS (SELECT * FROM {views.VIEWS[name]}{allowed})" for name in used)
    clause = statement.args.get("with_") or statement.args.get("with")
    if clause is None:
        return f"WITH {ours} {text}"
    # After comments; the parser found it, so it is there.
    begin = _end_of_with(text)
    return f"WITH {ours}, {text[begin:]}"


def _end_of_with(text: str) -> int:
    for token in sqlglot.tokenize(text, read="clickhouse"):
        if token.token_type == TokenType.WITH:
            return int(token.end) + 1
    raise invalid("the WITH of the statement can't be found; write it first")


def _about(store: Store, statement: exp.Expression, text: str) -> pa.Table:
    """SHOW TABLES and DESCRIBE, of the views."""
    words = text.strip().rstrip(";").split()
    verb = [word.lower() for word in words]
    if verb[:2] in (["show", "tables"], ["show", "views"]) and len(words) == 2:
        about = [views.ABOUT[name] for name in views.VIEWS]
        return pa.table({"name": list(views.VIEWS), "about": about})
    if verb[0] in ("describe", "desc"):
        name = words[-1].strip('`"')
        if name in views.VIEWS and len(words) <= 3:
            found = store.query(f"DESCRIBE TABLE {views.VIEWS[name]}")
            return found.select(["name", "type"])
        raise invalid(f"there is no view {name!r}; {_known()}")
    raise invalid("only SELECT, SHOW TABLES and DESCRIBE are allowed: this is for reading")


def _known() -> str:
    return f"there are {', '.join(views.VIEWS)}"


def _told(text: str) -> str:
    """ClickHouse's message without what is ours."""
    text = text.removeprefix("a query failed: ")
    _, colon, message = text.partition("DB::Exception: ")
    return message if colon else text


def _plain(text: str) -> str:
    import re

    return re.sub(r"\x1b\[[0-9;]*m", "", text)
