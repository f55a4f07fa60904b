"""Accepting a post: who may, how long, how often; then the journal.

One way in for every door. What comes out is the post, or one sentence that says why not; there is
nothing in between. Nothing here knows XMPP.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from xmpprelay.core.graph import Graph
from xmpprelay.core.model import Appended, Draft, Person
from xmpprelay.core.pacing import Bucket, Rate
from xmpprelay.core.text import check_length
from xmpprelay.errors import JournalFull, NotRegistered, StoreError, TooFast, TryLater
from xmpprelay.journal import Journal


@dataclass(frozen=True, slots=True)
class PostLimits:
    """What one author may send (S10.5)."""

    per_second: float
    burst: int
    per_hour: int
    max_chars: int


class Relay:
    """The way of a post into the journal."""

    def __init__(
        self,
        graph: Graph,
        journal: Journal,
        limits: PostLimits,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._graph = graph
        self._journal = journal
        self._limits = limits
        self._short = Rate(limits.per_second, limits.burst)
        self._long = Rate(limits.per_hour / 3600, limits.per_hour)
        self._buckets: dict[int, tuple[Bucket, Bucket]] = {}
        self._monotonic = monotonic

    async def accept(self, draft: Draft) -> Appended:
        """Make a post safe, or give the post that this draft made before (promises 1 and 2).

        Raises NotRegistered, BadRequest (nothing in it), TooLong, TooFast, or TryLater; then
        nothing was stored. A cancellation leaves it open whether the post was made; the same draft
        again makes it certain.
        """
        author = self._author(draft)
        check_length(draft.text, self._limits.max_chars)
        try:
            self._pace(author)
        except TooFast:
            before = await self._journal.find_duplicate(author.id, draft)
            if before is None:
                raise
            return Appended(before, duplicate=True)
        try:
            return await self._journal.append(author.id, draft)
        except JournalFull as full:
            raise TryLater(
                "The relay has no room for new posts at the moment; nothing was posted. "
                "Send it again later."
            ) from full
        except StoreError as fault:
            raise TryLater(
                "The relay could not store this; nothing is certain. Send it again later: "
                "the same message makes one post."
            ) from fault

    def _author(self, draft: Draft) -> Person:
        author = self._graph.by_jid(draft.author)
        if author is None or author.handle is None:
            raise NotRegistered(
                "You have no handle here yet, so this was not posted. "
                "Send `join yourname` first, then this message again."
            )
        return author

    def _pace(self, author: Person) -> None:
        now = self._monotonic()
        short, long = self._buckets.get(author.id) or (
            Bucket.full(self._short, now),
            Bucket.full(self._long, now),
        )
        after_short, after_long = short.take(self._short, now), long.take(self._long, now)
        waits = [wait for wait in (after_short, after_long) if isinstance(wait, float)]
        if waits:
            raise TooFast(
                f"That is faster than {self._limits.per_second:g} posts a second or "
                f"{self._limits.per_hour} an hour; this was not posted. "
                f"Send it again in {_span(max(waits))}.",
                retry_after_s=max(waits),
            )
        if isinstance(after_short, Bucket) and isinstance(after_long, Bucket):
            self._buckets[author.id] = (after_short, after_long)


def with_text(draft: Draft, text: str) -> Draft:
    """The same draft with the text that is really posted (a forcing mark taken off)."""
    return replace(draft, text=text)


def _span(seconds: float) -> str:
    whole = max(1, round(seconds + 0.5))
    return f"{whole} s" if whole < 120 else f"{-(-whole // 60)} minutes"
