"""The fan-out and the return: who is sent what, and what is remembered of it.

A state machine without I/O. Events go in (a post is committed, a presence came, a stanza bounced, a
barrier was answered, a write to the database is committed, the stream was lost), work comes out by
`take()` (stanzas to write, barriers to ask for, rows to store, reads to make). `xmpp/outbox.py` is
its shell; the simulation in `tests/properties/` drives this very code.

The scheme, told at length in docs/flow.md ("Who has had what"):

- Nothing is stored per delivery. A person's standing is *live* (he has had all that passed him), or
  *away from* a number, with a short list of lower numbers that he lacks.
- Each lane walks the candidates of each open post in ascending person id, so one stored number per
  post and lane, the cursor, says who has had it for certain.
- Every change of a standing is stored in the order in which it happened, and before any cursor that
  depends on it. Whatever the relay forgets in a crash is then only sent again.

The moves, by their numbers there: (1) accept, (2) fill, (3) settle, (4) leave, (5) bounce,
(6) look, (7) start, which is an operation of the store.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from xmpprelay.core.graph import Graph
from xmpprelay.core.lanes import (
    FIRST_REMOTE_WINDOW,
    WINDOW,
    WINDOWS,
    Lane,
    Window,
    WindowState,
)
from xmpprelay.core.model import Cursor, DeliveryRows, Grant, Post, Rest, Standing
from xmpprelay.core.recent import RECENT, Recent
from xmpprelay.core.recipients import (
    MAX_MISSED,
    MAX_RESOURCES,
    Batch,
    BounceProbe,
    Catch,
    Recipient,
    Resource,
    State,
    Verdict,
)
from xmpprelay.core.returns import Exhausted, Found, NoRoom, Nothing, ReadOn, look, take_held
from xmpprelay.core.routing import decide
from xmpprelay.core.work import (
    AllowanceUsed,
    Ask,
    AskLater,
    Canary,
    Held,
    Probe,
    ProbeBounce,
    RefusedBy,
    Store,
    Summary,
    Work,
    Write,
)

IN_FLIGHT: Final = 2000
"""Stanzas under way over all lanes: what a lost stream can make the relay repeat."""

SHORT_ABSENCE: Final = timedelta(minutes=5)
"""Up to here a return brings everything, plainly (S11.2)."""

SUMMARY_EVERY: Final = timedelta(minutes=10)
"""A summary comes at most once in this time (S11.2)."""

REMEMBER_WRITTEN: Final = timedelta(minutes=15)
"""How long the time of writing is known; a bounce that comes later means: sent again."""

MAX_REFUSED: Final = 10_000
"""Posts remembered that came back from people who hide their presence."""

ASLEEP: Final = timedelta(days=90)
"""Not seen for so long: not probed at a reconnect; any sign wakes (S11.5)."""

FIRST_CANARY_S: Final = 60.0
LAST_CANARY_S: Final = 4000.0


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is under way, and in memory. Tests take small ones, to come to the edges sooner."""

    window: int = WINDOW
    first_remote_window: int = FIRST_REMOTE_WINDOW
    in_flight: int = IN_FLIGHT
    recent: int = RECENT


_SIZES: Final = Sizes()


@dataclass(slots=True)
class _Token:
    windows: list[Window]
    lanes: list[Lane]


