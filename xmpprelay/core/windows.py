"""Windows: filled from open posts and returns, confirmed in order, their slots freed by a commit.

Moves 2 and 3. At most two windows of a lane are under way. A window is settled when its barrier is
answered and all before it are settled: then the cursors move. Its slot is free only when that is
committed, so a disk that stands still stops the lane instead of letting doubt pile up.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

from xmpprelay.core.attendance import Attendance
from xmpprelay.core.board import Board
from xmpprelay.core.catching import Catching
from xmpprelay.core.lanes import WINDOWS, Lane, Window, WindowState
from xmpprelay.core.model import CHANGES, OWN_LANE, Grant, Post
from xmpprelay.core.recipients import Recipient, State
from xmpprelay.core.work import AllowanceUsed, Ask, AskLater, FillLater, Part, Write

NO_TIME: Final = timedelta()


class Windows:
    """The windows of one fan-out."""

    def __init__(self, board: Board, attendance: Attendance, catching: Catching) -> None:
        self._board = board
        self._attendance = attendance
        self._catching = catching

    # Move 2

    def fill_all(self, room: int, now: datetime) -> None:
        """Fill what can be filled in all lanes; at most `room` stanzas.

        The own lane's windows always fit in, however many other domains are slow.
        """
        sizes, own = self._board.sizes, self._board.lane(OWN_LANE)
        free = sizes.in_flight - self._board.in_flight()
        room = max(0, min(room, free))
        abroad = max(0, min(room, free - WINDOWS * sizes.window + own.in_flight()))
        for lane in self._board.lanes.values():
            while (lane.open or lane.due or lane.through) and _slot(lane):
                if (pause := lane.too_soon(now)) > NO_TIME:
                    if lane.pausing != lane.windows[-1].id:
                        lane.pausing = lane.windows[-1].id
                        self._board.work.append(FillLater(lane.name, pause.total_seconds()))
                    break
                written = self._fill(lane, abroad if lane.remote else room, now)
                if written is None:
                    break
                room -= written
                abroad = min(room, abroad - written if lane.remote else abroad)

    def _fill(self, lane: Lane, room: int, now: datetime) -> int | None:
        """Fill one window of a lane; how many stanzas were written, None when nothing changed."""
        window = _collecting(lane)
        fresh = window is None
        if window is None:
            window = Window(self._board.new_id(), lane)
        space = min(room, lane.size - window.count)
        before = window.count
        half = space // 2 if lane.due else 0  # half of each while both wait
        self._fill_live(lane, window, space - half, now)
        space -= window.count - before
        for person in list(lane.due):
            if space == 0:
                break
            del lane.due[person]
            space -= self._catching.look(window, self._board.recipients[person], space, now)
        if space and half:
            self._fill_live(lane, window, space, now)
        written = window.count - before
        if not written and not lane.through:
            return None
        window.through.update(lane.through)
        lane.through = {}
        if fresh:
            lane.windows.append(window)
            self._board.windows[window.id] = window
        self._close(lane, window, fresh, now)
        return written

    def _close(self, lane: Lane, window: Window, fresh: bool, now: datetime) -> None:
        if not window.count:
            window.state = WindowState.CONFIRMED  # as soon as its elders are
            self._settle(lane)
        elif not lane.remote or window.count >= lane.size:
            window.asked_at = now
            self._ask(window)
        elif fresh:
            self._board.work.append(AskLater(window.id, lane.name))

    def _fill_live(self, lane: Lane, window: Window, space: int, now: datetime) -> None:
        written: list[Part] = []
        over: dict[int, set[int]] = {}  # blind people whose allowance is used up -> not written
        for part in lane.fill(space):
            if self._is_for_all(part):
                written.append(Part(part.people, part.posts, seen=True))
            else:
                written += self._one_by_one(part, over, now)
        if not written and not over:
            return
        for part in written:
            window.add(part.people, tuple(post.number for post in part.posts))
            for post in part.posts:
                lane.started.setdefault(post.number, now)
        for person, unwritten in over.items():
            unwritten.update(window.written_to(person))
            self._attendance.leaves(self._board.recipients[person], now, also=unwritten)
            self._board.work.append(AllowanceUsed(person))
        if written:
            self._board.work.append(Write(window.id, lane.name, tuple(written), ()))

    def _is_for_all(self, part: Part) -> bool:
        """Whether nothing has to be asked of each person: most posts are new, and go to friends."""
        recipients = self._board.recipients
        return all(post.kind not in CHANGES for post in part.posts) and all(
            recipients[person].grant is Grant.GRANTED for person in part.people
        )

    def _one_by_one(self, part: Part, over: dict[int, set[int]], now: datetime) -> Iterator[Part]:
        """What each of these people gets of it; spends what the blind may have (S11.4)."""
        for person in part.people:
            recipient = self._board.recipients[person]
            posts: list[Post] = []
            for post in part.posts:
                if post.kind in CHANGES and _never_had(recipient, post):
                    continue
                if recipient.grant is not Grant.GRANTED and recipient.blind():
                    if person in over or not recipient.allowance(now):
                        over.setdefault(person, set()).add(post.number)
                        continue
                    recipient.spend(now)
                    if not recipient.allowance(now):
                        over[person] = set()
                posts.append(post)
            if posts:
                yield Part((person,), tuple(posts))

    # Move 3

    def due(self, window_id: int) -> None:
        """A second has passed since the window was written: ask for its barrier."""
        window = self._board.windows.get(window_id)
        if window is not None and window.state is WindowState.OPEN:
            self._ask(window)

    def _ask(self, window: Window) -> None:
        window.state = WindowState.ASKED
        self._board.work.append(Ask(window.id, window.lane.name, window.people()))

    def answered(self, window_id: int, now: datetime) -> bool:
        """A window's barrier is answered; False: the window is not known any more."""
        window = self._board.windows.get(window_id)
        if window is None:
            return False
        if window.state is WindowState.ASKED:
            lane = window.lane
            lane.heard(window, now)
            window.state = WindowState.CONFIRMED
            lane.confirms()
            self._settle(lane)
        return True

    def _settle(self, lane: Lane) -> None:
        for window in lane.windows:
            if window.state is WindowState.STORING:
                continue
            if window.state is not WindowState.CONFIRMED:
                break
            window.state = WindowState.STORING
            lane.confirmed += window.count
            self._board.moved(lane, window.through)
            for people, numbers in window.parts:
                for person in people:
                    if not self._board.recipients[person].nothing_open():
                        for number in numbers:
                            self._settle_item(window, person, number)
            for batch in window.batches:
                self._catching.settled(window, batch)
            self._board.frees_window(window)

    def _settle_item(self, window: Window, person: int, number: int) -> None:
        recipient = self._board.recipients[person]
        arrived = (person, number) not in window.bounced
        if number in recipient.missed and arrived:
            recipient.missed.discard(number)
            self._board.changed(recipient)
        if number in recipient.in_doubt:
            recipient.in_doubt.discard(number)
            if arrived and recipient.catch is not None:
                recipient.catch.had.add(number)
        if recipient.blind():
            self._board.changed(recipient)  # the day's count
        if recipient.state is State.CATCHING:
            recipient.lane.due[person] = None


def _never_had(recipient: Recipient, change: Post) -> bool:
    """Whether the post that is changed was not sent to him: it comes, if at all, as it is now."""
    if change.original is None or recipient.id in change.mentions:
        return False
    number = change.original.number
    return recipient.lacks(number) or recipient.left_to_more(number)


def _slot(lane: Lane) -> bool:
    """Whether a lane may be filled now."""
    if lane.resetting:
        return False
    return len(lane.windows) < lane.slots or _collecting(lane) is not None


def _collecting(lane: Lane) -> Window | None:
    """The window of a remote lane that still takes more."""
    last = lane.windows[-1] if lane.windows else None
    return last if last is not None and last.state is WindowState.OPEN else None
