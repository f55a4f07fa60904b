"""One question of XEP-0060, as its parts are handed on."""

from dataclasses import dataclass
from xml.etree.ElementTree import Element

from xmpprelay.core.model import Person
from xmpprelay.xmpp.addresses import Address, Author
from xmpprelay.xmpp.pubsub.names import PubsubError, no_such_node
from xmpprelay.xmpp.stanzas import XML, tag


@dataclass(frozen=True, slots=True)
class Request:
    """What somebody asks for."""

    sender: str  # bare JID of the stanza's `from`: the only identity there is
    target: Address
    payload: Element  # <pubsub/>
    verb: Element  # what in it says what is asked for
    id: str | None  # of the stanza
    language: str | None  # of the stanza

    @classmethod
    def of(cls, iq: Element, sender: str, target: Address, verb: Element) -> "Request":
        """The request in a question."""
        return cls(sender, target, iq[0], verb, iq.get("id"), iq.get(f"{{{XML}}}lang"))

    @property
    def author(self) -> Person:
        """Whose address it is; PubsubError: nobody's, so there are no nodes."""
        if not isinstance(self.target, Author):
            raise no_such_node()
        return self.target.person

    @property
    def author_or_none(self) -> Person | None:
        """Whose address it is; None: the relay's own."""
        return self.target.person if isinstance(self.target, Author) else None

    def is_from_owner(self) -> bool:
        """Whether the author himself asks."""
        return isinstance(self.target, Author) and self.target.person.jid == self.sender

    def check_owner(self) -> None:
        """Pass if the author himself asks; PubsubError: it is somebody else's node."""
        if not self.is_from_owner():
            author = self.author
            raise PubsubError("forbidden", "", f"This node is @{author.handle}'s alone.")

    def child(self, name: str) -> Element | None:
        """The element of that name beside the verb, in its namespace."""
        namespace = self.payload.tag.partition("}")[0][1:]
        return self.payload.find(tag(name, namespace))
