"""Who has feeds: whose are public, whose secret address is which, and what may have changed.

An author's public posts have feeds that anybody may read, unless he is protected or has taken them
off the web; to the web he is nobody then (S18.2). Everybody may have secret addresses besides, of
his own stream and of what names him: whoever has the secret reads what he may read. Of a secret
only the hash is kept, and it is told once.

What is in the feeds is for `streams.py`. Here is said whether a feed made a while ago may still be
shown (`stamp`): each kind depends on few things, and those are counted. `touched` is told whose
public feeds have other posts in them now, `shown_otherwise` who is shown otherwise: under another
name, to others, or not at all.
"""

import hashlib
import secrets
from base64 import b32encode
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import Connection

from xmpprelay.choices import Choices
from xmpprelay.core.graph import Graph
from xmpprelay.core.model import CHANGES, Kind, Person, Post
from xmpprelay.core.places import Places
from xmpprelay.core.text import tags_in
from xmpprelay.errors import StoreError, TryLater
from xmpprelay.store.database import Database
from xmpprelay.store.feeds import Secret, SecretRow, load_secrets, set_secret

SETTING: Final = "feed"
"""The setting that keeps who has taken his public feeds off the web; no word: he has not."""

_PRIVATE: Final = "private"

SECRET_BYTES: Final = 16
"""128 bits: nobody guesses them, however many he tries."""

