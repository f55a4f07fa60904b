"""Subscriptions: one door more to the one record of who follows whom (S5.1; XEP-0060 §5.6, §6.1-3).

A subscription to an author's posts is a follow, and belongs to a bare JID: events go there, and the
server brings them to each device. Whoever follows by another door is subscribed, too, and one who
subscribes gets events from then on instead of chat messages.

To ask somebody who cuts him off is answered as by an author who has to approve, and waits for ever
(S6.1).
"""

from collections.abc import Mapping
from xml.etree.ElementTree import Element, SubElement

from xmpprelay.approval import Approval
from xmpprelay.core.graph import Graph
from xmpprelay.core.model import Mode, Person
from xmpprelay.core.nodes import MICROBLOG
from xmpprelay.errors import Refused, TooMany
from xmpprelay.people import Outcome, People
from xmpprelay.xmpp.pubsub.forms import body_wanted, options_form, read_form
from xmpprelay.xmpp.pubsub.names import (
    PUBSUB,
    SUBSCRIBE_OPTIONS,
    PubsubError,
    node_of,
    unsupported,
)
from xmpprelay.xmpp.pubsub.nodes import Microblog, Nodes
from xmpprelay.xmpp.pubsub.requests import Request
from xmpprelay.xmpp.stanzas import parse_jid, tag


