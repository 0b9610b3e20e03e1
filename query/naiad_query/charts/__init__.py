"""Charts: what a picture of metrics shows, computed from all points.

Enter: FetchChart's request, with its runs and metrics found. Leave: an Arrow table of columns
(M4, smoothed, or bands over groups of runs) and a ChartInfo. Promised: every number is that of
all points (docs/charts.md has the formulas); what a limit left out or made coarser stands in
ChartInfo.notes, or the question is refused.
"""

from naiad_query.charts.asked import groups_of, key_of, need_x_metric
from naiad_query.charts.chart import Chart, info_of
from naiad_query.charts.plan import Plan

__all__ = ["Chart", "Plan", "groups_of", "info_of", "key_of", "need_x_metric"]
