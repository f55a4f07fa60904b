"""A thousand followers return at once: when each has what he lacks, and what others wait for.

A private server with followers who are really logged in (`returning.py`). They go away, their
author posts, and all of them are there again at once; they were away for less than five minutes, so
everything is brought (S11.2). A round has three such returns:

- by itself: the times from the first presence that is sent to when the first, the middle and the
  last follower has all that he lacks, and what the relay's processor does for each delivery, the
  thousand logins included;
- with nothing that they lack, while another author posts to somebody who has stayed: what the
  presences alone do to live posts, in the server as well;
- with all that they lack, while that author posts.

Live posts go at even distances, whether those before have come or not; their time is from sending
to the other client. They are measured before each return as well. Times are of all rounds together,
rates and the processor's time are medians. Every post must have come once, in order.
"""

import argparse
import asyncio
import statistics
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

from tests.bench import figures
from tests.bench.latency import percentile
from tests.bench.returning import AWAY, Back, Returning
from tests.bench.rivals import PASSWORD, clients_of, make_accounts
from tests.integration.clients import Person
from tests.servers import new_account
from tests.servers.ejabberd import Ejabberd
from xmpprelay.bench.author import Author
from xmpprelay.bench.dialogues import Login, Step
from xmpprelay.bench.followers import allow_connections
from xmpprelay.bench.tally import Account
from xmpprelay.bench.usage import cpu_s_of, usage_of
from xmpprelay.bench.ways import Relay, RelayOfBench
from xmpprelay.errors import XmppRelayError
from xmpprelay.quickstart.private_server import PrivateServer
from xmpprelay.quickstart.prosody import Prosody

KINDS: Final[dict[str, tuple[str, Callable[[], PrivateServer]]]] = {
    "prosody": ("Prosody, gc = { threshold = 250, speed = 500 }", Prosody),
    "ejabberd": ("ejabberd", Ejabberd),
}

EVERY_S: Final = 0.02
"""Between two live posts."""

BEFORE: Final = 50
"""Live posts while nobody returns, in a round."""

SETTLES_S: Final = 0.3
"""After the last arrival, until the processor's time is read: for what is confirmed and stored."""

WARM_POSTS: Final = 3

