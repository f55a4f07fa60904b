"""What the server's settings do that docs/operations.md speaks of: shapers, conflicts, sizes.

Private servers, the relay as a process, followers who are really logged in. Each row is one value
of a setting:

- *Shapers.* ejabberd's on the component's listener, with Debian's two shapers: rate and times of
  the relay's posts. And those of clients, as Debian has them on both servers: how long it takes
  until everybody has had all of many posts that one author sends at once.
- *A second connection.* Between relay and server no byte passes any more, and both ends stay open,
  as when the network fails under a tunnel of `ssh -L`; a new connection passes. An author posts all
  the time: when the relay gives the old connection up, when a post comes through then, how often
  the new connection is refused, and how many posts are lost, before and after.
- *Sizes of stanzas.* The longest posts that there can be, while another author posts short ones;
  the longest page of an author's node, asked for again and again; the longest list that he can ask
  for; a long text to the relay. How often the connection ends, and what comes nevertheless.
"""

import argparse
import asyncio
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Self

from tests.bench import figures
from tests.bench.rivals import clients_of, followers_of
from tests.servers import new_account
from tests.servers.ejabberd import Ejabberd
from xmpprelay.bench.author import Author
from xmpprelay.bench.dialogues import Login, Step
from xmpprelay.bench.followers import Followers, Posts
from xmpprelay.bench.measuring import Plan, Turn, measured
from xmpprelay.bench.ways import Relay, RelayOfBench
from xmpprelay.errors import StreamError
from xmpprelay.quickstart.private_server import PrivateServer, free_port
from xmpprelay.quickstart.prosody import MODULES, Prosody

SHAPERS: Final = {"normal": {"rate": 3_000, "burst_size": 20_000}, "fast": 200_000}
"""Debian's, in bytes a second; `normal` is that of clients."""

LIMITS: Final = (
    f"modules_enabled = {{ {', '.join(map(repr, (*MODULES, 'limits')))} }} "
    'limits = { c2s = { rate = "10kb/s" } }'
)
"""Debian's for Prosody's clients."""

CONFLICT: Final = "component_conflict_resolve"
PASTED: Final = 20
PASTED_CHARS: Final = 1_500
"""Posts at once, and how long each is: 33 kB in all."""

FEW: Final = 3
"""Followers, where it is not about how many they are."""

EVERY_S: Final = 0.5
"""Between two posts while the connection is dead, or a new one is refused."""

WATCHED_S: Final = 60.0
"""After the relay has given up the old connection."""

NOTICES_WITHIN_S: Final = 30.0
"""It asks after 15 s of silence, and waits 10 s for the answer."""

SETTLES_S: Final = 5.0
"""For what is repeated after a connection was lost."""

SMALL, MIDDLE, LARGE = 4_096, 65_536, 262_144

LONG_POSTS: Final = 30
"""Of the longest; they fill a page, whose texts have 120,000 bytes at most (`items.py`)."""

SHORT_POSTS: Final = 20
"""While these are on their way, EVERY_S apart."""

BARRED: Final = 300
"""People with long addresses whom an author bars: more than the longest answer has room for, which
is of 240,000 bytes (`xmpp/pubsub/room.py`)."""

PAGES: Final = 3
TEXT_BYTES: Final = 200_000
"""Of a text to the relay; clients may send 262,144 bytes by Debian's configurations."""

_LONG: Final = "\N{GRINNING FACE}" * 1_800
_PUBSUB: Final = "http://jabber.org/protocol/pubsub"


@dataclass(frozen=True, slots=True)
class Row:
    """What one value of a setting does; `found` has the figures of the sentence."""

    server: str
    setting: str
    value: str
    effect: str
    found: Mapping[str, float | None]


class Configured(Ejabberd):
    """An ejabberd with more options of its listeners."""

    def __init__(
        self,
        *,
        clients: Mapping[str, Any] | None = None,
        components: Mapping[str, Any] | None = None,
    ) -> None:
        rules = {"c2s_shaper": "normal"}
        super().__init__(extra_config={"shaper": SHAPERS, "shaper_rules": rules})
        self._of_clients, self._of_components = clients or {}, components or {}

    def _listeners(self) -> Sequence[Mapping[str, Any]]:
        clients, components = super()._listeners()
        return {**clients, **self._of_clients}, {**components, **self._of_components}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a server's component is, by another port."""

    domain: str
    component_domain: str
    component_secret: str
    host: str
    component_port: int


