"""Posts that authors publish on their own microblog, at their own address (`source pep`).

What comes from there, by an event or by a look at the node, waits in one line for each author. It
is dealt with in the author's own queue, behind what he types, so that the same text by chat and as
an entry is one post. An entry goes the way of every post; its author is told what could not be done
with it, once. What came too fast, or found no room in the queue, is tried again each minute, in
order. An entry that finds no room in the line is found by a look at the node; a retraction is not,
so these have room of their own, and one takes the entry that waits for it out of the line.

A deletion of the node, or of all that is in it, deletes nothing here: clients do so to set the node
up anew, and one stanza must not take back years.

How the node is asked and what is heard of it is for `xmpp/own_nodes.py`.
"""

from collections import Counter, deque
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto
from functools import partial
from typing import Any, Final, Protocol

from xmpprelay.core.atom import name_in, parse_item_uri
from xmpprelay.core.delivery import Delivery
from xmpprelay.core.graph import Graph
from xmpprelay.core.model import Draft, Grant, Person, Post
from xmpprelay.core.nodes import MICROBLOG
from xmpprelay.core.sourced import (
    SAME_WITHIN,
    Known,
    OwnChange,
    OwnItem,
    Retracted,
    Step,
    is_relays_own,
    says_the_same,
    step_for,
)
from xmpprelay.core.text import message_id, short_id
from xmpprelay.errors import RelayError, TooFast, TryLater, UnknownPost
from xmpprelay.log import get_logger
from xmpprelay.relay import Relay
from xmpprelay.relay.publishing import Name
from xmpprelay.relay.taking import stored
from xmpprelay.store.database import Database
from xmpprelay.store.posts import PostRow, own_message
from xmpprelay.store.sources import (
    ENTRIES_KEPT,
    ORIGIN,
    SOURCE,
    EntryRow,
    SourceRow,
    TypedRow,
    also_typed,
    known_entries,
    posted_lately,
    remember,
    set_source,
)

log = get_logger("sources")

WAITING: Final = 60
"""Entries of one author that wait, three times what a look at his node shows; a guess."""

WAITING_IN_ALL: Final = 1_000
"""And of all authors together; what has no room is found by another look."""

RETRACTED: Final = ENTRIES_KEPT
"""Retractions of one author that wait: no more of his entries are known."""

RETRACTED_IN_ALL: Final = 10_000
"""And of all authors together, of some hundred bytes each; what has no room is lost."""


class Reach(Enum):
    """What a look at an author's node has shown, where it did not show what is there."""

    CLOSED = auto()  # it is not for us
    MISSING = auto()  # there is none yet
    SILENT = auto()  # nobody answers, or nobody who knows of such nodes


@dataclass(frozen=True, slots=True)
class Look:
    """What is there."""

    reach: Reach | None  # None: all is well
    items: tuple[OwnItem, ...] = ()  # in the order in which they were published


class OwnNode(Protocol):
    """How the nodes of authors are reached."""

    async def look(self, person: Person) -> Look:
        """Subscribe to somebody's node, and see what is there. Never raises."""

    def begin(self, person: Person) -> None:
        """Listen to what is published there, from now on."""

    def end(self, person: Person) -> None:
        """Listen no more."""

    def again(self, person: int) -> None:
        """Look there again, soon."""


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    """A change that is not done with; each is itself alone."""

    nth: int  # with which call it came
    change: OwnChange
    live: bool


