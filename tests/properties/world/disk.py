"""The simulated database: what is committed, and the writer that commits it.

A small twin of the store: first in, first out, group commit, callbacks after the commit and before
the next one. `start` is move 7; a test compares it with the real one.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import TypeVar

from tests.properties.world.agenda import Agenda
from xmpprelay.core.graph import Graph
from xmpprelay.core.model import DeliveryRows, Follow, Grant, Mode, Post, Standing

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class NewPost:
    author: int


@dataclass(frozen=True, slots=True)
class NewFollow:
    follower: int
    author: int


@dataclass(frozen=True, slots=True)
class EndFollow:
    follower: int
    author: int


Row = NewPost | NewFollow | EndFollow | DeliveryRows
Result = tuple[Post, Sequence[str]] | tuple[Follow, Standing] | bool | None


@dataclass
class Disk:
    """What survives the relay."""

    lanes: dict[int, str]  # person -> his lane
    next_number: int = 1
    posts: dict[int, Post] = field(default_factory=dict)
    follows: dict[tuple[int, int], int] = field(default_factory=dict)  # -> since
    standings: dict[int, Standing] = field(default_factory=dict)
    fanout: dict[tuple[int, str], int] = field(default_factory=dict)  # -> person id

    def start(self, agenda: Agenda) -> None:
        """Move 7: nobody is live, no fan-out is open, what may be missing is noted."""
        for person, standing in self.standings.items():
            if standing.away_from is None:
                self.standings[person] = replace(
                    standing,
                    away_from=self.next_number,
                    away_at=agenda.now(),
                    missed=tuple(self.open_numbers(person)),
                )
        self.fanout.clear()

    def open_numbers(self, person: int) -> list[int]:
        """Posts of people whom he follows that are not confirmed up to him."""
        lane = self.lanes[person]
        numbers = (n for (n, name), at in self.fanout.items() if name == lane and at < person)
        return sorted(n for n in numbers if self._follows(person, self.posts[n]))

    def _follows(self, person: int, post: Post) -> bool:
        since = self.follows.get((person, post.author))
        return since is not None and since <= post.number

    def lacked_after_start(self, standing: Standing) -> Callable[[int], bool]:
        """What a person would lack if the relay were started now."""
        if standing.away_from is None:
            missed, away_from = set(self.open_numbers(standing.person)), self.next_number
        else:
            missed, away_from = set(standing.missed), standing.away_from
        return lambda number: number >= away_from or number in missed

    def append(
        self, agenda: Agenda, author: int, lanes_of: Callable[[Post], Sequence[str]]
    ) -> tuple[Post, Sequence[str]]:
        """Make a post and open its fan-out; the post, and in which lanes it is open."""
        number, self.next_number = self.next_number, self.next_number + 1
        post = self.posts[number] = Post(number, author, "", None, agenda.now())
        lanes = lanes_of(post)
        for lane in lanes:
            self.fanout[number, lane] = 0
        return post, lanes

    def add_follow(self, agenda: Agenda, row: NewFollow) -> tuple[Follow, Standing]:
        """Make a follow, and the follower's standing if he has none."""
        since = self.follows.setdefault((row.follower, row.author), self.next_number)
        standing = self.standings.setdefault(
            row.follower,
            Standing(row.follower, self.next_number, agenda.now(), grant=Grant.NEVER),
        )
        return Follow(row.follower, row.author, Mode.AUTHOR, since), standing

    def keep(self, rows: DeliveryRows) -> None:
        """Keep how far deliveries have come."""
        for standing in rows.standings:
            self.standings[standing.person] = standing
        for cursor in rows.cursors:
            key = cursor.number, cursor.lane
            if cursor.position is None:
                self.fanout.pop(key, None)
            else:
                self.fanout[key] = cursor.position


@dataclass(slots=True)
class _Item:
    row: Row
    committed: Callable[[Result], None]
    result: Result = None


class Writer:
    """The queue in front of the disk, of one run of the relay."""

    def __init__(
        self,
        agenda: Agenda,
        rng: Random,
        disk: Disk,
        graph: Graph,
        commit_s: Callable[[], float],
        applied: Callable[[Row, Result], None],
        written: Callable[[], None],
    ) -> None:
        self._agenda = agenda
        self._rng = rng
        self._disk = disk
        self._graph = graph
        self._commit_s = commit_s
        self._applied = applied
        self._written = written
        self._queue: deque[_Item] = deque()
        self._writing: list[_Item] = []
        self._dead = False

    def submit(self, row: Row, committed: Callable[[Result], None]) -> None:
        """Queue a row; `committed` is called after its commit, in the order of submission."""
        self._queue.append(_Item(row, committed))
        if not self._writing:
            self._begin()

    def kill(self) -> None:
        """The process dies; a commit under way is either there or not, and nobody hears of it."""
        self._dead = True
        if self._writing and self._rng.random() < 0.5:
            self._commit(self._writing)
        self._writing = []
        self._queue.clear()

    def _begin(self) -> None:
        count = len(self._queue)
        if self._rng.random() < 0.3:
            count = self._rng.randint(1, count)
        while len(self._writing) < count and not self._waits():
            self._writing.append(self._queue.popleft())
        self._agenda.after(self._commit_s(), self._end)

    def _waits(self) -> bool:
        """A post is not written together with a follow before it: it asks the graph for its lanes.

        Else a follower who is live already may be in a lane in which the post has no row.
        """
        posts = isinstance(self._queue[0].row, NewPost)
        return posts and any(isinstance(item.row, NewFollow) for item in self._writing)

    def _end(self) -> None:
        if self._dead:
            return
        self._commit(self._writing)
        self._agenda.after(0.0, self._answer)  # a kill may come between

    def _answer(self) -> None:
        if self._dead:
            return
        for item in self._writing:
            item.committed(item.result)
        self._writing = []
        if self._queue:
            self._begin()

    def _commit(self, items: list[_Item]) -> None:
        for item in items:
            match item.row:
                case NewPost(author):
                    item.result = self._disk.append(self._agenda, author, self._graph.lanes)
                case NewFollow():
                    item.result = self._disk.add_follow(self._agenda, item.row)
                case EndFollow(follower, author):
                    item.result = self._disk.follows.pop((follower, author), None) is not None
                case DeliveryRows():
                    self._disk.keep(item.row)
            self._applied(item.row, item.result)
        self._written()
