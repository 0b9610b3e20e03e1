"""A member of a group in a process of its own: `python support_kafka_member.py URL GROUP`.

Says "joined", and then, per record, "partition offset value": before it commits, so what was
committed was said. Commits every third poll, to have something handled but not committed when
it is killed. With a line on stdin it stops polling and commits once more what it has handled.
"""

from __future__ import annotations

import asyncio
import sys

from support_eventlog import next_offsets

from naiad_eventlog import open_event_log


async def main(url: str, group: str) -> None:
    told = asyncio.create_task(asyncio.to_thread(sys.stdin.readline))
    async with await open_event_log(url) as log, await log.subscribe("river", group) as member:
        print("joined", flush=True)
        polls = 0
        handled = []
        while not told.done():
            records = await member.poll(max_records=5, wait=0.1)
            for record in records:
                print(record.partition, record.offset, record.value.decode(), flush=True)
            handled += records
            polls += 1
            if polls % 3 == 0:
                await member.commit(next_offsets(handled))
        await member.commit(next_offsets(handled))
        print("committed", flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
