"""A store behind the interface, for reading: the fences of `naiad_query.sql`, and answers in
ClickHouse's formats."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Generator, Mapping

from sqlglot import exp

from naiad_auth import ANONYMOUS, Principal, TokenFileError, TokenStore
from naiad_query.clickhouse_http.app import Answer, Authenticate
from naiad_query.clickhouse_http.asked import Asked, Credentials
from naiad_query.clickhouse_http.catalog import (
    ABOUT_INSERTS,
    COLUMNS,
    DATABASE,
    DATABASES,
    FREE_PREFIX,
    FREE_SETTINGS,
    TRANSPORT,
    catalog,
)
from naiad_query.clickhouse_http.errors import (
    AUTHENTICATION_FAILED,
    BAD_ARGUMENTS,
    READONLY,
    REQUIRED_PASSWORD,
    SYNTAX_ERROR,
    UNKNOWN_DATABASE,
    UNKNOWN_TABLE,
    AskedWrongly,
)
from naiad_query.clickhouse_http.native import framed
from naiad_query.clickhouse_http.words import answered, tokens_of, without_format
from naiad_query.errors import Refused
from naiad_query.sql import MAX_ANSWER_BYTES, MAX_ROWS, Sql, refused, with_views
from naiad_query.statements import MAX_SQL_BYTES, judged, parsed
from naiad_store import Store, StoreError, StoreUnavailable
from naiad_store.selects import views

# Those that need no schema or template from a file.
_FORMATS = {
    name.lower(): name
    for name in (
        "Arrow", "ArrowStream", "CSV", "CSVWithNames", "CSVWithNamesAndTypes", "JSON",
        "JSONColumns", "JSONColumnsWithMetadata", "JSONCompact", "JSONCompactColumns",
        "JSONCompactEachRow", "JSONCompactEachRowWithNames", "JSONCompactEachRowWithNamesAndTypes",
        "JSONCompactStrings", "JSONCompactStringsEachRow", "JSONEachRow", "JSONLines",
        "JSONObjectEachRow", "JSONStrings", "JSONStringsEachRow", "Markdown", "MsgPack", "NDJSON",
        "Native", "Null", "ORC", "Parquet", "Pretty", "PrettyCompact", "PrettyCompactMonoBlock",
        "PrettyMonoBlock", "PrettyNoEscapes", "PrettySpace", "RowBinary", "RowBinaryWithNames",
        "RowBinaryWithNamesAndTypes", "SQLInsert", "TSKV", "TSV", "TSVRaw", "TSVWithNames",
        "TSVWithNamesAndTypes", "TabSeparated", "TabSeparatedRaw", "TabSeparatedWithNames",
        "TabSeparatedWithNamesAndTypes", "Values", "Vertical", "XML",
    )
}  # fmt: skip
_DESCRIBED = (
    "SELECT name, type, default_kind AS default_type, default_expression, comment,"
    " compression_codec AS codec_expression, '' AS ttl_expression FROM system.columns"
    " WHERE table = '{}' ORDER BY position"
)


class ReadOnly:
    """Answers SELECT, SHOW TABLES, SHOW DATABASES, DESCRIBE and EXISTS from a store."""

    name = "Naiad"
    max_bytes = MAX_SQL_BYTES + 4096

    def __init__(self, store: Store) -> None:
        """Raises StoreError."""
        self._store = store
        self._sql = Sql(store)
        self._catalog = catalog(store, self._sql.functions())
        asked = "SELECT version() AS version, timezone() AS zone, toString(revision()) AS revision"
        (told,) = store.query(asked).to_pylist()
        self.timezone = str(told["zone"])
        self._told = {
            "version": _text(told["version"]),
            # Of the type that drivers have room for.
            "revision": f"toUInt32({int(told['revision'])})",
            **dict.fromkeys(("timezone", "servertimezone"), _text(self.timezone)),
            **dict.fromkeys(("displayname", "hostname", "fqdn"), _text(self.name)),
            **dict.fromkeys(("currentdatabase", "database", "current_database"), _text(DATABASE)),
        }

    def answer(self, asked: Asked, principal: Principal) -> Answer:
        if asked.database and asked.database not in DATABASES | {"system"}:
            raise AskedWrongly(
                f"there is no database {asked.database[:100]!r}; there is {DATABASE}",
                UNKNOWN_DATABASE,
            )
        if asked.parameters:
            raise AskedWrongly(
                "param_... is not taken here: write the value itself into the statement",
                BAD_ARGUMENTS,
            )
        try:
            text = asked.statement.decode()
        except UnicodeDecodeError as error:
            raise AskedWrongly(f"the statement is not UTF-8: {error}", SYNTAX_ERROR) from error
        text, named = without_format(text)
        kind = _format(named or asked.default_format or "TabSeparated")
        users = _text(principal.name)
        told = {**self._told, **dict.fromkeys(("currentuser", "user", "current_user"), users)}
        try:
            settings = _settings(asked.settings, self._sql.fence(principal))
            sql = self._judged(_as_select(answered(text, told)), principal)
        except Refused as wrong:
            raise AskedWrongly(wrong.message, wrong.number) from wrong
        except StoreError as error:
            raise _told(error) from error
        summary: dict[str, int] = {}
        chunks = self._chunks(sql, kind, settings, summary)
        if kind == "Native" and asked.protocol:
            chunks = framed(chunks, asked.protocol)
        return Answer(chunks, kind, summary)

    def _chunks(
        self, sql: str, kind: str, settings: Mapping[str, object], summary: dict[str, int]
    ) -> Generator[bytes]:
        size = 0
        try:
            with contextlib.closing(self._store.formatted(sql, kind, settings)) as pieces:
                while True:
                    try:
                        piece = next(pieces)
                    except StopIteration as end:
                        rows: int | None = end.value
                        break
                    size += len(piece)
                    # JDBC reads nothing of an answer without rows in its summary, and how many
                    # there are is known at its end.
                    summary |= {"result_rows": 1, "result_bytes": size}
                    yield piece
        except StoreError as error:
            raise _told(error) from error
        if rows is not None:
            summary |= {"result_rows": rows, "result_bytes": size}

    def _judged(self, text: str, principal: Principal) -> str:
        statement = parsed(text)
        if isinstance(statement, exp.Describe | exp.Show | exp.Command):
            raise AskedWrongly(
                "only SELECT, SHOW TABLES, SHOW DATABASES, DESCRIBE and EXISTS are allowed: this is"
                " for reading",
                READONLY,
            )
        aliases = {}
        for table in statement.find_all(exp.Table):
            whole = (table.db, table.name)
            if _take_off_database(table, self._catalog):
                aliases[whole] = table.alias
        for column in statement.find_all(exp.Column):
            # system.tables.name is a column of what is called t here, for ClickHouse.
            if (alias := aliases.get((column.db, column.table))) is not None:
                column.set("db", None)
                column.set("table", exp.to_identifier(alias, quoted=True))
        there = (*views.VIEWS, *self._catalog)
        question = judged(statement, self._sql.functions(), there, COLUMNS)
        before = with_views(question, principal, self._catalog)
        return f"{before}SELECT * FROM ({question.sql})"


def _told(error: StoreError) -> AskedWrongly:
    if isinstance(error, StoreUnavailable) and error.code is None:
        return AskedWrongly(f"{error}; ask again", 439)
    said = refused(error)
    return AskedWrongly(said.message, said.number)


def authentication(tokens: TokenStore | None) -> Authenticate:
    """A token is the password, and any user's; None for a server where nobody has to log in."""

    def authenticate(given: Credentials) -> Principal:
        if tokens is None:
            return ANONYMOUS
        how = "use a token as the password (naiad token create), with any user name"
        if given.password is None:
            raise AskedWrongly(f"this server needs a token: {how}", REQUIRED_PASSWORD)
        try:
            principal = tokens.authenticate(given.password)
        except TokenFileError as error:
            raise AskedWrongly(
                "the server can't read its tokens now; its log says why", 439
            ) from error
        if principal is None:
            raise AskedWrongly(
                f"the password is no token that is valid here: mistyped, revoked, or of another"
                f" server; {how}",
                AUTHENTICATION_FAILED,
            )
        return principal

    return authenticate


