"""kill -9 of the relay and of the primary, alone and together, while posts are being inserted.

The relay and the demo primary are processes of their own. Twenty-four people have linked accounts
there and post; at a moment that a kill's number decides, the relay, the primary or both are killed,
and started again on their data. The authors send again what has no receipt, and go on; the primary
is probed, as an operator does who does not want to wait. At last all that is open comes to an end,
and the primary's own file is compared with the journal: L, what it lacks; D, what it has more often
than the journal; and what an author posted in another order.

With each kill the primary forgets its keys (Idempotency-Key), as one does that has them in memory:
sending again blindly would double, and looking is all that protects. How often it mattered is
counted: of the posts that were in doubt at a kill, so many had been stored.

The settle time is a second: nothing on this machine is done later, or it is done never.
"""

import asyncio
import random
import sqlite3
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.chaos.crowd import Light, gather, leave
from tests.chaos.nursery import Nursery
from tests.chaos.relay_kills import Posts
from tests.chaos.steps import Stuck, step
from tests.servers import XmppServer
from xmpprelay import control
from xmpprelay.config import Store
from xmpprelay.core.health import GOOD_PROBES, Stance
from xmpprelay.core.insertion import OPEN, State
from xmpprelay.quickstart.primaries import DemoPrimary
from xmpprelay.quickstart.private_server import free_port

AUTHORS: Final = 24
POSTS_PER_S: Final = 60
"""Twenty kills come to some 60 posts each: the demo says that it is Mastodon, so 90 of one account
are inserted at once, and more would wait for minutes (`Rate.share`).
"""

KILL_AFTER_S: Final = (0.3, 2.0)
STRUCK: Final = (("relay", "primary"), ("relay",), ("primary",))
"""What each kill hits, by turns."""

SETTLE_S: Final = 1.0
PASSWORD: Final = "a-secret"

PROBES_EVERY_S: Final = 1.0
LOOKS_EVERY_S: Final = 0.1
STUCK_AFTER_S: Final = 120.0
"""When nothing was inserted for so long, nothing more will be."""


@dataclass
class Figures:
    """What came of some kills."""

    kills: int = 0
    posts: int = 0
    inserted: int = 0
    in_doubt: int = 0  # being sent, or unclear, at a kill
    stored: int = 0  # and there nevertheless
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    disorder: list[str] = field(default_factory=list)
    stuck: list[str] = field(default_factory=list)  # where there was no end

    @property
    def bad(self) -> list[str]:
        """What must not be; empty when all is well."""
        return [
            *self.stuck,
            *(f"lost: {each}" for each in self.lost),
            *(f"twice: {each}" for each in self.doubled),
            *(f"out of order: {each}" for each in self.disorder),
        ]


