"""The last step of everything that is written: the author's rate, then the journal.

One post becomes as many deliveries as its author has followers, so these are counted as well: one
author cannot keep the whole fan-out busy. A resend is never refused for the rate: it gets what the
first one got.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from xmpprelay.core.model import Appended, Kind, Post
from xmpprelay.core.pacing import Bucket, Rate
from xmpprelay.errors import JournalFull, StoreError, TooFast, TryLater
from xmpprelay.journal import Journal
from xmpprelay.store.posts import ChangeRow, PostRow

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class PostLimits:
    """What one author may send (S10.5), and how many deliveries may come of it."""

    per_second: float
    burst: int
    per_hour: int
    max_chars: int
    deliveries_per_minute: int


@dataclass(frozen=True, slots=True)
class Accepted:
    """Something that is in the journal now."""

    post: Post  # its entry; of a resend, the one made the first time
    duplicate: bool
    said: str  # what its author is told (S1.5); empty: nothing
    notes: str = ""  # of that, what he has to know even where he is told nothing else


class Taking:
    """Puts rows into the journal, as fast as each author may."""

    def __init__(
        self,
        journal: Journal,
        limits: PostLimits,
        followers: Callable[[int], int],
        monotonic: Callable[[], float],
    ) -> None:
        self._journal = journal
        self._limits = limits
        self._short = Rate(limits.per_second, limits.burst)
        self._long = Rate(limits.per_hour / 3600, limits.per_hour)
        deliveries = limits.deliveries_per_minute
        self._fan_out = Rate(deliveries / 60, deliveries)
        self._followers = followers
        self._buckets: dict[int, tuple[Bucket, Bucket]] = {}
        self._deliveries: dict[int, Bucket] = {}
        self._monotonic = monotonic

    async def append(self, row: PostRow) -> Appended:
        """Make an entry, or give the one that this row made before (promises 1 and 2).

        Raises TooFast, TryLater (then nothing was stored, or the same message again makes it
        certain), or what the journal raises. A cancellation leaves it open whether it was made.
        """
        before = await self._paced(row)
        if before is not None:
            return before
        return await stored(lambda: self._journal.append(row))

    async def change(self, row: ChangeRow) -> Appended:
        """Change a post, or give the change that this row made before. Raises as `append` does."""
        before = await self._paced(row)
        if before is not None:
            return before
        return await stored(lambda: self._journal.change(row))

    async def _paced(self, row: PostRow | ChangeRow) -> Appended | None:
        """None: within the rate. What the row has made before does not fall under it."""
        try:
            self._pace(row.author, self._costs(row))
        except TooFast:
            before = await stored(lambda: self._journal.find_duplicate(row))
            if before is None:
                raise
            return Appended(before, duplicate=True)
        return None

    def _costs(self, row: PostRow | ChangeRow) -> int:
        """About how many deliveries come of it, whoever is there; at least one."""
        if isinstance(row, PostRow) and row.kind is Kind.DIRECT:
            return 1
        return max(1, self._followers(row.author))

    def _pace(self, author: int, deliveries: int) -> None:
        now = self._monotonic()
        short, long = self._buckets.get(author) or (
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
        budget = self._deliveries.get(author) or Bucket.full(self._fan_out, now)
        after = budget.take(self._fan_out, now, deliveries)
        if isinstance(after, float):
            raise TooFast(
                f"Your posts go to {deliveries} people each, and that is more than "
                f"{self._limits.deliveries_per_minute} deliveries a minute; this was not posted. "
                f"Send it again in {_span(after)}.",
                retry_after_s=after,
            )
        if isinstance(after_short, Bucket) and isinstance(after_long, Bucket):
            self._buckets[author] = (after_short, after_long)
            self._deliveries[author] = after


async def stored(step: Callable[[], Awaitable[T]]) -> T:
    """What a step of the store gives; TryLater where the store cannot do it."""
    try:
        return await step()
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


def _span(seconds: float) -> str:
    whole = max(1, round(seconds + 0.5))
    return f"{whole} s" if whole < 120 else f"{-(-whole // 60)} minutes"
