"""The calls of `naiad.v1.QueryService`, by what they ask for; `naiad_query.service` joins them."""

from naiad_query.calls.auditing import Audit, AuditCalls
from naiad_query.calls.charts import ChartCalls
from naiad_query.calls.files import FileCalls
from naiad_query.calls.points import PointCalls
from naiad_query.calls.runs import RunCalls
from naiad_query.calls.sql import SqlCalls

__all__ = [
    "Audit",
    "AuditCalls",
    "ChartCalls",
    "FileCalls",
    "PointCalls",
    "RunCalls",
    "SqlCalls",
]
