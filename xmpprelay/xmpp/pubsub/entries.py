"""Posts as the payloads of items: Atom entries in which all addresses are the relay's own.

An author is his address here, never the one that he writes from. A boost is an entry of the
booster's node that names the author whom it repeats (XEP-0472 §4.5); a reply says what it answers.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from enum import Enum, auto
from xml.etree.ElementTree import Element, SubElement

from xmpprelay.core.atom import Entry, atom_id, entry_element, item_uri, node_uri
from xmpprelay.core.graph import Graph
from xmpprelay.core.model import Kind, Post
from xmpprelay.core.nodes import MICROBLOG
from xmpprelay.core.text import message_id
from xmpprelay.xmpp.addresses import Addresses
from xmpprelay.xmpp.pubsub.names import COMMENTS, EVENT
from xmpprelay.xmpp.stanzas import tag


class Much(Enum):
    """How much of an item is written, where there is not room for all of it."""

    ALL = auto()
    TEXT = auto()  # without addresses and tags
    NAME = auto()  # no entry: whoever wants it asks for the item (XEP-0060 §4.3)


class Entries:
    """Makes items. `known` gives the post of a number while it is in memory."""

    def __init__(
        self,
        graph: Graph,
        addresses: Addresses,
        epoch: str,
        known: Callable[[int], Post | None],
    ) -> None:
        self._graph = graph
        self._addresses = addresses
        self._epoch = epoch
        self._known = known

    def name(self, post: Post, *, comment: bool = False) -> str:
        """The id of a post as an item of its author's node, or among the comments on another."""
        ours = message_id(post.number, self._epoch)
        return ours if comment or post.item is None else post.item

    def item(
        self,
        namespace: str,
        post: Post,
        updated: datetime | None = None,
        *,
        comment: bool = False,
        much: Much = Much.ALL,
    ) -> Element:
        """The <item/> of a post, with as much of its entry as `much` says."""
        item = Element(tag("item", namespace), id=self.name(post, comment=comment))
        item.set("publisher", self._address(post.author))
        if much is not Much.NAME:
            entry = self._text(post, updated)
            if much is Much.ALL:
                entry = self._with_links(entry, post)
            item.append(entry_element(entry, tags=much is Much.ALL))
        return item

    def _text(self, post: Post, updated: datetime | None) -> Entry:
        shown = post.content
        return Entry(
            id=post.atom_id or atom_id(self._addresses.domain, self._own_name(post)),
            text=shown.text,
            name=self._graph.person(shown.author).handle or "",
            jid=self._address(shown.author),
            published=shown.created,
            updated=updated or (post.created if post.kind is Kind.BOOST else None),
            language=shown.lang,
        )

    def _with_links(self, entry: Entry, post: Post) -> Entry:
        shown = post.content
        there, name = self._address(shown.author), self.name(shown)
        return replace(
            entry,
            link=item_uri(self._address(post.author), MICROBLOG, self.name(post)),
            in_reply_to=self._answered(shown),
            replies=node_uri(there, f"{COMMENTS}{name}"),
            via=item_uri(there, MICROBLOG, name) if post.kind is Kind.BOOST else None,
            enclosures=shown.attachments,
        )

    def _own_name(self, post: Post) -> str:
        return message_id(post.number, self._epoch)

    def _answered(self, post: Post) -> str | None:
        """Where the post is that this one answers; by our own id where its author's is not known.

        Who is asked for an item knows it by both.
        """
        if post.parent is None or not post.targets:
            return None
        parent = self._known(post.parent)
        name = message_id(post.parent, self._epoch) if parent is None else self.name(parent)
        author = post.targets[0] if parent is None else parent.author
        if self._graph.person(author).handle is None:
            return None
        return item_uri(self._address(author), MICROBLOG, name)

    def _address(self, person: int) -> str:
        return self._addresses.author(self._graph.person(person))


def add_items(message: Element, node: str = MICROBLOG) -> Element:
    """The <items/> of an event in a message, to which items are added (XEP-0060 §7.1.2.1)."""
    event = SubElement(message, tag("event", EVENT))
    return SubElement(event, tag("items", EVENT), node=node)
