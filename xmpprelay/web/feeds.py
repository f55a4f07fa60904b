"""Serves feeds: public ones, and everybody's own behind his secret.

A public feed is made once and given out until something in it may have changed (`Feeds.stamp_of_…`)
or a minute has passed: most requests cost a comparison, and so does a reader that has it already
(RFC 9110 §13). Somebody's own feed is kept here as well, but nowhere else: no cache on the way may
have it, and no search engine.

Whoever is protected, has taken his feeds off the web, was blocked by the operator or is not there
has the same answer: none. So has every secret that is nobody's, whatever it looks like.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import partial
from typing import Final, NoReturn

from aiohttp import web

from xmpprelay.core.graph import Graph
from xmpprelay.core.model import Person
from xmpprelay.core.text import parse_short_id, tags_in
from xmpprelay.errors import RelayError
from xmpprelay.feeds import Feeds, Stamp
from xmpprelay.people import People
from xmpprelay.streams import Streams
from xmpprelay.syndication import ATOM, RSS, Feed, atom, rss
from xmpprelay.web.caching import has_it, tag_of
from xmpprelay.web.turns import Turns, is_there

KEPT_BYTES: Final = 16 * 2**20
"""Feeds that are kept, all together."""

LATE_S: Final = 1.0
"""What is posted may come so late into a feed that was asked for just before: who posts all the
time, and is read by many, does not have his feed made for each. Nothing that must not be seen any
more is given out for a moment."""

KEPT_FOR_S: Final = 60.0
"""A feed that is older is made anew, whatever is known of changes."""

_TYPES: Final = {"atom": ATOM, "rss": RSS}

_PUBLIC: Final[Mapping[str, str]] = {"Cache-Control": "public, max-age=60"}
_SECRET: Final[Mapping[str, str]] = {"Cache-Control": "no-store", "X-Robots-Tag": "noindex"}


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which page of which feed."""

    sort: str  # "author", "with-replies", "tag", "home" or "mentions"
    subject: str  # whose it is, or the tag
    kind: str  # "atom" or "rss"
    before: int | None


@dataclass(frozen=True, slots=True)
class Plan:
    """A feed that is asked for, what it is made of by now, and how."""

    wanted: Wanted
    stamp: Stamp
    make: Callable[..., Awaitable[Feed]]  # takes the `note`


@dataclass(frozen=True, slots=True)
class Made:
    """A feed as it is given out."""

    body: bytes
    tag: str  # of these bytes
    since: datetime  # when they were first made, to the second
    stamp: Stamp
    at_s: float  # when they were made last, by the monotonic clock
    hub: str
    address: str


class Making:
    """A feed that is being made, and who waits for it."""

    task: asyncio.Task[Made]

    def __init__(self) -> None:
        self.asking: list[web.Request] = []


