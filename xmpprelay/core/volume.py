"""How much there is: the tier of an author, the load of the relay, when a digest is due (S10).

Plain rules over numbers that others have measured. Whoever posts little is a person, and all of it
comes live; an outlet and a firehose post more, and what is too much goes into digests. When the
fan-out cannot keep up, outlets step back first. Nothing here ever touches what people post, nor
what is addressed to somebody.

Each switch has two thresholds, one for each direction, so that who is near to one does not change
sides all the time.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, tzinfo
from enum import StrEnum
from typing import Final

from xmpprelay.core.model import OWN_LANE
from xmpprelay.core.wishes import Digest

# --- Tiers (S10.2) -------------------------------------------------------------------------------


class Tier(StrEnum):
    """How much an author posts."""

    PERSON = "person"
    OUTLET = "outlet"
    FIREHOSE = "firehose"


_ORDER: Final = (Tier.PERSON, Tier.OUTLET, Tier.FIREHOSE)

_UP: Final = {Tier.OUTLET: 6.0, Tier.FIREHOSE: 30.0}
"""Above so many posts an hour an author comes into this tier."""

_DOWN: Final = {Tier.OUTLET: 4.0, Tier.FIREHOSE: 20.0}
"""Below so many he falls out of it."""

OUTLET_LIVE_PER_HOUR: Final = 6
"""So many posts of an outlet come live in each clock hour (S10.3)."""

DIGEST_EVERY: Final[Mapping[Tier, timedelta]] = {
    Tier.PERSON: timedelta(hours=1),  # what is left of the time when he was an outlet
    Tier.OUTLET: timedelta(hours=1),
    Tier.FIREHOSE: timedelta(hours=3),
}
"""How often surplus posts come, where a follower has chosen nothing."""


def tier_of(before: Tier, per_hour: float, *, bot: bool = False) -> Tier:
    """The tier of an author with so many posts an hour over a day, who was in `before` (S10.2).

    Somebody who says that he is a bot is an outlet at least.
    """
    at = _ORDER.index(before)
    while at > 0 and per_hour < _DOWN[_ORDER[at]]:
        at -= 1
    while at + 1 < len(_ORDER) and per_hour > _UP[_ORDER[at + 1]]:
        at += 1
    return _ORDER[max(at, 1 if bot else 0)]


# --- Load (S10.4) --------------------------------------------------------------------------------


class LoadState(StrEnum):
    """Whether the fan-out keeps up."""

    NORMAL = "normal"
    BUSY = "busy"  # outlets' posts go to digests
    PEAK = "peak"  # firehoses' too, which they do anyway unless somebody has pinned them


def live_per_hour(tier: Tier, load: LoadState) -> int | None:
    """How many of an author's posts come live in a clock hour; None: all of them (S10.3, S10.4)."""
    match tier:
        case Tier.PERSON:
            return None
        case Tier.OUTLET:
            return OUTLET_LIVE_PER_HOUR if load is LoadState.NORMAL else 0
        case Tier.FIREHOSE:
            return 0


@dataclass(frozen=True, slots=True)
class LaneLoad:
    """What one lane has before it and behind it."""

    name: str
    waiting: int  # deliveries of open posts to people who are there
    confirmed: int  # deliveries confirmed since the start
    people: int  # who are there


FIRST_RATE: Final = 1000.0
FIRST_REMOTE_RATE: Final = 50.0
"""Deliveries a second that a lane is taken to manage until it has been measured."""

MEASURED_OVER_S: Final = 20.0
"""A rate follows what is measured within about this time."""

_LEAST_RATE: Final = 0.01


@dataclass(frozen=True, slots=True)
class _Meter:
    """A lane as it was at the last sample."""

    at: float
    waiting: int
    confirmed: int
    rate: float


class Load:
    """The load state, from samples taken every few seconds.

    A rate is only measured while something waits from one sample to the next: a lane with nothing
    to do is not slow. The time that counts is that of the average person who is there, so that one
    slow domain with a few people makes nobody else wait for digests.
    """

    def __init__(self, busy_s: float, peak_s: float) -> None:
        self._busy_s = busy_s
        self._peak_s = peak_s
        self._meters: dict[str, _Meter] = {}
        self.state = LoadState.NORMAL
        self.waiting = 0  # deliveries, over all lanes
        self.wait_s = 0.0  # how long they take at the measured rate

    def sample(self, now: float, lanes: Collection[LaneLoad]) -> LoadState:
        """Take up how the lanes are at a time (in seconds, monotonic); the state from now on."""
        self._meters = {lane.name: self._meter(now, lane) for lane in lanes}
        people = sum(lane.people for lane in lanes)
        self.waiting = sum(lane.waiting for lane in lanes)
        self.wait_s = sum(
            lane.people / people * lane.waiting / max(_LEAST_RATE, self._meters[lane.name].rate)
            for lane in lanes
            if lane.people
        )
        self.state = self._next_state()
        return self.state

    def _meter(self, now: float, lane: LaneLoad) -> _Meter:
        before = self._meters.get(lane.name)
        if before is None:
            rate = FIRST_RATE if lane.name == OWN_LANE else FIRST_REMOTE_RATE
            return _Meter(now, lane.waiting, lane.confirmed, rate)
        elapsed = now - before.at
        rate = before.rate
        if elapsed > 0 and before.waiting and lane.waiting:
            measured = (lane.confirmed - before.confirmed) / elapsed
            rate += (measured - rate) * min(1.0, elapsed / MEASURED_OVER_S)
        return replace(
            before, at=now, waiting=lane.waiting, confirmed=lane.confirmed, rate=max(0.0, rate)
        )

    def _next_state(self) -> LoadState:
        """Up at once; down only when half of what has brought it up is left."""
        if self.wait_s > self._peak_s:
            return LoadState.PEAK
        if self.state is LoadState.PEAK and self.wait_s > self._peak_s / 2:
            return LoadState.PEAK
        if self.wait_s > self._busy_s:
            return LoadState.BUSY
        calm = self.state is LoadState.NORMAL or self.wait_s <= self._busy_s / 2
        return LoadState.NORMAL if calm else LoadState.BUSY


# --- Digests (S10.3) -----------------------------------------------------------------------------


def due_at(digest: Digest, zone: tzinfo, last: datetime) -> datetime:
    """When the next digest after `last` is due; ValueError for one that is off.

    A daily one at its time on the clock of the zone, also on the days on which that is changed.
    """
    if digest.every is not None:
        return last + digest.every
    if digest.at is None:
        raise ValueError("a digest that is off is never due")
    day = last.astimezone(zone).date()
    while True:
        due = datetime.combine(day, digest.at, zone).astimezone(UTC)
        if due > last:
            return due
        day += timedelta(days=1)


def round_of(author: int, every: timedelta, now: datetime) -> int:
    """Which round of an author's default digests a time belongs to.

    A new one begins once in `every`, at a minute of the hour of the author's own: the work is
    spread, and a restart neither puts a round off nor brings an additional one.
    """
    return int((now.timestamp() - 60 * (author % 60)) // every.total_seconds())
