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

KEPT_BYTES: Final = 16 * 2**20
"""Feeds that are kept, all together."""

LATE_S: Final = 1.0
"""What is posted may come so late into a feed that was asked for just before: who posts all the
time, and is read by many, does not have his feed made for each. Nothing that must not be seen any
more is given out for a moment."""

KEPT_FOR_S: Final = 60.0
"""A feed that is older is made anew, whatever is known of changes."""

REST: Final = 3.0
REST_AT_MOST_S: Final = 0.1
"""Feeds are made one after the other, and each is followed by a rest so many times as long as it
took: whoever asks for all pages of all feeds has a quarter of the machine at most, and posts the
rest. What is kept is given out meanwhile."""

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
class Made:
    """A feed as it is given out."""

    body: bytes
    tag: str  # of these bytes
    since: datetime  # when they were first made, to the second
    stamp: Stamp
    at_s: float  # when they were made last, by the monotonic clock
    hub: str
    address: str


class FeedPages:
    """The feeds on the web."""

    def __init__(
        self,
        graph: Graph,
        people: People,
        feeds: Feeds,
        streams: Streams,
        *,
        now: Callable[[], datetime],
        monotonic: Callable[[], float],
    ) -> None:
        self._graph = graph
        self._people = people
        self._feeds = feeds
        self._streams = streams
        self._now = now
        self._monotonic = monotonic
        self._kept: OrderedDict[Wanted, Made] = OrderedDict()
        self._kept_bytes = 0
        self._making: dict[tuple[Wanted, tuple[object, ...]], asyncio.Task[Made]] = {}
        self._turn = asyncio.Lock()

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
        kind = request.match_info["kind"]
        places = self._feeds.places
        author = self._named(request, lambda handle: places.feed(handle, kind))

        def make(before: int | None) -> Awaitable[Feed]:
            return self._streams.of_author(author, kind, before=before, note=self._feeds.note())

        stamp = self._feeds.stamp_of_author(author.id)
        wanted = Wanted("author", str(author.id), kind, _before(request))
        return self._answer(request, await self._made(wanted, stamp, make), _PUBLIC)

    async def _with_replies(self, request: web.Request) -> web.Response:
        author = self._named(request, self._feeds.places.feed_with_replies)

        def make(before: int | None) -> Awaitable[Feed]:
            note = self._feeds.note()
            return self._streams.of_author(author, replies=True, before=before, note=note)

        stamp = self._feeds.stamp_of_author(author.id)
        wanted = Wanted("with-replies", str(author.id), "atom", _before(request))
        return self._answer(request, await self._made(wanted, stamp, make), _PUBLIC)

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

        def make(before: int | None) -> Awaitable[Feed]:
            return self._streams.of_tag(tag, before=before, note=self._feeds.note())

        wanted = Wanted("tag", tag, "atom", _before(request))
        made = await self._made(wanted, self._feeds.stamp_of_tags(), make)
        return self._answer(request, made, _PUBLIC)

    # Somebody's own

    async def _home(self, request: web.Request) -> web.Response:
        secret, kind = request.match_info["secret"], request.match_info["kind"]
        reader = self._reader(secret)

        def make(before: int | None) -> Awaitable[Feed]:
            note = self._feeds.note()
            return self._streams.home(reader, secret, kind, before=before, note=note)

        return await self._own(request, reader, "home", kind, make)

    async def _mentions(self, request: web.Request) -> web.Response:
        secret = request.match_info["secret"]
        reader = self._reader(secret)

        def make(before: int | None) -> Awaitable[Feed]:
            return self._streams.mentions(reader, secret, before=before, note=self._feeds.note())

        return await self._own(request, reader, "mentions", "atom", make)

    def _reader(self, secret: str) -> Person:
        reader = self._feeds.whose(secret)
        if reader is None:
            raise web.HTTPNotFound(text="There is no such feed.")
        return reader

    async def _own(
        self,
        request: web.Request,
        reader: Person,
        sort: str,
        kind: str,
        make: Callable[[int | None], Awaitable[Feed]],
    ) -> web.Response:
        wanted = Wanted(sort, request.match_info["secret"], kind, _before(request))
        stamp = self._feeds.stamp_of_own(reader)
        return self._answer(request, await self._made(wanted, stamp, make), _SECRET)

    # What is kept

    async def _made(
        self, wanted: Wanted, stamp: Stamp, make: Callable[[int | None], Awaitable[Feed]]
    ) -> Made:
        """The feed as it is now; made once, however many ask for it meanwhile."""
        kept = self._kept.get(wanted)
        if kept is not None and kept.stamp.allowed == stamp.allowed:
            for_s = KEPT_FOR_S if kept.stamp == stamp else LATE_S
            if self._monotonic() < kept.at_s + for_s:
                self._kept.move_to_end(wanted)
                return kept
        key = (wanted, stamp.allowed)
        making = self._making.get(key)
        if making is None:
            making = asyncio.get_running_loop().create_task(self._make(wanted, stamp, make))
            self._making[key] = making
            making.add_done_callback(partial(self._is_made, key))
        try:
            return await asyncio.shield(making)
        except RelayError as error:
            raise web.HTTPServiceUnavailable(text=error.sentence) from error

    def _is_made(self, key: tuple[Wanted, tuple[object, ...]], making: asyncio.Task[Made]) -> None:
        del self._making[key]
        if not making.cancelled():
            making.exception()  # whoever still waits is told; maybe nobody does

    async def close(self) -> None:
        """Make nothing more."""
        for making in list(self._making.values()):
            making.cancel()
            await asyncio.wait({making})

    async def _make(
        self, wanted: Wanted, stamp: Stamp, make: Callable[[int | None], Awaitable[Feed]]
    ) -> Made:
        await self._turn.acquire()
        loop = asyncio.get_running_loop()
        began_s, at_s = loop.time(), self._monotonic()
        try:
            feed = await make(wanted.before)
            body = rss(feed) if wanted.kind == "rss" else atom(feed)
        finally:
            rest_s = min(REST_AT_MOST_S, REST * (loop.time() - began_s))
            loop.call_later(rest_s, self._turn.release)
        tag = tag_of(body)
        before = self._kept.get(wanted)
        since = self._now().astimezone(UTC).replace(microsecond=0)
        if before is not None and before.tag == tag:
            since = before.since
        made = Made(body, tag, since, stamp, at_s, feed.hub, feed.at)
        self._keep(wanted, made)
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
