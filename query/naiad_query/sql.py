"""Users' SQL: one read-only statement over the documented views.

Four fences, each of which would do against most of what one may try: the statement is parsed, may
name nothing but the views and functions that only compute, and is written anew
(`naiad_query.statements`); the views in it hold only the projects that the principal may read; so
does each of the store's own tables, by a filter that the engine puts before whatever reads it; and
the store is asked read-only, with limits.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator, Mapping
from types import MappingProxyType

import grpc
import pyarrow as pa
import sqlglot
from sqlglot import exp

from naiad_auth import Principal
from naiad_proto.limits import check_project
from naiad_proto.v1 import query_pb2 as pb
from naiad_query.errors import (
    BAD_ARGUMENTS,
    LIMITS,
    READONLY,
    UNKNOWN_TABLE,
    Refused,
    invalid,
)
from naiad_query.functions import Functions
from naiad_query.statements import OWN, VIEW, Question, judged, known, parsed
from naiad_store import Store, StoreError
from naiad_store.selects import views

MAX_ROWS = 1_000_000
DEFAULT_ROWS = 100_000
MAX_SECONDS = 60
# That the store may use for one statement, and of an answer.
MAX_BYTES = 4 * 1024**3
MAX_ANSWER_BYTES = 1 << 29


class Sql:
    """Answers statements from a store. Safe to share between threads."""

    def __init__(self, store: Store) -> None:
        self._store = store
        # Looked up once; the engine's functions don't change while it runs, nor do the tables.
        self._functions: Functions | None = None
        self._tables: Mapping[str, bool] | None = None

    def execute(
        self, principal: Principal, request: pb.ExecuteSqlRequest
    ) -> Generator[pa.RecordBatch]:
        """The rows as they come: at least one batch, which is empty where there are none. Raises
        Refused for a statement that is not allowed, fails or needs too much; before the first row
        where no limit was given, so that nobody takes a part for the whole."""
        if request.limit > MAX_ROWS:
            raise invalid(f"limit is {request.limit:,}; at most {MAX_ROWS:,} rows are given")
        statement = parsed(request.sql)
        if isinstance(statement, exp.Describe | exp.Show | exp.Command):
            yield from self._about(request.sql).combine_chunks().to_batches()
            return
        question = judged(statement, self.functions())
        # One more than is given by default tells whether something would be missing.
        limit = request.limit or DEFAULT_ROWS + 1
        before = with_views(question, principal)
        settings = self.fence(principal)
        columns = self._ask(f"DESCRIBE TABLE ({before}SELECT * FROM ({question.sql}))", settings)
        found = self._answer(
            f"{before}SELECT {_shown(columns)} FROM ({question.sql}) LIMIT {limit}", settings
        )
        if request.limit:
            yield from found
            return
        waiting = []
        rows = 0
        for batch in found:
            waiting.append(batch)
            rows += batch.num_rows
            if rows > DEFAULT_ROWS:
                raise Refused(
                    grpc.StatusCode.RESOURCE_EXHAUSTED,
                    f"there are more than {DEFAULT_ROWS:,} rows. Ask for fewer, or say how many are"
                    f" wanted: --limit N or limit=N, up to {MAX_ROWS:,}",
                )
        yield from waiting

    def functions(self) -> Functions:
        """Raises StoreError."""
        if self._functions is None:
            self._functions = Functions.of(self._store)
        return self._functions

    def fence(self, principal: Principal) -> dict[str, object]:
        """Settings under which the store is asked for `principal`. Raises StoreError."""
        if self._tables is None:
            self._tables = views.tables(self._store)
        allowed = projects_of(principal)
        filters = {}
        for table, has_project in self._tables.items():
            if has_project and allowed is not None:
                filters[f"{self._store.database}.{table}"] = allowed
            elif not has_project and table not in views.SHARED:
                filters[f"{self._store.database}.{table}"] = "0"
        pairs = ", ".join(f"{_text(table)}: {_text(allowed)}" for table, allowed in filters.items())
        return {
            "readonly": 1,
            "max_execution_time": MAX_SECONDS,
            "max_memory_usage": MAX_BYTES,
            "additional_table_filters": f"{{{pairs}}}",
        }

    def _ask(self, sql: str, settings: Mapping[str, object]) -> pa.Table:
        try:
            return self._store.query(sql, settings=settings)
        except StoreError as error:
            raise refused(error) from error

    def _answer(self, sql: str, settings: Mapping[str, object]) -> Iterator[pa.RecordBatch]:
        size = 0
        try:
            for batch in self._store.stream(sql, settings=settings):
                size += batch.nbytes
                if size > MAX_ANSWER_BYTES:
                    raise Refused(
                        grpc.StatusCode.RESOURCE_EXHAUSTED,
                        f"the answer is larger than {MAX_ANSWER_BYTES >> 20} MiB; ask for fewer"
                        " rows or columns",
                    )
                yield batch
        except StoreError as error:
            raise refused(error) from error

    def _about(self, text: str) -> pa.Table:
        """SHOW TABLES and DESCRIBE, of the views."""
        words = [token.text for token in sqlglot.tokenize(text, read="clickhouse")]
        words = words[:-1] if words[-1] == ";" else words
        match [word.lower() for word in words]:
            case ["show tables" | "show views"] | ["show", "tables" | "views"]:
                about = [views.ABOUT[name] for name in views.VIEWS]
                return pa.table({"name": list(views.VIEWS), "about": about})
            case ["describe" | "desc", *rest] if rest[:-1] in ([], ["table"], ["view"]) and rest:
                name = words[-1]
                if name not in views.VIEWS:
                    raise invalid(f"there is no view {name!r}; {known()}", UNKNOWN_TABLE)
                found = self._store.query(f"DESCRIBE TABLE {views.VIEWS[name]}")
                return found.select(["name", "type"])
        raise invalid(
            "only SELECT, SHOW TABLES and DESCRIBE are allowed: this is for reading", READONLY
        )


def projects_of(principal: Principal) -> str | None:
    """SQL: a condition that the rows which `principal` may read meet; None for all."""
    if principal.read is None:
        return None
    # A name that isn't one is in no row; and it could end the quotes.
    names = [name for name in sorted(principal.read) if not check_project(name)]
    return f"project IN ({', '.join(map(_text, names))})" if names else "0"


def with_views(
    question: Question, principal: Principal, others: Mapping[str, str] = MappingProxyType({})
) -> str:
    """The views of the question, which hold only what `principal` may read; and SELECTs of
    `others`, which everyone may."""
    condition = projects_of(principal)
    allowed = "" if condition is None else f" WHERE {condition}"
    clauses = [
        f'"{VIEW}{name}" AS (SELECT * FROM {views.VIEWS[name]}{allowed})'
        for name in sorted(question.views)
        if name not in others
    ]
    clauses += [f'"{VIEW}{name}" AS ({others[name]})' for name in others if name in question.views]
    return f"WITH {', '.join(clauses)} " if clauses else ""


def _shown(columns: pa.Table) -> str:
    """What to select of these: of times in whole seconds, which Arrow would get as bare numbers,
    such with milliseconds."""
    names, types = columns.column("name").to_pylist(), columns.column("type").to_pylist()
    seconds = [
        f"toDateTime64({quoted}, 3) AS {quoted}"
        for name, kind in zip(names, types, strict=True)
        if re.fullmatch(r"(Nullable\()?DateTime(\('[^']*'\))?\)?", kind)
        and (quoted := exp.to_identifier(name, quoted=True).sql("clickhouse"))
    ]
    return f"* REPLACE ({', '.join(seconds)})" if seconds else "*"


def refused(error: StoreError) -> Refused:
    """ClickHouse's message without what is ours."""
    text = str(error).removeprefix("a query failed: ")
    _, colon, message = text.partition("DB::Exception: ")
    message = message if colon else text
    # What follows is the whole statement as the store had it.
    message = re.sub(
        r"[.:]* (In scope|In query|[Ww]hile (executing|processing)) .*?( \([A-Z_]+\))?$",
        r"\3",
        message,
    )
    message = re.sub(rf"\b({VIEW}|{OWN})", "", message)
    if error.code in LIMITS:
        return Refused(
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            f"the statement needs more than {MAX_SECONDS} s or {MAX_BYTES >> 30} GiB; ask for less."
            f" {message}",
            error.code or BAD_ARGUMENTS,
        )
    return invalid(message, error.code or BAD_ARGUMENTS)


def _text(text: str) -> str:
    quoted = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{quoted}'"
