"""What the pages show, made from posts and people: each text in pieces, each address complete.

Only what anybody may see comes this far (`pages.py`). A page of an author is linked to only where
there is one, so a name of somebody who is not on the web stays a word.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from xmpprelay.core.graph import Graph
from xmpprelay.core.marked import Sort, pieces
from xmpprelay.core.model import Kind, Person, Post
from xmpprelay.core.places import Places
from xmpprelay.core.text import clean, short_id
from xmpprelay.items import Item
from xmpprelay.profiles import Profiles
from xmpprelay.reading import age


@dataclass(frozen=True, slots=True)
class Shown:
    """A piece of a text."""

    text: str
    href: str = ""  # where it leads to; empty: nowhere
    foreign: bool = False  # it leads away from here


@dataclass(frozen=True, slots=True)
class AuthorView:
    """Somebody who posts."""

    handle: str
    name: str
    jid: str  # his address here
    page: str
    picture: str  # its address; empty: he has none


@dataclass(frozen=True, slots=True)
class Reference:
    """A post that is mentioned beside another one."""

    name: str  # its short id
    page: str
    author: AuthorView


@dataclass(frozen=True, slots=True)
class PostView:
    """A post, or a boost: then it is what that shows."""

    name: str  # its short id
    page: str
    author: AuthorView
    booster: AuthorView | None
    answers: Reference | None
    pieces: Sequence[Shown]
    language: str | None
    at: str  # RFC 3339
    age: str
    updated: str  # when its text was changed last, for people; empty: never


class Views:
    """Makes them. `is_public` says of a person whether he has a page."""

    def __init__(
        self,
        graph: Graph,
        profiles: Profiles,
        places: Places,
        domain: str,
        is_public: Callable[[int], bool],
        now: Callable[[], datetime],
    ) -> None:
        self._graph = graph
        self._profiles = profiles
        self._places = places
        self._domain = domain
        self._is_public = is_public
        self._now = now

    def author(self, person: Person) -> AuthorView:
        """Somebody with a handle."""
        handle, profile = person.handle or "", self._profiles.of(person.id)
        picture = ""
        if profile.picture is not None:
            picture = f"{self._places.picture(handle)}?{profile.picture.sha1[:12]}"
        page = self._places.author(handle)
        return AuthorView(handle, profile.name or handle, f"{handle}@{self._domain}", page, picture)

    def text(self, text: str) -> Sequence[Shown]:
        """A text in pieces, with their links."""
        return list(self._pieces(clean(text)))

    def _pieces(self, text: str) -> Iterator[Shown]:
        for each in pieces(text):
            match each.sort:
                case Sort.LINK:
                    yield Shown(each.text, each.text, foreign=True)
                case Sort.NAME if page := self._page_of(each.bare):
                    yield Shown(each.text, page)
                case Sort.TAG:
                    yield Shown(each.text, self._places.tag(each.bare))
                case _:
                    yield Shown(each.text)

    def _page_of(self, handle: str) -> str:
        person = self._graph.by_handle(handle)
        if person is None or person.handle is None or not self._is_public(person.id):
            return ""
        return self._places.author(person.handle)

    def post(self, item: Item, answered: Post | None = None) -> PostView:
        """A post; `answered` is what it answers, if anybody may see that."""
        post, shown = item.post, item.post.content
        author = self.author(self._graph.person(shown.author))
        boosts = post.kind is Kind.BOOST
        return PostView(
            name=short_id(shown.number),
            page=self._places.post(author.handle, shown.number),
            author=author,
            booster=self.author(self._graph.person(post.author)) if boosts else None,
            answers=None if answered is None else self._reference(answered),
            pieces=self.text(shown.text),
            language=shown.lang,
            at=shown.created.astimezone(UTC).isoformat(timespec="seconds"),
            age=age(shown.created, self._now()),
            updated="" if item.updated is None else f"{item.updated:%Y-%m-%d %H:%M} UTC",
        )

    def _reference(self, post: Post) -> Reference:
        author = self.author(self._graph.person(post.author))
        return Reference(
            short_id(post.number), self._places.post(author.handle, post.number), author
        )