class FeedPages:
    """The feeds on the web; they are made in their `turns`."""

    def __init__(
        self,
        graph: Graph,
        people: People,
        feeds: Feeds,
        streams: Streams,
        turns: Turns,
        *,
        now: Callable[[], datetime],
        monotonic: Callable[[], float],
    ) -> None:
        self._graph = graph
        self._people = people
        self._feeds = feeds
        self._streams = streams
        self._turns = turns
        self._now = now
        self._monotonic = monotonic
        self._kept: OrderedDict[Wanted, Made] = OrderedDict()
        self._kept_bytes = 0
        self._making: dict[tuple[Wanted, tuple[object, ...]], Making] = {}

    def routes(self) -> Sequence[web.RouteDef]:
        """What is served where."""
        handle, secret = "/@{handle:[A-Za-z0-9_]+}", "{secret:[^/]+}"
        return [
            web.get(f"{handle}.{{kind:atom|rss}}", self._author),
            web.get(f"{handle}/with-replies.atom", self._with_replies),
            web.get("/tag/{tag:[^/]+}.atom", self._tag),
            web.get(f"/home/{secret}.{{kind:atom|rss}}", self._home),
            web.get(f"/mentions/{secret}.atom", self._mentions),
        ]

    # Public feeds

    async def _author(self, request: web.Request) -> web.Response:
        kind, before = request.match_info["kind"], _before(request)

        def plan() -> Plan:
            author = self._named(request, lambda handle: self._feeds.places.feed(handle, kind))
            wanted = Wanted("author", str(author.id), kind, before)
            make = partial(self._streams.of_author, author, kind, before=before)
            return Plan(wanted, self._feeds.stamp_of_author(author.id), make)

        return await self._give(request, plan, _PUBLIC)

    async def _with_replies(self, request: web.Request) -> web.Response:
        before = _before(request)

        def plan() -> Plan:
            author = self._named(request, self._feeds.places.feed_with_replies)
            wanted = Wanted("with-replies", str(author.id), "atom", before)
            make = partial(self._streams.of_author, author, replies=True, before=before)
            return Plan(wanted, self._feeds.stamp_of_author(author.id), make)

        return await self._give(request, plan, _PUBLIC)

    def _named(self, request: web.Request, address: Callable[[str], str]) -> Person:
        """The author of a public feed; raises what is answered where there is none."""
        typed = request.match_info["handle"]
        person = self._graph.by_handle(typed) or self._people.renamed(typed)
        if person is None or not self._feeds.is_public(person.id) or person.handle is None:
            raise web.HTTPNotFound(text="There is no such feed.")
        if person.handle != typed:
            raise web.HTTPPermanentRedirect(address(person.handle))
        return person

    async def _tag(self, request: web.Request) -> web.Response:
        tag = request.match_info["tag"].lower()
        if tags_in(f"#{tag}") != [tag]:
            raise web.HTTPNotFound(text="There is no such feed: a tag is one word, without its #.")

        before = _before(request)

        def plan() -> Plan:
            make = partial(self._streams.of_tag, tag, before=before)
            return Plan(Wanted("tag", tag, "atom", before), self._feeds.stamp_of_tags(), make)

        return await self._give(request, plan, _PUBLIC)

    # Somebody's own

    async def _home(self, request: web.Request) -> web.Response:
        secret, kind = request.match_info["secret"], request.match_info["kind"]
        before = _before(request)

        def plan() -> Plan:
            reader = self._reader(secret)
            make = partial(self._streams.home, reader, secret, kind, before=before)
            wanted = Wanted("home", secret, kind, before)
            return Plan(wanted, self._feeds.stamp_of_own(reader), make)

        return await self._give(request, plan, _SECRET)

    async def _mentions(self, request: web.Request) -> web.Response:
        secret, before = request.match_info["secret"], _before(request)

        def plan() -> Plan:
            reader = self._reader(secret)
            make = partial(self._streams.mentions, reader, secret, before=before)
            wanted = Wanted("mentions", secret, "atom", before)
            return Plan(wanted, self._feeds.stamp_of_own(reader), make)

        return await self._give(request, plan, _SECRET)

    def _reader(self, secret: str) -> Person:
        reader = self._feeds.whose(secret)
        if reader is None:
            raise web.HTTPNotFound(text="There is no such feed.")
        return reader

    # What is kept

    async def _give(
        self, request: web.Request, plan: Callable[[], Plan], rules: Mapping[str, str]
    ) -> web.Response:
        """The feed as it may be shown when it is given out, however long it had to be waited for.

        `plan` raises what is answered instead where there is none, or not any more.
        """
        while True:
            made = await self._made(request, plan())
            if made.stamp.allowed == plan().stamp.allowed:
                return self._answer(request, made, rules)

    async def _made(self, request: web.Request, plan: Plan) -> Made:
        """The feed as it is now; made once, however many ask for it meanwhile."""
        kept = self._kept.get(plan.wanted)
        if kept is not None and kept.stamp.allowed == plan.stamp.allowed:
            for_s = KEPT_FOR_S if kept.stamp == plan.stamp else LATE_S
            if self._monotonic() < kept.at_s + for_s:
                self._kept.move_to_end(plan.wanted)
                return kept
        key = plan.wanted, plan.stamp.allowed
        making = self._making.get(key)
        if making is None:
            making = self._making[key] = Making()
            making.task = asyncio.get_running_loop().create_task(self._make(plan, making))
            making.task.add_done_callback(_is_heard)
        making.asking.append(request)
        try:
            return await asyncio.shield(making.task)
        except RelayError as error:
            raise web.HTTPServiceUnavailable(text=error.sentence) from error

    async def close(self) -> None:
        """Make nothing more."""
        for making in list(self._making.values()):
            making.task.cancel()
            await asyncio.wait({making.task})

    async def _make(self, plan: Plan, making: Making) -> Made:
        try:
            async with self._turns.one(lambda: any(map(is_there, making.asking))):
                at_s = self._monotonic()
                feed = await plan.make(note=self._feeds.note())
                body = rss(feed) if plan.wanted.kind == "rss" else atom(feed)
        finally:
            del self._making[plan.wanted, plan.stamp.allowed]
        tag = tag_of(body)
        before = self._kept.get(plan.wanted)
        since = self._now().astimezone(UTC).replace(microsecond=0)
        if before is not None and before.tag == tag:
            since = before.since
        made = Made(body, tag, since, plan.stamp, at_s, feed.hub, feed.at)
        self._keep(plan.wanted, made)
        return made

    def _keep(self, wanted: Wanted, made: Made) -> None:
        before = self._kept.pop(wanted, None)
        self._kept_bytes += len(made.body) - (0 if before is None else len(before.body))
        self._kept[wanted] = made
        while self._kept_bytes > KEPT_BYTES:
            _, oldest = self._kept.popitem(last=False)
            self._kept_bytes -= len(oldest.body)

    # How it is given out

    def _answer(self, request: web.Request, made: Made, rules: Mapping[str, str]) -> web.Response:
        headers = {"ETag": f'"{made.tag}"', **rules}
        if made.since < self._now().astimezone(UTC).replace(microsecond=0):
            # Not in the second of its making: another one may be made in it, and be as old.
            headers["Last-Modified"] = format_datetime(made.since, usegmt=True)
        if made.hub:
            headers["Link"] = f'<{made.hub}>; rel="hub", <{made.address}>; rel="self"'
        known = made.since if "Last-Modified" in headers else None
        if has_it(request, made.tag, known):
            return web.Response(status=304, headers=headers)
        kind = _TYPES["rss" if request.path.endswith(".rss") else "atom"]
        return web.Response(body=made.body, content_type=kind, charset="utf-8", headers=headers)


def _is_heard(making: asyncio.Task[Made]) -> None:
    """Whoever still waits is told what it has come to; maybe nobody does."""
    if not making.cancelled():
        making.exception()


def _before(request: web.Request) -> int | None:
    """The number that `before` names; raises what is answered where it names none."""
    typed = request.query.get("before")
    if typed is None:
        return None
    number = parse_short_id(typed)
    if not number:
        _unclear()
    return number


def _unclear() -> NoReturn:
    raise web.HTTPBadRequest(
        text="`before` is the id of a post, such as k3f: leave it out for the newest posts."
    )
