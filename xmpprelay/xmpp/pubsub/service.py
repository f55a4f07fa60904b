"""The door of the pubsub service: each question finds who answers it, and gets an answer.

Questions of one person are worked off in order with all else that he sends, so that a post that is
published and one that is typed do not swap.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final
from xml.etree.ElementTree import Element, SubElement

from slixmpp.plugins.xep_0030.stanza.info import DiscoInfo
from slixmpp.plugins.xep_0030.stanza.items import DiscoItems

from xmpprelay.core.nodes import MICROBLOG
from xmpprelay.errors import BadRequest, TooFast, TooLong
from xmpprelay.xmpp.addresses import Address
from xmpprelay.xmpp.answering import Answering
from xmpprelay.xmpp.disco import NOTHING, Questions
from xmpprelay.xmpp.profiles import PROFILE_NODES
from xmpprelay.xmpp.pubsub.following import Following
from xmpprelay.xmpp.pubsub.names import OWNER, PUBSUB, PubsubError, unsupported
from xmpprelay.xmpp.pubsub.nodes import Nodes
from xmpprelay.xmpp.pubsub.owning import Owning
from xmpprelay.xmpp.pubsub.publishing import PublishingItems
from xmpprelay.xmpp.pubsub.reading import ReadingItems
from xmpprelay.xmpp.pubsub.requests import Request
from xmpprelay.xmpp.stanzas import parse_jid, tag

UseCase = Callable[[Request], Awaitable[Element | None]]

_ASKING: Final = frozenset({tag("subscribe", PUBSUB), tag("unsubscribe", PUBSUB)})
"""What asks an author for something (S6.1)."""


class Pubsub:
    """Answers questions of XEP-0060."""

    def __init__(
        self,
        questions: Questions,
        nodes: Nodes,
        reading: ReadingItems,
        publishing: PublishingItems,
        following: Following,
        owning: Owning,
        answering: Answering,
    ) -> None:
        self._nodes = nodes
        self._reading = reading
        self._answering = answering
        self._use_cases: Mapping[tuple[str, str], UseCase] = {
            ("get", tag("items", PUBSUB)): reading.items,
            ("get", tag("subscriptions", PUBSUB)): following.subscriptions,
            ("get", tag("affiliations", PUBSUB)): following.affiliations,
            ("get", tag("options", PUBSUB)): following.options,
            ("get", tag("default", PUBSUB)): following.default,
            ("set", tag("publish", PUBSUB)): publishing.publish,
            ("set", tag("retract", PUBSUB)): publishing.retract,
            ("set", tag("subscribe", PUBSUB)): following.subscribe,
            ("set", tag("unsubscribe", PUBSUB)): following.unsubscribe,
            ("set", tag("options", PUBSUB)): following.set_options,
            ("set", tag("create", PUBSUB)): owning.create,
            ("get", tag("configure", OWNER)): owning.configure,
            ("get", tag("default", OWNER)): owning.default,
            ("get", tag("affiliations", OWNER)): owning.affiliations,
            ("get", tag("subscriptions", OWNER)): owning.subscriptions,
            ("set", tag("configure", OWNER)): owning.set_configuration,
            ("set", tag("affiliations", OWNER)): owning.set_affiliations,
            ("set", tag("subscriptions", OWNER)): owning.set_subscriptions,
            ("set", tag("delete", OWNER)): owning.delete,
            ("set", tag("purge", OWNER)): owning.purge,
        }
        for kind in ("get", "set"):
            questions.answer(kind, tag("pubsub", OWNER), self._asked)
        questions.answer("get", tag("pubsub", PUBSUB), self._asked)
        questions.answer("set", tag("pubsub", PUBSUB), self._asked, asks=self._asks)

    def _verb(self, kind: str, payload: Element) -> Element | None:
        """What in a question says what is asked for; the rest stands beside it."""
        return next((each for each in payload if (kind, each.tag) in self._use_cases), None)

    def _asks(self, payload: Element) -> bool:
        verb = self._verb("set", payload)
        return verb is not None and verb.tag in _ASKING

    def _asked(self, iq: Element, target: Address, payload: Element) -> None:
        kind = iq.get("type", "")
        found = self._verb(kind, payload)
        if found is None:
            if len(payload) == 0:
                raise BadRequest("This asks for nothing: there is nothing in it.")
            name = payload[0].tag.rpartition("}")[2]
            raise unsupported(name[:40], "This relay does not do that with its nodes.")
        use_case = self._use_cases[kind, found.tag]
        sender, _ = parse_jid(iq.get("from", ""))
        request = Request.of(iq, sender, target, found)
        self._answering.put(iq, lambda: self._do(use_case, request), changes=kind == "set")

    async def _do(self, use_case: UseCase, request: Request) -> Element:
        try:
            answer = await use_case(request)
        except TooLong as error:  # XEP-0060 §7.1.3.5 has a word of its own for it
            raise PubsubError("not-acceptable", "payload-too-big", error.sentence) from error
        except TooFast as error:  # slixmpp waits for ever where the condition is policy-violation
            raise PubsubError("resource-constraint", "", error.sentence) from error
        return NOTHING if answer is None else answer

    # Discovery (XEP-0060 §5)

    def nodes_at(self) -> list[tuple[str, str]]:
        """The nodes at an author's address that are listed, as (node, name)."""
        return [(MICROBLOG, "Posts"), *PROFILE_NODES.items()]

    def tell_about(self, iq: Element, target: Address, node: str) -> None:
        """Answer what a node is, later (XEP-0060 §5.3, §5.4)."""
        sender, _ = parse_jid(iq.get("from", ""))
        self._answering.put(iq, lambda: self._about(sender, target, node))

    async def _about(self, sender: str, target: Address, name: str) -> Element:
        node = await self._nodes.find(sender, target, name)
        info = DiscoInfo()
        info["node"] = name
        info.add_identity("pubsub", "leaf")
        info.add_feature(PUBSUB)
        xml: Element = info.xml
        xml.append(self._nodes.meta_data(node))
        return xml

    def list_items(self, iq: Element, target: Address, node: str) -> None:
        """Answer which items a node has, later: the newest of them (XEP-0060 §5.5)."""
        sender, _ = parse_jid(iq.get("from", ""))
        self._answering.put(iq, lambda: self._listed(sender, target, node))

    async def _listed(self, sender: str, target: Address, name: str) -> Element:
        node = await self._nodes.find(sender, target, name)
        found = await self._reading.newest(sender, node)
        items = DiscoItems()
        items["node"] = name
        xml: Element = items.xml
        for item in found:  # not by its class, for which one JID and node is one item
            named = {"jid": target.jid, "name": item}
            SubElement(xml, tag("item", DiscoItems.namespace), named)
        return xml
