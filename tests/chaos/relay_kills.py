"""kill -9 of the relay, again and again, while twenty people post and others get it all.

One kill: the relay is started, and when it is ready the authors send again what has no receipt and
go on with new posts, 500 a second in all; after 50 to 800 ms it is killed. After a *round* of kills
it is started once more, and the books are closed: L, receipted but not in the journal, or not with
every follower; D, two posts for one origin-id, or one text under two ids; and what came twice on
the wire, which may be what was in flight at each kill and no more.

A kill's moment depends on its number alone, and a round begins with an empty database, so that a
run can be split: FIRST_SEED and SEEDS say which kills.

Everybody posts more in a minute than a person in a day. At its next start the relay would measure
that and send what they post by digest (S10.2, S10.3), which closes no books in this time. So they
are pinned as persons, all of whose posts come live, in the way in which an operator does it.

A round that gets stuck counts as failed, with where that was and what is known by then; the next
one begins with new people.
"""

import asyncio
import contextlib
import random
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.chaos.crowd import Light, gather, leave
from tests.chaos.nursery import Nursery
from tests.chaos.steps import step
from tests.faults.ledger import IN_FLIGHT
from tests.servers import XmppServer
from xmpprelay import control
from xmpprelay.config import Store
from xmpprelay.core.volume import Tier

AUTHORS: Final = 20
FOLLOWERS: Final = 5
POSTS_PER_S: Final = 500
KILL_AFTER_S: Final = (0.05, 0.8)
ROUND: Final = 25
"""Kills on one database; more would measure how long a large one takes to be checked at the start.
"""

ROUND_S: Final = 180.0
"""A round ends after so long, too. On a busy machine a follower may not be live between kills; if
that goes on for five minutes, most is left to `more` (S11.2), and the books would call it lost.
"""

QUIET_S: Final = 30.0
"""When nothing comes for so long, nothing more will."""

ANSWER_WITHIN_S: Final = 15.0
"""What has no answer by then is sent again: it went into a stream that had ended, unseen by the
server, or that was ended because the server, busy, was taken for dead.
"""

RECEIPTS_WITHIN_S: Final = 600.0
"""For all that is left at the end of a round: seconds, but for a machine that is busy."""

_TICK_S: Final = 0.01


@dataclass
class Figures:
    """What came of some kills."""

    kills: int = 0
    posts: int = 0
    deliveries: int = 0
    repeated: int = 0
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    disorder: list[str] = field(default_factory=list)
    stuck: list[str] = field(default_factory=list)  # rounds without an end, and where

    @property
    def bad(self) -> list[str]:
        """What must not be; empty when all is well."""
        found = list(self.stuck)
        found += [f"lost: {each}" for each in self.lost]
        found += [f"twice: {each}" for each in self.doubled]
        found += [f"out of order: {each}" for each in self.disorder]
        if self.repeated > self.kills * IN_FLIGHT:
            found.append(f"{self.repeated} repeats by {self.kills} kills")
        return found

    def add(self, other: "Figures") -> None:
        self.kills += other.kills
        self.posts += other.posts
        self.deliveries += other.deliveries
        self.repeated += other.repeated
        self.lost += other.lost
        self.doubled += other.doubled
        self.disorder += other.disorder
        self.stuck += other.stuck


def _nothing() -> None:
    """Nobody wants to know."""


