"""What an author does to his node (XEP-0060 §8): settings, who is what to it, who is subscribed.

Each of these is what a command does as well: the access model is `protect`, an outcast is blocked,
a member of a protected author is an approved follower. What there is not here, such as making nodes
or emptying one, is refused with the words of what does it.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Final
from xml.etree.ElementTree import Element, SubElement

from xmpprelay.approval import Approval
from xmpprelay.core.graph import Graph
from xmpprelay.core.model import Person
from xmpprelay.errors import RelayError
from xmpprelay.keeping_out import KeepingOut
from xmpprelay.xmpp.paging import RSM, add_set, part_of, read_page
from xmpprelay.xmpp.pubsub.forms import ACCESS_MODEL, access_wanted, read_form
from xmpprelay.xmpp.pubsub.names import (
    NODE_CONFIG,
    OWNER,
    PubsubError,
    node_of,
    unsupported,
)
from xmpprelay.xmpp.pubsub.nodes import Microblog, Node, Nodes
from xmpprelay.xmpp.pubsub.requests import Request
from xmpprelay.xmpp.pubsub.room import fitting
from xmpprelay.xmpp.stanzas import parse_jid, tag

MAX_LISTED: Final = 500
"""People on one page of a list."""

MAX_CHANGED: Final = 50
"""People who are changed by one request."""

_SETTABLE: Final = frozenset({ACCESS_MODEL})

Change = Callable[[Person, str], Awaitable[object]]
"""Makes somebody, by his bare JID, something to an author."""


class Owning:
    """Does what authors ask for about their own nodes."""

    def __init__(
        self, nodes: Nodes, graph: Graph, approval: Approval, keeping_out: KeepingOut
    ) -> None:
        self._nodes = nodes
        self._graph = graph
        self._approval = approval
        self._keeping_out = keeping_out

    # Settings

    async def configure(self, request: Request) -> Element:
        """The answer to `<configure/>`: how the node is set. Raises RelayError."""
        node = await self._own(request)
        answer = Element(tag("pubsub", OWNER))
        configure = SubElement(answer, tag("configure", OWNER), node=node.name)
        configure.append(self._nodes.config(node).form())
        return answer

    async def default(self, request: Request) -> Element:
        """The answer to `<default/>`: how nodes are set at this address."""
        request.check_owner()
        config = self._nodes.config(Microblog(request.author))
        answer = Element(tag("pubsub", OWNER))
        SubElement(answer, tag("default", OWNER)).append(config.form())
        return answer

    async def set_configuration(self, request: Request) -> None:
        """Set what `<configure/>` says. Raises RelayError; then nothing was changed."""
        node = await self._own(request)
        values = read_form(request.verb, NODE_CONFIG)
        if values is not None:
            await self._set(node, values)

    async def _set(self, node: Node, values: Mapping[str, str]) -> None:
        config = self._nodes.config(node)
        settable = _SETTABLE if isinstance(node, Microblog) else frozenset[str]()
        other = config.differing(values, settable)
        if other is not None:
            raise PubsubError(
                "not-acceptable", "", f"{other} cannot be set so here; nothing was changed."
            )
        protected = access_wanted(values, config)
        if protected != config.protected:
            await self._approval.protect(node.author, protected)

    # Making and ending nodes

    async def create(self, request: Request) -> None:
        """Refuse `<create/>`: what there can be is there already (XEP-0060 §8.1.2)."""
        name = request.verb.get("node", "")
        if not name:
            raise PubsubError(
                "not-acceptable", "nodeid-required", "Say which node: there are none without names."
            )
        request.check_owner()
        try:
            await self._nodes.find(request.sender, request.target, name)
        except PubsubError as error:
            if error.condition != "item-not-found":
                raise
            raise unsupported(
                "create-nodes", "Nodes are not made here: your posts have theirs already."
            ) from None
        raise PubsubError("conflict", "", "This node is there already: publish to it.")

    async def delete(self, request: Request) -> None:
        """Refuse `<delete/>` (XEP-0060 §8.4.3)."""
        await self._own(request)
        raise PubsubError(
            "not-allowed",
            "",
            "This node is there as long as you post here: `leave-relay yes` ends both.",
        )

    async def purge(self, request: Request) -> None:
        """Refuse `<purge/>` (XEP-0060 §8.5.3.2)."""
        await self._own(request)
        raise unsupported("purge-nodes", "Retract items one at a time, or type `del #id`.")

    # Who is what

    async def affiliations(self, request: Request) -> Element:
        """The answer to `<affiliations/>`: who is what to the node. Raises RelayError."""
        author = await self._own_posts(request)
        found = [(author.jid, "owner")]
        if self._graph.protected(author.id):
            found += [(each.jid, "member") for each in self._graph.followers(author.id)]
        found += [(each, "outcast") for each in _jids(self._graph.blocks.of(author.id))]
        return _list_of(request, "affiliation", found)

    async def subscriptions(self, request: Request) -> Element:
        """The answer to `<subscriptions/>`: who is subscribed. Raises RelayError."""
        author = await self._own_posts(request)
        found = [(each.jid, "subscribed") for each in self._graph.followers(author.id)]
        return _list_of(request, "subscription", found)

    async def set_affiliations(self, request: Request) -> None:
        """Make people what `<affiliations/>` says. Raises RelayError."""
        await self._change(
            request,
            "affiliation",
            {"outcast": self._outcast, "none": self._none, "member": self._let},
        )

    async def set_subscriptions(self, request: Request) -> None:
        """Make people's subscriptions what `<subscriptions/>` says. Raises RelayError."""
        await self._change(request, "subscription", {"subscribed": self._let, "none": self._lose})

    async def _change(self, request: Request, what: str, ways: Mapping[str, Change]) -> None:
        author = await self._own_posts(request)
        wanted = _wanted(request.verb, what, ways, author)
        failed: dict[str, str] = {}
        for element, jid in wanted:
            try:
                await ways[element.get(what, "")](author, jid)
            except RelayError as error:
                failed[jid] = error.sentence
        if failed:
            still = [(jid, self._still(author, jid, what)) for jid in failed]
            payload = Element(tag("pubsub", OWNER))
            payload.append(_listed(request, what, still))
            sentence = " ".join(failed.values())
            raise PubsubError("not-acceptable", "", sentence, payload=payload)

    def _still(self, author: Person, jid: str, what: str) -> str:
        """What somebody still is who could not be changed (XEP-0060 §8.8.2.4, §8.9.2.4)."""
        person = self._graph.by_jid(jid)
        follows = person is not None and self._graph.follow(person.id, author.id) is not None
        if what == "subscription":
            return "subscribed" if follows else "none"
        if jid in self._graph.blocks.of(author.id):
            return "outcast"
        return "member" if follows and self._graph.protected(author.id) else "none"

    async def _outcast(self, author: Person, jid: str) -> None:
        await self._keeping_out.block(author.jid, jid)

    async def _none(self, author: Person, jid: str) -> None:
        """No outcast any more; or, of a protected author, no member."""
        _, there = await self._keeping_out.unblock(author.jid, jid)
        if not there:
            await self._lose(author, jid)

    async def _let(self, author: Person, jid: str) -> None:
        person = self._known(jid)
        if self._graph.follow(person.id, author.id) is None:
            await self._approval.approve(author, person)

    async def _lose(self, author: Person, jid: str) -> None:
        await self._approval.lose(author, self._known(jid))

    def _known(self, jid: str) -> Person:
        person = self._graph.by_jid(jid)
        if person is None:
            raise PubsubError("item-not-found", "", f"{jid} has not asked to follow you.")
        return person

    # Whose node it is

    async def _own(self, request: Request) -> Node:
        """The node that a request is about; PubsubError: there is none, or it is another's."""
        node = await self._nodes.find(request.sender, request.target, node_of(request.verb))
        request.check_owner()
        return node

    async def _own_posts(self, request: Request) -> Person:
        node = await self._own(request)
        if not isinstance(node, Microblog):
            raise unsupported("manage-subscriptions", "One cannot subscribe to this node.")
        return node.author


