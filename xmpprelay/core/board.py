"""What the parts of the fan-out share: people, lanes, posts in memory, and work to be given out.

The parts are `attendance.py` (who is live), `windows.py` (writing and confirming), `catching.py`
(returns) and `bounces.py`; `delivery.py` puts them together. Here nothing is decided. What has
changed is collected until the next `take_store`, so that all that belongs together is stored in one
transaction, and in the order in which it happened.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from xmpprelay.core.graph import Graph
from xmpprelay.core.lanes import FIRST_REMOTE_WINDOW, WINDOW, Lane, Window
from xmpprelay.core.model import Cursor, DeliveryRows, Standing
from xmpprelay.core.recent import RECENT, Recent
from xmpprelay.core.recipients import Recipient
from xmpprelay.core.work import Store, Work

IN_FLIGHT: Final = 2000
"""Stanzas under way over all lanes: what a lost stream can make the relay repeat."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is under way, and in memory. Tests take small ones, to come to the edges sooner."""

    window: int = WINDOW
    first_remote_window: int = FIRST_REMOTE_WINDOW
    in_flight: int = IN_FLIGHT
    recent: int = RECENT


@dataclass(slots=True)
class _Freed:
    """What is free again when a store is committed."""

    windows: list[Window] = field(default_factory=list)
    lanes: list[Lane] = field(default_factory=list)


class Board:
    """The common state of one fan-out."""

    def __init__(self, graph: Graph, sizes: Sizes) -> None:
        self.graph = graph
        self.sizes = sizes
        self.connected = False
        self.lanes: dict[str, Lane] = {}
        self.recipients: dict[int, Recipient] = {}
        self.recent = Recent(
            lambda number: any(number in lane.open for lane in self.lanes.values()), sizes.recent
        )
        self.windows: dict[int, Window] = {}  # by id, until their rows are committed
        self.exhausted: set[int] = set()  # blind people who wait for their next day
        self.returned: OrderedDict[tuple[int, int], datetime] = OrderedDict()
        # (person, number) -> written at, of what was sent in a return
        self.work: list[Work] = []
        self._cursors: dict[tuple[int, str], int | None] = {}
        self._dirty: dict[int, None] = {}
        self._freed = _Freed()
        self._tokens: dict[int, _Freed] = {}
        self._last_id = 0

    def add(self, standing: Standing) -> Recipient:
        """Take up a person with his standing."""
        lane = self.lane(self.graph.lane(standing.person))
        recipient = self.recipients[standing.person] = Recipient.of(standing, lane)
        lane.people.add(standing.person)
        return recipient

    def lane(self, name: str) -> Lane:
        """The lane of that name; it is made when it is first asked for."""
        lane = self.lanes.get(name)
        if lane is None:
            lane = self.lanes[name] = Lane(name, limit=self.sizes.window)
            lane.opens(self.first_window(lane))
        return lane

    def first_window(self, lane: Lane) -> int:
        """The size with which a lane opens."""
        return self.sizes.first_remote_window if lane.remote else self.sizes.window

    def new_id(self) -> int:
        """A number for a window or a store; never used twice."""
        self._last_id += 1
        return self._last_id

    def in_flight(self) -> int:
        """Stanzas written and not yet settled, over all lanes."""
        return sum(lane.in_flight() for lane in self.lanes.values())

    # What is to be stored

    def changed(self, recipient: Recipient) -> None:
        """A person's standing is to be stored as it is at the next `take_store`."""
        self._dirty[recipient.id] = None

    def moved(self, lane: Lane, through: Mapping[int, int]) -> None:
        """Fan-outs are confirmed up to these positions; a negative one means: done."""
        for number, position in through.items():
            self._cursors[number, lane.name] = None if position < 0 else position

    def frees_window(self, window: Window) -> None:
        """The slot of a window is free when what has been decided up to now is committed."""
        self._freed.windows.append(window)

    def frees_lane(self, lane: Lane) -> None:
        """A lane may be filled again when what has been decided up to now is committed."""
        lane.resetting += 1
        self._freed.lanes.append(lane)

    def take_store(self) -> Store | None:
        """All that has changed since the last one; None: nothing has."""
        if not (self._cursors or self._dirty or self._freed.windows or self._freed.lanes):
            return None
        rows = DeliveryRows(
            cursors=tuple(
                Cursor(number, lane, position) for (number, lane), position in self._cursors.items()
            ),
            standings=tuple(self.recipients[person].standing() for person in self._dirty),
        )
        token = self.new_id()
        self._tokens[token] = self._freed
        self._cursors, self._dirty, self._freed = {}, {}, _Freed()
        return Store(token, rows)

    def stored(self, token: int) -> None:
        """The rows of a `Store` are committed."""
        freed = self._tokens.pop(token)
        for window in freed.windows:
            if self.windows.pop(window.id, None) is not None:
                window.lane.windows.remove(window)
        for lane in freed.lanes:
            lane.resetting -= 1
