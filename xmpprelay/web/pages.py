"""The pages for people: what this is, who an author is and what he posts, a post with its thread.

Everything is shown as to somebody whom nobody knows: the audience function decides about each post
(S6.2), and whoever is protected, has taken his page off the web or is not there has the same page:
none. There are no scripts, no cookies, and nothing from elsewhere; what people have typed is
escaped by the templates, all of it.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.resources import files
from itertools import islice
from typing import Final, TypeVar
from urllib.parse import quote

import segno
from aiohttp import web
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from xmpprelay.core.atom import title_of
from xmpprelay.core.graph import Graph
from xmpprelay.core.model import Person, Post
from xmpprelay.core.places import Places
from xmpprelay.core.text import parse_short_id, short_id
from xmpprelay.errors import RelayError
from xmpprelay.feeds import ANYBODY, Feeds
from xmpprelay.items import Item, Items, Span
from xmpprelay.people import People
from xmpprelay.profiles import Profiles
from xmpprelay.web.caching import answer, has_it
from xmpprelay.web.turns import Turns, is_there
from xmpprelay.web.views import Views

T = TypeVar("T")

Page = Callable[[], bytes]
"""Makes a page of what was read for it."""

Reading = Callable[[web.Request], Awaitable[Page]]

POSTS: Final = 20
"""On a page of an author."""

ANSWERS: Final = 50
ANCESTORS: Final = 10
AUTHORS: Final = 60
"""On the front page, at most."""

LATELY: Final = 1_000
"""Of how many entries of the journal the authors are on the front page."""

CACHED_S: Final = 60
"""How long a page may be kept by whoever has got it."""

_PICTURE_RULE: Final = f"public, max-age=86400, s-maxage={CACHED_S}"
"""Of a picture, whose address has its hash in it: who has seen one may keep it. Others must not get
it from a cache when it is not shown any more."""


@dataclass(frozen=True, slots=True)
class Place:
    """What the pages say of the relay itself."""

    domain: str
    home: str  # the address that people post to
    policy: str  # of registration
    contacts: Sequence[str]  # URIs of its operator
    mirrored: bool  # there is a service behind it


class Pages:
    """Serves pages. `feeds` knows who is on the web; `note` what all should know now, if there is
    anything."""

    def __init__(
        self,
        graph: Graph,
        items: Items,
        people: People,
        profiles: Profiles,
        feeds: Feeds,
        turns: Turns,
        place: Place,
        *,
        note: Callable[[], str],
        now: Callable[[], datetime],
    ) -> None:
        self._graph = graph
        self._items = items
        self._people = people
        self._profiles = profiles
        self._feeds = feeds
        self._turns = turns
        self._places = feeds.places
        self._place = place
        self._views = Views(graph, profiles, feeds.places, place.domain, feeds.is_public, now)
        self.templates = Templates(feeds.places, place, note)
        self._join = f"xmpp:{place.home}?message;body={quote('join yourname')}"
        self._code = _code(self._join)
        self._style = files("xmpprelay.web").joinpath("static/style.css").read_bytes()

    def routes(self) -> Sequence[web.RouteDef]:
        """What is served where."""
        return [
            web.get("/", self._in_turn(self._front)),
            web.get("/style.css", self._stylesheet),
            web.get("/@{handle:[A-Za-z0-9_]+}", self._in_turn(self._author)),
            web.get("/@{handle:[A-Za-z0-9_]+}/picture.png", self._picture),
            web.get("/@{handle:[A-Za-z0-9_]+}/{post:[0-9A-Za-z]+}", self._in_turn(self._post)),
        ]

    def _in_turn(self, read: Reading) -> Callable[[web.Request], Awaitable[web.Response]]:
        """A page that is made in its turn, of what may be seen when it is given out.

        What was read is read once more if something may not be seen any more by then.
        """

        async def made(request: web.Request) -> web.Response:
            async with self._turns.one(lambda: is_there(request)):
                while True:
                    allowed = self._feeds.allowed()
                    page = await read(request)
                    if allowed == self._feeds.allowed():
                        return html(request, page())

        return made

    def error_page(self, status: int, sentence: str) -> web.Response:
        """A page that says what is wrong."""
        heading = {404: "There is no such page", 400: "That cannot be shown"}.get(
            status, "That did not work"
        )
        body = self.templates.page("error.html", heading=heading, sentence=sentence)
        return web.Response(body=body, status=status, content_type="text/html", charset="utf-8")

    # The front page

    async def _front(self, _: web.Request) -> Page:
        authors = await self._authors()
        return lambda: self.templates.page(
            "front.html",
            join=self._join,
            code=self._code,
            policy=self._place.policy,
            mirrored=self._place.mirrored,
            authors=[self._views.author(each) for each in authors],
        )

    async def _authors(self) -> list[Person]:
        """The public authors who have posted lately, the last of them first."""
        authors = await _read(self._items.last_authors(LATELY))
        public = (author for author in authors if self._feeds.is_public(author))
        return [self._graph.person(author) for author in islice(public, AUTHORS)]

    async def _stylesheet(self, request: web.Request) -> web.Response:
        return answer(request, self._style, "text/css", "public, max-age=3600")

    # Authors

    def _named(self, handle: str) -> Person:
        """The author of a page; raises what is answered where there is none."""
        person = self._graph.by_handle(handle)
        if person is not None and self._feeds.is_public(person.id):
            if person.handle != handle:
                raise web.HTTPPermanentRedirect(self._places.author(person.handle or ""))
            return person
        now = self._people.renamed(handle)
        if now is not None and self._feeds.is_public(now.id):
            raise web.HTTPPermanentRedirect(self._places.author(now.handle or ""))
        raise web.HTTPNotFound

    async def _author(self, request: web.Request) -> Page:
        person = self._named(request.match_info["handle"])
        before = self._number(request)
        span = Span(POSTS, before=before)
        page = await _read(self._items.of_author(ANYBODY, person, span, self._feeds.shows))
        parents = await self._parents(page.items)

        def make() -> bytes:
            profile, view = self._profiles.of(person.id), self._views.author(person)
            older = ""
            if not page.complete and page.items:
                older = f"{view.page}?before={short_id(page.items[0].post.number)}"
            return self.templates.page(
                "author.html",
                author=view,
                about=self._views.text(profile.about),
                url=profile.url,
                follow=f"xmpp:{view.jid}?subscribe",
                posts=[
                    self._views.post(item, parents.get(item.post.content.parent or 0))
                    for item in reversed(page.items)
                ],
                older=older,
                later=before is not None,
            )

        return make

    @staticmethod
    def _number(request: web.Request) -> int | None:
        text = request.query.get("before")
        if text is None:
            return None
        number = parse_short_id(text)
        if number is None:
            raise web.HTTPBadRequest(text="`before` is the id of a post, such as k3f.")
        return number

    async def _picture(self, request: web.Request) -> web.Response:
        person = self._named(request.match_info["handle"])
        shown = self._profiles.of(person.id).picture
        if shown is None:
            raise web.HTTPNotFound
        headers = {"ETag": f'"{shown.sha1}"', "Cache-Control": _PICTURE_RULE}
        if has_it(request, shown.sha1):
            return web.Response(status=304, headers=headers)
        picture = await _read(self._profiles.picture(person.id, streamed=False))
        if picture is None or picture.sha1 != shown.sha1:
            raise web.HTTPNotFound(text="There is another picture by now.")
        return web.Response(body=picture.data, content_type="image/png", headers=headers)

    # Posts

    async def _post(self, request: web.Request) -> Page:
        number = parse_short_id(request.match_info["post"])
        item = None if number is None else await _read(self._items.numbered(ANYBODY, number))
        if item is None or not self._feeds.shows(item.post):
            raise web.HTTPNotFound
        view = self._views.post(item)
        at = f"{self._places.author(request.match_info['handle'])}/{request.match_info['post']}"
        if at != view.page:  # of a boost: what it shows
            raise web.HTTPPermanentRedirect(view.page)
        answers = await _read(self._items.answers_to(ANYBODY, item.post, Span(ANSWERS)))
        before = await self._before(item.post)
        return lambda: self.templates.page(
            "post.html",
            asked=self._views.post(item, before[-1].post if before else None),
            title=title_of(item.post.content.text),
            before=[self._views.post(each) for each in before],
            answers=[
                self._views.post(each) for each in answers.items if self._feeds.shows(each.post)
            ],
            more=not answers.complete,
            reply=f"xmpp:{self._place.home}?message;body={quote(f're #{view.name} ')}",
        )

    async def _before(self, post: Post) -> list[Item]:
        """What it answers, and what that answers, the first of them first."""
        found: list[Item] = []
        while len(found) < ANCESTORS and post.content.parent is not None:
            item = await _read(self._items.numbered(ANYBODY, post.content.parent))
            if item is None or not self._feeds.shows(item.post):
                break
            found.insert(0, item)
            post = item.post
        return found

    async def _parents(self, items: Sequence[Item]) -> Mapping[int, Post]:
        """What these answer, by its number, if anybody may see that."""
        numbers = (item.post.content.parent for item in items)
        found = await _read(self._items.readable(ANYBODY, numbers))
        return {number: post for number, post in found.items() if self._feeds.shows(post)}


class Templates:
    """Makes pages from templates; everything that is put into one is escaped."""

    def __init__(self, places: Places, place: Place, note: Callable[[], str]) -> None:
        self._note = note
        self._environment = Environment(
            loader=PackageLoader("xmpprelay.web"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters["contact"] = _contact
        self._environment.globals.update(
            places=places, domain=place.domain, home=place.home, contacts=place.contacts
        )

    def page(self, template: str, /, **values: object) -> bytes:
        """A whole page."""
        values = {"note": self._note(), **values}
        return self._environment.get_template(template).render(values).encode()


def html(request: web.Request, body: bytes) -> web.Response:
    """The answer that brings a page."""
    return answer(request, body, "text/html", f"public, max-age={CACHED_S}")


async def _read(reading: Awaitable[T]) -> T:
    """What the rooms give; a page that says so where they cannot now."""
    try:
        return await reading
    except RelayError as error:
        raise web.HTTPServiceUnavailable(text=error.sentence) from error


def _code(uri: str) -> Markup:
    """A QR code, as an image in the page."""
    code = segno.make(uri, error="m")
    drawn = code.svg_inline(scale=1, border=3, omitsize=True, svgclass=None, lineclass=None)
    return Markup(drawn.replace("<svg ", f'<svg role="img" aria-label="{Markup.escape(uri)}" ', 1))  # noqa: S704


def _contact(uri: str) -> str:
    """An address of the operator's, as people read it."""
    scheme, _, rest = uri.partition(":")
    kind = {"mailto": " (mail)", "xmpp": " (Jabber)"}.get(scheme, "")
    return f"{rest.removeprefix('//').partition('?')[0]}{kind}"
