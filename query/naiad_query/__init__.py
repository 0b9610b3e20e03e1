"""The read side: questions over gRPC, answers as Arrow.

Enter: the calls of `naiad.v1.QueryService`. Leave: lists, Arrow streams cut into chunks, file
content. Promised: a reader sees only what its token may read; a wrong question gets one
sentence that names the argument and what to do; a question has a bound in time and memory.
"""

from naiad_query.service import QueryService

__all__ = ["QueryService"]
