"""A lane: one destination domain (or the server's own domains together), its windows, its breaker.

A lane walks each open post's candidates in ascending person id. How far it has come is the post's
*fill position*. What it writes goes into windows; a window is *settled* when the destination has
confirmed it and all before it, and its slot is free when the cursors are committed.

A remote lane opens with one small window: after a (re)connect, a time-out, an error nobody knows
whether the domain is there, and each stanza to a dead one comes back. Once it has confirmed a
window there are two in flight, and they double up to the full size. When one fails, the breaker of
the lane opens (`down`), and nothing is written there until the domain gives a sign of life.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from itertools import islice, pairwise
from operator import attrgetter
from typing import Final

from xmpprelay.core.graph import Graph
from xmpprelay.core.model import CHANGES, OWN_LANE, Post
from xmpprelay.core.recipients import Batch
from xmpprelay.core.routing import Audience
from xmpprelay.core.work import Part

WINDOW: Final = 100
"""Stanzas in a window; 50 and 500 measured within 5 % of it."""

WINDOWS: Final = 2
"""Windows in flight, so that the barrier's round trip does not idle the destination."""

SHORTEST_ROUND_TRIP: Final = timedelta(milliseconds=3)
"""Of which half is waited for; below it a timer costs more than the wait brings."""

LONGEST_PAUSE: Final = timedelta(milliseconds=30)
"""Between two windows; half the round trip of a Prosody that its garbage collector slows down."""

FIRST_REMOTE_WINDOW: Final = 5
"""A remote lane opens with one so small: each stanza to a dead domain comes back with an error."""

TOGETHER: Final = 20
"""Open posts of one author that are under way at a time; when one is through, the next begins."""

_COUNTED: Final = 200
"""Candidates of a post who are looked at one by one to estimate what waits."""

DONE: Final = -1
"""The fill position of a post that has passed everybody in the lane."""


class WindowState(Enum):
    """The life of a window."""

    OPEN = "open"  # written; may take more (remote lanes collect for a second)
    ASKED = "asked"  # its barrier is under way
    CONFIRMED = "confirmed"  # answered, but an older one is not
    STORING = "storing"  # settled; its cursors are being committed


@dataclass(slots=True, eq=False)
class Window:
    """Stanzas written together and confirmed together."""

    id: int
    lane: Lane
    parts: list[tuple[tuple[int, ...], tuple[int, ...]]] = field(default_factory=list)
    # (people, numbers) as written: to each of the people each of the numbers
    count: int = 0  # of these stanzas
    through: dict[int, int] = field(default_factory=dict)  # number -> fill position behind it
    batches: list[Batch] = field(default_factory=list)
    bounced: set[tuple[int, int]] = field(default_factory=set)
    state: WindowState = WindowState.OPEN
    asked_at: datetime | None = None  # when it was written, and its barrier asked for

    def add(self, people: tuple[int, ...], numbers: tuple[int, ...]) -> None:
        """To each of these people, ascending, each of these entries was written."""
        self.parts.append((people, numbers))
        self.count += len(people) * len(numbers)

    def people(self) -> tuple[int, ...]:
        """To whom something was written, ascending."""
        if len(self.parts) == 1:
            return self.parts[0][0]
        return tuple(sorted({person for people, _ in self.parts for person in people}))

    def written_to(self, person: int) -> Iterator[int]:
        """The entries that were written to a person."""
        for people, numbers in self.parts:
            if person in people:
                yield from numbers


@dataclass(slots=True, eq=False)
class OpenPost:
    """A post that has not passed everybody in a lane."""

    post: Post
    before: OpenPost | None  # the author's post before it, if that was open when this one came
    audience: Audience
    upto: int | None = None  # of a change: how far the post had come that it changes
    position: int = 0

    def allowed(self) -> tuple[int, ...]:
        """Whom it goes to as things are now, ascending."""
        return self._reached(self.audience.allowed())

    def people(self) -> tuple[int, ...]:
        """Whom it may concern, ascending."""
        return self._reached(self.audience.people)

    def _reached(self, people: tuple[int, ...]) -> tuple[int, ...]:
        if self.upto is None:
            return people
        named = self.post.mentions  # of an edit: who was not named before
        return tuple(p for p in people if p <= self.upto or p in named)

    def bound(self) -> int | None:
        """How far it may go: not past an earlier open post of its author; None: no bound."""
        if self.before is not None and self.before.position == DONE:
            self.before = None
        return None if self.before is None else self.before.position