def _settings(given: Mapping[str, str], fence: Mapping[str, object]) -> dict[str, object]:
    """Those of the fence, and of the client's what may be set. Raises AskedWrongly."""
    settings: dict[str, object] = {
        **fence,
        "max_result_rows": MAX_ROWS,
        "max_result_bytes": MAX_ANSWER_BYTES,
        "result_overflow_mode": "throw",
        # Several threads would have several blocks in hand; one writes faster than is sent.
        "output_format_parallel_formatting": 0,
    }
    for name, value in given.items():
        bound = settings.get(name)
        if (
            name in TRANSPORT
            or name.startswith(ABOUT_INSERTS)
            or (name == "readonly" and value in ("1", "2"))
        ):
            continue
        if name in FREE_SETTINGS or name.startswith(FREE_PREFIX):
            settings[name] = value
        elif name == "result_overflow_mode" and value == "throw":
            continue
        elif isinstance(bound, int) and name != "readonly":
            # Drivers say 0 for as much as there is.
            if not re.fullmatch(r"\d{1,18}(\.\d+)?", value):
                raise AskedWrongly(f"{name}={value[:50]!r} is not a number", BAD_ARGUMENTS)
            settings[name] = min(int(float(value)) or bound, bound)
        else:
            raise AskedWrongly(
                f"Cannot modify '{name[:100]}' setting in readonly mode; system.settings shows"
                " what may be set",
                READONLY,
            )
    return settings