class Watched(RelayOfBench):
    """A relay whose log is read."""

    def counts(self, event: str) -> int:
        """How often that has been."""
        return self._process.log.read_text().count(f" {event} ")


class Scene:
    """A server, its followers, the relay and an author whom all of them follow."""

    def __init__(
        self, server: PrivateServer, followers: int, tunnel: "Tunnel | None" = None
    ) -> None:
        self.server = server
        self._count = followers
        self._tunnel = tunnel
        self._ending = AsyncExitStack()

    async def __aenter__(self) -> Self:
        have, server = self._ending.enter_async_context, self.server
        try:
            await have(server)
            self.followers: Followers = await have(followers_of(server, self._count))
            self.author = await self.somebody("author")
            port = server.component_port
            if self._tunnel is not None:
                self._tunnel.beyond = port
                port = (await have(self._tunnel)).port
            place = Place(
                server.domain, server.component_domain, server.component_secret, server.host, port
            )
            self.relay = await have(Watched(place, self.author))
            self.way = await have(Relay(self.author, self.followers, self.relay))
        except BaseException:
            await self._ending.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._ending.aclose()

    async def somebody(self, name: str) -> Author:
        """Somebody more, who is there."""
        account = await new_account(self.server, name)
        login = Login(account.jid, account.password)
        return await self._ending.enter_async_context(Author(clients_of(self.server), login))

    async def other_author(self) -> Author:
        """One more whom all followers follow, besides the first."""
        other, home = await self.somebody("other"), self.relay.home
        await other.says(_asks(home, "join other", "Welcome"))
        await self.followers.say(_asks(home, "follow other", "You follow"))
        return other


def _asks(home: str, line: str, answer: str) -> Step:
    return Step(f"<message to='{home}' type='chat'><body>{line}</body></message>", answer.encode())


# Shapers


async def shapers_of_components(followers: int, rounds: int) -> list[Row]:
    """The relay's posts with each shaper on the listener for components; all take turns."""
    plan = Plan(followers, rounds=1, burst=20, singles=10)
    turns: dict[str, list[Turn]] = {shaper: [] for shaper in ("none", *SHAPERS)}
    async with AsyncExitStack() as ending:
        scenes = {}
        for shaper in turns:
            server = Configured(components={} if shaper == "none" else {"shaper": shaper})
            scenes[shaper] = await ending.enter_async_context(Scene(server, followers))
        for _ in range(rounds):
            for shaper, scene in scenes.items():
                found = await measured([scene.way], scene.followers, plan)
                turns[shaper] += found.turns[scene.way.short]
                if not found.account.well:
                    raise SystemExit(f"Error: posts were lost, or came twice: {found.account}")
        lost = {shaper: scene.relay.counts("stream.lost") for shaper, scene in scenes.items()}
    return [_shaped(shaper, turns[shaper], lost[shaper]) for shaper in turns]


def _shaped(shaper: str, turns: Sequence[Turn], lost: int) -> Row:
    per_s, first, last = (
        statistics.median(getattr(turn, name) for turn in turns)
        for name in ("per_s", "first_ms", "last_ms")
    )
    effect = f"{per_s:,.0f} deliveries a second; first {first:.1f} ms, last {last:.1f} ms"
    told = {"per_s": per_s, "first_ms": first, "last_ms": last, "lost_connections": lost}
    return Row("ejabberd", "shaper, components", shaper, effect, told)


async def shaper_of_clients(server: PrivateServer, setting: str, value: str) -> Row:
    """Many posts of one author at once."""
    async with Scene(server, FEW) as scene:
        posts = await scene.followers.expect(PASTED)
        began = time.perf_counter()
        for number in range(PASTED):
            scene.way.sends(posts.text(number).ljust(PASTED_CHARS, "."))
        took = await posts.all_there(within_s=60) - began
    effect = f"{PASTED} posts of one author at once: the last after {took:.2f} s"
    return Row(server.name, setting, value, effect, {"posts": PASTED, "last_s": took})


