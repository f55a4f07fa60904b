"""An entry of the journal as bytes: serialised once per variant, each address spliced in.

A variant is what people of one kind get: from the author or from home (S1.2), as chat or headline,
with or without <no-store/> (S1.4), live or held (with <delay/>), with or without <reply/>. Building
a stanza for each follower costs 40 µs, splicing an address into bytes 0.15 µs; the escaping is the
serialiser's in both cases. `_form` says which variant a person gets; everything that depends on him
is asked there and is in it. What it says for an author's plain posts, which are most, is kept until
somebody follows him otherwise or chooses something else: then a follower costs a look, and the
address is put between all the posts that he gets together.

The shapes: a post is its text, from home with the author's name and the post's id around it; a
boost says who boosts whom; an edit is the new text with <replace/> (XEP-0308), a deletion a
<retract/> (XEP-0424) with a text for clients that do not know it. Ids in a text are the original's.

Whoever has subscribed to the author's node gets an event of it instead (XEP-0060 §7.1.2.1), with a
body if he wants one, and always with one where the post is for him: that must be seen by any client
and belongs into his archive. To devices of others that want events of such nodes (XEP-0163) the
event goes besides: what they keep of it is a cache, and nobody asks whether it came.
"""

from collections import OrderedDict
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple
from xml.etree.ElementTree import Element, SubElement

from xmpprelay.core.atom import title_of
from xmpprelay.core.graph import Graph
from xmpprelay.core.model import CHANGES, Kind, Mode, Post
from xmpprelay.core.routing import PERSONAL, decide
from xmpprelay.core.text import change_id, message_id, short_id, xml_bytes
from xmpprelay.core.wishes import NO_WISHES, Delivery
from xmpprelay.core.work import Part
from xmpprelay.xmpp.addresses import Addresses
from xmpprelay.xmpp.incoming import CORRECT, FALLBACK, REPLY, RETRACT
from xmpprelay.xmpp.multicast import Multicast
from xmpprelay.xmpp.pubsub.entries import Entries, Much, add_items
from xmpprelay.xmpp.pubsub.names import EVENT
from xmpprelay.xmpp.stanzas import (
    DELAY,
    HINTS,
    ORIGIN,
    TO,
    XML,
    escaped,
    format_time,
    serialise,
    tag,
)

_KEPT: Final = 4096
"""Variants kept; some kilobytes each at most."""

_AUTHORS_KEPT: Final = 64
"""Authors of whose followers it is kept how they are written to; 200 bytes a follower."""

MAX_TWICE_BYTES: Final = 4_000
"""A longer text stands in a stanza only once: every server takes 10,000 bytes (RFC 6120 §13.12)."""

MAX_EVENT_BYTES: Final = 9_500
"""Of an event without the address that it goes to, which is far shorter than what is left."""

_GONE: Final = "(this post was deleted)"


class _Form(NamedTuple):
    """Which variant of an entry a person gets."""

    home: bool  # from home@relay; else from the author's address
    ids: bool  # the text shows the id
    type: str  # of the message
    store: bool
    held: bool
    answers: bool  # carries <reply/>: he was sent the post that it answers, from the same address
    replaces: bool  # of an edit: he has the post; else it comes to him as a new one
    event: bool = False  # it is an event of the author's node …
    body: bool = True  # … with a body
    copy: bool = False  # … to a device, besides what goes to the person


@dataclass(slots=True)
class _Followers:
    """In which form, and to which address, an author's plain posts come to people."""

    stamp: tuple[int, int]  # what it depends on
    known: dict[int, tuple[_Form, bytes]] = field(default_factory=dict)


