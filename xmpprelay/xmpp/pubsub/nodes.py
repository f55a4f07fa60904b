"""Which nodes there are at an author's address, and for whom (XEP-0060 §4.6, XEP-0277).

- `urn:xmpp:microblog:0`: the author's posts and boosts. He alone publishes there.
- `urn:xmpp:microblog:0:comments/ITEM`: the answers to one of these. Whoever may answer the post
  publishes there; one cannot subscribe to it.
- what he shows of himself, such as his picture: one item each, by himself (`xmpp/profiles.py`).
  Events of these go to devices that want them.

None of them is ever made or deleted: each is there as long as its author, or its post. What
somebody may not see of them is decided for each post; that an author is protected is no secret, so
who is not approved is told that (XEP-0060 §6.5.9.3).
"""

from dataclasses import dataclass
from typing import Final, TypeAlias
from xml.etree.ElementTree import Element

from xmpprelay.core.atom import MAX_ENTRY_BYTES
from xmpprelay.core.graph import Graph
from xmpprelay.core.model import Person, Post
from xmpprelay.core.nodes import MICROBLOG
from xmpprelay.core.routing import may_read
from xmpprelay.items import Items
from xmpprelay.xmpp.addresses import Address, Addresses, Author
from xmpprelay.xmpp.profiles import PROFILE_NODES
from xmpprelay.xmpp.pubsub.forms import Field, NodeConfig, write_form
from xmpprelay.xmpp.pubsub.names import COMMENTS, META_DATA, PubsubError, no_such_node

MAX_SHOWN_BYTES: Final = 96 * 1024
"""Of what somebody shows of himself: a picture of 64 KiB is so much in base64."""

_MAX_NAME_CHARS: Final = 400
"""Of a node: the longest has an item's id in it."""


@dataclass(frozen=True, slots=True)
class Microblog:
    """An author's posts."""

    author: Person

    @property
    def name(self) -> str:
        """The node's id."""
        return MICROBLOG


@dataclass(frozen=True, slots=True)
class Comments:
    """The answers to a post."""

    author: Person  # of the post
    post: Post  # or boost, that is at the node's address
    name: str

    @property
    def answered(self) -> Post:
        """The post that is answered."""
        return self.post.content


@dataclass(frozen=True, slots=True)
class Showing:
    """Something that an author shows of himself."""

    author: Person
    name: str


Node: TypeAlias = Microblog | Comments | Showing


class Nodes:
    """The nodes of authors."""

    def __init__(self, graph: Graph, addresses: Addresses, items: Items) -> None:
        self._graph = graph
        self._addresses = addresses
        self._items = items

    async def find(self, sender: str, target: Address, name: str) -> Node:
        """The node of that id at an address, for a bare JID.

        Raises PubsubError (there is none, or it is about a post that he may not see), TryLater.
        """
        if not isinstance(target, Author) or len(name) > _MAX_NAME_CHARS:
            raise no_such_node()
        if name == MICROBLOG:
            return Microblog(target.person)
        if name in PROFILE_NODES:
            return Showing(target.person, name)
        if name.startswith(COMMENTS):
            item = name.removeprefix(COMMENTS)
            post = (await self._items.find(target.person, [item])).get(item)
            if post is not None and may_read(self._graph, post, sender):
                return Comments(target.person, post, name)
        raise no_such_node()

    def check_may_read(self, sender: str, node: Node) -> None:
        """Pass if a bare JID may read a node at all; PubsubError: its author is protected."""
        if isinstance(node, Microblog) and not self.reads(sender, node.author):
            raise PubsubError(
                "not-authorized",
                "not-subscribed",
                f"@{node.author.handle} lets approved followers read: subscribe first.",
            )

    def reads(self, sender: str, author: Person) -> bool:
        """Whether a bare JID may read what an author posts."""
        if sender == author.jid or not self._graph.protected(author.id):
            return True
        person = self._graph.by_jid(sender)
        return person is not None and self._graph.follow(person.id, author.id) is not None

    def config(self, node: Node) -> NodeConfig:
        """What a node is like."""
        author = node.author
        if isinstance(node, Showing):
            title, what, kind = f"{PROFILE_NODES[node.name]} of @{author.handle}", "", node.name
        elif isinstance(node, Comments):
            title, what, kind = f"Answers to a post of @{author.handle}", "", MICROBLOG
        else:
            title, what, kind = f"@{author.handle}", f"What @{author.handle} posts", MICROBLOG
        protected = not isinstance(node, Showing) and self._graph.protected(author.id)
        most = MAX_SHOWN_BYTES if isinstance(node, Showing) else MAX_ENTRY_BYTES
        return NodeConfig(title, what, kind, protected, most)

    def meta_data(self, node: Node) -> Element:
        """What anybody may know of a node (XEP-0060 §5.4)."""
        config = self.config(node)
        told = [
            field for field in config.fields() if field.name.removeprefix("pubsub#") in _META_DATA
        ]
        owner = Field("pubsub#owner", self._addresses.author(node.author), "jid-multi")
        told.append(owner)
        if isinstance(node, Microblog):
            followers = str(self._graph.follower_count(node.author.id))
            told.append(Field("pubsub#num_subscribers", followers))
        return write_form("result", META_DATA, told)


_META_DATA: Final = frozenset(
    ("title", "description", "type", "access_model", "publish_model", "max_items")
)
"""Of a node's settings, what is no business of its owner's alone (XEP-0060 §16.4.3)."""