# A second connection


class Tunnel:
    """A port before a server's. When the network `fails`, connections stay, and pass nothing."""

    def __init__(self) -> None:
        self.port = free_port()
        self.beyond = 0
        self.since: list[float] = []  # when connections came after the failure
        self._failed_at: float | None = None
        self._listening: asyncio.Server | None = None
        self._passing: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._listening = await asyncio.start_server(self._comes, "127.0.0.1", self.port)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._listening is not None
        self._listening.close()
        for task in self._passing:
            task.cancel()
        await asyncio.gather(*self._passing, return_exceptions=True)

    def fails(self) -> None:
        """From now on the connections that there are pass nothing; new ones do."""
        self._failed_at = time.perf_counter()

    async def _comes(self, near: asyncio.StreamReader, to_near: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._passes(near, to_near))
        self._passing.add(task)
        task.add_done_callback(self._passing.discard)

    async def _passes(self, near: asyncio.StreamReader, to_near: asyncio.StreamWriter) -> None:
        new = self._failed_at is not None
        if new:
            self.since.append(time.perf_counter())
        far, to_far = await asyncio.open_connection("127.0.0.1", self.beyond)

        def passes() -> bool:
            return new or self._failed_at is None

        async def pump(source: asyncio.StreamReader, to: asyncio.StreamWriter) -> None:
            while data := await source.read(65536):
                if passes():
                    to.write(data)
                    await to.drain()
            if passes():
                to.close()

        try:
            await asyncio.gather(pump(near, to_far), pump(far, to_near), return_exceptions=True)
            if not passes():
                await asyncio.Event().wait()  # until the end: nobody is told
        finally:
            to_near.transport.abort()
            to_far.transport.abort()


@dataclass(frozen=True, slots=True)
class Outage:
    """What an outage was like; times in seconds."""

    gave_up_s: float  # the relay, the old connection
    lost_before: int  # posts, until then
    through_s: float | None  # after that: the first post that was sent since the failure and came
    tried: int  # connections of the relay since then
    refused: int
    sent: int  # posts, since then
    came: int  # of these, to everybody
    doubled: int  # deliveries of all
    watched_s: float

    def told(self) -> str:
        """As a sentence."""
        gave_up = f"the relay gives up after {self.gave_up_s:.0f} s"
        begins = f"{gave_up}, {self.lost_before} posts lost until then; "
        lost = f"{self.sent - self.came} of {self.sent} lost since then"
        if self.through_s is None:
            why = f"refused {self.refused} times, still so after {self.watched_s:.0f} s"
            return f"{begins}{why}; {lost}"
        again = f", {self.tried} connections" if self.tried > 1 else ""
        twice = f", {self.doubled} deliveries twice" if self.doubled else ""
        return f"{begins}a post through {self.through_s:.1f} s later; {lost}{again}{twice}"


async def second_connection(server: PrivateServer, setting: str, value: str) -> Row:
    """The network fails, and the relay connects anew."""
    tunnel = Tunnel()
    async with Scene(server, FEW, tunnel) as scene:
        most = int((NOTICES_WITHIN_S + WATCHED_S) / EVERY_S)
        posts = await scene.followers.expect(1 + most)
        scene.way.sends(posts.text(0))
        await posts.there(0, within_s=10)
        await asyncio.sleep(1)  # until all that is confirmed
        tunnel.fails()
        failed, sent = time.perf_counter(), list[float]()
        while len(sent) < most and not _is_over(tunnel.since):
            sent.append(time.perf_counter())
            scene.way.sends(posts.text(len(sent)))
            await asyncio.sleep(EVERY_S)
        await asyncio.sleep(SETTLES_S)
        account = await scene.followers.account()
        came = {
            number: at for number in range(1, 1 + len(sent)) if (at := await _came(posts, number))
        }
        refused = scene.relay.counts("stream.unreachable")
    if not tunnel.since:
        raise SystemExit("Error: the relay did not notice that the connection was dead.")
    gave_up = tunnel.since[0]
    after = {number for number, at in enumerate(sent, 1) if at >= gave_up}
    through = min(came.values(), default=None)
    outage = Outage(
        gave_up_s=gave_up - failed,
        lost_before=len(sent) - len(after | came.keys()),
        through_s=None if through is None else through - gave_up,
        tried=len(tunnel.since),
        refused=refused,
        sent=len(after),
        came=len(after & came.keys()),
        doubled=account.doubled,
        watched_s=time.perf_counter() - gave_up,
    )
    return Row(server.name, setting, value, outage.told(), asdict(outage))