def _wanted(
    verb: Element, what: str, ways: Mapping[str, Change], author: Person
) -> list[tuple[Element, str]]:
    """What is to be changed, with bare JIDs. Raises PubsubError; then nothing is changed."""
    elements = [each for each in verb.findall(tag(what, OWNER)) if each.get(what) is not None]
    if len(elements) > MAX_CHANGED:
        raise PubsubError("not-acceptable", "", f"That is more than {MAX_CHANGED} at once.")
    found: list[tuple[Element, str]] = []
    for element in elements:
        wanted = element.get(what, "")
        if wanted not in ways:
            raise unsupported(
                f"{wanted[:20]}-affiliation" if what == "affiliation" else "manage-subscriptions",
                f"Here people are {', '.join(ways)}, and nothing else.",
            )
        try:
            jid, _ = parse_jid(element.get("jid", ""))
        except ValueError:
            raise PubsubError("bad-request", "invalid-jid", "Give each address as it is.") from None
        if jid == author.jid:
            raise PubsubError("not-acceptable", "", "You are the owner, and stay that.")
        found.append((element, jid))
    if len({jid for _, jid in found}) < len(found):
        raise PubsubError("bad-request", "", "Name each address once; nothing was changed.")
    return found


def _list_of(request: Request, what: str, found: Sequence[tuple[str, str]]) -> Element:
    """A page of a list of people, with what they are."""
    answer = Element(tag("pubsub", OWNER))
    page = read_page(request.payload, MAX_LISTED)
    names = [jid for jid, _ in found]
    part = part_of(names, page)
    backward = page.before is not None
    order = part[::-1] if backward else part
    listed = _listed(request, what, ())
    written = fitting(_of(what, *found[at]) for at in order)
    part = part[len(part) - len(written) :] if backward else part[: len(written)]
    listed.extend(written[::-1] if backward else written)
    answer.append(listed)
    if request.payload.find(tag("set", RSM)) is not None or len(part) < len(found):
        first, last = (names[part[0]], names[part[-1]]) if part else (None, None)
        add_set(answer, first, last, len(found), part[0] if part else None)
    return answer


def _listed(request: Request, what: str, people: Iterable[tuple[str, str]]) -> Element:
    listed = Element(request.verb.tag, node=node_of(request.verb))
    listed.extend(_of(what, jid, state) for jid, state in people)
    return listed


def _of(what: str, jid: str, state: str) -> Element:
    return Element(tag(what, OWNER), {"jid": jid, what: state})


def _jids(targets: Iterable[str]) -> Iterable[str]:
    """The blocked addresses and domains; for all below a domain there is no address."""
    return (each for each in targets if not each.startswith("*"))
