"""A fan-out that is driven by hand: small worlds for the tests of its parts.

Nothing happens by itself. Barriers are answered, rows are stored and windows fall due when the test
says so; what the fan-out asks for is kept until the test looks at it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from xmpprelay.core.delivery import Delivery, Sizes
from xmpprelay.core.graph import Graph
from xmpprelay.core.model import OWN_LANE, Follow, Grant, Kind, Mode, Person, Post, Standing
from xmpprelay.core.recipients import State
from xmpprelay.core.work import (
    Ask,
    AskLater,
    Held,
    Read,
    Store,
    Work,
    Write,
    pairs,
)

FAR = "far.example"
ALICE, ERIN = 1, 2  # they post
BOB, CAROL, DAVE = 17, 18, 19
NAMES = {ALICE: "alice", ERIN: "erin", BOB: "bob", CAROL: "carol", DAVE: "dave"}
START = datetime(2030, 1, 1, 12, tzinfo=UTC)
SECOND, MINUTE, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(days=1)


class Relay:
    """A fan-out whose shell does what the test says, when it says so."""

    def __init__(
        self,
        followers: Iterable[int] = (BOB,),
        *,
        lane: str = OWN_LANE,
        grant: Grant = Grant.GRANTED,
        sizes: Sizes | None = None,
        next_number: int = 40,
    ) -> None:
        self.now = START
        self.graph = Graph(["own.example"])
        self.sizes = sizes or Sizes()
        self.delivery = Delivery(self.graph, self.sizes)
        self.posts: dict[int, Post] = {}
        self.standings: dict[int, Standing] = {}  # as they are stored
        self.fanout: dict[tuple[int, str], int] = {}  # as it is stored
        self.written: list[tuple[int, int]] = []
        self.held: list[tuple[int, int]] = []  # those of `written` that came by a return
        self.asked: list[Ask] = []
        self.stores: list[Store] = []
        self.work: list[Work] = []  # all else, until a test looks at it
        for author in (ALICE, ERIN):
            self.graph.add_person(Person(author, f"{NAMES[author]}@own.example", NAMES[author]))
        for person in followers:
            self.add(person, lane)
            self.follow(person, ALICE, since=1)
            self.standings[person] = Standing(person, next_number, self.now, grant=grant)
        self.delivery.load(self.standings.values(), (), next_number)
        self.delivery.stream_up(self.now)

    # The world acts

    def add(self, person: int, lane: str = OWN_LANE) -> None:
        name = NAMES.get(person, f"p{person}")
        self.graph.add_person(Person(person, f"{name}@{lane or 'own.example'}", None))

    def follow(self, person: int, author: int, since: int | None = None) -> None:
        self.graph.add_follow(
            Follow(person, author, Mode.AUTHOR, since or self.delivery.next_number)
        )

    def post(self, author: int = ALICE) -> int:
        """Commit a post, and do what follows at once."""
        number = self.commit(author)
        self.turn()
        return number

    def commit(self, author: int = ALICE) -> int:
        number = self.delivery.next_number
        post = self.posts[number] = Post(number, author, "", None, self.now)
        lanes = self.graph.lanes(post)
        self.fanout.update({(number, lane): 0 for lane in lanes})
        self.delivery.post_committed(post, lanes)
        return number

    def edit(self, number: int) -> int:
        """Let an author edit his post; gives the number of the change."""
        return self._change(number, Kind.EDIT, edits=self.posts[number].edits + 1)

    def delete(self, number: int) -> int:
        """Let an author delete his post; gives the number of the change."""
        return self._change(number, Kind.DELETE, deleted=True)

    def _change(self, original: int, kind: Kind, **more: Any) -> int:
        number = self.delivery.next_number
        self.posts[original] = changed = replace(self.posts[original], **more)
        change = Post(number, changed.author, "", None, self.now, kind=kind, original=changed)
        self.posts[number] = replace(change, edits=changed.edits)
        lanes = self.graph.lanes(change)
        self.fanout.update({(number, lane): 0 for lane in lanes})
        self.delivery.post_committed(self.posts[number], lanes)
        self.turn()
        return number

    def comes(self, *people: int, resource: str = "phone", priority: int = 0) -> None:
        for person in people:
            self.delivery.available(person, resource, priority, None, self.now)
        self.turn()

    def goes(self, person: int, resource: str | None = "phone") -> None:
        self.delivery.unavailable(person, resource, self.now)
        self.turn()

    def bounce(self, person: int, *numbers: int) -> None:
        for number in numbers:
            self.delivery.bounced(person, number, self.now)
        self.turn()

    def answer_probe(
        self, person: int, *resources: str, since: datetime | None = None, priority: int = 0
    ) -> None:
        """The answers to a probe after a bounce, and the ping behind it."""
        for resource in resources:
            self.delivery.available(person, resource, priority, since, self.now)
        self.delivery.probe_ended(person, self.now)
        self.turn()

    def later(self, span: timedelta) -> None:
        self.now += span
        self.delivery.tick(self.now)
        self.turn()

    # The shell

    def turn(self, room: int = 2000) -> None:
        for work in self.delivery.take(self.now, room):
            match work:
                case Write():
                    for person, post in (*pairs(work.live), *work.held):
                        self.written.append((person, post.number))
                    self.held += [(person, post.number) for person, post in work.held]
                case Ask():
                    self.asked.append(work)
                case Store():
                    self.stores.append(work)
                case _:
                    self.work.append(work)

    def answer(self) -> None:
        """The barriers that were asked for are answered; nothing is stored yet."""
        asked, self.asked = self.asked, []
        for ask in asked:
            self.delivery.barrier_answered(ask.window, ask.lane, self.now)
        self.turn()

    def answer_first(self) -> None:
        """The oldest barrier that was asked for is answered."""
        ask = self.asked.pop(0)
        self.delivery.barrier_answered(ask.window, ask.lane, self.now)
        self.turn()

    def store(self) -> None:
        """What is to be stored is committed, in order."""
        stores, self.stores = self.stores, []
        for store in stores:
            for standing in store.rows.standings:
                self.standings[standing.person] = standing
            for cursor in store.rows.cursors:
                if cursor.position is None:
                    self.fanout.pop((cursor.number, cursor.lane), None)
                else:
                    self.fanout[cursor.number, cursor.lane] = cursor.position
            self.delivery.stored(store.token)
        self.turn()

    def settle(self) -> None:
        """Everything is answered and stored until nothing is under way."""
        self._collected()
        while self.asked or self.stores:
            self.answer()
            self.store()
            self._collected()

    def _collected(self) -> None:
        """The second is over in which windows to remote domains still take more."""
        self.turn()
        for work in self.of(AskLater):
            assert isinstance(work, AskLater)
            self.delivery.window_due(work.window)
        self.turn()

    def take_written(self) -> list[tuple[int, int]]:
        written, self.written = self.written, []
        return written

    def of(self, kind: type[Work]) -> list[Work]:
        """The work of one kind that has come up since this was last asked."""
        found = [work for work in self.work if isinstance(work, kind)]
        self.work = [work for work in self.work if not isinstance(work, kind)]
        return found

    def read_for(self, read: Read) -> Held:
        """What the journal would answer."""
        numbers = {*read.missed, *range(read.away_from, read.upto + 1)}
        posts = [self.posts[n] for n in sorted(numbers) if n in self.posts and n <= read.upto]
        if read.newest:
            keep = max(0, len(posts) - read.limit)
            older = tuple((post.number, post.author) for post in posts[:keep])
            return Held(tuple(posts[keep:]), read.upto, older)
        if len(posts) > read.limit:
            return Held(tuple(posts[: read.limit]), posts[read.limit - 1].number)
        return Held(tuple(posts), read.upto)

    def standing(self, person: int = BOB) -> tuple[int | None, tuple[int, ...]]:
        """His stored standing: (away from, missed)."""
        standing = self.standings[person]
        return standing.away_from, standing.missed

    def state(self, person: int = BOB) -> State | None:
        return self.delivery.state_of(person)

    def restart(self) -> None:
        """Kill it, and start it again from what is stored (move 7)."""
        next_number = max(self.posts) + 1
        for person, standing in self.standings.items():
            if standing.away_from is None:
                lane = self.graph.lane(person)
                open_ = (n for (n, name), at in self.fanout.items() if name == lane and at < person)
                self.standings[person] = Standing(
                    person, next_number, self.now, tuple(sorted(open_)), grant=standing.grant
                )
        self.fanout.clear()
        self.asked, self.stores, self.work = [], [], []
        self.delivery = Delivery(self.graph, self.sizes)
        self.delivery.load(self.standings.values(), self.posts.values(), next_number)
        self.delivery.stream_up(self.now)
        self.turn()


def live(*people: int, **options: object) -> Relay:
    """A relay whose followers are online and live."""
    relay = Relay(people or (BOB,), **options)  # type: ignore[arg-type]
    relay.comes(*(people or (BOB,)))
    relay.settle()
    assert all(relay.state(person) is State.LIVE for person in people)
    relay.work.clear()
    return relay
