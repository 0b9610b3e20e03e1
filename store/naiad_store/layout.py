"""Tables laid out over a cluster: what a migration's statement becomes there.

Enters: a statement as the migrations have it, for one server. Leaves: those for the cluster.

- Everything is made ON CLUSTER, and named with its database, which other servers don't guess.
- `…MergeTree` becomes `Replicated…MergeTree`, where the replicas of a shard meet in Keeper.
- Sharded, a table `t` becomes `t_local` on every shard and `t` a Distributed table over them.
  A key's rows all go to one shard, by `run` where the key has it and by the whole key else, so
  that replacing, and FINAL, which work within a shard, work as they do on one server.

Statements are changed where they have to be, word by word, and never written anew by a parser
that might read them differently.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import sqlglot
from sqlglot.tokens import Token  # type: ignore[attr-defined]

from naiad_store.address import Cluster
from naiad_store.errors import StoreError

# What ALTER TABLE may say of a Distributed table, which has columns and nothing else.
_OF_COLUMNS = ("ADD", "DROP", "MODIFY", "RENAME", "COMMENT")


def laid_out(
    statement: str, cluster: Cluster | None, database: str, names: Collection[str]
) -> list[str]:
    """`names`: of the tables and views that there are or will be. Raises StoreError for a
    statement that nobody has thought of here."""
    if cluster is None:
        return [statement]
    return list(_Layout(statement, cluster, database, names).statements())


def names_made(statements: Collection[str]) -> set[str]:
    """Names of the tables and views that these make."""
    found = set()
    for statement in statements:
        words = _Words(statement)
        if words.upper(0) == "CREATE" and (place := words.after("TABLE", "VIEW")) is not None:
            found.add(words.text(place))
    return found


def local_name(table: str, cluster: Cluster | None, database: str) -> str:
    """How a statement names a table whose rows it changes, on every server that has some."""
    if cluster is None:
        return table
    local = f"{table}_local" if cluster.sharded else table
    return f"`{database}`.`{local}` ON CLUSTER {_text(cluster.name)}"


class _Words:
    """A statement with its words, and changes to be made where they stand."""

    def __init__(self, sql: str) -> None:
        self.sql = sql
        self.tokens: Sequence[Token] = sqlglot.tokenize(sql, read="clickhouse")
        self._changes: list[tuple[int, int, str]] = []

    def upper(self, place: int) -> str:
        return self.text(place).upper()

    def text(self, place: int) -> str:
        return str(self.tokens[place].text) if 0 <= place < len(self.tokens) else ""

    def words(self) -> list[str]:
        return " ".join(token.text.upper() for token in self.tokens).split()

    def after(self, *kinds: str) -> int | None:
        """Where the name stands behind the first of these words, and IF (NOT) EXISTS."""
        for place in range(len(self.tokens)):
            if self.upper(place) in kinds:
                place += 1
                while self.upper(place) in ("IF", "NOT", "EXISTS", "IF EXISTS", "IF NOT EXISTS"):
                    place += 1
                return place
        return None

    def top(self) -> Iterator[tuple[int, Token]]:
        """Words that stand in no parentheses."""
        depth = 0
        for place, token in enumerate(self.tokens):
            if token.text == "(":
                depth += 1
            elif token.text == ")":
                depth -= 1
            elif depth == 0:
                yield place, token

    def replace(self, place: int, text: str) -> None:
        token = self.tokens[place]
        self._changes.append((token.start, token.end + 1, text))

    def changed(self) -> str:
        out, done = [], 0
        for start, end, text in sorted(self._changes):
            out.append(self.sql[done:start] + text)
            done = end
        return "".join(out) + self.sql[done:]


class _Layout:
    def __init__(
        self, statement: str, cluster: Cluster, database: str, names: Collection[str]
    ) -> None:
        self._statement = statement
        self._cluster = cluster
        self._database = database
        self._names = names
        self._on = f"ON CLUSTER {_text(cluster.name)}"

    def statements(self) -> Iterator[str]:
        words = _Words(self._statement)
        kind = words.upper(0)
        # The tokenizer takes ALTER and what follows for words of its own, too.
        made = [word for word in words.words()[:5] if word in ("TABLE", "VIEW")][:1]
        if kind == "CREATE" and made == ["TABLE"]:
            yield from self._create_table()
        elif kind == "CREATE" and made == ["VIEW"]:
            yield self._create_view()
        elif kind == "ALTER" and made == ["TABLE"]:
            yield from self._alter_table()
        elif kind == "DROP" and made == ["TABLE"]:
            yield self._headed(_Words(self._statement), "").changed()
        elif kind in ("INSERT", "SELECT", "WITH"):
            yield self._statement
        else:
            raise StoreError(
                f"it isn't known how to run this on the cluster {self._cluster.name}:"
                f" {' '.join(self._statement.split())[:200]}"
            )

    def _headed(self, words: _Words, suffix: str) -> _Words:
        """With the name qualified, and on all servers."""
        place = words.after("TABLE", "VIEW")
        assert place is not None
        words.replace(place, f"{self._named(words.text(place) + suffix)} {self._on}")
        return words

    def _create_table(self) -> Iterator[str]:
        words = _Words(self._statement)
        place = words.after("TABLE")
        assert place is not None
        name = words.text(place)
        engine = _engine(words)
        if not words.text(engine).endswith("MergeTree"):
            yield self._headed(words, "").changed()
            return
        sharded = self._cluster.sharded
        self._headed(words, "_local" if sharded else "")
        self._replicate(words, engine)
        yield words.changed()
        if sharded:
            local, key = self._named(f"{name}_local"), _sharding_key(words)
            yield (
                f"CREATE TABLE IF NOT EXISTS {self._named(name)} {self._on}\n"
                f"AS {local}\n"
                f"ENGINE = Distributed({_text(self._cluster.name)}, {_text(self._database)},"
                f" {_text(f'{name}_local')}, {key})"
            )

    def _replicate(self, words: _Words, engine: int) -> None:
        name = words.text(engine)
        if not self._cluster.replica_path:
            words.replace(engine, f"Replicated{name}")
            return
        where = f"{_text(self._cluster.replica_path)}, {_text(self._cluster.replica_name)}"
        if words.text(engine + 1) == "(":
            more = "" if words.text(engine + 2) == ")" else ", "
            words.replace(engine, f"Replicated{name}")
            words.replace(engine + 1, f"({where}{more}")
        else:
            words.replace(engine, f"Replicated{name}({where})")

    def _create_view(self) -> str:
        words = self._headed(_Words(self._statement), "")
        for place in range(1, len(words.tokens)):
            follows = words.upper(place - 1) in ("FROM", "JOIN")
            if follows and words.text(place) in self._names and words.text(place + 1) != ".":
                words.replace(place, self._named(words.text(place)))
        return words.changed()

    def _alter_table(self) -> Iterator[str]:
        # The tokenizer knows no words of ALTER TABLE but these two.
        words = _Words(self._statement)
        yield self._headed(words, "_local" if self._cluster.sharded else "").changed()
        if not self._cluster.sharded:
            return
        place = words.after("TABLE")
        assert place is not None
        starts = [place + 1]
        starts += [where + 1 for where, token in words.top() if token.text == ","]
        kept = []
        for number, start in enumerate(starts):
            end = starts[number + 1] - 2 if number + 1 < len(starts) else len(words.tokens) - 1
            text = words.sql[words.tokens[start].start : words.tokens[end].end + 1]
            if text.upper().split()[1] == "COLUMN" and words.upper(start) in _OF_COLUMNS:
                kept.append(text)
        if kept:
            joined = ",\n    ".join(kept)
            yield f"ALTER TABLE {self._named(words.text(place))} {self._on}\n    {joined}"

    def _named(self, name: str) -> str:
        return f"`{self._database}`.`{name}`"


def _engine(words: _Words) -> int:
    for place, token in words.top():
        if token.text.upper() == "ENGINE":
            return place + 2
    raise StoreError(f"a table without ENGINE: {words.sql[:200]}")


def _sharding_key(words: _Words) -> str:
    columns: list[str] = []
    for place, token in words.top():
        if token.text.upper() == "ORDER BY":
            if words.text(place + 1) != "(":
                columns = [words.text(place + 1)]
                break
            end = place + 2
            while words.text(end) != ")":
                if words.text(end) != ",":
                    columns.append(words.text(end))
                end += 1
    if not columns:
        raise StoreError(f"a table without ORDER BY can't be sharded: {words.sql[:200]}")
    # Numbers spread as they are.
    return "run" if "run" in columns else f"cityHash64({', '.join(columns)})"


def _text(text: str) -> str:
    quoted = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{quoted}'"
