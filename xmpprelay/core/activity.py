"""How much there was to do: counters of minutes, which become fewer with age, and a span of them.

A row counts one minute; when it is a day old it goes into one of ten minutes, after a week into one
of an hour, and after ninety days it is dropped. Nothing is lost by that but sharpness: what is
counted is added up, and of the backlog the highest is kept. `watched` says in how many minutes of a
row the relay ran, since that nobody posted and that nobody could are not the same.

Clocks are set, forward and back, and machines sleep. What is counted twice for the same minute is
added up; what lies in the future of the clock is kept and not shown; and thinning goes in steps so
small (one row of each kind a minute) that a clock which is wrong for a while does little harm.

Pure functions of (rows, now), and one counter that is told the time.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import pairwise
from typing import Final

MINUTE: Final = timedelta(minutes=1)

_MIDNIGHT: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Tally:
    """What was counted in one span of time."""

    begins: datetime  # UTC, at a whole multiple of its length
    minutes: int = 1  # its length
    watched: int = 1  # in how many of its minutes the relay ran
    posts: int = 0  # entries of the journal that are no changes of others
    bot_posts: int = 0  # how many of them are by bots and outlets
    deliveries: int = 0  # stanzas that servers have confirmed
    people: int = 0  # who became known to the relay
    backlog: int = 0  # what was open for a primary, at most

    @property
    def ends(self) -> datetime:
        """The first moment after it."""
        return self.begins + self.minutes * MINUTE


def floor(moment: datetime, minutes: int) -> datetime:
    """The begin of the row of that length which a moment belongs to."""
    length = minutes * MINUTE
    return _MIDNIGHT + (moment - _MIDNIGHT) // length * length


def merged(tallies: Iterable[Tally], begins: datetime, minutes: int) -> Tally:
    """One row for several, which all lie in it."""
    watched = posts = bot_posts = deliveries = people = backlog = 0
    for each in tallies:
        watched += each.watched
        posts += each.posts
        bot_posts += each.bot_posts
        deliveries += each.deliveries
        people += each.people
        backlog = max(backlog, each.backlog)
    # More minutes than it has were only watched by a clock that was set back.
    watched = min(watched, minutes)
    return Tally(begins, minutes, watched, posts, bot_posts, deliveries, people, backlog)


# --- counting ------------------------------------------------------------------------------------

NAP_MINUTES: Final = 3
"""Whoever counts is called every minute. If it took him longer than this, the machine slept, or
somebody has set the clock: of the minutes between nothing is known."""


class Counting:
    """Counts for the minute that runs.

    Before something is counted, `over` is asked, and if it is so `turn` ends the minute.
    """

    def __init__(self, now: datetime, confirmed: int) -> None:
        self._minute = floor(now, 1)
        self._confirmed = confirmed
        self._clear()

    def _clear(self) -> None:
        self._posts = self._bot_posts = self._people = 0

    def post(self, *, bot: bool) -> None:
        """Somebody has posted."""
        self._posts += 1
        self._bot_posts += bot

    def came(self, people: int) -> None:
        """So many people are new."""
        self._people += people

    def over(self, now: datetime) -> bool:
        """Whether another minute runs by now, be it a former one."""
        return not self._minute <= now < self._minute + MINUTE

    def running(self, confirmed: int, backlog: int) -> Tally:
        """The minute that runs, up to now; `confirmed` counts stanzas since the start."""
        return Tally(
            self._minute,
            posts=self._posts,
            bot_posts=self._bot_posts,
            deliveries=max(0, confirmed - self._confirmed),
            people=self._people,
            backlog=backlog,
        )

    def turn(self, now: datetime, confirmed: int, backlog: int) -> list[Tally]:
        """End the minute, and begin the one that `now` is in; gives those that are over."""
        done = [self.running(confirmed, backlog)]
        begins = floor(now, 1)
        between = (begins - self._minute) // MINUTE - 1
        if 0 < between < NAP_MINUTES:
            done += [
                Tally(self._minute + (1 + n) * MINUTE, backlog=backlog) for n in range(between)
            ]
        self._minute, self._confirmed = begins, confirmed
        self._clear()
        return done


# --- thinning ------------------------------------------------------------------------------------

STEPS: Final = ((10, timedelta(hours=24)), (60, timedelta(days=7)))
"""A row that ended so long ago goes into one of so many minutes."""

KEPT_FOR: Final = timedelta(days=90)
"""What is older is shown nowhere."""


@dataclass(frozen=True, slots=True)
class Thinning:
    """One step of it: rows of less than `minutes` that begin before `before` go into one."""

    minutes: int
    before: datetime


def thinnings(now: datetime) -> list[Thinning]:
    """What is to be thinned at a time. Only where the whole new row is old enough."""
    return [Thinning(minutes, floor(now - age, minutes)) for minutes, age in STEPS]


def outdated(now: datetime) -> datetime:
    """What begins before this is dropped; some hours later than shown, to be shown whole."""
    return floor(now - KEPT_FOR, _POINT_MINUTES[Span.QUARTER])


# --- a span of it --------------------------------------------------------------------------------


class Span(StrEnum):
    """How far back one looks."""

    DAY = "24h"
    WEEK = "7d"
    QUARTER = "90d"

    @property
    def length(self) -> timedelta:
        """The same as a length of time."""
        return _LENGTH[self]

    @property
    def point_minutes(self) -> int:
        """How long the points are that it is shown by: at most 181 of them."""
        return _POINT_MINUTES[self]

    def first(self, now: datetime) -> datetime:
        """Where its first point begins."""
        return floor(now - self.length, self.point_minutes)


_LENGTH: Final = {
    Span.DAY: timedelta(hours=24),
    Span.WEEK: timedelta(days=7),
    Span.QUARTER: KEPT_FOR,
}
_POINT_MINUTES: Final = {Span.DAY: 10, Span.WEEK: 60, Span.QUARTER: 720}


@dataclass(frozen=True, slots=True)
class Away:
    """A time in which a primary was on standby."""

    began: datetime
    ended: datetime | None  # None: it lasts


@dataclass(frozen=True, slots=True)
class Series:
    """A span of time up to now: points without gaps, ascending, and when a primary was away."""

    span: Span
    ends: datetime  # the end of the minute that runs
    points: Sequence[Tally]  # the last one is as long as it has lasted yet
    away: Sequence[Away]  # each from before `ends` to after `begins`, ascending
    standbys: Sequence[timedelta]  # of each point: for how long of it any primary was away

    @property
    def begins(self) -> datetime:
        """Where the first point begins."""
        return self.points[0].begins

    @property
    def standby(self) -> timedelta:
        """For how long of it any primary was away."""
        return sum(self.standbys, timedelta())


def series(rows: Iterable[Tally], away: Iterable[Away], span: Span, now: datetime) -> Series:
    """The rows as points of that span; where there are none, nothing was done or known."""
    ends, minutes = floor(now, 1) + MINUTE, span.point_minutes
    first = span.first(now)
    within: dict[datetime, list[Tally]] = {}
    for row in rows:
        if first <= row.begins < ends:
            within.setdefault(floor(row.begins, minutes), []).append(row)
    points, begins = [], first
    while begins < ends:
        length = min(minutes, (ends - begins) // MINUTE)
        points.append(merged(within.get(begins, ()), begins, length))
        begins += minutes * MINUTE
    seen = sorted(
        (each for each in away if each.began < ends and (each.ended or ends) > first),
        key=lambda each: each.began,
    )
    return Series(span, ends, points, seen, _standbys(points, seen, ends))


def _standbys(points: Sequence[Tally], away: Sequence[Away], ends: datetime) -> Sequence[timedelta]:
    """For how long of each point any primary was away; `away` ascends."""
    lengths = [timedelta()] * len(points)
    at, upto = 0, points[0].begins
    for each in away:
        begins, over = max(each.began, upto), min(each.ended or ends, ends)
        while at < len(points) and points[at].ends <= begins:
            at += 1
        place = at
        while place < len(points) and points[place].begins < over:
            point = points[place]
            lengths[place] += max(timedelta(), min(over, point.ends) - max(begins, point.begins))
            place += 1
        upto = max(upto, over)
    return lengths


def spans_of(points: Sequence[Tally]) -> list[tuple[datetime, datetime]]:
    """The times of which hardly anything is known, as few as possible: the relay did not run."""
    blind = [each for each in points if each.watched * 2 < each.minutes]
    if not blind:
        return []
    spans, begins = [], blind[0].begins
    for before, after in pairwise(blind):
        if before.ends != after.begins:
            spans.append((begins, before.ends))
            begins = after.begins
    spans.append((begins, blind[-1].ends))
    return spans


# --- as it is told -------------------------------------------------------------------------------

COLUMNS: Final = (
    "begins",
    "minutes",
    "watched",
    "posts",
    "bot_posts",
    "deliveries",
    "people",
    "backlog",
    "standby_s",
)
"""What is told of a point. Times are of XEP-0082."""


def told(shown: Series) -> list[dict[str, str | int]]:
    """The points for programs, and for tables."""
    return [
        {
            "begins": f"{each.begins:%Y-%m-%dT%H:%M:%SZ}",
            "minutes": each.minutes,
            "watched": each.watched,
            "posts": each.posts,
            "bot_posts": each.bot_posts,
            "deliveries": each.deliveries,
            "people": each.people,
            "backlog": each.backlog,
            "standby_s": round(standby.total_seconds()),
        }
        for each, standby in zip(shown.points, shown.standbys, strict=True)
    ]
