"""A process that posts as fast as it can, to be killed: `python -m tests.faults.journal_child`.

Arguments: the database's URL, and the first token. Twenty posters, each waiting for its receipt,
post the tokens from there on, each in the text and as origin-id. Each receipt is written to
standard output as `<token> <number>`. It never ends by itself.
"""

import asyncio
import itertools
import os
import sys
from collections.abc import Iterator
from datetime import UTC, datetime

from xmpprelay.store.database import Database
from xmpprelay.store.operations import add_person
from xmpprelay.store.posts import PostRow, append_post

POSTERS = 20
PADDING = " " + "x" * 4000
"""Behind each token: makes a commit long enough to be killed in."""


async def run(url: str, first: int) -> None:
    db = await Database.open(url, now=lambda: datetime.now(UTC))
    alice = await db.write(add_person, "alice@example.org")
    tokens = itertools.count(first)
    await asyncio.gather(*(post(db, alice.id, tokens) for _ in range(POSTERS)))


async def post(db: Database, author: int, tokens: Iterator[int]) -> None:
    for token in tokens:
        row = PostRow(author, f"{token}{PADDING}", origin=str(token), lanes=lambda _: ("",))
        made = await db.write(append_post, row)
        os.write(1, f"{token} {made.post.number}\n".encode())  # at once, unbuffered


if __name__ == "__main__":
    asyncio.run(run(sys.argv[1], int(sys.argv[2])))