class Town:
    """Authors on a server, a relay, and the primary where they have accounts."""

    def __init__(self, server: XmppServer, folder: Path, nursery: Nursery) -> None:
        self._server = server
        self._nursery = nursery
        self._demo = DemoPrimary(folder, free_port())
        self._stored = folder / "primary-demo.db"
        self._database = folder / "relay.db"
        self._config = folder / "relay.toml"
        self._socket = Store(f"sqlite:///{self._database}").socket
        self._authors: list[Light] = []

    async def gathers(self) -> None:
        """Everything runs, and everybody has linked an account."""
        names = [f"author{n}" for n in range(AUTHORS)]
        for name in names:
            self._demo.join(name, PASSWORD)
        await self._demo.start()
        self._config.touch(mode=0o600)
        self._config.write_text(_config(self._server, self._database, self._demo.site))
        await self._nursery.starts(self._config)
        self._authors = await gather(self._server, self._server.component_domain, names)
        await asyncio.gather(
            *(self._links(*pair) for pair in zip(self._authors, names, strict=True))
        )

    async def _links(self, author: Light, name: str) -> None:
        answer = await author.asks(f"join {name}")
        assert answer.startswith("Welcome"), answer
        answer = await author.asks("link")
        address = next((word for word in answer.split() if word.startswith("http")), None)
        assert address is not None, answer
        code = await self._demo.lets_in(address, name, PASSWORD)
        answer = await author.asks(f"link {code}")
        assert answer.startswith("You are linked"), answer

    async def disperses(self) -> None:
        await leave(self._authors)
        await self._nursery.is_killed()
        await self._demo.close()

    async def lives(self, kills: range, figures: Figures, told: Callable[[], None]) -> None:
        """Live through these kills; what came of it is in the figures."""
        posts = Posts(kills.start, AUTHORS, POSTS_PER_S)
        posts.authors = self._authors
        try:
            for number in kills:
                await posts.flow(random.Random(number).uniform(*KILL_AFTER_S))
                await self._strikes(STRUCK[number % len(STRUCK)], figures)
                figures.kills += 1
                told()
            await posts.end()
            await self._comes_to_rest()
        except (AssertionError, ConnectionError) as why:
            figures.stuck.append(f"after {figures.kills} kills from {kills.start} on: {why}")
        await asyncio.gather(self._nursery.is_killed(), self._demo.kill())
        self._close(posts, figures)

    async def _strikes(self, struck: tuple[str, ...], figures: Figures) -> None:
        """Kill, see what is in doubt, and start again."""
        kills = {"relay": self._nursery.is_killed, "primary": self._demo.kill}
        await asyncio.gather(*(kills[each]() for each in struck))
        doubtful = self._in_doubt()
        with closing(sqlite3.connect(self._stored)) as stored, stored:
            there = {text for (text,) in stored.execute("SELECT text FROM status")}
            stored.execute("DELETE FROM key")
        figures.in_doubt += len(doubtful)
        figures.stored += len(doubtful & there)
        if "primary" in struck:
            await self._demo.start()
        if "relay" in struck:
            await self._nursery.starts(self._config)
        await self._is_probed()

    async def _is_probed(self) -> None:
        """If the primary is on standby: until it is no more, or for this time."""
        for _ in range(GOOD_PROBES):
            [found] = await control.call(self._socket, "primary.status")
            if found["state"] != Stance.STANDBY:
                return
            await control.call(self._socket, "primary.probe", {"sites": [self._demo.site]})

    async def _comes_to_rest(self) -> None:
        """Return when nothing is open any more."""
        loop = asyncio.get_running_loop()
        left, since, probed = self._count_open(), loop.time(), 0.0
        while left:
            if loop.time() - probed > PROBES_EVERY_S:
                await self._is_probed()
                probed = loop.time()
            await asyncio.sleep(LOOKS_EVERY_S)
            before, left = left, self._count_open()
            if left < before:
                since = loop.time()
            elif loop.time() - since > STUCK_AFTER_S:
                raise Stuck(f"stuck at the end of the queue: {left} are open")

    def _count_open(self) -> int:
        states = ", ".join(f"'{each}'" for each in OPEN)
        with closing(sqlite3.connect(self._database)) as db:
            [(count,)] = db.execute(f"SELECT count(*) FROM insertion WHERE state IN ({states})")
        return int(count)

    def _in_doubt(self) -> set[str]:
        asked = (
            "SELECT post.text FROM insertion JOIN post ON post.number = insertion.post "
            "WHERE state IN (?, ?)"
        )
        with closing(sqlite3.connect(self._database)) as db:
            return {text for (text,) in db.execute(asked, (State.SENDING, State.UNKNOWN))}

    def _close(self, posts: Posts, figures: Figures) -> None:
        """The books."""
        with closing(sqlite3.connect(self._database)) as db:
            journal = db.execute("SELECT text FROM post WHERE origin IS NOT NULL ORDER BY number")
            wanted = [text for (text,) in journal if text.startswith("post-")]
            origins = db.execute("SELECT origin, count(*) FROM post GROUP BY origin").fetchall()
        with closing(sqlite3.connect(self._stored)) as db:
            there = db.execute(
                "SELECT account.name, text FROM status JOIN account ON account.id = account "
                "ORDER BY status.id"
            ).fetchall()
        figures.posts, figures.inserted = len(wanted), len(there)
        figures.lost += [f"{each} from the journal" for each in set(posts.receipted) - set(wanted)]
        figures.doubled += [f"{each} in the journal" for each in origins if each[0] and each[1] > 1]
        texts = [text for _, text in there]
        if not figures.stuck:
            figures.lost += (Counter(wanted) - Counter(texts)).elements()
        figures.doubled += (Counter(texts) - Counter(wanted)).elements()
        for n in range(AUTHORS):
            mine = [text for text in wanted if _author(text) == n]
            his = [text for name, text in there if name == f"author{n}"]
            # What is missing, or twice, is told above: the order of all else.
            order = [each for each in dict.fromkeys(his) if each in set(mine)]
            if order != [each for each in mine if each in set(his)]:
                figures.disorder.append(f"what author{n} posted")


def _author(text: str) -> int:
    return int(text.split("-")[2])


def _config(server: XmppServer, database: Path, site: str) -> str:
    return f"""
[xmpp]
domain = "{server.component_domain}"
secret = "{server.component_secret}"
host = "{server.host}"
port = {server.component_port}
[store]
url = "sqlite:///{database}"
[primary]
driver = "mastodon"
instances = ["{site}"]
settle_s = {SETTLE_S}
[limits]
posts_per_second = 1000.0
burst = 10000
posts_per_hour = 3600000
[log]
format = "json"
"""


def _nothing() -> None:
    """Nobody wants to know."""


async def run(
    server: XmppServer,
    folder: Path,
    first: int,
    kills: int,
    told: Callable[[], None] = _nothing,
) -> Figures:
    """Kill so many times; the folder has a short path. `told` is called after each kill."""
    figures = Figures()
    async with Nursery(folder) as nursery:
        town = Town(server, folder, nursery)
        try:
            with step("the beginning"):
                await town.gathers()
            await town.lives(range(first, first + kills), figures, told)
        finally:
            await town.disperses()
    return figures
