"""Items are published and retracted (XEP-0060 §7): posts, edits, answers, deletions.

What is published is read once into a draft, as a message is, and goes the way of every post. The
result says that it is on the disk; it names the item. What an author has to know besides, such as
that nobody here has the name with which he began, home@relay tells him.
"""

from collections.abc import Callable, Iterator
from typing import Final
from xml.etree.ElementTree import Element, SubElement

from xmpprelay.core.atom import name_in, parse_item_uri, read_entry
from xmpprelay.core.model import Draft
from xmpprelay.core.nodes import MICROBLOG
from xmpprelay.core.text import clean_line, short_id
from xmpprelay.errors import BadEntry
from xmpprelay.relay import Relay
from xmpprelay.relay.publishing import Name
from xmpprelay.xmpp.addresses import Addresses, Author
from xmpprelay.xmpp.profiles import Profiles
from xmpprelay.xmpp.pubsub.entries import Entries
from xmpprelay.xmpp.pubsub.forms import NodeConfig, read_form
from xmpprelay.xmpp.pubsub.names import COMMENTS, PUBLISH_OPTIONS, PUBSUB, PubsubError, node_of
from xmpprelay.xmpp.pubsub.nodes import Comments, Microblog, Node, Nodes, Showing
from xmpprelay.xmpp.pubsub.requests import Request
from xmpprelay.xmpp.stanzas import size_at_least, tag

_MAX_ID_CHARS: Final = 200
"""Of an item's id; all real ones are far shorter."""


class PublishingItems:
    """Takes items. `mention` says something unasked to a bare JID."""

    def __init__(
        self,
        nodes: Nodes,
        relay: Relay,
        addresses: Addresses,
        entries: Entries,
        profiles: Profiles,
        mention: Callable[[str, str], None],
    ) -> None:
        self._nodes = nodes
        self._relay = relay
        self._addresses = addresses
        self._entries = entries
        self._profiles = profiles
        self._mention = mention

    async def publish(self, request: Request) -> Element:
        """Do what `<publish/>` says; the answer. Raises RelayError; then nothing was stored."""
        node = await self._nodes.find(request.sender, request.target, node_of(request.verb))
        if not isinstance(node, Comments):
            request.check_owner()
        self._check_options(request, node)
        item = _the_item(request.verb)
        name, payload = _id_of(item), _payload_of(item, self._nodes.config(node))
        if isinstance(node, Showing):
            name = await self._profiles.publish(node.author, node.name, name, payload)
            return _published(node, name)
        return _published(node, await self._post(request, node, name, payload))

    async def _post(
        self, request: Request, node: Microblog | Comments, item: str | None, payload: Element
    ) -> str:
        """Make an entry a post; the id of its item."""
        said = read_entry(payload, request.language)
        draft = Draft(
            author=request.sender,
            text=said.text,
            lang=said.language,
            origin=None,
            stanza_id=request.id,
            attachments=said.enclosures,
        )
        accepted = await self._relay.publishing.publish(
            draft,
            item,
            list(self._answered(said.in_reply_to)),
            node.answered if isinstance(node, Comments) else None,
        )
        if accepted.notes:
            self._mention(request.sender, f"#{short_id(accepted.post.number)}: {accepted.notes}")
        post = accepted.post.original or accepted.post
        return self._entries.name(post, comment=isinstance(node, Comments))

    def _check_options(self, request: Request, node: Node) -> None:
        """PubsubError if the node is not as the publisher wants it (XEP-0060 §7.1.5)."""
        options = request.child("publish-options")
        wanted = None if options is None else read_form(options, PUBLISH_OPTIONS)
        other = None if not wanted else self._nodes.config(node).differing(wanted, frozenset())
        if other is not None:
            raise PubsubError(
                "conflict",
                "precondition-not-met",
                f"{other} is otherwise here, so this was not published.",
            )

    def _answered(self, places: tuple[str, ...]) -> Iterator[Name]:
        """Which posts of this relay may be meant by the names of what an entry answers."""
        for each in places:
            parts = parse_item_uri(each)
            if parts is not None:
                service, node, item = parts
                target = self._addresses.of(service)
                of_posts = node == MICROBLOG or node.startswith(COMMENTS)
                if isinstance(target, Author) and of_posts:
                    yield target.person.id, item
            elif (ours := name_in(each)) is not None:
                yield None, ours

    async def retract(self, request: Request) -> None:
        """Do what `<retract/>` says. Raises RelayError; then nothing was stored."""
        node = await self._nodes.find(request.sender, request.target, node_of(request.verb))
        if not isinstance(node, Comments):
            request.check_owner()
        wanted = request.verb.findall(tag("item", PUBSUB))
        name = _id_of(wanted[0]) if len(wanted) == 1 else None
        if name is None:
            raise PubsubError("bad-request", "item-required", "Name the one item to retract.")
        if isinstance(node, Showing):
            await self._profiles.retract(node.author, node.name, name)
            return
        draft = Draft(request.sender, "", None, origin=None, stanza_id=request.id)
        under = node.answered if isinstance(node, Comments) else None
        await self._relay.publishing.retract(draft, name, under)


def _the_item(publish: Element) -> Element:
    items = publish.findall(tag("item", PUBSUB))
    if not items:
        raise PubsubError("bad-request", "item-required", "There is no item in this.")
    if len(items) > 1:
        raise BadEntry("Publish one item at a time; nothing was published.")
    return items[0]


def _id_of(item: Element) -> str | None:
    """The id of an item, as it may be kept; None: it has none."""
    name = item.get("id")
    if not name:
        return None
    if len(name) > _MAX_ID_CHARS or clean_line(name) != name:
        raise PubsubError(
            "not-acceptable",
            "",
            f"The id of an item is one line of at most {_MAX_ID_CHARS} characters.",
        )
    return name


def _payload_of(item: Element, config: NodeConfig) -> Element:
    if len(item) == 0:
        raise PubsubError("bad-request", "payload-required", "There is nothing in this item.")
    if len(item) > 1:
        raise BadEntry("An item has one payload; nothing was published.")
    if size_at_least(item[0]) > config.max_payload_bytes:
        raise PubsubError(
            "not-acceptable",
            "payload-too-big",
            f"An item may have {config.max_payload_bytes // 1024} KiB; nothing was published.",
        )
    return item[0]


def _published(node: Node, name: str) -> Element:
    answer = Element(tag("pubsub", PUBSUB))
    publish = SubElement(answer, tag("publish", PUBSUB), node=node.name)
    SubElement(publish, tag("item", PUBSUB), id=name)
    return answer
