"""Changes of runs that a reader asks for: to the trash, back, and the end for good.

What is asked about stands in the session, so that a page that is drawn again meanwhile, as it is
every few seconds while runs are running, keeps its question open.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Literal, NamedTuple

import streamlit as st

from naiad.editing import Changed
from naiad.exceptions import NaiadError
from naiad.query.client import Attributes, Runs
from naiad_dashboard import attributes, tables
from naiad_dashboard.chrome import Site, told
from naiad_dashboard.texts import plain, run_label, shorten

_ASKED = "naiad asked"
_BECAME = "naiad became"
# Of the runs that a question is about so many are named.
_NAMED = 10

Kind = Literal["delete", "purge"]


class Trashed(NamedTuple):
    """A run in the trash: of several that had the id, one."""

    run_id: str
    incarnation: int
    experiment: str

    @property
    def label(self) -> str:
        return run_label(self.run_id, self.experiment)


class Became(NamedTuple):
    """What is said once a change is made."""

    text: str
    failures: Sequence[str]


def ask(kind: Kind, project: str, runs: Sequence[object]) -> None:
    """From now on the page's question is about these."""
    st.session_state[_ASKED] = (kind, project, tuple(runs))


def is_asked(kind: Kind, project: str, runs: Sequence[object]) -> bool:
    return bool(st.session_state.get(_ASKED) == (kind, project, tuple(runs)))


def tell_what_became() -> None:
    """Of the last change; what failed stays until it was read."""
    became: Became | None = st.session_state.get(_BECAME)
    if became is None:
        return
    if became.text:
        st.toast(plain(became.text), icon=":material/check:")
    if not became.failures:
        st.session_state.pop(_BECAME)
        return
    st.session_state[_BECAME] = became._replace(text="")
    st.error("\n".join(f"- {plain(failure)}" for failure in became.failures[:_NAMED]))
    more = len(became.failures) - _NAMED
    if more > 0:
        st.caption(f"{more:,} more failed.")
    st.button("Dismiss", on_click=lambda: st.session_state.pop(_BECAME, None))


def _forget() -> None:
    st.session_state.pop(_ASKED, None)


@st.dialog("Move to the trash?", icon=":material/delete:", on_dismiss=_forget)
def ask_to_delete(
    site: Site, project: str, runs: Sequence[str], deleted: Callable[[set[str]], None]
) -> None:
    """`deleted` is told which were, before the page is drawn again."""
    with told("delete"):
        found = tables.frame(
            site.client.runs_table(project, Runs(names=runs), Attributes(paths=["sys/state"]))
        )
        names = dict(zip(found[tables.RUN], found[tables.EXPERIMENT], strict=True))
        _name([run_label(run, str(names.get(run) or "")) for run in runs], project)
        states = found.get("sys/state")
        running = 0 if states is None else int(states.isin(attributes.LIVE_STATES).sum())
        if running:
            st.warning(
                f"{_counted(running, 'is', 'are')} still running. No training is stopped: what"
                " they log goes to the trash with their runs."
            )
        st.caption("Hidden at once, for everyone, and restored from the Trash page.")
        if _is_decided("Move to trash"):
            changed = _carried_out(site.editor.delete(project, runs), len(runs))
            if changed is not None:
                done = {one.run_id for one in changed if one.done}
                deleted(done)
                _end(f"{_runs(len(done))} moved to the trash", changed)


@st.dialog("Purge for good?", icon=":material/delete_forever:", on_dismiss=_forget)
def ask_to_purge(site: Site, project: str, runs: Sequence[Trashed]) -> None:
    _name([run.label for run in runs], project)
    st.warning("Their points, files and configs are removed. Nothing brings them back.")
    whose, wanted = ("run's id", runs[0].run_id) if len(runs) == 1 else ("project's name", project)
    typed = st.text_input(
        f"Type the {whose} to go on", autocomplete="off", placeholder=wanted, key="naiad-typed"
    )
    if _is_decided("Purge for good"):
        if typed != wanted:
            st.error(f"That is not {plain(wanted)}: nothing was purged.")
            return
        changed = _carried_out(_each(site.editor.purge, project, runs), len(runs))
        if changed is not None:
            _end(f"{_runs(sum(one.done for one in changed))} purged", changed)


def restore(site: Site, project: str, runs: Sequence[Trashed]) -> None:
    """Needs no question: it can be taken back."""
    changed = _carried_out(_each(site.editor.restore, project, runs), len(runs))
    if changed is not None:
        _end(f"{_runs(sum(one.done for one in changed))} restored", changed)


def _each(
    change: Callable[[str, Iterable[str], int | None], Iterable[Changed]],
    project: str,
    runs: Sequence[Trashed],
) -> Iterable[Changed]:
    """One request says the incarnation of all of its runs."""
    by_incarnation: dict[int, list[str]] = {}
    for run in runs:
        by_incarnation.setdefault(run.incarnation, []).append(run.run_id)
    for incarnation, run_ids in by_incarnation.items():
        yield from change(project, run_ids, incarnation)


def _name(labels: Sequence[str], project: str) -> None:
    st.markdown(f"**{_runs(len(labels))}** of {plain(project)}:")
    lines = [f"- {plain(shorten(label))}" for label in labels[:_NAMED]]
    if len(labels) > _NAMED:
        lines.append(f"- and {len(labels) - _NAMED:,} more")
    st.markdown("\n".join(lines))


def _is_decided(yes: str) -> bool:
    with st.container(horizontal=True, horizontal_alignment="right"):
        if st.button("Cancel"):
            _forget()
            st.rerun()
        return st.button(yes, type="primary")


def _carried_out(changes: Iterable[Changed], count: int) -> list[Changed] | None:
    """What became of each; None when they could not be asked for, which is said."""
    bar = st.progress(0.0)
    changed: list[Changed] = []
    try:
        for one in changes:
            changed.append(one)
            bar.progress(len(changed) / count, f"{len(changed):,} of {count:,}")
    except NaiadError as error:
        bar.empty()
        st.error(plain(str(error)))
        return None
    return changed


def _end(text: str, changed: Sequence[Changed]) -> None:
    """Draws the page again, which says it."""
    failures = [f"{one.run_id}: {one.reason}" for one in changed if not one.done]
    done = len(failures) < len(changed)
    st.session_state[_BECAME] = Became(text if done else "", failures)
    _forget()
    st.rerun()


def _runs(count: int) -> str:
    return "1 run" if count == 1 else f"{count:,} runs"


def _counted(count: int, one: str, more: str) -> str:
    return f"1 {one}" if count == 1 else f"{count:,} {more}"
