"""What comes back: does he lack it, has another device of his had it, does he refuse it? (move 5)

A bounce says that one device did not take a post, or that nobody was there. So all that is known of
his presence is forgotten, he is away, and he is asked for his presence; by the answers it is judged
which of his devices were there when the post was written. Until then he is not looked at.

A person can send back whatever he likes, so he is asked five times at once, and then once in ten
seconds: what comes back meanwhile waits for the same answers.
"""

from __future__ import annotations

from collections import OrderedDict
from datetime import datetime, timedelta
from typing import Final

from xmpprelay.core.attendance import Attendance
from xmpprelay.core.board import Board
from xmpprelay.core.pacing import Bucket, Rate
from xmpprelay.core.recipients import MAX_MISSED, BounceProbe, Recipient, State, Verdict
from xmpprelay.core.work import ProbeBounce, RefusedBy

REMEMBER_WRITTEN: Final = timedelta(minutes=15)
"""How long the time of writing is known; a bounce that comes later means: sent again."""

MAX_REFUSED: Final = 10_000
"""Posts remembered that came back from people who hide their presence."""

TRIES: Final = 5
"""A post that came back so often, each time within a minute of the last, is not tried again.

A guess. A server that does not say since when a device is there would make it go round for ever.
"""

ASKS: Final = Rate(per_second=0.1, burst=5)
"""How often one person is asked for his presence because of bounces. A guess."""

IN_A_ROW: Final = timedelta(minutes=1)


class Bounces:
    """The bounces of one fan-out."""

    def __init__(self, board: Board, attendance: Attendance) -> None:
        self._board = board
        self._attendance = attendance
        self._refused_on: OrderedDict[tuple[int, int], int] = OrderedDict()
        # (person, number) -> the day on which it came back from somebody blind (S11.4)
        self._row: OrderedDict[tuple[int, int], tuple[int, datetime]] = OrderedDict()
        # (person, number) -> how often in a row it came back, and when last

    def came_back(self, recipient: Recipient, number: int, now: datetime) -> None:
        """A post came back from a person's server."""
        key = (recipient.id, number)
        for window in recipient.lane.windows:
            if number in window.written_to(recipient.id):
                window.bounced.add(key)
        if recipient.blind():
            self._from_blind(recipient, number, now)
            return
        count, last = self._row.pop(key, (0, now))
        self._row[key] = (count + 1 if now - last < IN_A_ROW else 1), now
        if recipient.probe is None:
            recipient.probe = BounceProbe(recipient.resources.copy(), recipient.left_at)
            self._ask(recipient, recipient.probe, now)
        elif recipient.probe.seen:  # what has answered so far may be what sends back now
            recipient.probe.seen.clear()
            if recipient.probe.due is None or recipient.probe.due <= now:
                recipient.probe.asked += 1
                self._ask(recipient, recipient.probe, now)
        recipient.probe.numbers.add(number)
        self._attendance.leaves(recipient, now)
        self._lacks(recipient, number)

    def _ask(self, recipient: Recipient, probe: BounceProbe, now: datetime) -> None:
        recipient.resources.clear()
        recipient.lane.present.discard(recipient.id)
        recipient.lane.engaged.add(recipient.id)
        at = now.timestamp()
        recipient.asks, wait_s = (recipient.asks or Bucket.full(ASKS, at)).book(ASKS, at)
        probe.due = now + timedelta(seconds=wait_s)
        self._board.work.append(ProbeBounce(recipient.id, wait_s))

    def _from_blind(self, recipient: Recipient, number: int, now: datetime) -> None:
        """S11.4: no more today; what comes back on two different days is dropped for him."""
        recipient.exhaust(now)
        self._attendance.leaves(recipient, now)
        key = (recipient.id, number)
        first = self._refused_on.setdefault(key, recipient.day)
        if len(self._refused_on) > MAX_REFUSED:
            self._refused_on.popitem(last=False)
        if first == recipient.day:
            self._lacks(recipient, number)
        else:
            self._refused_on.pop(key, None)
            recipient.missed.discard(number)
        self._board.changed(recipient)

    def _lacks(self, recipient: Recipient, number: int) -> None:
        recipient.missed.add(number)
        if len(recipient.missed) > MAX_MISSED:
            recipient.missed.discard(min(recipient.missed))
        self._board.changed(recipient)

    def answers_are_in(self, recipient: Recipient, now: datetime) -> None:
        """What a `ProbeBounce` has asked for is answered."""
        if recipient.probe is None:
            return
        recipient.probe.asked -= 1
        if recipient.probe.asked:
            return
        probe, recipient.probe = recipient.probe, None
        gone = probe.before.keys() - probe.seen.keys()
        recipient.left_at = now if gone else probe.left_at
        for number in probe.numbers:
            self._judge(recipient, probe, number)
        if recipient.state is State.CATCHING:
            recipient.lane.due[recipient.id] = None
        else:
            self._attendance.comes(recipient, now)

    def _judge(self, recipient: Recipient, probe: BounceProbe, number: int) -> None:
        key = (recipient.id, number)
        written = self._board.returned.get(key) or recipient.lane.started.get(number)
        verdict = probe.verdict(written)
        tries, _ = self._row.get(key, (0, None))
        if verdict is Verdict.LACKS and not (probe.seen and tries >= TRIES):
            return
        recipient.missed.discard(number)
        self._board.changed(recipient)
        post = self._board.recent.get(number)
        if verdict is Verdict.REFUSES and post is not None:
            self._board.work.append(RefusedBy(recipient.id, post.author))

    def forget_old(self, now: datetime) -> None:
        """A minute has passed: forget what was written, or came back, too long ago."""
        horizon = now - REMEMBER_WRITTEN
        returned = self._board.returned
        while returned and next(iter(returned.values())) < horizon:
            returned.popitem(last=False)
        while self._row and next(iter(self._row.values()))[1] < now - IN_A_ROW:
            self._row.popitem(last=False)
        for lane in self._board.lanes.values():
            for number in [n for n, at in lane.started.items() if at < horizon]:
                if number not in lane.open:
                    del lane.started[number]
