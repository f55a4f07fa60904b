"""Returns under way: what each look finds is written, and taken into his standing (move 6).

`returns.py` says what a look finds, and changes nothing; here it is carried out. One batch per
person is under way at a time, and a look waits for all that was written to him before: else it
would send again what is on its way.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from xmpprelay.core.attendance import Attendance
from xmpprelay.core.board import Board
from xmpprelay.core.lanes import Window
from xmpprelay.core.model import Post, Rest
from xmpprelay.core.recipients import Batch, Recipient, State
from xmpprelay.core.returns import Exhausted, Found, Nothing, ReadOn, look, take_held
from xmpprelay.core.work import Held, Write


class Catching:
    """The returns of one fan-out."""

    def __init__(self, board: Board, attendance: Attendance) -> None:
        self._board = board
        self._attendance = attendance

    def look(self, window: Window, recipient: Recipient, room: int, now: datetime) -> int:
        """Put what a returned person lacks into a window; how many posts were put there."""
        catch, lane = recipient.catch, recipient.lane
        if catch is None or recipient.asked is not None or recipient.batch is not None:
            return 0
        if recipient.probe is not None or lane.unsettled(recipient.id):
            return 0
        match look(self._board.graph, self._board.recent, recipient, catch, room, now):
            case ReadOn(read):
                recipient.asked = catch, read
                self._board.work.append(read)
            case Nothing():
                self._attendance.lacks_nothing(recipient, now)
            case Exhausted():
                self._attendance.summarise(recipient, now)
                self._attendance.leaves(recipient, now)
            case Found(batch, posts):
                catch.rest = None
                if posts:
                    self._write(window, recipient, batch, posts, now)
                else:
                    self._apply(recipient, batch, set())
                    lane.due[recipient.id] = None
                return len(posts)
        return 0

    def _write(
        self,
        window: Window,
        recipient: Recipient,
        batch: Batch,
        posts: tuple[Post, ...],
        now: datetime,
    ) -> None:
        recipient.batch = batch
        recipient.in_doubt.difference_update(batch.sent)  # these come as they are now
        window.batches.append(batch)
        window.add((recipient.id,), batch.sent)
        for number in batch.sent:
            self._board.returned[recipient.id, number] = now
            self._board.returned.move_to_end((recipient.id, number))
        if recipient.blind():
            recipient.spend(now, len(posts))
        held = tuple((recipient.id, post) for post in posts)
        self._board.work.append(Write(window.id, recipient.lane.name, (), held))

    def settled(self, window: Window, batch: Batch) -> None:
        """The window of a batch is confirmed: the person has it, but for what has bounced."""
        recipient = self._board.recipients[batch.person]
        recipient.batch = None
        if recipient.catch is not None:
            recipient.catch.parts.append((batch.highest, batch.seen))
        self._apply(recipient, batch, window.bounced)

    def _apply(self, recipient: Recipient, batch: Batch, bounced: set[tuple[int, int]]) -> None:
        gone = batch.skipped.union(n for n in batch.sent if (batch.person, n) not in bounced)
        recipient.missed -= gone
        recipient.missed.update(batch.noted)
        if recipient.away_from is not None:
            recipient.away_from = max(recipient.away_from, batch.highest + 1)
        if batch.rest is not None:
            recipient.rest, recipient.note = batch.rest, batch.note
        self._board.changed(recipient)

    def looked_up(self, recipient: Recipient, held: Held) -> None:
        """The answer to his `Read` has come."""
        if recipient.asked is None:
            return
        (catch, read), recipient.asked = recipient.asked, None
        if recipient.catch is None:
            return
        if catch is recipient.catch:  # else it was asked for a return that has ended
            take_held(self._board.recent, recipient, catch, read, held)
            for change in self._board.recent.changes_from(read.upto + 1):
                catch.revise(change)
        recipient.lane.due[recipient.id] = None

    def fetch(
        self, recipient: Recipient, numbers: Iterable[int], rest: Rest | None, now: datetime
    ) -> None:
        """Send these posts by the way of a return; his rest is `rest` from now on."""
        if recipient.state is State.LIVE:
            self._attendance.leaves(recipient, now)
        recipient.missed.update(n for n in numbers if n < self._board.recent.next_number)
        recipient.rest = rest
        self._board.changed(recipient)
        self._attendance.comes(recipient, now)
        if recipient.catch is not None:
            recipient.catch = recipient.returns(
                planned=True, next_number=self._board.recent.next_number
            )
            recipient.lane.due[recipient.id] = None
