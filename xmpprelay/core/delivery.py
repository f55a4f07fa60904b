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

The moves, by their numbers there: (1) accept, here; (2) fill and (3) settle, `windows.py`; (4)
leave, `attendance.py`; (5) bounce, `bounces.py`; (6) look, `catching.py` and `returns.py`; (7)
start, which is an operation of the store. Here are the events, people's presence and the breaker of
a lane.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from xmpprelay.core.attendance import Attendance
from xmpprelay.core.board import IN_FLIGHT, Board, Sizes
from xmpprelay.core.bounces import Bounces
from xmpprelay.core.catching import Catching
from xmpprelay.core.graph import Graph
from xmpprelay.core.lanes import DONE
from xmpprelay.core.model import CHANGES, OWN_LANE, Grant, Kind, Post, Rest, Standing
from xmpprelay.core.recipients import MAX_RESOURCES, Recipient, Resource, State
from xmpprelay.core.routing import Audience
from xmpprelay.core.volume import LaneLoad
from xmpprelay.core.windows import Windows
from xmpprelay.core.work import Canary, Held, Probe, Work

__all__ = ["IN_FLIGHT", "Delivery", "Sizes", "without"]

ASLEEP: Final = timedelta(days=90)
"""Not seen for so long: not probed at a reconnect; any sign wakes (S11.5)."""

FIRST_CANARY_S: Final = 60.0
LAST_CANARY_S: Final = 4000.0

_SIZES: Final = Sizes()


