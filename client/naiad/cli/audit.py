"""`naiad audit`: is all that was logged in the log, and all of that in the store?"""

from __future__ import annotations

import json
from typing import Any

import click

from naiad.cli._tables import said_plainly

# Reading a whole log takes its time.
_SECONDS = 3600.0
_PLACES = {
    "CLIENT": "in the client",
    "CLIENT_TO_LOG": "on the way from client to log",
    "LOG": "in the log",
    "LOG_TO_STORE": "on the way from log to store",
    "STORE": "in the store",
    "DEAD_LETTER": "among the dead letters",
}


@click.command()
@click.argument("target", metavar="RUN|PROJECT")
@click.option(
    "--project", envvar="NAIAD_PROJECT", metavar="WORKSPACE/NAME",
    help="Whose run; default NAIAD_PROJECT.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="One JSON object: runs and gaps.")
@click.option("--url", help="Server; default NAIAD_URL, then grpc://127.0.0.1:7420.")
@click.option("--token", help="API token; default NAIAD_API_TOKEN.")
def audit(
    target: str, project: str | None, as_json: bool, url: str | None, token: str | None
) -> None:
    """Compares what clients logged, what the log holds and what the store holds.

    Of a run (RUN with --project, or WORKSPACE/NAME/RUN) or of all runs of a project
    (WORKSPACE/NAME). One line when all is there; otherwise each gap with its place, and exit
    status 1.
    """
    parts = target.split("/")
    if len(parts) == 1 and project:
        asked, run = project, target
    elif len(parts) in (2, 3):
        asked, run = "/".join(parts[:2]), parts[2] if len(parts) == 3 else ""
    else:
        raise click.UsageError(
            f"{target!r} is neither WORKSPACE/NAME nor WORKSPACE/NAME/RUN; for a run alone name its"
            " project: --project WORKSPACE/NAME, or set NAIAD_PROJECT"
        )
    with said_plainly():
        from naiad.query.client import QueryClient

        with QueryClient(url, token, timeout=_SECONDS) as client:
            answer = client.audit(asked, run)
    gaps = [_gap(gap) for gap in answer.gaps]
    if as_json:
        runs = [_run(one) for one in answer.runs]
        click.echo(json.dumps({"project": asked, "runs": runs, "gaps": gaps}, indent=1))
    else:
        for gap in gaps:
            writer = f", writer {gap['writer_id'][:12]}" if gap["writer_id"] else ""
            click.echo(f"{asked}/{gap['run_id']}{writer}, {gap['place']}: {gap['message']}")
        if not gaps:
            click.echo(_all_there(f"{asked}/{run}" if run else asked, answer.runs))
    if gaps:
        raise SystemExit(1)


def _all_there(name: str, runs: Any) -> str:
    if not runs:
        return f"{name}: nothing was logged, and nothing is missing"

    def total(field: str) -> int:
        return sum(getattr(run, field) for run in runs)

    several = f"{len(runs):,} runs, " if len(runs) > 1 else ""
    more = [
        f"{count:,} {what}"
        for field, what in (
            ("overwritten_points", "overwritten"),
            ("rejected_points", "rejected"),
            ("resent_points", "sent again"),
        )
        if (count := total(field))
    ]
    older = sum(run.log_is_partial for run in runs)
    note = ""
    if older:
        note = f"; of {older:,} of them" if len(runs) > 1 else ";"
        note += " the log no longer holds the beginning, which was compared by record numbers"
    return (
        f"{name}: all there: {several}{total('records'):,} records of {total('writers'):,} writers,"
        f" {total('stored_points'):,} points stored{''.join(f', {one}' for one in more)}{note}"
    )


def _gap(gap: Any) -> dict[str, Any]:
    from naiad_proto.v1.query_pb2 import AuditStage

    stage = AuditStage.Name(gap.stage).removeprefix("AUDIT_STAGE_")
    return {
        "run_id": gap.run_id, "writer_id": gap.writer_id, "stage": stage.lower(),
        "place": _PLACES.get(stage, stage), "first_record": gap.first_record,
        "last_record": gap.last_record, "message": gap.message,
    }  # fmt: skip


def _run(run: Any) -> dict[str, Any]:
    return {field.name: getattr(run, field.name) for field in run.DESCRIPTOR.fields}