class Sources:
    """Takes the posts of whoever wants it from his own node.

    `home` is the address that listens. `queue` runs an author's affairs one after the other;
    `ask_presence` asks somebody to let his presence be seen, `mention` says something unasked to a
    bare JID. `node` is set by whoever builds the relay.
    """

    node: OwnNode

    def __init__(
        self,
        db: Database,
        graph: Graph,
        delivery: Delivery,
        relay: Relay,
        *,
        domain: str,
        home: str,
        queue: Callable[[str, Callable[[], Coroutine[Any, Any, None]]], bool],
        ask_presence: Callable[[Person], None],
        mention: Callable[[str, str], None],
        now: Callable[[], datetime],
    ) -> None:
        self._db = db
        self._graph = graph
        self._delivery = delivery
        self._relay = relay
        self._domain = domain
        self.home = home
        self._queue = queue
        self._ask_presence = ask_presence
        self._mention = mention
        self._now = now
        self._since: dict[int, datetime] = {}
        self._waiting: dict[int, deque[_Waiting]] = {}
        self._held: Counter[type[OwnChange]] = Counter()  # of all that wait
        self._nth = 0
        self.failures = 0  # what was not foreseen
        relay.is_posted = self.posted_otherwise

    def load(self, settings: Iterable[tuple[int, str, str]]) -> None:
        """Take up what is stored: (person, name, value); other names are left alone."""
        for person, name, value in settings:
            if name == SOURCE:
                self._since[person] = datetime.fromisoformat(value)

    def people(self) -> Iterable[int]:
        """Whose nodes are listened to."""
        return self._since.keys()

    def listens_to(self, person: int) -> bool:
        """Whether somebody's posts are taken from his own node."""
        return person in self._since

    # On and off

    async def turn_on(self, jid: str) -> tuple[datetime, Reach | None]:
        """Take an author's posts from his node from now on; since when, and what is in the way.

        What is there already is history. Again changes nothing. Raises NotRegistered, TryLater.
        """
        person = self._relay.author(jid)
        look = await self.node.look(person)
        if person.id in self._since:
            self.came(person.id, look.items, live=False)
        else:
            since = self._now()
            row = SourceRow(person.id, since, tuple(item.id for item in look.items))
            standing = await stored(lambda: self._db.write(set_source, row))
            if standing is not None:
                self._delivery.standing_made(standing, self._now())
            self._since[person.id] = since
        self._ask_presence(person)
        self.node.begin(person)
        return self._since[person.id], look.reach

    def hears_at_once(self, jid: str) -> bool:
        """Whether somebody shows his presence, so that any server lets us hear of his entries."""
        person = self._graph.by_jid(jid)
        return person is not None and self._delivery.grant_of(person.id) is Grant.GRANTED

    async def turn_off(self, jid: str) -> bool:
        """Take no more from there; whether that was so before. Raises NotRegistered, TryLater."""
        person = self._relay.author(jid)
        if person.id not in self._since:
            return False
        await stored(lambda: self._db.write(set_source, SourceRow(person.id, None)))
        self.forget(person.id)
        return True

    def forget(self, person: int) -> None:
        """Somebody has left, or wants it no more."""
        if self._since.pop(person, None) is not None:
            self.node.end(self._graph.person(person))
        self._held.subtract(type(one.change) for one in self._waiting.pop(person, ()))

    # What comes from there

    def came(self, person: int, changes: Sequence[OwnChange], *, live: bool) -> None:
        """Something was published or taken back there; `live` says that it was so just now."""
        if not self.listens_to(person):
            return
        self._nth += 1
        for change in changes:
            self._wait(person, _Waiting(self._nth, change, live))
        self._go_on(person)

    def tick(self) -> None:
        """A minute has passed: what waits is tried again."""
        for person in list(self._waiting):
            self._go_on(person)

    def _wait(self, person: int, one: _Waiting) -> None:
        """Put a change into the line, unless the last one of that entry says the same."""
        waiting = self._waiting.get(person, ())
        change, kind = one.change, type(one.change)
        of_it = [each for each in waiting if each.change.id == change.id]
        if of_it and of_it[-1].change == change and of_it[-1].live >= one.live:
            return
        if kind is Retracted:
            for each in of_it:
                self._let_go(person, each)
        most, in_all = _ROOM[kind]
        here = sum(type(each.change) is kind for each in waiting)
        if here < most and self._held[kind] < in_all:
            self._waiting.setdefault(person, deque()).append(one)
            self._held[kind] += 1
        elif kind is OwnItem:
            self.node.again(person)

    def _let_go(self, person: int, one: _Waiting) -> None:
        waiting = self._waiting.get(person, deque())
        if one in waiting:
            waiting.remove(one)
            self._held[type(one.change)] -= 1
            if not waiting:
                del self._waiting[person]

    def _go_on(self, person: int) -> None:
        # If there is no room, it waits for the next minute.
        self._queue(self._graph.person(person).jid, partial(self._work_off, person, self._nth))

    async def _work_off(self, person: int, until: int) -> None:
        """Do what waits, up to what came with that call: what came later is behind later chat."""
        while (waiting := self._waiting.get(person)) and waiting[0].nth <= until:
            one = waiting[0]
            try:
                if not await self._done(person, one.change, live=one.live):
                    return
            except Exception:  # the top of the loop: the next entry may be better
                self.failures += 1
                log.exception("source.failed", person=person)
            self._let_go(person, one)

    async def _done(self, person: int, change: OwnChange, *, live: bool) -> bool:
        """Do what a change is for; False: it is too early, it is to be tried again."""
        author, since = self._graph.person(person), self._since.get(person)
        if since is None or author.handle is None or self._graph.barred(author.jid):
            return True
        try:
            if isinstance(change, Retracted):
                await self._retract(author, change.id)
            elif not is_relays_own(change, self._domain, self._db.epoch):
                await self._publish(author, change, since, live=live)
        except (TooFast, TryLater):
            return False
        return True

    async def _publish(self, author: Person, item: OwnItem, since: datetime, *, live: bool) -> None:
        known = (await self._known(author.id, [item.id])).get(item.id)
        number = None if known is None else known.number
        try:
            match step_for(item, known, since, live=live):
                case Step.PASS:
                    return
                case Step.KEEP:
                    await self._remember(EntryRow(author.id, item.id, None, None))
                    return
                case Step.POST:
                    number = await self._post(author, item)
                case Step.EDIT if number is not None:
                    await self._edit(author, item, number)
        except (TooFast, TryLater):
            raise
        except RelayError as error:
            self._refused(author, item, number, error)
        await self._remember(EntryRow(author.id, item.id, number, item.digest))

    def _refused(
        self, author: Person, item: OwnItem, number: int | None, error: RelayError
    ) -> None:
        what = f"The new text of #{short_id(number)}" if number is not None else "An entry"
        self._mention(
            author.jid, f"{what} on your own microblog was not taken ({item.id}): {error.sentence}"
        )

    async def _post(self, author: Person, item: OwnItem) -> int:
        """Make an entry a post, if there is none that says the same; the number of the post."""
        said = item.said
        if said is None:
            raise _NoPost(item.problem)
        draft = Draft(
            author=author.jid,
            text=said.text,
            lang=said.language,
            origin=f"{ORIGIN}{item.id}",
            stanza_id=None,
            attachments=said.enclosures,
        )
        answered = [each for name in said.in_reply_to if (each := await self._name(name))]
        accepted = await self._relay.publishing.publish(draft, None, answered)
        if accepted.notes:
            self._mention(author.jid, f"#{short_id(accepted.post.number)}: {accepted.notes}")
        return accepted.post.number

    async def _edit(self, author: Person, item: OwnItem, number: int) -> None:
        if item.said is None:
            raise _NoPost(item.problem)
        draft = Draft(author.jid, item.said.text, item.said.language, None, None)
        await self._relay.changes.edit(author, draft, number)

    async def _retract(self, author: Person, item: str) -> None:
        known = (await self._known(author.id, [item])).get(item)
        if known is None:
            return
        if known.number is not None:
            draft = Draft(author.jid, "", None, None, None)
            with suppress(UnknownPost):  # he has deleted it here before
                await self._relay.changes.delete(author, draft, known.number)
        await self._remember(EntryRow(author.id, item, None, None))

    async def _name(self, text: str) -> Name | None:
        """Which post of this relay's is meant by the name of what an entry answers; None: none.

        It may be an item of an author's node here, of his own node, or the id of a post.
        """
        parts = parse_item_uri(text)
        if parts is None:
            ours = name_in(text)
            return None if ours is None else (None, ours)
        service, node, item = parts
        local, _, domain = service.rpartition("@")
        if node.partition(":comments/")[0] != MICROBLOG:
            return None
        if domain == self._domain:
            there = self._graph.by_handle(local)
            return None if there is None else (there.id, item)
        other = self._graph.by_jid(service)
        if other is None or not self.listens_to(other.id):
            return None
        number = await self._number_of(other.id, item)
        return None if number is None else (None, message_id(number, self._db.epoch))

    async def _number_of(self, author: int, item: str) -> int | None:
        """The post that an entry is, also where that is not written down yet; None: it is none."""
        known = (await self._known(author, [item])).get(item)
        if known is not None:
            return known.number
        origin = f"{ORIGIN}{item}"
        post = await stored(lambda: self._db.read(lambda conn: own_message(conn, author, origin)))
        return None if post is None else post.number

    # The same by chat

    async def posted_otherwise(self, row: PostRow) -> Post | None:
        """The post that says the same as a row, and has just come by the other way.

        One line by chat and one entry are one post; the next of either is another one.
        """
        if not self.listens_to(row.author):
            return None
        as_entry = not (row.origin or "").startswith(ORIGIN)  # a line that is typed is one already
        name = (row.origin or row.stanza_id) if as_entry else None
        since = self._now() - SAME_WITHIN
        posts = await stored(
            lambda: self._db.read(
                lambda conn: posted_lately(conn, row.author, since, as_entry=as_entry, name=name)
            )
        )
        same = (post for post in posts if says_the_same(post, row.text, row.parent))
        before = next(same, None)
        if before is not None and as_entry:
            typed = TypedRow(before.number, name)
            await stored(lambda: self._db.write(also_typed, typed))
        return before

    # The store

    async def _known(self, person: int, items: Sequence[str]) -> Mapping[str, Known]:
        return await stored(lambda: self._db.read(lambda conn: known_entries(conn, person, items)))

    async def _remember(self, row: EntryRow) -> None:
        await stored(lambda: self._db.write(remember, row))


_ROOM: Final[Mapping[type[OwnChange], tuple[int, int]]] = {
    OwnItem: (WAITING, WAITING_IN_ALL),
    Retracted: (RETRACTED, RETRACTED_IN_ALL),
}
"""How many of each kind may wait, of one author and in all."""


class _NoPost(RelayError):
    """There is no post in an entry; told to its author like any other reason."""
