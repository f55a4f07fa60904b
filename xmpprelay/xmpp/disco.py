"""Questions about the relay that are answered at once: XEP-0030, 0092, 0157, 0199.

Every question gets an answer; what nobody here understands, `service-unavailable` (RFC 6120
§8.4). The payloads are built with slixmpp's classes. Nothing here is private, but an author from
whom somebody is cut off does not exist for him (S6.1).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol
from xml.etree.ElementTree import Element

from slixmpp import JID
from slixmpp.plugins.xep_0004.stanza import Form
from slixmpp.plugins.xep_0030.stanza.info import DiscoInfo
from slixmpp.plugins.xep_0030.stanza.items import DiscoItems
from slixmpp.plugins.xep_0092.stanza import Version

from xmpprelay import __version__
from xmpprelay.errors import BadRequest, RelayError
from xmpprelay.xmpp.addresses import Address, Addresses, Author, Home
from xmpprelay.xmpp.component import Component
from xmpprelay.xmpp.incoming import UNDERSTOOD
from xmpprelay.xmpp.paging import RSM
from xmpprelay.xmpp.pubsub.names import FEATURES, PubsubError
from xmpprelay.xmpp.stanzas import (
    PING,
    RECEIPTS,
    VERSION,
    error_reply,
    parse_jid,
    reply,
    serialise,
    tag,
)

DISCO_INFO: Final = "http://jabber.org/protocol/disco#info"
DISCO_ITEMS: Final = "http://jabber.org/protocol/disco#items"
CONTACTS: Final = "http://jabber.org/network/serverinfo"
COMMANDS: Final = "http://jabber.org/protocol/commands"
DATA: Final = "jabber:x:data"
OUTAGES: Final = "urn:xmpp:sos:0"
STATUS_FORM: Final = "urn:xmpprelay:status"
RELAY_FEATURE: Final = "urn:xmpprelay:0"
"""By this one relay knows another (S12.3)."""

_NOT_OF_AUTHORS: Final = frozenset({"jabber:iq:register", "jabber:iq:search"})

Answer = Callable[[Element, Address, Element], Element | None]
"""Takes the question, whom it is to, and its payload; gives the payload of the answer."""


class NoSuchNode(RelayError):
    """The address is there, the node is not (XEP-0030 §7)."""

    condition = "item-not-found"
    type = "cancel"


class NotUnderstood(RelayError):
    """Nobody here answers such a question (RFC 6120 §8.4)."""

    condition = "service-unavailable"
    type = "cancel"


class Nodes(Protocol):
    """Who knows the nodes below our addresses: the ad-hoc commands."""

    def items(self, asker: str, target: Address, node: str) -> Sequence[tuple[str, str]] | None:
        """What is below a node, as (node, name); None: there is no such node."""

    def about(self, asker: str, target: Address, node: str) -> tuple[str, str] | None:
        """The type and the name of a node; None: there is no such node."""


class PubsubNodes(Protocol):
    """Who knows the pubsub nodes at authors' addresses. What he answers comes later."""

    def nodes_at(self) -> Sequence[tuple[str, str]]:
        """The nodes at an author's address that are listed, as (node, name)."""

    def tell_about(self, iq: Element, target: Address, node: str) -> None:
        """Answer a question what a node is; also that there is none."""

    def list_items(self, iq: Element, target: Address, node: str) -> None:
        """Answer a question for the items of a node; also that there is none."""