class Delivery:
    """The fan-out of all posts to all people; see the head of the module.

    `first_canary_s` is how long a domain is left alone when its breaker opens; tests, which have
    no minute, set it.
    """

    def __init__(self, graph: Graph, sizes: Sizes = _SIZES) -> None:
        self.first_canary_s = FIRST_CANARY_S
        self._board = Board(graph, sizes)
        self._attendance = Attendance(self._board)
        self._catching = Catching(self._board, self._attendance)
        self._windows = Windows(self._board, self._attendance, self._catching)
        self._bounces = Bounces(self._board, self._attendance)

    # Start

    def load(self, standings: Iterable[Standing], recent: Iterable[Post], next_number: int) -> None:
        """Take up what is stored; everybody is away, as the store's start operation left it.

        `recent` are the newest posts, ascending and without a gap up to `next_number`.
        """
        self._board.recent.load(recent, next_number)
        for standing in standings:
            self._board.add(standing)

    @property
    def next_number(self) -> int:
        """The lowest number whose fan-out is not yet open here."""
        return self._board.recent.next_number

    # The stream

    def stream_up(self, now: datetime) -> None:
        """The component's stream is up: ask for everybody's presence; send to those who hide it."""
        board = self._board
        board.connected = True
        for lane in board.lanes.values():
            lane.opens(board.first_window(lane))
        for recipient in board.recipients.values():
            self._attendance.comes(recipient, now)
        self._ask_for(r for r in board.recipients.values() if not _asleep(r, now))

    def stream_lost(self, now: datetime) -> None:
        """The stream is gone, and with it all that is known of anybody's presence."""
        self._board.connected = False
        for lane in self._board.lanes.values():
            self._attendance.all_leave(lane, now)

    def _ask_for(self, recipients: Iterable[Recipient]) -> None:
        """Ask for the presence of people; first of those for whom something waits."""
        waiting: list[int] = []
        others: list[int] = []
        for recipient in recipients:
            if _may_be_asked(recipient):
                (waiting if self._lacks(recipient) else others).append(recipient.id)
        if waiting or others:
            self._board.work.append(Probe(tuple(waiting + others)))

    def _lacks(self, recipient: Recipient) -> bool:
        return bool(recipient.missed) or recipient.away_from != self.next_number

    # Posts (move 1)

    def post_committed(self, post: Post, stored_lanes: Iterable[str]) -> None:
        """Open the fan-out of a post. Posts come in ascending number, each right after its commit.

        `stored_lanes` are those for which the post's own transaction made cursor rows. A lane that
        came up in that same transaction, by somebody's follow, gets its row with the next store:
        the one that, at the earliest, lets the new follower be live.
        """
        board = self._board
        lanes = board.graph.lanes(post)
        for name in lanes:
            board.lane(name).take_up(board.graph, post)
            if name not in stored_lanes:
                board.moved(board.lane(name), {post.number: 0})
        for name in stored_lanes:
            if name not in lanes:
                board.moved(board.lane(name), {post.number: DONE})
        if post.kind in CHANGES and post.original is not None:
            self.revise(post.original)
        board.recent.add(post)

    def revise(self, post: Post) -> None:
        """A post has changed without an entry of its own: its author has left (S12.2)."""
        for revised in self._board.recent.revise(post):
            for lane in self._board.lanes.values():
                lane.revise(self._board.graph, revised)
        for lane in self._board.lanes.values():
            for person in lane.engaged:
                if (catch := self._board.recipients[person].catch) is not None:
                    catch.revise(post)

    def audience_now(self, post: Post) -> tuple[int, int]:
        """How many of those who get a post are live now, and how many are not (S1.5).

        Its author is told. So whoever keeps it away by a block or a mute is counted as well, as far
        as he follows the author or is named: nobody is told of those (S6.1, S7).
        """
        plain = post.kind is Kind.POST and not post.addressed
        live = total = 0
        graph = self._board.graph
        for name in graph.lanes(post):
            lane = self._board.lane(name)
            opened = lane.open.get(post.number)
            if plain:
                people = graph.candidates(post, name)
            else:
                kept = Audience(graph, post, name) if opened is None else opened.audience
                named = {p for p in kept.people if p in post.addressed}
                people = tuple(named.union(kept.allowed()))
            total += len(people)
            live += len(lane.live.intersection(people))
        return live, total - live

    # People

    def standing_made(self, standing: Standing, now: datetime) -> None:
        """Somebody follows for the first time: he has a standing from now on."""
        if standing.person not in self._board.recipients:
            self._attendance.comes(self._board.add(standing), now)

    def knows(self, person: int) -> bool:
        """Whether a person has a standing: only of those is presence remembered."""
        return person in self._board.recipients

    def grant_of(self, person: int) -> Grant:
        """Whether a person lets the relay see his presence; NEVER for one without a standing."""
        recipient = self._board.recipients.get(person)
        return Grant.NEVER if recipient is None else recipient.grant

    def online(self) -> list[int]:
        """Everybody of whom a resource is known that takes messages, ascending."""
        return sorted(each.id for each in self._board.recipients.values() if each.online)

    def sees(self, person: int) -> bool:
        """Whether a person is known to be online and lets his presence be asked for."""
        recipient = self._board.recipients.get(person)
        return recipient is not None and recipient.online and recipient.grant is Grant.GRANTED

    def devices_of(self, person: int) -> list[str]:
        """The resources that are known of a person: first where he most likely is, now."""
        recipient = self._board.recipients.get(person)
        known = {} if recipient is None else recipient.resources
        newest = sorted(filter(None, known), key=lambda name: known[name].since, reverse=True)
        return sorted(newest, key=lambda name: known[name].priority, reverse=True)

    def state_of(self, person: int) -> State | None:
        """Where a person stands; None for one without a standing."""
        recipient = self._board.recipients.get(person)
        return None if recipient is None else recipient.state

    def waits_for(self, person: int, number: int) -> bool:
        """Whether an entry has not been sent to a person yet, or was left to `more` (S1.8)."""
        recipient = self._board.recipients.get(person)
        return recipient is None or recipient.lacks(number) or recipient.left_to_more(number)

    def yet_to_come(self, person: int, number: int) -> bool:
        """Whether an entry that is for somebody is still to be sent: live, or when he returns."""
        recipient = self._board.recipients.get(person)
        if recipient is None:
            return False
        return self.waits_for(person, number) or not recipient.lane.passed(number, person)

    def lacks_from(self, person: int) -> int:
        """The lowest number that may still be sent to a person, live or when he returns."""
        recipient = self._board.recipients.get(person)
        if recipient is None:
            return self.next_number
        numbers = [self.next_number, *recipient.missed, *itertools.islice(recipient.lane.open, 1)]
        if recipient.away_from is not None:
            numbers.append(recipient.away_from)
        if recipient.rest is not None:
            numbers.append(recipient.rest.first)
        return min(numbers)

    def passed_upto(self, person: int) -> int:
        """The number up to which the fan-out of every entry has gone by a person who is live."""
        lane = self._board.recipients[person].lane
        ahead = (number for number, opened in lane.open.items() if opened.position < person)
        return next(ahead, self.next_number) - 1

    def post(self, number: int) -> Post | None:
        """A post that is in memory, as it is now."""
        return self._board.recent.get(number)

    def change_of(self, number: int, edit: int | None) -> int | None:
        """The entry of a post's edit, or of its deletion (None), while it is in memory."""
        return self._board.recent.change_of(number, edit)

    def rest_of(self, person: int) -> Rest | None:
        """What a person's last return left to `more`, or None."""
        recipient = self._board.recipients.get(person)
        return None if recipient is None else recipient.rest

    def set_grant(self, person: int, grant: Grant, now: datetime) -> None:
        """A person was asked for his presence, or has answered (S5.5)."""
        recipient = self._board.recipients.get(person)
        if recipient is None or recipient.grant is grant:
            return
        recipient.grant = grant
        self._board.changed(recipient)
        if grant is Grant.GRANTED:
            self._board.exhausted.discard(person)
            if not recipient.online:
                self._attendance.leaves(recipient, now)
                self._board.work.append(Probe((person,)))
        else:
            self._attendance.comes(recipient, now)

    def set_catchup(self, person: int, newest: int) -> None:
        """How many missed posts come by themselves after a longer absence (S11.2)."""
        recipient = self._board.recipients.get(person)
        if recipient is not None:
            recipient.catchup = newest

    def available(
        self, person: int, resource: str, priority: int, stamp: datetime | None, now: datetime
    ) -> None:
        """A resource of a person is available; `stamp` is its <delay/>, None where it has none."""
        recipient = self._board.recipients.get(person)
        if recipient is None:
            return
        self.lane_restored(recipient.lane.name, now)
        known = recipient.resources.get(resource)
        if known is None and len(recipient.resources) >= MAX_RESOURCES:
            return
        since = known.since if known is not None else stamp or now
        recipient.resources[resource] = Resource(priority, since)
        recipient.lane.present.add(person)
        if recipient.probe is not None:
            recipient.probe.seen.setdefault(resource, Resource(priority, stamp or now))
        if recipient.online:
            self._board.exhausted.discard(person)
            self._attendance.comes(recipient, now)
        elif not recipient.reachable(now):
            self._attendance.leaves(recipient, now)

    def unavailable(self, person: int, resource: str | None, now: datetime) -> None:
        """A resource of a person is gone; None: all of them are."""
        recipient = self._board.recipients.get(person)
        if recipient is None:
            return
        self.lane_restored(recipient.lane.name, now)
        if resource is not None or recipient.resources:
            recipient.left_at = now  # of one that was not known, too: it may have had messages
        if resource is None:
            recipient.resources.clear()
        else:
            recipient.resources.pop(resource, None)
        if recipient.probe is not None:
            recipient.probe.gone(resource, now)
        if not recipient.resources:
            recipient.lane.present.discard(person)
        if not recipient.reachable(now):
            self._attendance.leaves(recipient, now)

    def sign_of(self, person: int) -> None:
        """Something came from a person who is not known to be there: ask for his presence."""
        recipient = self._board.recipients.get(person)
        if recipient is None or recipient.online or recipient.probe is not None:
            return
        if _may_be_asked(recipient):
            self._board.work.append(Probe((person,)))

    def tick(self, now: datetime) -> None:
        """A minute has passed: people whose own day has begun get their new allowance (S11.4)."""
        board = self._board
        for person in [p for p in board.exhausted if board.recipients[p].allowance(now) > 0]:
            board.exhausted.discard(person)
            self._attendance.comes(board.recipients[person], now)
        self._bounces.forget_old(now)

    def probe_silent(self, now: datetime) -> None:
        """A while after the stream came up: ask again who has not answered (move 7).

        A server that has not seen the end of our stream before may have sent answers there. On our
        own server everybody who is silent is asked; elsewhere, where it costs more, those for whom
        something waits, and the daily round asks the others.
        """
        people = tuple(
            recipient.id
            for recipient in self._board.recipients.values()
            if recipient.state is State.AWAY
            and not recipient.lane.down
            and (not recipient.lane.remote or self._lacks(recipient))
            and _may_be_asked(recipient)
            and not _asleep(recipient, now)
        )
        if people:
            self._board.work.append(Probe(people))

    def probe_waiting(self, now: datetime) -> None:
        """Once a day: ask again for those who are away and for whom something waits (move 7)."""
        people = tuple(
            recipient.id
            for recipient in self._board.recipients.values()
            if recipient.state is State.AWAY
            and self._lacks(recipient)
            and _may_be_asked(recipient)
            and not _asleep(recipient, now)
        )
        if people:
            self._board.work.append(Probe(people))

    # The barrier (move 3)

    def window_due(self, window_id: int) -> None:
        """A second has passed since the window was written: ask for its barrier."""
        self._windows.due(window_id)

    def server_reads_all(self, at_once: bool) -> None:
        """Whether the own server reads all that is there: then its windows come in turn."""
        self._board.lane(OWN_LANE).paced = at_once

    def fill_due(self, lane_name: str) -> None:
        """The time of a `FillLater` is over."""
        self._board.lane(lane_name).pausing = 0

    def barrier_answered(self, window_id: int, lane_name: str, now: datetime) -> None:
        """Everything up to the end of a window was processed by its destination."""
        if not self._windows.answered(window_id, now):
            self.lane_restored(lane_name, now)  # it came too late; but it came

    def barrier_failed(self, window_id: int, lane_name: str, now: datetime) -> None:
        """A remote domain did not confirm: its breaker opens. (On the own lane: `stream_lost`.)"""
        if window_id in self._board.windows:
            self.lane_failed(lane_name, now)

    def stored(self, token: int) -> None:
        """The rows of a `Store` are committed: the slots of its windows are free."""
        self._board.stored(token)

    # The breaker of a remote lane

    def lane_failed(self, lane_name: str, now: datetime) -> None:
        """A remote domain cannot be reached: nothing is sent there until a canary comes back."""
        lane = self._board.lane(lane_name)
        if lane.down or not lane.remote:
            return
        lane.down = True
        self._attendance.all_leave(lane, now)
        self.canary_failed(lane_name)

    def is_down(self, lane_name: str) -> bool:
        """Whether the breaker of a lane is open."""
        lane = self._board.lanes.get(lane_name)
        return lane is not None and lane.down

    def canary_failed(self, lane_name: str) -> None:
        """The domain is still not there; the next canary waits twice as long."""
        lane = self._board.lane(lane_name)
        if not lane.down:
            return
        after_s = min(LAST_CANARY_S, self.first_canary_s * 2 ** min(lane.failures, 10))
        lane.failures += 1
        self._board.work.append(Canary(lane_name, after_s))

    def lane_restored(self, lane_name: str, now: datetime) -> None:
        """A domain gives a sign of life: its breaker closes, and everybody there is asked for."""
        lane = self._board.lanes.get(lane_name)
        if lane is None or not lane.down:
            return
        lane.opens(self._board.first_window(lane))
        recipients = [self._board.recipients[person] for person in sorted(lane.people)]
        for recipient in recipients:
            self._attendance.comes(recipient, now)
        self._ask_for(recipients)

    # Bounces (move 5)

    def bounced(self, person: int, number: int, now: datetime) -> None:
        """A post came back from a person's server: he lacks it, and may not be there."""
        recipient = self._board.recipients.get(person)
        if recipient is not None and 0 < number < self.next_number:
            self._bounces.came_back(recipient, number, now)

    def probe_ended(self, person: int, now: datetime) -> None:
        """All answers to a `ProbeBounce` are in."""
        recipient = self._board.recipients.get(person)
        if recipient is not None:
            self._bounces.answers_are_in(recipient, now)

    def written_at(self, person: int, number: int) -> datetime | None:
        """When a post was last written to a person, or to his lane; None: not lately, or never."""
        recipient = self._board.recipients.get(person)
        if recipient is None:
            return None
        returned = self._board.returned.get((person, number))
        return returned or recipient.lane.started.get(number)

    # Returns (move 6)

    def looked_up(self, person: int, held: Held) -> None:
        """The answer to a `Read`. Each has to be answered once, whatever happens meanwhile."""
        recipient = self._board.recipients.get(person)
        if recipient is not None:
            self._catching.looked_up(recipient, held)

    def fetch(self, person: int, numbers: Iterable[int], rest: Rest | None, now: datetime) -> None:
        """Send these posts of a person's rest by the way of a return (`more`, S11.2)."""
        self._catching.fetch(self._board.recipients[person], numbers, rest, now)

    def drop_rest(self, person: int) -> None:
        """Forget what a person's last return left (`skip`, S11.2)."""
        recipient = self._board.recipients[person]
        recipient.rest = None
        self._board.changed(recipient)

    def digest_sent(self, person: int, now: datetime) -> None:
        """A digest was sent to a person: it counts as a post for one who hides presence (S11.4)."""
        recipient = self._board.recipients.get(person)
        if recipient is not None and recipient.blind():
            recipient.spend(now)
            self._board.changed(recipient)
            if not recipient.reachable(now):
                self._attendance.leaves(recipient, now)

    # Work (move 2)

    def take(self, now: datetime, room: int = IN_FLIGHT) -> list[Work]:
        """The work that is due now, in the order in which it is to be done.

        `room` is how many stanzas the stream takes at the moment; nothing is filled beyond it.
        """
        self._windows.fill_all(room, now)
        work, self._board.work = self._board.work, []
        store = self._board.take_store()
        return [store, *work] if store is not None else work

    def in_flight(self) -> int:
        """Stanzas written and not yet settled, over all lanes."""
        return self._board.in_flight()

    def confirmed(self) -> int:
        """How many stanzas are settled since the start."""
        return sum(lane.confirmed for lane in self._board.lanes.values())

    def lane_loads(self) -> list[LaneLoad]:
        """What each lane has before it and behind it (S10.4)."""
        return [
            LaneLoad(lane.name, lane.waiting(), lane.confirmed, len(lane.live))
            for lane in self._board.lanes.values()
        ]


def _may_be_asked(recipient: Recipient) -> bool:
    """Whether a probe can be answered: he was asked for his presence, and has not refused."""
    return recipient.grant not in (Grant.NEVER, Grant.REFUSED)


def _asleep(recipient: Recipient, now: datetime) -> bool:
    return recipient.away_at is not None and now - recipient.away_at > ASLEEP


def without(rest: Rest, author: int, number: int) -> Rest:
    """A rest of which one author's posts from `number` up have been fetched."""
    taken = dict(rest.taken)
    taken[author] = min(number, taken.get(author, number))
    return replace(rest, taken=tuple(sorted(taken.items())))
