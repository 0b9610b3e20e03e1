"""One run's accounts held against each other: client, log, store."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from naiad_consumers.audit.account import RunAccount, SpoolAccount
from naiad_consumers.audit.pointlog import Points, UInt64Array
from naiad_consumers.writer.intervals import Intervals, covers, merge
from naiad_proto.limits import shorten
from naiad_proto.v1 import query_pb2 as pb
from naiad_proto.versions import MAX_RECORD, RECORD_BITS, writer_hash
from naiad_store import Store, run_key
from naiad_store.purging import leftovers
from naiad_store.selects import ledger

# Gaps told of one run, at the most: one fault may touch thousands of paths.
_MOST_GAPS = 50

CLIENT = pb.AUDIT_STAGE_CLIENT
CLIENT_TO_LOG = pb.AUDIT_STAGE_CLIENT_TO_LOG
LOG = pb.AUDIT_STAGE_LOG
LOG_TO_STORE = pb.AUDIT_STAGE_LOG_TO_STORE
STORE = pb.AUDIT_STAGE_STORE
DEAD_LETTER = pb.AUDIT_STAGE_DEAD_LETTER


@dataclass
class Comparison:
    """`compare` fills `run` and `gaps`."""

    store: Store
    project: str
    account: RunAccount
    # Records of the run's partition may have been dropped from the log.
    dropped: bool
    run: pb.AuditedRun = field(default_factory=pb.AuditedRun)
    gaps: list[pb.AuditGap] = field(default_factory=list)
    # The log has lost what the store has.
    _lost: bool = False

    def compare(self) -> None:
        account = self.account
        key = run_key(self.project, account.run_id, account.incarnation)
        stored = ledger.spools_of_run(self.store, self.project, key)
        for writer_id in stored.keys() - account.spools.keys():
            account.spool(writer_id)
        partial = False
        for writer_id, spool in sorted(account.spools.items()):
            row = stored.get(writer_id, {"stored": [], "points": 0, "rejected": 0})
            in_store = merge(row["stored"])
            partial |= self._spool(spool, in_store, int(row["points"]), int(row["rejected"]))
        for offset, reason in account.unreadable:
            self._gap(
                None, DEAD_LETTER, 0, 0,
                f"the record of the log at partition {account.partition}, offset {offset} can't be"
                f" read: {reason}",
            )  # fmt: skip
        self._fill(partial)
        waiting = any(spool.waiting for spool in account.spools.values())
        if account.purged or not (account.logged or ledger.is_run(self.store, key)):
            self._nothing_left(key)
        elif not waiting and not partial and not self._lost:
            self._rows(key)
        if len(self.gaps) > _MOST_GAPS:
            more = len(self.gaps) - _MOST_GAPS
            del self.gaps[_MOST_GAPS:]
            self._gap(None, STORE, 0, 0, f"and {more:,} gaps more")

    # --- records, spool by spool ----------------------------------------------------------

    def _spool(self, spool: SpoolAccount, stored: Intervals, points: int, rejected: int) -> bool:
        """Returns whether the log holds only a part of the spool."""
        counts = spool.counts
        dead = [(first, last) for first, last, _ in spool.dead]
        came = merge([*spool.have, *dead])
        through = max(counts.through if counts else 0, came[-1][1] if came else 0)
        aside: Intervals = ()
        if counts:
            aside = merge((part.first, part.last) for part in counts.set_aside)
        older = self._older(came, stored)
        known = merge([*came, *aside, *older])
        acknowledged = counts.acknowledged if counts else through
        missing = subtract(((1, through),) if through else (), known)
        for first, last in split(missing, acknowledged):
            if last <= acknowledged:
                kept = ""
                if covers(stored, first, last):
                    # So the log can't say how many points the store should have.
                    kept, self._lost = " (the store has them)", True
                self._gap(
                    spool, LOG, first, last,
                    "were acknowledged and are not in the log" + kept,
                )  # fmt: skip
            else:
                self._gap(
                    spool, CLIENT_TO_LOG, first, last,
                    "were logged and have not arrived: they wait in the client's spool",
                )  # fmt: skip
        for first, last in subtract(aside, came):
            self._gap(
                spool, CLIENT, first, last,
                "were put aside by the client, which has the reason: naiad sync --rejected",
            )  # fmt: skip
        if counts and counts.dropped:
            self._gap(
                spool, CLIENT, 0, 0,
                f"{counts.dropped:,} calls found no room in the client's spool",
            )  # fmt: skip
        for first, last, reason in spool.dead:
            if not covers(spool.have, first, last):
                self._gap(
                    spool, DEAD_LETTER, first, last,
                    f"were put aside as a dead letter: {shorten(reason)}",
                )  # fmt: skip
        waiting = merge(spool.waiting)
        for first, last in subtract(waiting, stored):
            self._gap(
                spool, LOG_TO_STORE, first, last, "are in the log; the writer has not come to them"
            )
        for first, last in subtract(subtract(spool.have, stored), waiting):
            self._gap(
                spool, STORE, first, last,
                f"are in the log{self._at(spool, first)}; the writer has passed them and does not"
                " say that they are stored",
            )  # fmt: skip
        if not older:
            for first, last in subtract(stored, merge([*came, *missing])):
                self._gap(spool, STORE, first, last, "are called stored and were never in the log")
            if not missing and not aside and counts and not spool.dead:
                self._claims(spool)
            if not waiting and not spool.dead and not self._lost and not self.account.purged:
                self._numbers(spool, points, rejected)
        return bool(older)

    def _older(self, came: Intervals, stored: Intervals) -> Intervals:
        """Records that the log held once, as far as the store can tell."""
        return subtract(stored, came) if self.dropped else ()

    def _claims(self, spool: SpoolAccount) -> None:
        """The client's own counts, against what came."""
        assert spool.counts
        for what, index, claimed, found in (
            ("points", 0, spool.counts.points, spool.points),
            ("attributes", 1, spool.counts.attributes, spool.attributes),
        ):
            if claimed == found:
                continue
            first, last = 1, spool.counts.through
            # Between two counts that the client said: which of its stretches is wrong?
            marks = [(0, 0), *((at, both[index]) for at, both in sorted(spool.claims.items()))]
            for (begin, before), (end, after) in itertools.pairwise(marks):
                inside = [b for b in spool.batches if begin < b.first and b.last <= end]
                if sum(getattr(b, what) for b in inside) != after - before:
                    first, last = begin + 1, end
                    claimed = after - before
                    found = sum(getattr(b, what) for b in inside)
                    break
            self._gap(
                spool, LOG, first, last,
                f"hold {found:,} {what} in the log{self._at(spool, first)}, and the client counted"
                f" {claimed:,}",
            )  # fmt: skip

    def _numbers(self, spool: SpoolAccount, points: int, rejected: int) -> None:
        """The writer's own counts, against what came."""
        for what, said, found in (
            ("points", points, spool.accepted),
            ("rejected items", rejected, spool.rejections),
        ):
            if said != found:
                self._gap(
                    spool, STORE, 0, 0,
                    f"the store's writer counts {said:,} {what}, and the log holds {found:,}",
                )  # fmt: skip

    # --- rows -----------------------------------------------------------------------------

    def _rows(self, key: int) -> None:
        log = self.account.points
        for table in ledger.POINT_TABLES:
            stored = ledger.sums_of_paths(self.store, table, self.project, key)
            for path in sorted({*log.paths(table), *stored}):
                winners = log.winners(table, path)
                if stored.get(path, (0, 0, 0, 0)) != winners.sums():
                    self._path(key, table, path, winners)
        stored_singles = ledger.singles_of_run(self.store, self.project, key)
        for name in sorted(self.account.singles.keys() | stored_singles.keys()):
            table, path, part = name
            want, have = self.account.singles.get(name), stored_singles.get(name)
            if want == have:
                continue
            what = f"{'element' if table == 'string_sets' else 'value'} {path!r} ({part})"
            record = (want or have or 0) & MAX_RECORD
            spool = self._spool_of((want or have or 0) & ((1 << 64) - 1))
            if have is None:
                text = f"{what} is not in table {table}"
            elif want is None:
                text = f"{what} is in table {table} and was never in the log"
            else:
                text = f"{what} is in table {table} with another version than the log's highest"
            self._gap(spool, STORE, record, record, text, plain=True)

    def _nothing_left(self, key: int) -> None:
        for table, rows in leftovers(self.store, self.project, [key]).items():
            self._gap(
                None, STORE, 0, 0,
                f"{rows:,} rows of table {table} are there, and"
                + (" the run was purged" if self.account.purged else " there is no such run"),
                plain=True,
            )  # fmt: skip

    def _path(self, key: int, table: str, path: str, want: Points) -> None:
        """Says what of a path is wrong."""
        have = Points(*ledger.versions_of_path(self.store, table, self.project, key, path))
        common, in_want, in_have = np.intersect1d(want.steps, have.steps, return_indices=True)
        other = (want.high[in_want] != have.high[in_have]) | (
            want.low[in_want] != have.low[in_have]
        )
        named = f"of {shorten(path)!r}"
        for steps, low, words in (
            (
                np.delete(want.steps, in_want),
                np.delete(want.low, in_want),
                f"points {named} are not in table {table}",
            ),
            (
                np.delete(have.steps, in_have),
                np.delete(have.low, in_have),
                f"points {named} are in table {table} and were never in the log",
            ),
            (
                common[other],
                want.low[in_want][other],
                f"points {named} are in table {table} with another version than the log's highest",
            ),
        ):
            for hash_, at in _by_writer(low):
                records = low[at] & np.uint64(MAX_RECORD)
                first, last = int(records.min()), int(records.max())
                begin, end = steps[at].min() / 1e6, steps[at].max() / 1e6
                spool = self._spool_of(hash_ << RECORD_BITS)
                self._gap(
                    spool, STORE, first, last,
                    f"{np.count_nonzero(at):,} {words}: steps {begin:g} to {end:g}"
                    f"{self._at(spool, first) if spool else ''}",
                    plain=True,
                )  # fmt: skip

    def _spool_of(self, low: int) -> SpoolAccount | None:
        for spool in self.account.spools.values():
            if writer_hash(spool.writer_id) == low >> RECORD_BITS:
                return spool
        return None

    # --- telling --------------------------------------------------------------------------

    def _at(self, spool: SpoolAccount, record: int) -> str:
        for batch in spool.batches:
            if batch.first <= record <= batch.last:
                return f" (partition {self.account.partition}, offset {batch.offset})"
        return ""

    def _gap(
        self,
        spool: SpoolAccount | None,
        stage: pb.AuditStage.ValueType,
        first: int,
        last: int,
        text: str,
        *,
        plain: bool = False,
    ) -> None:
        writer = spool.writer_id if spool else ""
        if first and not plain:
            text = f"records {first:,} to {last:,} {text}" if last > first else (
                f"record {first:,} {_single(text)}"
            )  # fmt: skip
        self.gaps.append(
            pb.AuditGap(
                run_id=self.account.run_id,
                writer_id=writer,
                stage=stage,
                first_record=first,
                last_record=last,
                message=text,
            )
        )

    def _fill(self, partial: bool) -> None:
        account = self.account
        spools = list(account.spools.values())
        distinct = 0
        for table in ledger.POINT_TABLES:
            for path in account.points.paths(table):
                distinct += len(account.points.winners(table, path).steps)
        accepted = sum(spool.accepted for spool in spools)
        if account.purged:
            accepted = distinct = 0
        self.run = pb.AuditedRun(
            run_id=account.run_id,
            writers=len(spools),
            records=sum(last - first + 1 for spool in spools for first, last in spool.have),
            accepted_points=accepted,
            stored_points=distinct,
            overwritten_points=accepted - distinct,
            rejected_points=sum(spool.points - spool.accepted for spool in spools),
            resent_points=sum(spool.resent for spool in spools),
            log_is_partial=partial,
            log_partition=account.partition,
            first_offset=max(account.first_offset, 0),
            last_offset=max(account.last_offset, 0),
        )


def subtract(whole: Iterable[tuple[int, int]], part: Iterable[tuple[int, int]]) -> Intervals:
    """What of `whole` is not in `part`; both ascending and disjoint."""
    left: list[tuple[int, int]] = []
    gone = list(part)
    for first, last in whole:
        at = first
        for begin, end in gone:
            if end < at:
                continue
            if begin > last:
                break
            if begin > at:
                left.append((at, begin - 1))
            at = end + 1
        if at <= last:
            left.append((at, last))
    return tuple(left)


def split(intervals: Intervals, after: int) -> Iterator[tuple[int, int]]:
    """The same, with none that goes across from `after` to the number that follows."""
    for first, last in intervals:
        if first <= after < last:
            yield first, after
            yield after + 1, last
        else:
            yield first, last


def _by_writer(low: UInt64Array) -> Iterator[tuple[int, np.ndarray]]:
    hashes = low >> np.uint64(RECORD_BITS)
    for hash_ in np.unique(hashes):
        yield int(hash_), hashes == hash_


def _single(text: str) -> str:
    """Of one record instead of several."""
    for plural, single in (("were ", "was "), ("are ", "is "), ("hold ", "holds ")):
        if text.startswith(plural):
            return single + text.removeprefix(plural)
    return text