class Questions:
    """Takes <iq/> stanzas of type get and set, and gives each to whoever answers its payload.

    `hears` says of a bare JID whether it is listened to at the moment.
    """

    def __init__(
        self, component: Component, addresses: Addresses, hears: Callable[[str], bool]
    ) -> None:
        self._component = component
        self._addresses = addresses
        self._hears = hears
        self._answers: dict[tuple[str, str], Answer] = {}
        self._asking: dict[tuple[str, str], Callable[[Element], bool]] = {}

    def answer(
        self,
        kind: str,
        payload: str,
        by: Answer,
        asks: Callable[[Element], bool] = lambda _: False,
    ) -> None:
        """Let `by` answer questions of a kind (get, set) with a payload of that tag.

        An answer of None means that it comes later, by `done` or `refused`. `asks` says of a
        payload whether it asks an author for something: that is answered for somebody who is cut
        off from him as for anybody, and not as if there were no such author (S6.1).
        """
        self._answers[kind, payload] = by
        self._asking[kind, payload] = asks

    def payloads(self) -> set[str]:
        """The namespaces of everything that is answered."""
        return {payload.partition("}")[0][1:] for _, payload in self._answers}

    def take(self, iq: Element) -> None:
        """One question; returns at once."""
        try:
            sender, _ = parse_jid(iq.get("from", ""))
            to, _ = parse_jid(iq.get("to", ""))
        except ValueError:
            return
        if not self._hears(sender):
            return
        try:
            answer = self._find(iq, sender, to)
        except RelayError as error:
            self.refused(iq, error)
        else:
            if answer is not None:
                self.done(iq, answer)

    def _find(self, iq: Element, sender: str, to: str) -> Element | None:
        if len(iq) != 1 or iq.get("type") not in ("get", "set"):
            raise BadRequest("A question has one payload, and is of type get or set.")
        sort = iq.get("type", ""), iq[0].tag
        by = self._answers.get(sort)
        if by is None:
            raise NotUnderstood("This relay does not know that protocol.")
        look = self._addresses.seen_by
        if self._asking[sort](iq[0]):
            look = self._addresses.asked_by
        target = look(sender, to)
        if target is None:
            raise self._addresses.missing(sender, to)
        return by(iq, target, iq[0])

    def done(self, iq: Element, payload: Element) -> None:
        """Answer a question. A payload without a name means that there is nothing to say."""
        answer = reply(iq, "iq", "result")
        if payload.tag:
            answer.append(payload)
        self._component.send(answer)

    def done_with(self, iq: Element, payload: bytes) -> None:
        """Answer a question with a payload as `serialise` writes it."""
        answer = self._component.checked(reply(iq, "iq", "result"))
        self._component.write(b"%b>%b</iq>" % (answer.removesuffix(b" />"), payload))

    def refused(self, iq: Element, error: RelayError) -> None:
        """Answer a question with an error, maybe with what it is about."""
        answer = error_reply(iq, error)
        if isinstance(error, PubsubError) and error.payload is not None:
            answer.insert(0, error.payload)
        self._component.send(answer)


NOTHING: Final = Element("")
"""The payload of an answer that has none."""