class Rendering:
    """Stanzas of entries for people.

    `sent` gives a post of that number if a person was sent it, `known` while it is in memory.
    `devices`, which is set by whoever knows, gives those of a person's that want events besides,
    and `interested` has everybody who may have some.
    """

    def __init__(
        self,
        graph: Graph,
        addresses: Addresses,
        epoch: str,
        sent: Callable[[int, int], Post | None] = lambda _person, _number: None,
        known: Callable[[int], Post | None] = lambda _number: None,
    ) -> None:
        self.entries = Entries(graph, addresses, epoch, known)
        self.devices: Callable[[int], Sequence[str]] = lambda _person: ()
        self.interested: Container[int] = ()
        self._graph = graph
        self._addresses = addresses
        self._epoch = epoch
        self._sent = sent
        self._made: OrderedDict[
            tuple[int, int, str | None, str | None, _Form], tuple[bytes, bytes]
        ] = OrderedDict()
        self._plainly: OrderedDict[int, _Followers] = OrderedDict()  # by author
        self._plain_forms: dict[_Form, _Form] = {}  # each of them once

    def live(self, part: Part, shows: Callable[[int], bool]) -> Iterable[bytes]:
        """The messages of a part, in order. `shows` says whether a person's presence is seen."""
        if part.seen and _are_plain(part.posts):
            return self._spliced_in(part)
        return [
            self.stanza(post, person, store=not (part.seen or shows(person)), held=False)
            for person in part.people
            for post in part.posts
        ]

    def together(
        self,
        live: Iterable[Part],
        held: Iterable[tuple[int, Post]],
        shows: Callable[[int], bool],
        multicast: Multicast,
    ) -> Iterator[bytes]:
        """The messages of some parts, and what comes late, with many people in each (XEP-0033).

        To each person in the order of `live`, and then of `held`, which is ascending by post.
        """
        for part in live:
            if part.seen and _are_plain(part.posts):  # then it is the same form for each post
                groups = self._groups(part.posts[0], self._known_forms(part), held=False)
                for post in part.posts:
                    yield from self._to_groups(post, groups, multicast)
                continue
            stored = [(person, not (part.seen or shows(person))) for person in part.people]
            for post in part.posts:
                groups = self._groups(post, self._forms(post, stored, held=False), held=False)
                yield from self._to_groups(post, groups, multicast)
        waiting: dict[int, tuple[Post, list[tuple[int, bool]]]] = {}
        for person, post in held:
            waiting.setdefault(post.number, (post, []))[1].append((person, not shows(person)))
        for _, (post, stored) in sorted(waiting.items()):
            groups = self._groups(post, self._forms(post, stored, held=True), held=True)
            yield from self._to_groups(post, groups, multicast)

    def _known_forms(self, part: Part) -> Iterator[tuple[int, _Form, bytes]]:
        """How an author's plain posts come to each of some people: kept, as most posts are."""
        post = part.posts[0]
        known = self._followers(post.author).known
        for person in part.people:
            found = known.get(person)
            if found is None:
                found = known[person] = self._plain_form(post, person)
            yield person, *found

    def _forms(
        self, post: Post, stored: Iterable[tuple[int, bool]], *, held: bool
    ) -> Iterator[tuple[int, _Form, bytes]]:
        """How an entry comes to each of some people, of whom it is said whether it may be kept."""
        for person, store in stored:
            address = escaped(self._graph.person(person).jid)
            yield person, self._form(post, person, store, held), address

    def _groups(
        self, post: Post, forms: Iterable[tuple[int, _Form, bytes]], *, held: bool
    ) -> dict[_Form, list[bytes]]:
        """Who gets an entry in which form; those devices, too, that get an event besides."""
        groups: dict[_Form, list[bytes]] = {}
        for person, form, address in forms:
            groups.setdefault(form, []).append(address)
            if person in self.interested and (devices := self._copied_to(person, form, post)):
                groups.setdefault(_COPY._replace(held=held), []).extend(map(escaped, devices))
        return groups

    def _to_groups(
        self, post: Post, groups: Mapping[_Form, Sequence[bytes]], multicast: Multicast
    ) -> Iterator[bytes]:
        for form, addresses in groups.items():
            yield from multicast.messages(*self._pieces(post, form), addresses)

    def _spliced_in(self, part: Part) -> Iterator[bytes]:
        between: dict[int, list[bytes]] = {}  # by the form: what is between the addresses
        for person, form, address in self._known_forms(part):
            if person in self.interested:
                yield from (self.stanza(p, person, store=False, held=False) for p in part.posts)
                continue
            pieces = between.get(id(form))
            if pieces is None:
                pieces = between[id(form)] = self._between(part.posts, form)
            yield address.join(pieces)

    def _followers(self, author: int) -> _Followers:
        stamp = self._graph.revision, self._graph.followed_at(author)
        kept = self._plainly.get(author)
        if kept is None or kept.stamp != stamp:
            kept = self._plainly[author] = _Followers(stamp)
        self._plainly.move_to_end(author)
        if len(self._plainly) > _AUTHORS_KEPT:
            self._plainly.popitem(last=False)
        return kept

    def _plain_form(self, post: Post, person: int) -> tuple[_Form, bytes]:
        form = self._form(post, person, store=False, held=False)
        return self._plain_forms.setdefault(form, form), escaped(self._graph.person(person).jid)

    def _between(self, posts: Sequence[Post], form: _Form) -> list[bytes]:
        pieces, last = list[bytes](), b""
        for post in posts:
            before, after = self._pieces(post, form)
            pieces.append(last + before)
            last = after
        return [*pieces, last]

    def stanza(self, post: Post, person: int, *, store: bool, held: bool) -> bytes:
        """The message that brings an entry to a person, whole.

        `store`: his server may keep it for him in any case; else it carries <no-store/>, unless it
        is personal or he wants an archive. `held`: it comes later than it was posted, and says when
        that was (XEP-0203).
        """
        form = self._form(post, person, store, held)
        jid = self._graph.person(person).jid
        stanza = self._spliced(post, form, jid)
        if not (devices := self._copied_to(person, form, post)):
            return stanza
        form = _COPY._replace(held=held)
        return b"".join((stanza, *(self._spliced(post, form, device) for device in devices)))

    def _copied_to(self, person: int, form: _Form, post: Post) -> list[str]:
        """The devices to which an event of an entry goes besides what the person gets."""
        if form.event or _is_letter(post):
            return []
        jid = self._graph.person(person).jid
        return [f"{jid}/{device}" for device in self.devices(person)]

    def _spliced(self, post: Post, form: _Form, to: str) -> bytes:
        before, after = self._pieces(post, form)
        return before + escaped(to) + after

    def _pieces(self, post: Post, form: _Form) -> tuple[bytes, bytes]:
        """What comes before and behind the address."""
        shown = post.content
        author = self._handle(post.author)
        boosted = author if shown is post else self._handle(shown.author)
        key = (post.number, shown.edits, author, boosted, form)
        made = self._made.get(key)
        if made is None:
            made = self._made[key] = self._make(post, form)
            if len(self._made) > _KEPT:
                self._made.popitem(last=False)
        return made

    def _handle(self, person: int) -> str | None:
        return self._graph.person(person).handle

    # Which variant

    def _form(self, post: Post, person: int, store: bool, held: bool) -> _Form:
        wishes = self._graph.wishes(person)
        mode = self._mode(post, person)
        home, event = mode is Mode.HOME, mode.is_pubsub
        if wishes is NO_WISHES and _is_plain(post):
            if not event:
                return _Form(home, home, "chat", store, held, False, False)
            body = mode is Mode.PUBSUB_BODY
            return _Form(home, home, _type(store), store, held, False, False, event, body)
        personal = self._is_personal(post, person)
        event = event and not (personal and xml_bytes(post.content.text) > MAX_TWICE_BYTES)
        store = store or personal or wishes.archive
        headline = wishes.delivery is Delivery.HEADLINE and not personal
        return _Form(
            home=home,
            ids=home or wishes.ids,
            type=_type(store) if event and not personal else "headline" if headline else "chat",
            store=store,
            held=held,
            answers=post.parent is not None and self._had_parent(post.parent, person, post),
            replaces=post.kind is Kind.EDIT and self._has_original(post, person),
            event=event,
            body=personal or mode is not Mode.PUBSUB,
        )

    def _mode(self, post: Post, person: int) -> Mode:
        """S1.2; who does not follow is written to from home, in a direct message by its author."""
        if _is_letter(post):
            return Mode.AUTHOR
        follow = self._graph.follow(person, post.author)
        return Mode.HOME if follow is None else follow.mode

    def _is_personal(self, post: Post, person: int) -> bool:
        """Whether it is for him: then it belongs into his archive (S1.4). A change is as its post.

        Only who is named is asked about: for all others it is no.
        """
        changed = _changed(post)
        if person not in changed.addressed:
            return person in post.mentions
        if changed.deleted:
            return True
        return decide(self._graph, changed, person).why in PERSONAL

    def _had_parent(self, number: int, person: int, post: Post) -> bool:
        """S2.7: an answer refers to a post only where that came, from the same address."""
        parent = self._sent(person, number)
        if parent is None:
            return False
        return self._sender(parent, person) == self._sender(post, person)

    def _sender(self, post: Post, person: int) -> str:
        if self._mode(post, person) is Mode.HOME:
            return self._addresses.home
        return self._addresses.author(self._graph.person(post.author))

    def _has_original(self, edit: Post, person: int) -> bool:
        original = edit.original
        return original is not None and decide(self._graph, original, person).yes

    # The bytes

    def _make(self, post: Post, form: _Form) -> tuple[bytes, bytes]:
        """What comes before and behind the address; of an event no more than has room."""
        made = self._write(post, form, Much.ALL)
        for less in (Much.TEXT, Much.NAME) if form.event else ():
            if len(made) <= MAX_EVENT_BYTES:
                break
            made = self._write(post, form, less)
        before, _, after = made.partition(TO.encode())
        return before, after

    def _write(self, post: Post, form: _Form, much: Much) -> bytes:
        name = self._name(post)
        author = self._graph.person(post.author)
        sender = self._addresses.home if form.home else self._addresses.author(author)
        named = {"from": sender, "to": TO, "type": form.type}
        message = Element(
            tag("message"), {**named, "id": f"{name}{_COPIED}" if form.copy else name}
        )
        if post.content.lang is not None:
            message.set(f"{{{XML}}}lang", post.content.lang)
        if form.event:
            self._tell(message, post, much)
        if form.body:
            text = self._text(post, form)
            if form.event and xml_bytes(text) > MAX_TWICE_BYTES:
                text = title_of(text)
            SubElement(message, tag("body")).text = text
            self._refer(message, post, form, sender)
            SubElement(message, tag("origin-id", ORIGIN), id=name)
        if not form.store:
            SubElement(message, tag("no-store", HINTS))
        if form.held:
            stamp = format_time(post.created)
            SubElement(
                message, tag("delay", DELAY), {"from": self._addresses.domain, "stamp": stamp}
            )
        return serialise(message)

    def _tell(self, message: Element, post: Post, much: Much) -> None:
        """The event of the author's node (XEP-0060 §7.1.2.1, §7.2.2.1)."""
        changed = _changed(post)
        items = add_items(message)
        if post.kind is Kind.DELETE:
            SubElement(items, tag("retract", EVENT), id=self.entries.name(changed))
        else:
            edited = post.created if post.kind is Kind.EDIT else None
            items.append(self.entries.item(EVENT, changed, edited, much=much))

    def _name(self, post: Post) -> str:
        if post.kind not in CHANGES or post.original is None:
            return message_id(post.number, self._epoch)
        edit = post.edits if post.kind is Kind.EDIT else None
        return change_id(post.original.number, self._epoch, edit)

    def _text(self, post: Post, form: _Form) -> str:
        text = _GONE if post.kind is Kind.DELETE else post.content.text
        if post.kind is Kind.BOOST:
            boosted = self._handle(post.content.author)
            text = f"{self._handle(post.author)} boosts {boosted}: {text}"
        elif form.home:
            text = f"{self._handle(post.author)}: {text}"
        if form.ids or post.kind is Kind.BOOST:
            text = f"{text}  #{short_id(_changed(post).content.number)}"
        return text

    def _refer(self, message: Element, post: Post, form: _Form, sender: str) -> None:
        """What the entry is to other ones: its thread, the post that it answers or changes."""
        if post.root is not None:
            SubElement(message, tag("thread")).text = message_id(post.root, self._epoch)
        if form.answers and post.parent is not None:
            answered = message_id(post.parent, self._epoch)
            SubElement(message, tag("reply", REPLY), {"to": sender, "id": answered})
        if post.kind not in CHANGES or post.original is None:
            return
        changed = message_id(post.original.number, self._epoch)
        if post.kind is Kind.DELETE:
            SubElement(message, tag("retract", RETRACT), id=changed)
            SubElement(message, tag("fallback", FALLBACK), {"for": RETRACT})
        elif form.replaces:
            SubElement(message, tag("replace", CORRECT), id=changed)


_COPIED: Final = ".n"
"""Ends the id of a copy to a device: none of it is asked about when it comes back."""

_COPY: Final = _Form(
    home=False,
    ids=False,
    type="headline",
    store=False,
    held=False,
    answers=False,
    replaces=False,
    event=True,
    body=False,
    copy=True,
)


def _type(store: bool) -> str:
    """How an event goes: so that a server keeps it for who is away, or so that none does."""
    return "normal" if store else "headline"


def _is_letter(post: Post) -> bool:
    return _changed(post).kind is Kind.DIRECT


def _is_plain(post: Post) -> bool:
    """Whether it is about nobody and nothing else: most posts are, so they are told at once."""
    return post.kind is Kind.POST and post.parent is None and not post.targets and not post.mentions


def _are_plain(posts: Sequence[Post]) -> bool:
    """Whether all are, and of one author."""
    author = posts[0].author
    return all(_is_plain(post) and post.author == author for post in posts)


def _changed(post: Post) -> Post:
    """The post that an entry changes; else itself."""
    return post.original if post.kind in CHANGES and post.original is not None else post