def _is_over(since: Sequence[float]) -> bool:
    return bool(since) and time.perf_counter() - since[0] > WATCHED_S


async def _came(posts: Posts, number: int) -> float | None:
    """When everybody had had it."""
    try:
        return (await posts.there(number, within_s=0.001))[1]
    except TimeoutError:
        return None


# Sizes of stanzas


@dataclass(frozen=True, slots=True)
class Sizes:
    """What became of long stanzas."""

    long_came: int  # of the longest posts, to all
    short_came: int  # of another author's posts, meanwhile
    lost: int  # connections, meanwhile
    pages: int  # that were asked for
    page_bytes: int | None  # of one; None: they did not come
    pages_lost: int  # connections, by pages
    list_bytes: int | None  # the longest answer
    answered: bool  # the long text to the relay

    def told(self) -> str:
        """As a sentence."""
        if self.lost:
            return (
                f"the longest posts: the connection ends {self.lost} times in "
                f"{SHORT_POSTS * EVERY_S:.0f} s, {self.long_came} of {LONG_POSTS} come, and "
                f"{self.short_came} of {SHORT_POSTS} short ones of another author"
            )
        text = f"a text of {TEXT_BYTES:,} bytes to the relay is {'' if self.answered else 'not '}"
        return (
            f"the longest posts come; {self._pages()}; {_long('the longest list', self.list_bytes)}"
            f"; {text}answered"
        )

    def _pages(self) -> str:
        what = _long("the longest page", self.page_bytes)
        times = f", asked for {self.pages} times: the connection ends {self.pages_lost} times"
        return what + (times if self.pages_lost else "")


def _long(what: str, size: int | None) -> str:
    return f"{what} does not" if size is None else f"{what} of {size:,} bytes does"


async def stanza_size(server: PrivateServer, setting: str, value: int) -> Row:
    """Long stanzas, where the server takes so many bytes from a component."""
    async with Scene(server, FEW) as scene:
        other, home = await scene.other_author(), scene.relay.home
        posts = await scene.followers.expect(LONG_POSTS + SHORT_POSTS)
        for number in range(LONG_POSTS):
            scene.way.sends(f"{posts.text(number)} {_LONG}")
        for number in range(LONG_POSTS, posts.count):
            other.chats(home, posts.text(number), f"short-{number}")
            await asyncio.sleep(EVERY_S)
        came = [await _came(posts, number) is not None for number in range(posts.count)]
        lost = scene.relay.counts("stream.lost")
        pages = [] if lost else [await _page(scene, number) for number in range(PAGES)]
        sizes = Sizes(
            long_came=sum(came[:LONG_POSTS]),
            short_came=sum(came[LONG_POSTS:]),
            lost=lost,
            pages=len(pages),
            page_bytes=next(filter(None, pages), None),
            pages_lost=scene.relay.counts("stream.lost") - lost if pages else 0,
            list_bytes=None if lost else await _list(scene),
            answered=not lost and await _is_answered(scene),
        )
    return Row(server.name, setting, f"{value:,}", sizes.told(), asdict(sizes))


async def _page(scene: Scene, number: int) -> int | None:
    """The bytes of the answer to a question for a long page; None: there was none."""
    asked = "<items node='urn:xmpp:microblog:0' max_items='50'/>"
    return await _answer(scene, f"page-{number}", "get", _PUBSUB, asked)