NOBODY, NOTHING, ALL = "nobody returns", "they return and lack nothing", "they return"


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is lacking."""

    followers: int
    posts: int
    rounds: int

    @property
    def patience_s(self) -> float:
        """How long a return may take: at 500 deliveries a second."""
        return 60 + self.followers * self.posts / 500


@dataclass(slots=True)
class Found:
    """What was found on one server."""

    title: str
    returned_ms: list[list[float]] = field(default_factory=list)  # by round, then one by one
    presences_ms: list[float] = field(default_factory=list)  # by round: the server had the last
    per_s: list[float] = field(default_factory=list)  # by round: deliveries
    cpu_us: list[float] = field(default_factory=list)  # by round: the relay's, of a delivery
    live_ms: dict[str, list[float]] = field(
        default_factory=lambda: {NOBODY: [], NOTHING: [], ALL: []}
    )
    idle_bytes: int = 0
    peak_bytes: int = 0
    disordered: int = 0
    account: Account | None = None

    @property
    def well(self) -> bool:
        """Whether each post came to everybody, once and in order."""
        return self.account is not None and self.account.well and not self.disordered


def add_options(parser: argparse.ArgumentParser) -> None:
    """What it can be told."""
    for name, default, meaning in (
        ("--followers", 1000, "who return"),
        ("--posts", 20, "that each of them lacks"),
        ("--rounds", 5, "of which the figures are medians"),
    ):
        parser.add_argument(name, type=int, default=default, metavar="N", help=meaning)
    parser.add_argument(
        "--server", action="append", choices=list(KINDS), help="that one only; may be given again"
    )
    parser.add_argument("--json", type=Path, metavar="FILE")


def run_as_asked(asked: argparse.Namespace) -> None:
    """Measure, and print tables; ends with an exit code if something was lost."""
    plan = Plan(asked.followers, asked.posts, asked.rounds)
    told, well = {}, True
    try:
        allow_connections(plan.followers)
        for name in asked.server or list(KINDS):
            found = asyncio.run(measured(*KINDS[name], plan))
            show(plan, found)
            well = well and found.well
            told[name] = asdict(found)
            figures.write(asked.json, asdict(plan), {"servers": told})
    except XmppRelayError as error:
        sys.exit(f"Error: {error.sentence}")
    if not well:
        sys.exit("Error: posts were lost, came twice, or not in order.")


# --- Measuring ------------------------------------------------------------------------------------


async def measured(title: str, made: Callable[[], PrivateServer], plan: Plan) -> Found:
    """All rounds on one server."""
    found = Found(title)
    async with made() as server, _bench(server, plan) as bench:
        await bench.warms()
        found.idle_bytes = usage_of(bench.relay_pid).peak_bytes
        for _ in range(plan.rounds):
            await bench.returns(found)
            await bench.returns_beside(found, NOTHING, 0)
            await bench.returns_beside(found, ALL, plan.posts)
        found.peak_bytes = usage_of(bench.relay_pid).peak_bytes
        found.account = await bench.account()
    return found


@asynccontextmanager
async def _bench(server: PrivateServer, plan: Plan) -> AsyncIterator["_Bench"]:
    names = [f"f{number}" for number in range(plan.followers)]
    await make_accounts(server, names)
    account = await new_account(server, "author")
    async with AsyncExitStack() as ending:
        have = ending.enter_async_context
        where = clients_of(server)
        logins = [Login(f"{name}@{server.domain}", PASSWORD) for name in names]
        people = await have(Returning(where, logins))
        author = await have(Author(where, Login(account.jid, account.password)))
        process = await have(RelayOfBench(server, author))
        relay = await have(Relay(author, people, process))  # type: ignore[arg-type]
        chatter, stayer = [
            await Person(await new_account(server, name), server.component_domain).comes()
            for name in ("chatter", "stayer")
        ]
        for person in (chatter, stayer):
            ending.push_async_callback(person.drops)
        await chatter.joins("chatter")
        await stayer.says("follow chatter")
        await stayer.fence()  # his consent to be seen is there
        yield _Bench(plan, people, author, process, relay, _Live(chatter, stayer))


class _Live:
    """Another author, and somebody who stays."""

    def __init__(self, chatter: Person, stayer: Person) -> None:
        self._chatter, self._stayer = chatter, stayer
        self._number = 0

    async def until(self, so: Callable[[int], bool]) -> list[float]:
        """Post until so many posts are enough; the milliseconds of each."""
        waits: list[asyncio.Task[float]] = []
        start = time.perf_counter()
        while not so(len(waits)):
            waits.append(asyncio.create_task(self._one()))
            await asyncio.sleep(start + len(waits) * EVERY_S - time.perf_counter())
        times = await asyncio.gather(*waits)
        for person in (self._chatter, self._stayer):
            person.mail.forget()
        return times

    async def _one(self) -> float:
        self._number += 1
        text, began = f"live {self._number} and nothing else", time.perf_counter()
        self._chatter.sends(text)
        await self._stayer.gets(lambda stanza: text in (stanza.body or ""))
        return 1000 * (time.perf_counter() - began)


class _Bench:
    """Everybody, and the ways in which they return."""

    def __init__(
        self,
        plan: Plan,
        people: Returning,
        author: Author,
        process: RelayOfBench,
        relay: Relay,
        live: _Live,
    ) -> None:
        self._plan = plan
        self._people = people
        self._author = author
        self._process = process
        self._relay = relay
        self._live = live

    @property
    def relay_pid(self) -> int:
        return self._process.pid

    async def account(self) -> Account:
        """What became of all posts, when what was to come has come."""
        await self._misses(1)
        await self._people.return_(self._plan.patience_s)  # a fence
        return await self._people.account()

    async def warms(self) -> None:
        """Fill caches."""
        await self._misses(WARM_POSTS)
        await self._people.return_(self._plan.patience_s)
        await self._live.until(lambda count: count == WARM_POSTS)

    async def returns(self, found: Found) -> None:
        """A return by itself."""
        plan = self._plan
        await self._misses(plan.posts)
        before = cpu_s_of(self.relay_pid)
        back = await self._people.return_(plan.patience_s)
        await asyncio.sleep(SETTLES_S)
        deliveries = plan.followers * plan.posts
        found.cpu_us.append(1e6 * (cpu_s_of(self.relay_pid) - before) / deliveries)
        found.per_s.append(deliveries / (back.ended[-1] - back.began))
        found.presences_ms.append(1000 * (back.there - back.began))
        found.returned_ms.append([1000 * (end - back.began) for end in back.ended])
        found.disordered += back.disordered

    async def returns_beside(self, found: Found, name: str, posts: int) -> None:
        """A return while somebody else posts to who has stayed."""
        await self._misses(posts)
        found.live_ms[NOBODY] += await self._live.until(lambda count: count == BEFORE)
        returning = asyncio.create_task(self._people.return_(self._plan.patience_s))
        found.live_ms[name] += await self._live.until(lambda _: returning.done())
        back: Back = await returning
        found.disordered += back.disordered

    async def _misses(self, posts: int) -> None:
        """All go away, and so many posts are made then."""
        await self._people.say(AWAY)
        await self._people.lack(posts)
        for number in range(posts):
            self._relay.sends(self._people.text(number))
        home = self._process.home  # it answers him in the order in which he has asked
        asked = f"<message to='{home}' type='chat' id='fence'><body>ping</body></message>"
        await self._author.says(Step(asked, until=rb">pong<", fails=rb"<stream:error"))


# --- Telling --------------------------------------------------------------------------------------


def show(plan: Plan, found: Found) -> None:
    """Print what was found on one server."""
    print(
        f"\n{found.title}: {plan.followers:,} return and lack {plan.posts} posts each; "
        f"{plan.rounds} rounds"
    )
    first, middle, last = middles(found.returned_ms)
    print(f"has everything, ms: the first {first:.0f}, p50 {middle:.0f}, the last {last:.0f}")
    print(f"the server had all presences after {statistics.median(found.presences_ms):.0f} ms")
    print(
        f"{statistics.median(found.per_s):,.0f} deliveries a second, "
        f"{statistics.median(found.cpu_us):.1f} µs of the relay's processor each"
    )
    print(f"{'live posts to who has stayed, ms':34}{'p50':>8}{'p99':>8}{'max':>8}{'posts':>8}")
    for name, times in found.live_ms.items():
        values = (percentile(times, 50), percentile(times, 99), max(times))
        print(f"{name:34}" + "".join(f"{value:8.1f}" for value in values) + f"{len(times):8}")
    idle, peak = found.idle_bytes / 2**20, found.peak_bytes / 2**20
    print(f"the relay's memory at most: {peak:.0f} MiB, {idle:.0f} before the first round")
    account = found.account
    assert account is not None
    if found.well:
        print(f"of {account.expected:,} deliveries nothing was lost, nothing came twice, in order")
    else:
        print(
            f"of {account.expected:,} deliveries {account.lost:,} WERE LOST, {account.doubled:,} "
            f"CAME TWICE, {found.disordered:,} NOT IN ORDER: {'; '.join(account.examples)}"
        )


def middles(rounds: Sequence[Sequence[float]]) -> tuple[float, float, float]:
    """When the first, the middle and the last one had everything: medians of the rounds."""
    first, middle, last = zip(
        *((times[0], percentile(times, 50), times[-1]) for times in rounds), strict=True
    )
    return statistics.median(first), statistics.median(middle), statistics.median(last)
