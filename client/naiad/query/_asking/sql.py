"""Questions in the asker's own SQL."""

from __future__ import annotations

from typing import Any

from naiad.query import outputs
from naiad.query._asking.arguments import count_of
from naiad.query._asking.questions import LONG
from naiad.query.connecting import connected
from naiad.query.exceptions import WrongArgumentType
from naiad.query.outputs import Output, check_output


def sql_answer(statement: str, limit: int | None, output: Output) -> Any:
    check_output(output)
    if not isinstance(statement, str):
        raise WrongArgumentType(f"statement is {statement!r}; give a SELECT as a string")
    count = count_of("limit", limit)
    with connected(LONG) as client:
        found = client.sql(statement, limit=count)
    if output == "pandas":
        return found.to_pandas()
    return outputs.given_out(found, output)
