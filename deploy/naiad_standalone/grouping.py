"""What is asked of the groups that read an event log and what is answered, in JSON: by a server for
a command, or by a command itself where no server has the log."""

from __future__ import annotations

from typing import Any

from naiad_eventlog import EventLog
from naiad_eventlog.topics import ALL_TOPICS


async def groups(log: EventLog, request: dict[str, Any]) -> dict[str, Any]:
    """`action` is list or forget; `group` the one to be forgotten. Raises EventLogError."""
    match request["action"]:
        case "list":
            return {"groups": await _list(log)}
        case "forget":
            await log.forget(str(request["group"]))
            return {}
        case other:
            raise ValueError(f"groups can't be asked to {other!r}")


async def _list(log: EventLog) -> list[dict[str, Any]]:
    return [
        {
            "group": group,
            "topic": topic.name,
            "members": await log.members(topic.name, group),
            "records_behind": sum((await log.lag(topic.name, group)).values()),
        }
        for topic in ALL_TOPICS
        for group in sorted(await log.groups(topic.name))
    ]