class Town:
    """Authors and followers on a server, for many rounds."""

    def __init__(self, server: XmppServer, folder: Path, nursery: Nursery) -> None:
        self._server = server
        self._folder = folder
        self._nursery = nursery
        self._authors: list[Light] = []
        self._followers: list[Light] = []

    async def _gathers(self) -> None:
        """Everybody gets an account and logs in."""
        relay = self._server.component_domain
        names = [f"author-{n}" for n in range(AUTHORS)]
        self._authors = await gather(self._server, relay, names)
        names = [f"follower-{n}" for n in range(FOLLOWERS)]
        self._followers = await gather(self._server, relay, names)

    async def disperses(self) -> None:
        await leave([*self._authors, *self._followers])
        self._authors, self._followers = [], []

    async def round(self, kills: Sequence[int], told: Callable[[], None] = _nothing) -> Figures:
        """Live through these kills, or the first of them, on a new database; what came of it."""
        first = kills[0]
        database = self._folder / f"relay-{first}.db"
        config = self._folder / f"relay-{first}.toml"
        config.touch(mode=0o600)
        config.write_text(_config(self._server, database))
        figures = Figures()
        posts = Posts(first)
        try:
            await self._lives(config, kills, posts, figures, told)
        except (AssertionError, ConnectionError) as why:
            figures.stuck.append(f"from kill {first} on, after {figures.kills}: {why}")
        await self._nursery.is_killed()
        if posts.tokens:
            self._close(database, posts, figures)
        if figures.stuck:
            await self.disperses()
        for path in self._folder.glob(f"relay-{first}.db*"):
            path.unlink()
        return figures

    async def _lives(
        self,
        config: Path,
        kills: Sequence[int],
        posts: "Posts",
        figures: Figures,
        told: Callable[[], None],
    ) -> None:
        """Everything of a round but its books. An error says where it got stuck."""
        if not self._authors:
            await self._gathers()
        for person in (*self._authors, *self._followers):
            _forget(person)
        posts.authors = self._authors
        await self._nursery.starts(config)
        await self._join(config, kills[0])
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + ROUND_S
        for number in kills:
            after_s = random.Random(number).uniform(*KILL_AFTER_S)
            await posts.flow(after_s)
            await self._nursery.is_killed()
            await self._nursery.starts(config)
            figures.kills += 1
            told()
            if loop.time() > ends_at:
                break
        await posts.end()
        await asyncio.gather(*(each.gets_all(posts.tokens, QUIET_S) for each in self._followers))
        gone = [each.account.jid for each in self._followers if not each.connected]
        assert not gone, f"the server has dropped {', '.join(gone)}"

    async def _join(self, config: Path, first: int) -> None:
        """New handles for each round: a contact list of an old one means nothing in this."""
        socket = Store(f"sqlite:///{config.with_suffix('.db')}").socket

        async def join(author: Light, n: int) -> None:
            answer = await author.asks(f"join a{first}x{n}")
            assert answer.startswith("Welcome"), answer

        async def follow(follower: Light) -> None:
            for n in range(AUTHORS):
                answer = await follower.asks(f"follow a{first}x{n}")
                assert answer.startswith("You follow"), answer

        await asyncio.gather(*(join(author, n) for n, author in enumerate(self._authors)))
        for n in range(AUTHORS):  # else their posts go to digests from the second start on
            arguments = {"handle": f"a{first}x{n}", "tier": Tier.PERSON}
            await control.call(socket, "people.tier", arguments)
        await asyncio.gather(*(follow(follower) for follower in self._followers))

    def _close(self, database: Path, posts: "Posts", figures: Figures) -> None:
        """The books. In a round that got stuck, nobody could have had everything."""
        figures.posts = len(posts.tokens)
        receipted = posts.receipted
        with closing(sqlite3.connect(database)) as journal:
            rows = journal.execute("SELECT origin, count(*) FROM post GROUP BY origin").fetchall()
        journaled = dict(rows)
        figures.lost += [f"{each} from the journal" for each in receipted if each not in journaled]
        figures.doubled += [f"{each} in the journal" for each in rows if each[1] > 1]
        for follower in self._followers:
            if not figures.stuck:
                missing = follower.missing(receipted)
                figures.lost += [f"{each}, {follower.account.jid}" for each in missing]
            figures.doubled += follower.doubled()
            figures.disorder += _disorder(follower)
            figures.deliveries += len(follower.seen)
            figures.repeated += follower.repeats()


