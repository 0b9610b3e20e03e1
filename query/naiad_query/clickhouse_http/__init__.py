"""ClickHouse's HTTP interface: what its drivers, BI tools and curl speak, before a store of ours.

Enters: a statement in the body or in `?query=`, `param_*`, settings as URL parameters, who asks
(Basic, Bearer, `X-ClickHouse-User`/`-Key`). Leaves: the rows in whatever FORMAT was asked for,
compressed as the client takes it, or an error as ClickHouse says it: a status, the code in
`X-ClickHouse-Exception-Code` and a line of text.

Promised by `ReadOnly`: what `naiad_query.sql` promises of users' SQL, under the same fences; an
answer is whole, or ends with an error; it is never in memory whole. What answers is passed in, so
that tests can put a store behind the same interface that also takes inserts.
"""

from naiad_query.clickhouse_http.app import Answer, Answering, Authenticate, clickhouse_app
from naiad_query.clickhouse_http.asked import Asked, Credentials
from naiad_query.clickhouse_http.errors import AskedWrongly
from naiad_query.clickhouse_http.reading import ReadOnly, authentication

__all__ = [
    "Answer",
    "Answering",
    "Asked",
    "AskedWrongly",
    "Authenticate",
    "Credentials",
    "ReadOnly",
    "authentication",
    "clickhouse_app",
]