ANYBODY: Final = ""
"""Who reads a public feed, as a bare JID: nobody in particular."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """What a feed was made of: as long as it is the same, so is the feed."""

    posted: int  # another one: something has been posted since, and may be lacking
    allowed: tuple[object, ...]  # another one: something in it may be nobody's to see any more


@dataclass(frozen=True, slots=True)
class Touched:
    """A public feed has other posts in it now."""

    author: int
    tags: tuple[str, ...] = ()  # whose feeds have them as well
    edited: int | None = None  # the post whose text is another one: boosts show it, too
    renamed: bool = False  # he shows another name, which is on boosts as well


class Feeds:
    """The feeds of one relay. `note` is what all feeds say at the moment; empty: nothing."""

    def __init__(
        self,
        db: Database,
        graph: Graph,
        choices: Choices,
        places: Places,
        *,
        domain: str,
        served: bool,
        note: Callable[[], str] = lambda: "",
    ) -> None:
        self._db = db
        self._graph = graph
        self._choices = choices
        self._domain = domain
        self.places = places
        self.served = served  # the relay serves feeds itself
        self.note = note
        self._private: set[int] = set()
        self._by_hash: dict[bytes, int] = {}
        self._secrets: dict[int, Secret] = {}
        self._posted: dict[int, int] = {}  # author -> how often he has posted, since the start
        self._tagged = 0  # how many posts with a tag there were
        self._changes = 0  # of what was posted before, and of who is shown how
        self.touched: list[Callable[[Touched], None]] = []
        self.shown_otherwise: list[Callable[[int], None]] = []

    def load(self, conn: Connection, settings: Iterable[tuple[int, str, str]]) -> None:
        """Take up what is stored."""
        self._private = {who for who, name, word in settings if (name, word) == (SETTING, _PRIVATE)}
        for secret in load_secrets(conn):
            self._take(secret)

    # Who is on the web

    def is_public(self, person: int) -> bool:
        """Whether an author has public feeds, and a page."""
        return person not in self._private and self.may_be_public(person)

    def may_be_public(self, person: int) -> bool:
        """Whether an author would have them, if he has not taken them off the web."""
        graph, author = self._graph, self._graph.person(person)
        if author.handle is None or graph.protected(person) or graph.hides(ANYBODY, person):
            return False
        return author.jid.rpartition("@")[2] != self._domain  # the relay's own announcements

    def shows(self, post: Post) -> bool:
        """Whether everybody who has written something of a post is on the web."""
        return self.is_public(post.author) and self.is_public(post.content.author)

    def address_of(self, person: int) -> str:
        """The address of an author's public feed; empty: he has none."""
        handle = self._graph.person(person).handle
        if not self.places.base_url or handle is None or not self.is_public(person):
            return ""
        return self.places.feed(handle)

    def is_private(self, person: int) -> bool:
        """Whether an author has taken his public feeds off the web."""
        return person in self._private

    async def set_public(self, person: int, *, on: bool) -> None:
        """Put an author's public feeds on the web, or take them off it. Raises TryLater."""

        def done() -> None:
            (self._private.discard if on else self._private.add)(person)
            self.changed(person)

        await self._choices.set_all(person, {SETTING: None if on else _PRIVATE}, done)

    # Secrets

    def secret_since(self, person: int) -> datetime | None:
        """Since when somebody has the secret that he has; None: he has none."""
        secret = self._secrets.get(person)
        return None if secret is None else secret.created

    async def new_secret(self, person: int) -> str:
        """A new secret for somebody; the one before is none any more. Raises TryLater."""
        made = b32encode(secrets.token_bytes(SECRET_BYTES)).decode().rstrip("=").lower()
        try:
            row = SecretRow(person, _hash(made))
            await self._db.write(set_secret, row, committed=self._take)
        except StoreError as error:
            raise TryLater(
                "The relay cannot store this at the moment; nothing was changed. Try later."
            ) from error
        return made

    def _take(self, secret: Secret) -> None:
        self._end_secret(secret.person)
        self._secrets[secret.person] = secret
        self._by_hash[secret.hash] = secret.person

    def _end_secret(self, person: int) -> None:
        before = self._secrets.pop(person, None)
        if before is not None:
            del self._by_hash[before.hash]

    def whose(self, secret: str) -> Person | None:
        """Whose a secret is; None: it is nobody's, or of somebody whom the operator has blocked.

        It is looked up by its hash, so that how long that takes tells nothing of any secret.
        """
        person = self._by_hash.get(_hash(secret))
        if person is None or self._graph.barred(self._graph.person(person).jid):
            return None
        return self._graph.person(person)

    # What may have changed

    def stamp_of_author(self, author: int) -> Stamp:
        """What the public feeds of an author are made of."""
        return Stamp(self._posted.get(author, 0), self.allowed())

    def stamp_of_tags(self) -> Stamp:
        """What the feeds of tags are made of."""
        return Stamp(self._tagged, self.allowed())

    def stamp_of_own(self, reader: Person) -> Stamp:
        """What somebody's own feeds are made of."""
        graph = self._graph
        allowed = (reader, graph.revision, graph.follow_revision, *self.allowed())
        return Stamp(self._db.next_number, allowed)

    def allowed(self) -> tuple[object, ...]:
        """What decides what anybody may see: another value, and it may be something else."""
        return self._changes, self._graph.public_revision, self.note()

    def posted(self, post: Post) -> None:
        """An entry of the journal is committed."""
        if post.kind is Kind.DIRECT or (post.original and post.original.kind is Kind.DIRECT):
            return
        self._posted[post.author] = self._posted.get(post.author, 0) + 1
        if post.kind in CHANGES:
            self._changes += 1
        tags = tuple(tags_in(post.text)) if post.kind in (Kind.POST, Kind.EDIT) else ()
        self._tagged += bool(tags)
        if self.is_public(post.author):
            edited = post.original.number if post.kind is Kind.EDIT and post.original else None
            for tell in self.touched:
                tell(Touched(post.author, tags, edited))

    def changed(self, person: int) -> None:
        """Somebody has another handle, is protected now, is on the web or off it, or has left."""
        self._changes += 1
        for tell in self.shown_otherwise:
            tell(person)

    def renamed(self, person: int) -> None:
        """An author shows another name: his feeds, and boosts of his, are made anew."""
        self._changes += 1
        if self.is_public(person):
            for tell in self.touched:
                tell(Touched(person, renamed=True))

    def forget(self, person: int) -> None:
        """Somebody has left: he has no secret, and is shown nowhere."""
        self._private.discard(person)
        self._end_secret(person)
        self.changed(person)


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode(errors="replace")).digest()