class Posts:
    """What the authors of a round send: each sends again what has no receipt."""

    def __init__(self, first: int, authors: int = AUTHORS, per_s: float = POSTS_PER_S) -> None:
        self.authors: Sequence[Light] = ()
        self._first = first
        self._per_s = per_s
        self._made: list[list[str]] = [[] for _ in range(authors)]
        self._open: list[list[str]] = [[] for _ in range(authors)]

    @property
    def tokens(self) -> list[str]:
        return [token for made in self._made for token in made]

    @property
    def receipted(self) -> list[str]:
        """All of them, at the end of a round that did not get stuck."""
        made = zip(self.authors, self._made, strict=False)
        return [token for who, tokens in made for token in tokens if token in who.receipts]

    async def flow(self, for_s: float) -> None:
        """Post for so long, first what has no receipt."""
        self._send_rest()
        loop = asyncio.get_running_loop()
        began, sent = loop.time(), 0
        while (passed := loop.time() - began) < for_s:
            while sent < passed * self._per_s:
                self._new(sent % len(self._made))
                sent += 1
            await asyncio.sleep(min(_TICK_S, for_s - passed))

    async def end(self) -> None:
        """Send again what was refused or has no answer, until everything has its receipt."""
        with step("receipts for all that was posted"):
            async with asyncio.timeout(RECEIPTS_WITHIN_S):
                while True:
                    self._send_rest()
                    waits = [(who, list(rest)) for who, rest in self._pairs() if rest]
                    if not waits:
                        return
                    await asyncio.gather(*(_answered(who, rest) for who, rest in waits))

    def _pairs(self) -> list[tuple[Light, list[str]]]:
        return list(zip(self.authors, self._open, strict=True))

    def _new(self, n: int) -> None:
        token = f"post-{self._first}-{n}-{len(self._made[n])}"
        self._made[n].append(token)
        self._open[n].append(token)
        self.authors[n].sends(token, token)

    def _send_rest(self) -> None:
        for author, rest in self._pairs():
            rest[:] = [token for token in rest if token not in author.receipts]
            author.refused.clear()
            for token in rest:
                author.sends(token, token)


async def _answered(author: Light, tokens: Sequence[str]) -> None:
    """Return when all of these have a receipt or were refused, or some will have no answer."""

    def so() -> bool:
        return all(token in author.receipts or token in author.refused for token in tokens)

    with contextlib.suppress(TimeoutError):
        await author.until(so, ANSWER_WITHIN_S)


def _forget(person: Light) -> None:
    """A new round, new books."""
    person.seen.clear()
    person.ids.clear()
    person.first.clear()
    person.receipts.clear()
    person.refused.clear()
    person.said.clear()


def _disorder(follower: Light) -> list[str]:
    """Posts of one author that came, for the first time, after a later one of his."""
    highest: dict[str, int] = {}
    found = []
    for name, token in follower.first:
        author = token.split("-")[2]
        number = int(name.partition(".")[0].translate(_CROCKFORD), 32)
        if number < highest.get(author, 0):
            found.append(f"{token}, {follower.account.jid}")
        highest[author] = max(number, highest.get(author, 0))
    return found


# Crockford's digits as Python's int() has them.
_CROCKFORD: Final = str.maketrans("jkmnpqrstvwxyz", "ijklmnopqrstuv")


def _config(server: XmppServer, database: Path) -> str:
    return f"""
[xmpp]
domain = "{server.component_domain}"
secret = "{server.component_secret}"
host = "{server.host}"
port = {server.component_port}
[store]
url = "sqlite:///{database}"
[limits]
posts_per_second = 1000.0
burst = 10000
posts_per_hour = 3600000
[log]
format = "json"
"""


async def run(
    server: XmppServer,
    folder: Path,
    first: int,
    kills: int,
    told: Callable[[], None] = _nothing,
) -> Figures:
    """Kill a relay on this server so many times; the folder has a short path.

    `told` is called after each kill.
    """
    figures = Figures()
    async with Nursery(folder) as nursery:
        town = Town(server, folder, nursery)
        try:
            begin, end = first, first + kills
            while begin < end:
                numbers = range(begin, min(begin + ROUND, end))
                got = await town.round(numbers, told)
                figures.add(got)
                begin += len(numbers) if got.stuck else got.kills
        finally:
            await town.disperses()
    return figures