class Delivery:
    """The fan-out of all posts to all people; see the head of the module."""

    def __init__(self, graph: Graph, sizes: Sizes = _SIZES) -> None:
        self._graph = graph
        self._sizes = sizes
        self._lanes: dict[str, Lane] = {}
        self._recipients: dict[int, Recipient] = {}
        self._recent = Recent(
            lambda number: any(number in lane.open for lane in self._lanes.values()),
            sizes.recent,
        )
        self._windows: dict[int, Window] = {}
        self._last_id = 0
        self._tokens: dict[int, _Token] = {}
        self._connected = False
        self._exhausted: set[int] = set()  # blind people who wait for their next day
        self._refused_on: OrderedDict[tuple[int, int], int] = OrderedDict()
        # (person, number) -> the day on which it came back from somebody blind (S11.4)
        self._returned: OrderedDict[tuple[int, int], datetime] = OrderedDict()
        # (person, number) -> written at, of what was sent in a return
        self._work: list[Work] = []
        self._cursors: dict[tuple[int, str], int | None] = {}
        self._dirty: dict[int, None] = {}
        self._freeing: _Token = _Token([], [])

    # Start

    def load(self, standings: Iterable[Standing], recent: Iterable[Post], next_number: int) -> None:
        """Take up what is stored; everybody is away, as the store's start operation left it.

        `recent` are the newest posts, ascending and without a gap up to `next_number`.
        """
        self._recent.load(recent, next_number)
        for standing in standings:
            self._add(standing)

    def _add(self, standing: Standing) -> Recipient:
        lane = self._lane(self._graph.lane(standing.person))
        recipient = self._recipients[standing.person] = Recipient.of(standing, lane)
        return recipient

    def _lane(self, name: str) -> Lane:
        lane = self._lanes.get(name)
        if lane is None:
            lane = self._lanes[name] = Lane(name, limit=self._sizes.window)
            lane.size = self._first_window(lane)
        return lane

    def _first_window(self, lane: Lane) -> int:
        return self._sizes.first_remote_window if lane.remote else self._sizes.window

    @property
    def next_number(self) -> int:
        """The lowest number whose fan-out is not yet open here."""
        return self._recent.next_number

    # The stream

    def stream_up(self, now: datetime) -> None:
        """The component's stream is up: ask for everybody's presence; send to those who hide it."""
        self._connected = True
        waiting: list[int] = []
        others: list[int] = []
        for lane in self._lanes.values():
            lane.down, lane.failures = False, 0
            lane.size = self._first_window(lane)
        for recipient in self._recipients.values():
            self._return(recipient, now)
            if recipient.grant in (Grant.NEVER, Grant.REFUSED) or _asleep(recipient, now):
                continue
            lacks = recipient.missed or recipient.away_from != self.next_number
            (waiting if lacks else others).append(recipient.id)
        if waiting or others:
            self._work.append(Probe(tuple(waiting + others)))

    def stream_lost(self, now: datetime) -> None:
        """The stream is gone, and with it all that is known of anybody's presence."""
        self._connected = False
        for lane in self._lanes.values():
            self._write_off(lane, now)

    # Posts (move 1)

    def post_committed(self, post: Post, stored_lanes: Iterable[str]) -> None:
        """Open the fan-out of a post. Posts come in ascending number, each right after its commit.

        `stored_lanes` are those for which the post's own transaction made cursor rows; a lane that
        came up in the same transaction gets its row by the next store.
        """
        lanes = self._graph.lanes(post.author)
        for name in lanes:
            self._lane(name).take_up(post)
            if name not in stored_lanes:
                self._cursors[post.number, name] = 0
        for name in stored_lanes:
            if name not in lanes:
                self._cursors[post.number, name] = None
        self._recent.add(post)

    def audience_now(self, author: int) -> tuple[int, int]:
        """How many of an author's followers are live now, and how many are not (S1.5)."""
        live = total = 0
        for name in self._graph.lanes(author):
            candidates = self._graph.candidates(author, name)
            total += len(candidates)
            live += len(self._lane(name).live.intersection(candidates))
        return live, total - live

    # People

    def standing_made(self, standing: Standing, now: datetime) -> None:
        """Somebody follows for the first time: he has a standing from now on."""
        if standing.person not in self._recipients:
            self._return(self._add(standing), now)

    def knows(self, person: int) -> bool:
        """Whether a person has a standing: only of those is presence remembered."""
        return person in self._recipients

    def grant_of(self, person: int) -> Grant:
        """Whether a person lets the relay see his presence; NEVER for one without a standing."""
        recipient = self._recipients.get(person)
        return Grant.NEVER if recipient is None else recipient.grant

    def state_of(self, person: int) -> State | None:
        """Where a person stands; None for one without a standing."""
        recipient = self._recipients.get(person)
        return None if recipient is None else recipient.state

    def rest_of(self, person: int) -> Rest | None:
        """What a person's last return left to `more`, or None."""
        recipient = self._recipients.get(person)
        return None if recipient is None else recipient.rest

    def set_grant(self, person: int, grant: Grant, now: datetime) -> None:
        """A person was asked for his presence, or has answered (S5.5)."""
        recipient = self._recipients.get(person)
        if recipient is None or recipient.grant is grant:
            return
        recipient.grant = grant
        self._dirty[person] = None
        if grant is Grant.GRANTED:
            self._exhausted.discard(person)
            if not recipient.online:
                self._leave(recipient, now)
                self._work.append(Probe((person,)))
        else:
            self._return(recipient, now)

    def set_catchup(self, person: int, newest: int) -> None:
        """How many missed posts come by themselves after a longer absence (S11.2)."""
        recipient = self._recipients.get(person)
        if recipient is not None:
            recipient.catchup = newest

    def available(
        self, person: int, resource: str, priority: int, stamp: datetime | None, now: datetime
    ) -> None:
        """A resource of a person is available; `stamp` is its <delay/>, None where it has none."""
        recipient = self._recipients.get(person)
        if recipient is None:
            return
        lane = recipient.lane
        if lane.down:
            self.lane_restored(lane.name, now)
        known = recipient.resources.get(resource)
        if known is None and len(recipient.resources) >= MAX_RESOURCES:
            return
        since = known.since if known is not None else stamp or now
        recipient.resources[resource] = Resource(priority, since)
        lane.present.add(person)
        if recipient.probe is not None:
            recipient.probe.seen.setdefault(resource, stamp or now)
        if recipient.online:
            self._exhausted.discard(person)
            self._return(recipient, now)
        elif not recipient.reachable(now):
            self._leave(recipient, now)

    def unavailable(self, person: int, resource: str | None, now: datetime) -> None:
        """A resource of a person is gone; None: all of them are."""
        recipient = self._recipients.get(person)
        if recipient is None:
            return
        if resource is None:
            lost = bool(recipient.resources)
            recipient.resources.clear()
        else:
            lost = recipient.resources.pop(resource, None) is not None
        if lost:
            recipient.left_at = now
        if not recipient.resources:
            recipient.lane.present.discard(person)
        if not recipient.reachable(now):
            self._leave(recipient, now)

    def sign_of(self, person: int) -> None:
        """Something came from a person who is not known to be there: ask for his presence."""
        recipient = self._recipients.get(person)
        if recipient is None or recipient.online or recipient.probe is not None:
            return
        if recipient.grant not in (Grant.NEVER, Grant.REFUSED):
            self._work.append(Probe((person,)))

    def tick(self, now: datetime) -> None:
        """A minute has passed: people whose own day has begun get their new allowance (S11.4)."""
        for person in [p for p in self._exhausted if self._recipients[p].allowance(now) > 0]:
            self._exhausted.discard(person)
            self._return(self._recipients[person], now)
        horizon = now - REMEMBER_WRITTEN
        while self._returned and next(iter(self._returned.values())) < horizon:
            self._returned.popitem(last=False)
        for lane in self._lanes.values():
            for number in [n for n, at in lane.started.items() if at < horizon]:
                if number not in lane.open:
                    del lane.started[number]

    def probe_waiting(self, now: datetime) -> None:
        """Once a day: ask again for those who are away and for whom something waits (move 7)."""
        people = tuple(
            recipient.id
            for recipient in self._recipients.values()
            if recipient.state is State.AWAY
            and recipient.grant not in (Grant.NEVER, Grant.REFUSED)
            and (recipient.missed or recipient.away_from != self.next_number)
            and not _asleep(recipient, now)
        )
        if people:
            self._work.append(Probe(people))

    # Return and departure (moves 4 and 6)

    def _return(self, recipient: Recipient, now: datetime) -> None:
        """He may be sent to again: his look is due."""
        if recipient.state is not State.AWAY or not self._connected or recipient.lane.down:
            return
        if not recipient.reachable(now):
            if recipient.blind():
                self._exhausted.add(recipient.id)
            return
        recipient.state = State.CATCHING
        recipient.catch = Catch(planned=self._plain(recipient, now))
        recipient.lane.engaged.add(recipient.id)
        recipient.lane.due[recipient.id] = None

    def _plain(self, recipient: Recipient, now: datetime) -> bool:
        """Whether this return brings everything (S11.2)."""
        if recipient.blind():
            return False
        away_at, told = recipient.away_at, recipient.summary_at
        return (away_at is None or now - away_at < SHORT_ABSENCE) or (
            told is not None and now - told < SUMMARY_EVERY
        )

    def _leave(self, recipient: Recipient, now: datetime, also: Iterable[int] = ()) -> None:
        """Move 4: he is not to be sent to from now on."""
        if recipient.state is State.LIVE:
            ahead = {number for _, number in recipient.lane.ahead(self._graph, {recipient.id})}
            lacks = ahead | recipient.lane.unsettled(recipient.id)
            self._set_away(recipient, lacks, now)
        if recipient.state is State.CATCHING:
            recipient.state, recipient.catch = State.AWAY, None
        recipient.missed.update(also)
        if recipient.blind() and self._connected:
            self._exhausted.add(recipient.id)

    def _set_away(self, recipient: Recipient, lacks: set[int], now: datetime) -> None:
        recipient.state = State.AWAY
        recipient.lane.live.discard(recipient.id)
        recipient.away_from, recipient.away_at = self.next_number, now
        recipient.missed = lacks
        self._dirty[recipient.id] = None

    def _write_off(self, lane: Lane, now: datetime) -> None:
        """Everybody in a lane stops being live; what is under way and open there is done with."""
        live = lane.live.copy()
        lacks: dict[int, set[int]] = {person: set() for person in live}
        for person, number in lane.ahead(self._graph, live):
            lacks[person].add(number)
        for window in lane.windows:
            self._windows.pop(window.id, None)
            if window.state is not WindowState.STORING:
                for person, number in window.items:
                    if person in live:
                        lacks[person].add(number)
        for person in live:
            self._set_away(self._recipients[person], lacks[person], now)
        for person in lane.present | lane.engaged:
            recipient = self._recipients[person]
            recipient.state = State.AWAY
            if recipient.resources:
                recipient.left_at = now
                recipient.resources.clear()
            recipient.batch = recipient.probe = recipient.catch = None
        lane.engaged.clear()
        lane.present.clear()
        lane.due.clear()
        lane.windows.clear()
        for number in list(lane.open):
            lane.finish(number)
        self._note_through(lane.through, lane)
        lane.through = {}
        lane.resetting = True
        self._freeing.lanes.append(lane)

    # The barrier (move 3)

    def window_due(self, window_id: int) -> None:
        """A second has passed since the window was written: ask for its barrier."""
        window = self._windows.get(window_id)
        if window is not None and window.state is WindowState.OPEN:
            self._ask(window)

    def _ask(self, window: Window) -> None:
        window.state = WindowState.ASKED
        people = tuple(sorted({person for person, _ in window.items}))
        self._work.append(Ask(window.id, window.lane.name, people))

    def barrier_answered(self, window_id: int, lane_name: str, now: datetime) -> None:
        """Everything up to the end of a window was processed by its destination."""
        lane = self._lane(lane_name)
        window = self._windows.get(window_id)
        if window is None:  # it came too late; but it came
            if lane.down:
                self.lane_restored(lane_name, now)
            return
        if window.state is not WindowState.ASKED:
            return
        window.state = WindowState.CONFIRMED
        lane.failures = 0
        lane.size = min(lane.limit, lane.size * 2)
        self._settle(lane)

    def barrier_failed(self, window_id: int, lane_name: str, now: datetime) -> None:
        """A remote domain did not confirm: its breaker opens. (On the own lane: `stream_lost`.)"""
        if window_id in self._windows:
            self.lane_failed(lane_name, now)

    def lane_failed(self, lane_name: str, now: datetime) -> None:
        """A remote domain cannot be reached: nothing is sent there until a canary comes back."""
        lane = self._lane(lane_name)
        if lane.down or not lane.remote:
            return
        lane.down = True
        self._write_off(lane, now)
        self.canary_failed(lane_name)

    def canary_failed(self, lane_name: str) -> None:
        """The domain is still not there; the next canary waits twice as long."""
        lane = self._lane(lane_name)
        after_s = min(LAST_CANARY_S, FIRST_CANARY_S * 2**lane.failures)
        lane.failures += 1
        self._work.append(Canary(lane_name, after_s))

    def lane_restored(self, lane_name: str, now: datetime) -> None:
        """A domain gives a sign of life: its breaker closes, and everybody there is asked for."""
        lane = self._lane(lane_name)
        if not lane.down:
            return
        lane.down, lane.failures, lane.size = False, 0, self._first_window(lane)
        people = []
        for recipient in self._recipients.values():
            if recipient.lane is lane:
                self._return(recipient, now)
                if recipient.grant not in (Grant.NEVER, Grant.REFUSED):
                    people.append(recipient.id)
        if people:
            self._work.append(Probe(tuple(people)))

    def _settle(self, lane: Lane) -> None:
        for window in lane.windows:
            if window.state is WindowState.STORING:
                continue
            if window.state is not WindowState.CONFIRMED:
                break
            window.state = WindowState.STORING
            self._note_through(window.through, lane)
            for person, number in window.items:
                self._settle_item(window, person, number)
            for batch in window.batches:
                self._settle_batch(window, batch)
            self._freeing.windows.append(window)

    def _settle_item(self, window: Window, person: int, number: int) -> None:
        recipient = self._recipients[person]
        if number in recipient.missed and (person, number) not in window.bounced:
            recipient.missed.discard(number)
            self._dirty[person] = None
        if recipient.blind():
            self._dirty[person] = None  # the day's count
        if recipient.state is State.CATCHING:
            recipient.lane.due[person] = None

    def _settle_batch(self, window: Window, batch: Batch) -> None:
        recipient = self._recipients[batch.person]
        recipient.batch = None
        self._apply(recipient, batch, window.bounced)

    def _apply(self, recipient: Recipient, batch: Batch, bounced: set[tuple[int, int]]) -> None:
        gone = batch.skipped.union(n for n in batch.sent if (batch.person, n) not in bounced)
        recipient.missed -= gone
        recipient.missed.update(batch.noted)
        if recipient.away_from is not None:
            recipient.away_from = max(recipient.away_from, batch.highest + 1)
        if batch.rest is not None:
            recipient.rest = batch.rest
        self._dirty[recipient.id] = None

    def _note_through(self, through: Mapping[int, int], lane: Lane) -> None:
        for number, position in through.items():
            self._cursors[number, lane.name] = None if position < 0 else position

    def stored(self, token: int) -> None:
        """The rows of a `Store` are committed: the slots of its windows are free."""
        freed = self._tokens.pop(token)
        for window in freed.windows:
            if self._windows.pop(window.id, None) is not None:
                window.lane.windows.remove(window)
        for lane in freed.lanes:
            lane.resetting = False

    # Bounces (move 5)

    def bounced(self, person: int, number: int, now: datetime) -> None:
        """A post came back from a person's server: he lacks it, and may not be there."""
        recipient = self._recipients.get(person)
        if recipient is None or not 0 < number < self.next_number:
            return
        lane = recipient.lane
        for window in lane.windows:
            if (person, number) in window.items:
                window.bounced.add((person, number))
        if recipient.blind():
            self._bounced_blind(recipient, number, now)
            return
        if recipient.probe is None:
            before = {name: known.since for name, known in recipient.resources.items()}
            recipient.probe = BounceProbe(before, recipient.left_at)
            recipient.resources.clear()
            lane.present.discard(person)
            lane.engaged.add(person)
            self._work.append(ProbeBounce(person))
        recipient.probe.numbers.add(number)
        self._leave(recipient, now)
        self._lacks(recipient, number)

    def _bounced_blind(self, recipient: Recipient, number: int, now: datetime) -> None:
        """S11.4: no more today; what comes back on two different days is dropped for him."""
        recipient.exhaust(now)
        self._leave(recipient, now)
        key = (recipient.id, number)
        first = self._refused_on.setdefault(key, recipient.day)
        if len(self._refused_on) > MAX_REFUSED:
            self._refused_on.popitem(last=False)
        if first == recipient.day:
            self._lacks(recipient, number)
        else:
            self._refused_on.pop(key, None)
            recipient.missed.discard(number)
        self._dirty[recipient.id] = None

    def _lacks(self, recipient: Recipient, number: int) -> None:
        recipient.missed.add(number)
        if len(recipient.missed) > MAX_MISSED:
            recipient.missed.discard(min(recipient.missed))
        if recipient.catch is not None:
            recipient.catch.sought -= {number}
        self._dirty[recipient.id] = None

    def _written(self, recipient: Recipient, number: int) -> datetime | None:
        """When a post was last written to him, or the fan-out began it; None: not remembered."""
        return self._returned.get((recipient.id, number)) or recipient.lane.started.get(number)

    def probe_ended(self, person: int, now: datetime) -> None:
        """All answers to a `ProbeBounce` are in."""
        recipient = self._recipients.get(person)
        if recipient is None or recipient.probe is None:
            return
        probe, recipient.probe = recipient.probe, None
        for number in probe.numbers:
            verdict = probe.verdict(self._written(recipient, number))
            if verdict is Verdict.LACKS:
                continue
            recipient.missed.discard(number)
            self._dirty[person] = None
            post = self._recent.get(number)
            if verdict is Verdict.REFUSES and post is not None:
                self._work.append(RefusedBy(person, post.author))
        if recipient.state is State.CATCHING:
            recipient.lane.due[person] = None
        else:
            self._return(recipient, now)

    # The look (move 6)

    def looked_up(self, person: int, held: Held) -> None:
        """The answer to a `Read`."""
        recipient = self._recipients.get(person)
        if recipient is None or recipient.asked is None:
            return
        (catch, read), recipient.asked = recipient.asked, None
        if recipient.catch is None:
            return
        if catch is recipient.catch:  # else it was asked for a return that has ended
            take_held(self._recent, recipient, catch, read, held)
        recipient.lane.due[person] = None

    def fetch(self, person: int, numbers: Iterable[int], rest: Rest | None, now: datetime) -> None:
        """Send these posts of a person's rest by the way of a return (`more`, S11.2)."""
        recipient = self._recipients[person]
        if recipient.state is State.LIVE:
            self._leave(recipient, now)
        recipient.missed.update(n for n in numbers if n < self.next_number)
        recipient.rest = rest
        self._dirty[person] = None
        self._return(recipient, now)
        if recipient.catch is not None:
            recipient.catch = Catch(planned=True)
            recipient.lane.due[person] = None

    def drop_rest(self, person: int) -> None:
        """Forget what a person's last return left (`skip`, S11.2)."""
        recipient = self._recipients[person]
        recipient.rest = None
        self._dirty[person] = None

    def _look(self, window: Window, recipient: Recipient, room: int, now: datetime) -> int:
        """Put what a returned person lacks into a window; how many posts were put there."""
        catch, lane = recipient.catch, recipient.lane
        if catch is None or recipient.asked is not None or recipient.batch is not None:
            return 0
        if recipient.probe is not None or lane.unsettled(recipient.id):
            return 0
        outcome = look(self._graph, self._recent, recipient, catch, room, now)
        match outcome:
            case ReadOn(read):
                recipient.asked = catch, read
                self._work.append(read)
            case Nothing():
                self._go_live(recipient, catch, now)
            case NoRoom():
                lane.due[recipient.id] = None
            case Exhausted():
                self._summarise(recipient, catch, now)
                self._leave(recipient, now)
            case Found(batch, posts):
                catch.rest = None
                if posts:
                    self._write_batch(window, recipient, batch, posts, now)
                else:
                    self._apply(recipient, batch, set())
                    lane.due[recipient.id] = None
                return len(posts)
        return 0

    def _write_batch(
        self,
        window: Window,
        recipient: Recipient,
        batch: Batch,
        chosen: tuple[Post, ...],
        now: datetime,
    ) -> None:
        recipient.batch = batch
        window.batches.append(batch)
        for number in batch.sent:
            window.items.append((recipient.id, number))
            self._returned[recipient.id, number] = now
        if recipient.blind():
            recipient.spend(now, len(chosen))
        held = tuple((recipient.id, post) for post in chosen)
        self._work.append(Write(window.id, recipient.lane.name, (), held))

    def _go_live(self, recipient: Recipient, catch: Catch, now: datetime) -> None:
        self._summarise(recipient, catch, now)
        recipient.state, recipient.catch = State.LIVE, None
        recipient.lane.engaged.discard(recipient.id)
        recipient.away_from = recipient.away_at = None
        recipient.missed = set()
        recipient.lane.live.add(recipient.id)
        self._dirty[recipient.id] = None
        if not recipient.reachable(now):  # the return has used up his allowance
            self._leave(recipient, now)
            self._work.append(AllowanceUsed(recipient.id))

    def _summarise(self, recipient: Recipient, catch: Catch, now: datetime) -> None:
        if catch.note:
            self._work.append(Summary(recipient.id, catch.note))
            recipient.summary_at = now

    # Work (move 2)

    def take(self, now: datetime, room: int = IN_FLIGHT) -> list[Work]:
        """The work that is due now, in the order in which it is to be done.

        `room` is how many stanzas the stream takes at the moment; nothing is filled beyond it.
        """
        room = min(room, self._sizes.in_flight - self.in_flight())
        for lane in self._lanes.values():
            while (lane.open or lane.due or lane.through) and self._slot(lane):
                written = self._fill(lane, room, now)
                if written is None:
                    break
                room -= written
        work, self._work = self._work, []
        store = self._take_store()
        return [store, *work] if store is not None else work

    def in_flight(self) -> int:
        """Stanzas written and not yet settled, over all lanes."""
        return sum(lane.in_flight() for lane in self._lanes.values())

    def _slot(self, lane: Lane) -> bool:
        if lane.resetting:
            return False
        return len(lane.windows) < WINDOWS or self._collecting(lane) is not None

    def _collecting(self, lane: Lane) -> Window | None:
        """The window of a remote lane that still takes more."""
        last = lane.windows[-1] if lane.windows else None
        return last if last is not None and last.state is WindowState.OPEN else None

    def _fill(self, lane: Lane, room: int, now: datetime) -> int | None:
        """Fill one window of a lane; how many stanzas were written, None when nothing changed."""
        window = self._collecting(lane)
        fresh = window is None
        if window is None:
            self._last_id += 1
            window = Window(self._last_id, lane)
        space = min(room, lane.size - len(window.items))
        before = len(window.items)
        half = space // 2 if lane.due else 0  # half of each while both wait
        self._fill_live(lane, window, space - half, now)
        space -= len(window.items) - before
        for person in list(lane.due):
            if space == 0:
                break
            del lane.due[person]
            space -= self._look(window, self._recipients[person], space, now)
        if space and half:
            self._fill_live(lane, window, space, now)
        written = len(window.items) - before
        if not written and not lane.through:
            return None
        window.through.update(lane.through)
        lane.through = {}
        if fresh:
            lane.windows.append(window)
            self._windows[window.id] = window
        if not window.items:
            window.state = WindowState.CONFIRMED  # as soon as its elders are
            self._settle(lane)
        elif not lane.remote or len(window.items) >= lane.size:
            self._ask(window)
        elif fresh:
            self._work.append(AskLater(window.id, lane.name))
        return written

    def _fill_live(self, lane: Lane, window: Window, space: int, now: datetime) -> None:
        graph = self._graph
        items = lane.fill(graph, lambda post, person: decide(graph, post, person).yes, space)
        written: list[tuple[int, Post]] = []
        over: dict[int, set[int]] = {}  # blind people whose allowance is used up -> not written
        for person, post in items:
            recipient = self._recipients[person]
            if recipient.grant is not Grant.GRANTED and recipient.blind():
                if person in over or not recipient.allowance(now):
                    over.setdefault(person, set()).add(post.number)
                    continue
                recipient.spend(now)
                if not recipient.allowance(now):
                    over[person] = set()
            window.items.append((person, post.number))
            written.append((person, post))
            lane.started.setdefault(post.number, now)
        for person, unwritten in over.items():
            unwritten.update(number for p, number in window.items if p == person)
            self._leave(self._recipients[person], now, also=unwritten)
            self._work.append(AllowanceUsed(person))
        if written:
            self._work.append(Write(window.id, lane.name, tuple(written), ()))

    def _take_store(self) -> Store | None:
        if not (self._cursors or self._dirty or self._freeing.windows or self._freeing.lanes):
            return None
        rows = DeliveryRows(
            cursors=tuple(
                Cursor(number, lane, position) for (number, lane), position in self._cursors.items()
            ),
            standings=tuple(self._recipients[person].standing() for person in self._dirty),
        )
        self._last_id += 1
        self._tokens[self._last_id] = self._freeing
        self._cursors, self._dirty, self._freeing = {}, {}, _Token([], [])
        return Store(self._last_id, rows)


def _asleep(recipient: Recipient, now: datetime) -> bool:
    return recipient.away_at is not None and now - recipient.away_at > ASLEEP


def without(rest: Rest, author: int, number: int) -> Rest:
    """A rest of which one author's posts from `number` up have been fetched."""
    taken = dict(rest.taken)
    taken[author] = min(number, taken.get(author, number))
    return replace(rest, taken=tuple(sorted(taken.items())))