async def _list(scene: Scene) -> int | None:
    """The bytes of the list of whom the author has barred; None: there was no answer."""
    node, domain = "<affiliations node='urn:xmpp:microblog:0'", ".".join(["d" * 60] * 3)
    names = [f"{'a' * 800}{number}@{domain}" for number in range(BARRED)]
    for at in range(0, BARRED, 50):
        out = "".join(
            f"<affiliation jid='{x}' affiliation='outcast'/>" for x in names[at : at + 50]
        )
        said = f"{node}>{out}</affiliations>"
        await _answer(scene, f"bars-{at}", "set", f"{_PUBSUB}#owner", said)
    return await _answer(scene, "barred", "get", f"{_PUBSUB}#owner", f"{node}/>")


async def _answer(scene: Scene, id: str, kind: str, namespace: str, asked: str) -> int | None:
    """The bytes of the answer to a question of the author's; None: there was none."""
    to = f"bench@{scene.server.component_domain}"
    step = Step(
        f"<iq type='{kind}' id='{id}' to='{to}'><pubsub xmlns='{namespace}'>{asked}</pubsub></iq>",
        until=(
            rf"<iq (?=[^>]*id=['\"]{id}['\"])(?=[^>]*type=['\"]result)[^>]*(?:/>|>.*?</iq>)"
        ).encode(),
    )
    try:
        return len(await scene.author.says(step, within_s=3))
    except StreamError:
        return None


async def _is_answered(scene: Scene) -> bool:
    """Whether a long text to the relay comes back as an error, as it should."""
    text, home = "x" * TEXT_BYTES, scene.relay.home
    says = f"<message to='{home}' type='chat' id='long'><body>{text}</body></message>"
    try:
        await scene.author.says(Step(says, until=rb"<message (?=[^>]*type=['\"]error)"))
    except StreamError:
        return False
    return True


# All of it


async def all_rows(followers: int, rounds: int, tell: Callable[[Row], None]) -> list[Row]:
    """Each value of each setting; `tell` is told of each as soon as it is known."""
    rows: list[Row] = []

    def known(found: Iterable[Row]) -> None:
        for row in found:
            rows.append(row)
            tell(row)

    known(await shapers_of_components(followers, rounds))
    shaped = {"shaper": "c2s_shaper"}
    known([await shaper_of_clients(Configured(), "shaper, clients", "none")])
    known([await shaper_of_clients(Configured(clients=shaped), "shaper, clients", "normal")])
    known([await shaper_of_clients(Prosody(), "limits, clients", "none")])
    known([await shaper_of_clients(Prosody(extra_config=LIMITS), "limits, clients", "10kb/s")])
    waits = [
        second_connection(Prosody(), CONFLICT, "kick_new"),
        second_connection(Prosody(extra_config=f'{CONFLICT} = "kick_old"'), CONFLICT, "kick_old"),
        second_connection(Ejabberd(), "(has none for that)", ""),
    ]
    for size in (SMALL, MIDDLE, LARGE):
        setting = "component_stanza_size_limit"
        prosody = Prosody(extra_config=f"{setting} = {size}")
        ejabberd = Configured(components={"max_stanza_size": size})
        waits.append(stanza_size(prosody, setting, size))
        waits.append(stanza_size(ejabberd, "max_stanza_size", size))
    known(await asyncio.gather(*waits))  # counts, and seconds that pass in waiting
    return rows


def line(row: Row) -> str:
    """A line of the table."""
    return f"{row.server:10}{row.setting:29}{row.value:10}{row.effect}"


def add_options(parser: argparse.ArgumentParser) -> None:
    """What it can be told."""
    parser.add_argument("--followers", type=int, default=100, metavar="N", help="of the shaper")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="of the shaper")
    parser.add_argument("--json", type=Path, metavar="FILE")


def run_as_asked(asked: argparse.Namespace) -> None:
    """Measure, and print a table."""
    rows = asyncio.run(all_rows(asked.followers, asked.rounds, lambda row: print(line(row))))
    plan = {"followers": asked.followers, "rounds": asked.rounds}
    figures.write(asked.json, plan, {"rows": [asdict(row) for row in rows]})
