"""What the functions of `naiad.query` and `naiad.query.runs` have in common."""

from naiad.query._asking.arguments import Steps, micro_range
from naiad.query._asking.charts import MAX_BUCKETS, Band, ChartQuestions, Smoothing
from naiad.query._asking.points import PointQuestions
from naiad.query._asking.projects import projects_table
from naiad.query._asking.runs import NEWEST, RunQuestions
from naiad.query._asking.sql import sql_answer

__all__ = [
    "MAX_BUCKETS",
    "NEWEST",
    "Asking",
    "Band",
    "Smoothing",
    "Steps",
    "micro_range",
    "projects_table",
    "sql_answer",
]


class Asking(RunQuestions, PointQuestions, ChartQuestions):
    """All questions about runs by id, or by experiment."""