class Following:
    """Takes subscriptions."""

    def __init__(self, nodes: Nodes, graph: Graph, people: People, approval: Approval) -> None:
        self._nodes = nodes
        self._graph = graph
        self._people = people
        self._approval = approval

    async def subscribe(self, request: Request) -> Element:
        """Do what `<subscribe/>` says, with what may stand beside it; how it is then.

        Raises RelayError.
        """
        author = await self._author(request)
        if _bare(request) != request.sender:
            raise PubsubError(
                "bad-request", "invalid-jid", "One subscribes only oneself: give your own address."
            )
        mode = _mode(_options(request))
        if author.jid == request.sender:
            raise Refused("That is your own node: you publish there.")
        waited = await self._waits(request.sender, author)
        try:
            outcome = await self._people.follow(request.sender, author, mode)
        except TooMany as error:
            raise PubsubError(
                "policy-violation", "too-many-subscriptions", error.sentence
            ) from error
        if outcome is Outcome.ASKED and waited:
            raise PubsubError(
                "not-authorized",
                "pending-subscription",
                f"You have asked already; posts come once @{author.handle} agrees.",
            )
        state = "pending" if outcome is Outcome.ASKED else "subscribed"
        answer = Element(tag("pubsub", PUBSUB))
        answer.append(_subscription(request.sender, state))
        return answer

    async def unsubscribe(self, request: Request) -> None:
        """Do what `<unsubscribe/>` says. Raises RelayError."""
        author = await self._author(request)
        if _bare(request) != request.sender:
            raise PubsubError("forbidden", "", "Only he himself ends somebody's subscription.")
        waited = await self._waits(request.sender, author)
        if not await self._people.unfollow(request.sender, author) and not waited:
            raise _not_subscribed()

    async def subscriptions(self, request: Request) -> Element:
        """The answer to `<subscriptions/>`: what he has at this address, maybe of one node."""
        state = await self._state(request)
        own = None if state is None else _subscription(request.sender, state)
        return await self._listed(request, own)

    async def affiliations(self, request: Request) -> Element:
        """The answer to `<affiliations/>`: what he is at this address, maybe to one node."""
        is_what = await self._affiliation(request)
        named = {"node": MICROBLOG, "affiliation": is_what or ""}
        own = None if is_what is None else Element(tag("affiliation", PUBSUB), named)
        return await self._listed(request, own)

    async def _listed(self, request: Request, own: Element | None) -> Element:
        """A list of what somebody has of posts here, if the list is not about another node."""
        answer = Element(tag("pubsub", PUBSUB))
        listed = SubElement(answer, request.verb.tag)
        node = request.verb.get("node")
        if node is not None:
            await self._nodes.find(request.sender, request.target, node)
            listed.set("node", node)
        if own is not None and node in (None, MICROBLOG):
            listed.append(own)
        return answer

    async def options(self, request: Request) -> Element:
        """The answer to `<options/>`: what he has chosen. Raises RelayError."""
        author = await self._author(request)
        mode = self._mode_of(request, author)
        answer = Element(tag("pubsub", PUBSUB))
        named = {"node": MICROBLOG, "jid": request.sender}
        options = SubElement(answer, tag("options", PUBSUB), named)
        options.append(options_form(body=mode is not Mode.PUBSUB))
        return answer

    async def set_options(self, request: Request) -> None:
        """Choose what `<options/>` says. Raises RelayError."""
        author = await self._author(request)
        mode = self._mode_of(request, author)
        values = read_form(request.verb, SUBSCRIBE_OPTIONS)
        if values is not None:
            body = body_wanted(values, now=mode is not Mode.PUBSUB)
            wanted = Mode.PUBSUB_BODY if body else Mode.PUBSUB
            await self._people.follow(request.sender, author, wanted)

    async def default(self, request: Request) -> Element:
        """The answer to `<default/>`: the options of one who has chosen nothing."""
        answer = Element(tag("pubsub", PUBSUB))
        default = SubElement(answer, tag("default", PUBSUB))
        if (node := request.verb.get("node")) is not None:
            await self._author(request)
            default.set("node", node)
        default.append(options_form(body=False))
        return answer

    # Who he is here

    async def _author(self, request: Request) -> Person:
        """Whose posts it is about. Raises PubsubError: one cannot subscribe to that node."""
        node = await self._nodes.find(request.sender, request.target, node_of(request.verb))
        if not isinstance(node, Microblog):
            raise unsupported("subscribe", "Only to an author's posts can one subscribe here.")
        return node.author

    async def _state(self, request: Request) -> str | None:
        person = self._graph.by_jid(request.sender)
        author = request.author_or_none
        if person is None or author is None:
            return None
        if self._graph.follow(person.id, author.id) is not None:
            return "subscribed"
        return "pending" if await self._waits(request.sender, author) else None

    async def _affiliation(self, request: Request) -> str | None:
        author = request.author_or_none
        if author is None:
            return None
        if request.is_from_owner():
            return "owner"
        protected = self._graph.protected(author.id)
        return "member" if protected and await self._state(request) == "subscribed" else None

    async def _waits(self, jid: str, author: Person) -> bool:
        """Whether he has asked, and waits as far as he can know (S5.2, S6.1)."""
        person = self._graph.by_jid(jid)
        if person is None or self._graph.follow(person.id, author.id) is not None:
            return False
        return author.id in {each.id for each in await self._approval.asked_by(person)}

    def _mode_of(self, request: Request, author: Person) -> Mode:
        """How posts come to who asks; PubsubError: it is not about him, or he is not subscribed."""
        if _bare(request) != request.sender:
            raise PubsubError("forbidden", "", "One sees and sets only one's own options.")
        person = self._graph.by_jid(request.sender)
        follow = None if person is None else self._graph.follow(person.id, author.id)
        if follow is None:
            raise _not_subscribed()
        return follow.mode


def _bare(request: Request) -> str:
    """The bare JID that a request is about; PubsubError: it names none."""
    try:
        return parse_jid(request.verb.get("jid", ""))[0]
    except ValueError:
        raise PubsubError(
            "bad-request", "jid-required", "Say whose subscription it is: give your address."
        ) from None


def _options(request: Request) -> Mapping[str, str]:
    """What is chosen beside a `<subscribe/>` (XEP-0060 §6.3.7)."""
    options = request.child("options")
    values = None if options is None else read_form(options, SUBSCRIBE_OPTIONS)
    return values or {}


def _mode(values: Mapping[str, str]) -> Mode:
    return Mode.PUBSUB_BODY if body_wanted(values, now=False) else Mode.PUBSUB


def _subscription(jid: str, state: str) -> Element:
    named = {"node": MICROBLOG, "jid": jid, "subscription": state}
    return Element(tag("subscription", PUBSUB), named)


def _not_subscribed() -> PubsubError:
    return PubsubError(
        "unexpected-request", "not-subscribed", "You are not subscribed to this node."
    )
