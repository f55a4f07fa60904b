"""Who is live, who is away, who is catching up: how people come and go (moves 4 and 6).

To leave is to note what may be lacking, at once: what has not passed him, and what was written to
him and is not settled. To come is only to be looked at (`catching.py`); live is who lacks nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from xmpprelay.core.board import Board
from xmpprelay.core.lanes import DONE, Lane, WindowState
from xmpprelay.core.recipients import Catch, Recipient, State
from xmpprelay.core.work import AllowanceUsed, Summary

SHORT_ABSENCE: Final = timedelta(minutes=5)
"""Up to here a return brings everything, plainly (S11.2)."""

SUMMARY_EVERY: Final = timedelta(minutes=10)
"""A summary comes at most once in this time (S11.2)."""


class Attendance:
    """The comings and goings of one fan-out."""

    def __init__(self, board: Board) -> None:
        self._board = board

    def comes(self, recipient: Recipient, now: datetime) -> None:
        """He may be sent to again, if he can be reached: his look is due."""
        if recipient.state is not State.AWAY or not self._board.connected or recipient.lane.down:
            return
        if not recipient.reachable(now):
            if recipient.blind():
                self._board.exhausted.add(recipient.id)
            return
        recipient.state = State.CATCHING
        recipient.catch = recipient.returns(
            planned=_plain(recipient, now), next_number=self._board.recent.next_number
        )
        recipient.lane.engaged.add(recipient.id)
        recipient.lane.due[recipient.id] = None

    def lacks_nothing(self, recipient: Recipient, now: datetime) -> None:
        """A look has found nothing: he is live."""
        self.summarise(recipient, now)
        recipient.state, recipient.catch, recipient.broken_at = State.LIVE, None, None
        recipient.lane.engaged.discard(recipient.id)
        recipient.away_from = recipient.away_at = None
        recipient.missed, recipient.in_doubt = set(), set()
        recipient.lane.live.add(recipient.id)
        self._board.changed(recipient)
        if not recipient.reachable(now):  # the return has used up his allowance
            self.leaves(recipient, now)
            self._board.work.append(AllowanceUsed(recipient.id))

    def summarise(self, recipient: Recipient, now: datetime) -> None:
        """Tell him what his return has left to `more`, if it has (S11.2)."""
        if recipient.note:
            self._board.work.append(Summary(recipient.id, recipient.note))
            recipient.note, recipient.summary_at = {}, now

    def leaves(self, recipient: Recipient, now: datetime, also: Iterable[int] = ()) -> None:
        """Move 4: he is not to be sent to from now on. `also` are posts that he lacks besides.

        Somebody catching up, or away, keeps his row: only his state becomes away.
        """
        if recipient.state is not State.AWAY:
            unsettled = recipient.lane.unsettled(recipient.id)
            recipient.in_doubt |= unsettled
            if recipient.state is State.LIVE:
                ahead = {n for _, n in recipient.lane.ahead({recipient.id})}
                self._set_away(recipient, ahead | unsettled, now)
        if recipient.catch is not None:
            _break_off(recipient, recipient.catch, now)
        recipient.missed.update(also)
        if recipient.blind() and self._board.connected:
            self._board.exhausted.add(recipient.id)

    def _set_away(self, recipient: Recipient, lacks: set[int], now: datetime) -> None:
        recipient.state = State.AWAY
        recipient.lane.live.discard(recipient.id)
        recipient.away_from, recipient.away_at = self._board.recent.next_number, now
        recipient.missed = lacks
        self._board.changed(recipient)

    def all_leave(self, lane: Lane, now: datetime) -> None:
        """Everybody in a lane stops being live; what is under way and open there is done with.

        One row for each person who was live, and none for those who were not: all in one store.
        """
        board, live = self._board, lane.live.copy()
        lacks: dict[int, set[int]] = {person: set() for person in live}
        for person, number in lane.ahead(live):
            lacks[person].add(number)
        for window in lane.windows:
            board.windows.pop(window.id, None)
            if window.state is not WindowState.STORING:
                board.moved(lane, dict.fromkeys(window.through, DONE))
                for people, numbers in window.parts:
                    for person in people:
                        board.recipients[person].in_doubt.update(numbers)
                        if person in live:
                            lacks[person].update(numbers)
        for person in live:
            self._set_away(board.recipients[person], lacks[person], now)
        for person in lane.present | lane.engaged:
            _forget(board.recipients[person], now)
        for number in list(lane.open):
            lane.finish(number)
        board.moved(lane, lane.through)
        lane.through = {}
        for gone in (lane.engaged, lane.present, lane.due, lane.windows):
            gone.clear()
        board.frees_lane(lane)


def _plain(recipient: Recipient, now: datetime) -> bool:
    """Whether a return brings everything (S11.2)."""
    if recipient.blind():
        return False
    away_at, told = recipient.broken_at or recipient.away_at, recipient.summary_at
    return (away_at is None or now - away_at < SHORT_ABSENCE) or (
        told is not None and now - told < SUMMARY_EVERY
    )


def _break_off(recipient: Recipient, catch: Catch, now: datetime) -> None:
    """A return ends before he is live; soon taken up again, it goes on as it was planned."""
    recipient.state, recipient.catch = State.AWAY, None
    recipient.broken_at = now if catch.planned else None


def _forget(recipient: Recipient, now: datetime) -> None:
    """Nothing is known of his presence, and nothing is under way to him any more."""
    if recipient.catch is not None:
        _break_off(recipient, recipient.catch, now)
    if recipient.batch is not None and recipient.batch.rest is not None:
        recipient.broken_at = None  # what was planned is lost with the batch
    if recipient.resources:
        recipient.left_at = now
        recipient.resources.clear()
    recipient.batch = recipient.probe = None