@dataclass(slots=True, eq=False)
class Lane:
    """One destination and what is under way to it."""

    name: str
    size: int = WINDOW  # of its next window
    limit: int = WINDOW  # what that may grow to
    proved: bool = False  # it has confirmed a window since it opened
    people: set[int] = field(default_factory=set)  # everybody who belongs to it
    open: dict[int, OpenPost] = field(default_factory=dict)  # by number, ascending
    by_author: dict[int, dict[int, OpenPost]] = field(default_factory=dict)  # the same of each
    started: dict[int, datetime] = field(default_factory=dict)  # number -> first written at
    windows: deque[Window] = field(default_factory=deque)
    live: set[int] = field(default_factory=set)
    present: set[int] = field(default_factory=set)  # people of whom a resource is known
    due: dict[int, None] = field(default_factory=dict)  # people whose look may find something
    engaged: set[int] = field(default_factory=set)  # people with a return or a bounce under way
    through: dict[int, int] = field(default_factory=dict)  # reached, not yet in a window
    turn: int = 0  # the number of the post that was served last
    down: bool = False  # the breaker is open
    failures: int = 0
    resetting: int = 0  # how often what was under way was written off, and it is not stored yet
    confirmed: int = 0  # stanzas settled since the start
    round_trip: timedelta = timedelta()  # from a window to its answer, lately
    pausing: int = 0  # the window behind which a `FillLater` waits
    paced: bool = False  # its server reads all that is there at once

    @property
    def remote(self) -> bool:
        """Whether this is a domain of another server."""
        return self.name != OWN_LANE

    @property
    def slots(self) -> int:
        """How many windows may be in flight."""
        return WINDOWS if self.proved or not self.remote else 1

    def opens(self, size: int) -> None:
        """It may be written to, from a first window of that size on; its breaker is closed."""
        self.down, self.failures, self.size, self.proved = False, 0, size, False

    def confirms(self) -> None:
        """It has confirmed a window that was asked for: the next may be twice as large."""
        self.size, self.proved = min(self.limit, self.size * 2), True

    def heard(self, window: Window, now: datetime) -> None:
        """A window's barrier is answered. A long silence counts as twice the time before it."""
        if window.asked_at is not None:
            took = _since(window.asked_at, now)
            self.round_trip = min(took, 2 * self.round_trip) if self.round_trip else took

    def too_soon(self, now: datetime) -> timedelta:
        """How long the next window has to wait; zero, or less: it need not.

        A server that reads all that is there at once answers at the end of that. Two windows that
        are there together would be one: nothing is under way while the next two are made.
        """
        last = self.windows[-1] if self.windows else None
        if not self.paced or last is None or last.asked_at is None:
            return timedelta()
        if self.round_trip < SHORTEST_ROUND_TRIP:
            return timedelta()
        return min(LONGEST_PAUSE, self.round_trip / 2) - _since(last.asked_at, now)

    def take_up(self, graph: Graph, post: Post) -> None:
        """Open a post; posts come in ascending number.

        A change of a post goes no further than that post has been: beyond, it comes as it is now.
        """
        theirs = self.by_author.setdefault(post.author, {})
        before = next(reversed(theirs.values()), None)
        opened = OpenPost(post, before, Audience(graph, post, self.name))
        if post.kind in CHANGES and post.original is not None:
            changed = self.open.get(post.original.number)
            opened.upto = None if changed is None else changed.position
        self.open[post.number] = theirs[post.number] = opened

    def revise(self, graph: Graph, post: Post) -> None:
        """A post is not any more as it was: whoever has yet to get it gets it as it is now."""
        opened = self.open.get(post.number)
        if opened is not None:
            opened.post = post
            opened.audience = Audience(graph, post, self.name)

    def finish(self, number: int) -> None:
        """Close a post: it has passed everybody."""
        opened = self.open.pop(number)
        opened.position = self.through[number] = DONE
        opened.before = None
        theirs = self.by_author[opened.post.author]
        del theirs[number]
        if not theirs:
            del self.by_author[opened.post.author]

    def passed(self, number: int, person: int) -> bool:
        """Whether the fan-out of a post has gone by a person (by its fill position)."""
        opened = self.open.get(number)
        return opened is None or opened.position >= person

    def unsettled(self, person: int) -> set[int]:
        """The posts written to a person that are not yet settled."""
        return {
            number
            for window in self.windows
            if window.state is not WindowState.STORING
            for number in window.written_to(person)
        }

    def in_flight(self) -> int:
        """Stanzas written and not yet settled."""
        return sum(
            window.count for window in self.windows if window.state is not WindowState.STORING
        )

    def waiting(self) -> int:
        """About how many live deliveries its open posts still need.

        Who is there is counted among the next few hundred of each post, and taken for the rest.
        """
        waiting = 0
        for opened in self.open.values():
            people = opened.audience.people
            left = len(people) - bisect_right(people, opened.position)
            some = people[len(people) - left :][:_COUNTED]
            if some:
                waiting += left * len(self.live.intersection(some)) // len(some)
        return waiting

    def ahead(self, people: Collection[int]) -> Iterator[tuple[int, int]]:
        """Each (person, number) of an open post that has yet to reach one of these people."""
        for number, opened in self.open.items():
            candidates = opened.people()
            start = bisect_right(candidates, opened.position)
            if len(people) == 1:  # one person leaves: no need to walk the others
                (person,) = people
                at = bisect_right(candidates, person) - 1
                if at >= start and candidates[at] == person:
                    yield person, number
            else:
                for index in range(start, len(candidates)):
                    if candidates[index] in people:
                        yield candidates[index], number

    def fill(self, room: int) -> list[Part]:
        """Up to `room` live deliveries from all open posts, merged follower by follower.

        Each open post has a fair slice, in turn, so that a post to three people never waits for one
        to ten thousand. Two posts of one author never overtake each other. Whoever is not live is
        passed over. The positions reached go into `through`; a post that is through leaves `open`.
        Ascending by person and then by number. A few less than `room` if these would go to some
        posts only and set them apart.
        """
        served: list[tuple[list[int], Post]] = []
        moved, at_once = True, 1
        while self.open and room >= at_once and moved:
            moved, numbers, before = False, self._in_turn(), len(served)
            slice_ = max(1, room // len(numbers))
            for number in numbers:
                share = min(slice_, room)
                if share == 0:
                    break
                opened = self.open[number]
                people, on = self._serve(opened, share)
                if people:
                    served.append((people, opened.post))
                    room -= len(people)
                moved |= on
                self.turn = number
            at_once = max(1, len(served) - before)  # if there is less room, these would go apart
        return _merged(served)

    def _in_turn(self) -> list[int]:
        """The posts that are to be served now, in turn; of those of one author the oldest first."""
        numbers: list[int] = []
        for theirs in self.by_author.values():
            numbers += theirs if len(theirs) == 1 else self._go_on(theirs)
        numbers.sort()
        at = bisect_right(numbers, self.turn)
        return numbers[at:] + numbers[:at]

    def _go_on(self, theirs: dict[int, OpenPost]) -> list[int]:
        """Those of an author's open posts that do not wait for another one of his.

        The oldest are under way, and one of them waits for the next if that is two windows behind
        at most. From there on they go together, which costs a server much less: a follower has a
        burst at once, and not one post of it in each window.
        """
        under_way = list(islice(theirs.values(), TOGETHER))
        going = [under_way[-1].post.number]
        close = WINDOWS * self.size
        after_waits = False
        for opened, after in reversed(list(pairwise(under_way))):
            waits = False
            if after.position <= opened.position:
                people = after.allowed()
                at = bisect_right(people, after.position)
                behind = bisect_right(people, opened.position) - at
                waits = 0 < behind <= close or (not behind and after_waits)
            if not waits:
                going.append(opened.post.number)
            after_waits = waits
        return going

    def _serve(self, opened: OpenPost, share: int) -> tuple[list[int], bool]:
        """Walk one post on by at most `share` deliveries; to whom, and whether it has moved."""
        live, people = self.live, opened.allowed()
        start = index = bisect_right(people, opened.position)
        bound = opened.bound()
        end = len(people) if bound is None else bisect_right(people, bound)
        found: list[int] = []
        while index < end and len(found) < share:
            some = people[index : min(end, index + share - len(found))]
            index += len(some)
            found += [person for person in some if person in live]
        if index == len(people) and bound is None:
            self.finish(opened.post.number)
            return found, True
        if index == start:
            return found, False
        opened.position = self.through[opened.post.number] = people[index - 1]
        return found, True


def _since(then: datetime, now: datetime) -> timedelta:
    """How long ago that was; none, if the clock was set back meanwhile."""
    return max(now - then, timedelta())


def _merged(served: list[tuple[list[int], Post]]) -> list[Part]:
    """What each follower gets together; who gets the same is in one part."""
    if not served:
        return []
    people, post = served[0]
    if all(others == people for others, _ in served):
        posts = sorted((post for _, post in served), key=_number)
        return [Part(tuple(people), tuple(posts))]
    theirs: dict[int, list[Post]] = {}
    for people, post in served:
        for person in people:
            theirs.setdefault(person, []).append(post)
    alike: list[tuple[list[int], list[Post]]] = []
    for person in sorted(theirs):
        posts = sorted(theirs[person], key=_number)
        if alike and list(map(_number, alike[-1][1])) == list(map(_number, posts)):
            alike[-1][0].append(person)
        else:
            alike.append(([person], posts))
    return [Part(tuple(people), tuple(posts)) for people, posts in alike]


_number = attrgetter("number")