def _format(name: str) -> str:
    found = _FORMATS.get(name.lower())
    if found is None:
        raise AskedWrongly(
            f"Unknown format {name[:100]}; there are {', '.join(_FORMATS.values())}", 73
        )
    return found


def _as_select(text: str) -> str:
    """SHOW, DESCRIBE and EXISTS as what they ask; anything else as it is."""
    words = [token.text for token in tokens_of(text)]
    # The tokenizer takes SHOW and what follows for one word or for several.
    match " ".join(words).lower().split():
        case ["show", "databases" | "schemas"]:
            return "SELECT name FROM system.databases"
        case ["show", "tables" | "views", *rest] if _of_database(rest):
            return "SELECT name FROM system.tables ORDER BY name"
        case ["describe" | "desc", *rest] if (name := _view(rest, words[-1])) is not None:
            if name not in views.VIEWS:
                raise AskedWrongly(
                    f"there is no view {name[:100]!r}; there are {', '.join(views.VIEWS)}",
                    UNKNOWN_TABLE,
                )
            return _DESCRIBED.format(name)
        case ["exists", *rest] if (name := _view(rest, words[-1])) is not None:
            return f"SELECT toUInt8({int(name in views.VIEWS)}) AS result"
    return text


def _of_database(words: list[str]) -> bool:
    return not words or (len(words) == 2 and words[0] in ("from", "in") and words[1] in DATABASES)


def _view(words: list[str], name: str) -> str | None:
    """The name alone that `words` ask for; None where they ask for something else."""
    if words and words[0] in ("table", "view"):
        words = words[1:]
    if len(words) == 3 and words[0] in DATABASES and words[1] == ".":
        words = words[2:]
    return name if len(words) == 1 and name not in ("table", "view") else None


def _take_off_database(table: exp.Table, there: Mapping[str, str]) -> bool:
    """naiad.points is points; system.tables one of `there`, under its whole name. False for a
    table that is neither."""
    if table.catalog or not isinstance(table.this, exp.Identifier) or not table.db:
        return False
    whole = f"{table.db}.{table.name}"
    if table.db not in DATABASES and whole not in there:
        return False
    if not table.alias:
        table.set("alias", exp.TableAlias(this=exp.to_identifier(table.name, quoted=True)))
    if whole in there:
        table.set("this", exp.to_identifier(whole, quoted=True))
    table.set("db", None)
    return True


def _text(text: str) -> str:
    quoted = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{quoted}'"
