"""What the relay itself says: texts from home@relay, and presence on behalf of authors.

Posts go out by `outbox.py`; everything else that a person did not post is said here.
"""

import uuid

from xmpprelay.core.graph import Graph
from xmpprelay.core.model import Person
from xmpprelay.xmpp.addresses import Addresses
from xmpprelay.xmpp.component import Component
from xmpprelay.xmpp.stanzas import chat, presence

_NAMED: int = 5
"""Authors that a summary names; the rest are counted together, so that it stays one line."""


class Voice:
    """Says things to people. Nothing it says is asked again or kept: it is lost with the stream."""

    def __init__(self, component: Component, addresses: Addresses, graph: Graph) -> None:
        self._component = component
        self._addresses = addresses
        self._graph = graph

    def tell(self, jid: str, text: str) -> None:
        """A chat message from home@relay (S1.5)."""
        self._component.send(chat(self._addresses.home, jid, text, uuid.uuid4().hex))

    def summary(self, person: int, counts: dict[int, int]) -> None:
        """What a return left to `more` (S11.2)."""
        most = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
        names = [(self._graph.person(author).handle or "?", count) for author, count in most]
        line = ", ".join(f"{name} {count}" for name, count in names[:_NAMED])
        if len(names) > _NAMED:
            line += f", others {sum(count for _, count in names[_NAMED:])}"
        total = sum(counts.values())
        text = f"{total} more: {line}. `more`, `more {names[0][0]}` or `skip`"
        self.tell(self._graph.person(person).jid, text)

    def allowance_used(self, person: int) -> None:
        """Why no more comes today to somebody who hides his presence (S11.4)."""
        self.tell(
            self._graph.person(person).jid,
            "That was today's share for somebody whose presence I may not see. Allow "
            f"{self._addresses.home} to see when you are online, and you get everything, "
            "when you are there.",
        )

    def ask_presence(self, person: Person) -> bool:
        """Ask to see somebody's presence (S5.5); False: the stream is down, he was not asked."""
        self._component.send(presence(self._addresses.home, person.jid, "subscribe"))
        return self._component.up

    def follow_accepted(self, follower: str, author: str) -> None:
        """Tell a follower's server that he may see the author, who is there (RFC 6121 §3.1.5)."""
        self._component.send(presence(author, follower, "subscribed"))
        self._component.send(presence(author, follower))

    def follow_ended(self, follower: Person, author: Person) -> None:
        """Tell a follower's server that he follows no more (RFC 6121 §3.2.1)."""
        address = self._addresses.author(author)
        self._component.send(presence(address, follower.jid, "unavailable"))
        self._component.send(presence(address, follower.jid, "unsubscribed"))
