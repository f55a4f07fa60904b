"""A relay without a server, for what people want to see less of.

Database, journal, fan-out, digests and choices are the real ones. Bob follows three authors. What
reaches him is written down; barriers are answered and rows stored as soon as they are asked for,
but a post is fanned out only at the next `turn`, so that a choice may come in between.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from xmpprelay.choices import Choices
from xmpprelay.core.delivery import Delivery
from xmpprelay.core.graph import Graph
from xmpprelay.core.model import Follow, Grant, Mode, Person, Post
from xmpprelay.core.work import Ask, AskLater, Probe, Read, Store, Write, pairs
from xmpprelay.digests import Digests
from xmpprelay.journal import Journal
from xmpprelay.less import Less
from xmpprelay.store import queries
from xmpprelay.store.database import Database
from xmpprelay.store.operations import (
    FollowRow,
    HandleRow,
    StartRow,
    add_follow,
    add_person,
    start,
    store_delivery,
    take_handle,
)
from xmpprelay.store.posts import PostRow

ALICE, CAROL, ERIN, BOB, DAVE = 1, 2, 3, 4, 5
NAMES = {ALICE: "alice", CAROL: "carol", ERIN: "erin", BOB: "bob", DAVE: "dave"}
AUTHORS = (ALICE, CAROL, ERIN)
START = datetime(2030, 1, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)


class Noted(Digests):
    """Digests that note which posts they tell, in the order in which they do."""

    told: list[tuple[int, ...]]

    def text(self, some: Sequence[Post]) -> str:
        self.told.append(tuple(post.number for post in some))
        return super().text(some)


class Scene:
    """Bob's world."""

    def __init__(self, path: Path, readers: Sequence[int] = (BOB,)) -> None:
        self.path = path
        self.readers = readers
        self.now = START
        self.sent: list[tuple[int, int]] = []  # (person, number) by the fan-out, or a return
        self.told: list[tuple[int, ...]] = []
        self.said: list[tuple[str, str]] = []  # (JID, text)
        self.rounds: dict[int, timedelta] = {}
        self.posts: dict[int, Post] = {}

    # The relay

    async def opens(self) -> None:
        self.db = await Database.open(f"sqlite:///{self.path}", now=self.reads_clock)
        self.graph = Graph(["example.org"])
        self.delivery = Delivery(self.graph)
        self.journal = Journal(self.db, self.graph, self.delivery, _nothing, self.reads_clock)
        self.choices = Choices(self.db, self.graph)
        self.digests = Noted(
            self.db,
            self.graph,
            self.delivery,
            self.journal,
            lambda jid, text: self.said.append((jid, text)),
            wake=_nothing,
            now=self.reads_clock,
            rounds=lambda: self.rounds,
        )
        self.digests.told = self.told
        self.less = Less(
            self.db,
            self.graph,
            self.delivery,
            self.choices,
            self.digests,
            wake=_nothing,
            now=self.reads_clock,
        )
        await self.db.write(start, StartRow(self.graph.lane_of_jid))
        await self.db.read(self._load)
        self.delivery.stream_up(self.now)
        await self.turn()

    def _load(self, conn: Any) -> None:
        for person in queries.load_people(conn):
            self.graph.add_person(person)
        for follow in queries.load_follows(conn):
            self.graph.add_follow(follow)
        recent = queries.recent_posts(conn, 4096)
        self.delivery.load(queries.load_standings(conn), recent, self.db.next_number)
        self.less.load(conn)
        for reader in self.readers:
            self.delivery.set_catchup(reader, 100)

    async def settles(self) -> None:
        """Everybody is known, and who reads follows everybody who posts."""
        for name in NAMES.values():
            person = await self.db.write(add_person, f"{name}@example.org")
            row = HandleRow(person.id, name, name)
            self.graph.add_person(await self.db.write(take_handle, row))
        for reader in self.readers:
            for author in AUTHORS:
                followed = await self.db.write(add_follow, FollowRow(reader, author, Mode.HOME))
                self.graph.add_follow(followed.follow)
                self.delivery.standing_made(followed.standing, self.now)
            self.delivery.set_grant(reader, Grant.GRANTED, self.now)
            self.delivery.set_catchup(reader, 100)
            await self.comes(reader)

    def reads_clock(self) -> datetime:
        """No two things happen at the same time."""
        self.now += timedelta(milliseconds=1)
        return self.now

    async def restarts(self, *there: int) -> None:
        await self.db.close()
        await self.opens()
        for reader in there:
            await self.comes(reader)

    async def turn(self) -> None:
        """What is to be done is done, and all that follows from it."""
        while work := self.delivery.take(self.now):
            for piece in work:
                match piece:
                    case Write(_, _, live, held):
                        self.sent += [
                            (person, post.number) for person, post in (*pairs(live), *held)
                        ]
                    case Ask(window, lane, _):
                        self.delivery.barrier_answered(window, lane, self.now)
                    case AskLater(window, _):
                        self.delivery.window_due(window)
                    case Store(token, rows):
                        await self.db.write(store_delivery, rows)
                        self.delivery.stored(token)
                    case Read():
                        held_back = await self.journal.held(piece)
                        self.delivery.looked_up(piece.person, held_back)
                    case Probe():
                        pass

    # What happens

    async def post(self, author: int, text: str = "hello", **more: Any) -> int:
        post = (await self.journal.append(PostRow(author, text, **more))).post
        self.posts[post.number] = post
        return post.number

    async def posts_now(self, author: int, text: str = "hello", **more: Any) -> int:
        number = await self.post(author, text, **more)
        await self.turn()
        return number

    async def comes(self, person: int = BOB) -> None:
        self.delivery.available(person, "phone", 0, None, self.now)
        await self.turn()

    async def leaves(self, person: int = BOB) -> None:
        self.delivery.unavailable(person, None, self.now)
        await self.turn()

    async def later(self, span: timedelta) -> None:
        self.now += span
        self.delivery.tick(self.now)
        await self.turn()
        await self.digests.tick()
        await self.turn()

    def person(self, number: int = BOB) -> Person:
        return self.graph.person(number)

    def follow(self, person: int, author: int) -> Follow:
        found = self.graph.follow(person, author)
        assert found is not None
        return found

    def live(self, person: int = BOB) -> list[int]:
        """What has come to somebody by itself."""
        return [number for who, number in self.sent if who == person]


@asynccontextmanager
async def scene(path: Path, *, settled: bool = False, **how: Any) -> AsyncIterator[Scene]:
    """A scene that has begun; ended when the `with` is.

    `settled`: the database at the path is one that was settled before.
    """
    made = Scene(path, **how)
    await made.opens()
    try:
        await (made.comes() if settled else made.settles())
        yield made
    finally:
        await made.db.close()


def _nothing() -> None:
    pass