class Discovery:
    """Answers about what the relay is."""

    def __init__(
        self,
        questions: Questions,
        addresses: Addresses,
        name: str,
        contacts: Mapping[str, Sequence[str]],
    ) -> None:
        self._questions = questions
        self._addresses = addresses
        self._name = name
        self._contacts = contacts
        self.nodes: Nodes | None = None
        self.pubsub: PubsubNodes | None = None
        self.status: Callable[[], Mapping[str, str]] = dict  # how the primary is (S14)
        self._told: dict[str, tuple[Mapping[str, str], bytes]] = {}
        # By address, our two: the answer to what it is, for that status. Every client asks for it
        # when it has logged in.
        self.status_pages: Sequence[str] = ()  # where programs read how the relay is (XEP-0455)
        self.people: Callable[[Element, Element], None] | None = None  # answers who posts here
        self.shown: Callable[[str], Element | None] = lambda _: None
        # What stands behind a hash that home@relay shows in its presence (XEP-0115).
        questions.answer("get", tag("query", DISCO_INFO), self._info)
        questions.answer("get", tag("query", DISCO_ITEMS), self._items)
        questions.answer("get", tag("query", VERSION), self._version)
        questions.answer("get", tag("ping", PING), lambda *_: NOTHING)

    def _info(self, iq: Element, target: Address, payload: Element) -> Element | None:
        if payload.get("node"):
            return self._info_of_node(iq, target, payload.get("node", ""))
        if isinstance(target, Author):
            return self._plain_info(target)
        status = self.status()
        known = self._told.get(target.jid)
        if known is None or known[0] != status:
            known = self._told[target.jid] = status, serialise(self._full_info(target, status))
        self._questions.done_with(iq, known[1])
        return None

    def _full_info(self, target: Home, status: Mapping[str, str]) -> Element:
        xml = self._plain_info(target)
        if target.jid == self._addresses.domain and any(self._contacts.values()):
            xml.append(_form_of_addresses(CONTACTS, self._contacts))
        if target.jid == self._addresses.domain and self.status_pages:
            xml.append(_form_of_addresses(OUTAGES, {"external-status": self.status_pages}))
        if status:
            xml.append(_status_form(status))
        return xml

    def of_home(self) -> Element:
        """What home@relay is and can do, without what changes with the time."""
        return self._plain_info(Home(self._addresses.home))

    def _plain_info(self, target: Address) -> Element:
        info = DiscoInfo()
        if isinstance(target, Author):
            info.add_identity("account", "registered", name=target.person.handle)
            info.add_identity("pubsub", "pep")
        elif target.jid == self._addresses.domain:
            info.add_identity("gateway", "xmpprelay", name=self._name)
            info.add_identity("pubsub", "service", name=self._name)
        else:
            info.add_identity("client", "bot", name=self._name)
        features = self._questions.payloads() | UNDERSTOOD
        if isinstance(target, Author):
            features = features - _NOT_OF_AUTHORS | FEATURES
        else:
            features |= {RELAY_FEATURE, RECEIPTS}
        if target.jid == self._addresses.domain:
            features |= {RSM}
        elif not isinstance(target, Author):
            features -= {"jabber:iq:search"}
        for namespace in sorted(features):
            info.add_feature(namespace)
        xml: Element = info.xml
        return xml

    def _items(self, iq: Element, target: Address, payload: Element) -> Element | None:
        if payload.get("node"):
            return self._items_of_node(iq, target, payload.get("node", ""))
        if target.jid == self._addresses.domain and self.people is not None:
            self.people(iq, payload)
            return None
        items = DiscoItems()
        if isinstance(target, Author) and self.pubsub is not None:
            for node, name in self.pubsub.nodes_at():
                items.add_item(JID(target.jid), node=node, name=name)
        xml: Element = items.xml
        return xml

    def _info_of_node(self, iq: Element, target: Address, node: str) -> Element | None:
        """What a command is (XEP-0050 §2.2), or a node of somebody's posts (XEP-0060 §5.3)."""
        asker, _ = parse_jid(iq.get("from", ""))
        shown = None if isinstance(target, Author) else self.shown(node)
        if shown is not None:
            return shown
        about = None if self.nodes is None else self.nodes.about(asker, target, node)
        if about is None:
            if self.pubsub is None:
                raise NoSuchNode("There is no such node here.")
            self.pubsub.tell_about(iq, target, node)
            return None
        info = DiscoInfo()
        info["node"] = node
        info.add_identity("automation", about[0], name=about[1])
        for feature in (COMMANDS, DATA):
            info.add_feature(feature)
        xml: Element = info.xml
        return xml

    def _items_of_node(self, iq: Element, target: Address, node: str) -> Element | None:
        """The commands that somebody has here (XEP-0050 §2.1), or the items of a node."""
        asker, _ = parse_jid(iq.get("from", ""))
        found = None if self.nodes is None else self.nodes.items(asker, target, node)
        if found is None:
            if self.pubsub is None:
                raise NoSuchNode("There is no such node here.")
            self.pubsub.list_items(iq, target, node)
            return None
        items = DiscoItems()
        items["node"] = node
        for name, label in found:
            items.add_item(JID(target.jid), node=name, name=label)
        xml: Element = items.xml
        return xml

    def _version(self, iq: Element, target: Address, payload: Element) -> Element:
        del iq, target, payload
        version = Version()
        version["name"] = "xmpprelay"
        version["version"] = __version__
        xml: Element = version.xml
        return xml


def _form_of_addresses(name: str, addresses: Mapping[str, Sequence[str]]) -> Element:
    """Where something is (XEP-0128): the operator (XEP-0157 §2), the status (XEP-0455 §2.1)."""
    form = Form()
    form["type"] = "result"
    form.add_field(var="FORM_TYPE", ftype="hidden", value=name)
    for purpose, uris in addresses.items():
        if uris:
            form.add_field(var=f"{purpose}-addresses", ftype="list-multi", value=list(uris))
    xml: Element = form.xml
    return xml


def _status_form(values: Mapping[str, str]) -> Element:
    """How the primary is (XEP-0128)."""
    form = Form()
    form["type"] = "result"
    form.add_field(var="FORM_TYPE", ftype="hidden", value=STATUS_FORM)
    for name, value in values.items():
        form.add_field(var=name, ftype="text-single", value=value)
    xml: Element = form.xml
    return xml


__all__ = [
    "NOTHING",
    "Discovery",
    "NoSuchNode",
    "NotUnderstood",
    "Questions",
]
