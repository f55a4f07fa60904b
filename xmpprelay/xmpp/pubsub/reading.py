"""Items are read: pages, single ones, and the names of the newest (XEP-0060 §5.5, §6.5; XEP-0059).

Without a result set the newest items come, as many as are asked for and as a page has room for; if
there are more, a result set says where to go on. With one, pages go on from the item that it names.
The items of a page are in the order in which they were made.

An answer is bounded by its bytes as they are written (`room.py`): what does not fit is left for the
next page.
"""

from collections.abc import Iterator, Sequence
from typing import Final, TypeAlias
from xml.etree.ElementTree import Element, SubElement

from xmpprelay.errors import BadRequest
from xmpprelay.items import MAX_ITEMS, Item, Items, Page, Span
from xmpprelay.xmpp.paging import RSM, NoSuchEntry, add_set, read_page
from xmpprelay.xmpp.profiles import Profiles
from xmpprelay.xmpp.pubsub.entries import Entries
from xmpprelay.xmpp.pubsub.names import PUBSUB, PubsubError, node_of, unsupported
from xmpprelay.xmpp.pubsub.nodes import Comments, Microblog, Node, Nodes, Showing
from xmpprelay.xmpp.pubsub.requests import Request
from xmpprelay.xmpp.pubsub.room import fitting
from xmpprelay.xmpp.stanzas import tag

Posts: TypeAlias = Microblog | Comments
"""Nodes of posts, of which there are pages."""

USUAL_ITEMS: Final = 20
"""Items that come where nobody says how many: as many as by a return (S11.2)."""


class ReadingItems:
    """Answers questions for items."""

    def __init__(self, nodes: Nodes, items: Items, entries: Entries, profiles: Profiles) -> None:
        self._nodes = nodes
        self._items = items
        self._profiles = profiles
        self._entries = entries

    async def items(self, request: Request) -> Element:
        """The answer to `<items/>`. Raises RelayError."""
        name = node_of(request.verb)
        node = await self._nodes.find(request.sender, request.target, name)
        self._nodes.check_may_read(request.sender, node)
        answer = Element(tag("pubsub", PUBSUB))
        listed = SubElement(answer, tag("items", PUBSUB), node=name)
        wanted = request.verb.findall(tag("item", PUBSUB))
        if isinstance(node, Showing):
            await self._add_shown(listed, node, wanted)
            return answer
        if wanted:
            named = await self._named(request.sender, node, wanted)
            listed.extend(fitting(self._written(node, named)))
            return answer
        span = await self._span(request, node)
        page = await self._read(request.sender, node, span)
        found = page.items if span.forward else page.items[::-1]
        written = fitting(self._written(node, found))
        if not span.forward:
            written.reverse()
        listed.extend(written)
        paged = request.payload.find(tag("set", RSM)) is not None
        complete = page.complete and len(written) == len(page.items)
        as_many = request.verb.get("max_items") and len(written) == span.limit
        if paged or not (complete or as_many):
            names = [each.get("id", "") for each in written]
            first, last = (names[0], names[-1]) if names else (None, None)
            add_set(answer, first, last, None, None)
        return answer

    async def newest(self, sender: str, node: Node) -> list[str]:
        """The ids of a node's newest items. Raises RelayError."""
        self._nodes.check_may_read(sender, node)
        if isinstance(node, Showing):
            return [name for name, _ in await self._profiles.node_items(node.author, node.name)]
        page = await self._read(sender, node, Span(USUAL_ITEMS))
        return [self._name(node, item) for item in page.items]

    def _written(self, node: Posts, items: Sequence[Item]) -> Iterator[Element]:
        comment = isinstance(node, Comments)
        for each in items:
            yield self._entries.item(PUBSUB, each.post, each.updated, comment=comment)

    async def _add_shown(self, listed: Element, node: Showing, wanted: Sequence[Element]) -> None:
        names = {each.get("id", "") for each in wanted}
        for name, payload in await self._profiles.node_items(node.author, node.name):
            if not names or name in names:
                SubElement(listed, tag("item", PUBSUB), id=name).append(payload)

    def _name(self, node: Posts, item: Item) -> str:
        return self._entries.name(item.post, comment=isinstance(node, Comments))

    async def _named(self, sender: str, node: Posts, wanted: Sequence[Element]) -> Sequence[Item]:
        names = [each.get("id", "") for each in wanted]
        if not all(names):
            raise PubsubError("bad-request", "item-required", "An item is named by its id.")
        if len(names) > MAX_ITEMS:
            raise PubsubError(
                "not-acceptable", "", f"That is more than {MAX_ITEMS} items: ask for fewer at once."
            )
        if isinstance(node, Comments):
            return await self._items.answers_named(sender, node.answered, names)
        return await self._items.named(sender, node.author, names)

    async def _span(self, request: Request, node: Posts) -> Span:
        """Which items are asked for. Raises RelayError."""
        if request.payload.find(tag("set", RSM)) is None:
            return Span(_max_items(request.verb))
        asked = read_page(request.payload, MAX_ITEMS)
        if asked.index is not None:
            raise unsupported("rsm", "Pages go on from an item here: name it by after or before.")
        if asked.after is not None:
            return Span(asked.limit, after=await self._number(node, asked.after))
        if asked.before:
            return Span(asked.limit, before=await self._number(node, asked.before))
        return Span(asked.limit, oldest=asked.before is None)

    async def _read(self, sender: str, node: Posts, span: Span) -> Page:
        if isinstance(node, Comments):
            return await self._items.answers_to(sender, node.answered, span)
        return await self._items.of_author(sender, node.author, span)

    async def _number(self, node: Posts, name: str) -> int:
        """The number of an item from which a page goes on; it may be deleted by now."""
        number = await self._items.number_of(node.author, name)
        if number is None:
            raise NoSuchEntry("There is no item of that id: begin anew, without after or before.")
        return number


def _max_items(verb: Element) -> int:
    text = verb.get("max_items")
    if text is None:
        return USUAL_ITEMS
    if not (text.isascii() and text.isdigit() and 0 < len(text) < 10):
        raise BadRequest("max_items is a whole number.")
    return int(text)
