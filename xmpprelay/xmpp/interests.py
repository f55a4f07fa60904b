"""Which devices of people who are known here want events of which nodes (XEP-0163 §4.3.2).

A device says so by features such as `urn:xmpp:microblog:0+notify`, and of its features it shows a
hash in its presence (XEP-0115). What stands behind a hash is asked once, of one device that shows
it, and kept if the hash verifies it. An answer that the hash does not verify counts for the device
that gave it alone, and the next one is asked; so nobody can say for others what they want.

Nothing of this is stored: presence comes anew with each stream, and the answers can be asked for.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Container, Sequence
from functools import partial
from typing import Final
from xml.etree.ElementTree import Element, SubElement

from xmpprelay.core.graph import Graph
from xmpprelay.core.nodes import AVATAR_METADATA, MICROBLOG, NICK
from xmpprelay.xmpp.caps import Claim, claim_in, claim_of
from xmpprelay.xmpp.component import Component
from xmpprelay.xmpp.disco import DISCO_INFO
from xmpprelay.xmpp.stanzas import tag

CARED_FOR: Final = frozenset({MICROBLOG, AVATAR_METADATA, NICK})
"""The nodes of authors of which there are events."""

NOTIFY: Final = "+notify"

ANSWER_WITHIN_S: Final = 10.0
"""How long a device may take to say what it can do: it may be a phone that sleeps."""

ASKED_AT_ONCE: Final = 16

CLAIMS_KEPT: Final = 5_000
"""Hashes whose meaning is kept; there are some hundred versions of clients in use."""

CLAIMS_WAITING: Final = 1_000
"""Hashes that wait to be asked about; another one has to be shown again later."""

DEVICES_KEPT: Final = 32
"""Devices of one person of which anything is kept, as many as of his presence."""

_Device = tuple[int, str]  # person id, resource


class Interests:
    """What people's devices want. `home` is the address that asks them."""

    def __init__(self, component: Component, home: str, graph: Graph) -> None:
        self._component = component
        self._home = home
        self._graph = graph
        self._meaning: OrderedDict[Claim, frozenset[str]] = OrderedDict()  # verified
        self._interested: dict[int, dict[str, frozenset[str]]] = {}
        # Devices that wait for an answer, or whose claim says nothing: it is not asked about again
        self._claims: dict[int, dict[str, Claim]] = {}
        self._waiting: dict[Claim, dict[_Device, str]] = {}  # with the node to ask about
        self._asked: dict[Claim, tuple[_Device, asyncio.Future[Element]]] = {}

    @property
    def people(self) -> Container[int]:
        """Everybody who has devices that want events; it changes as they do."""
        return self._interested

    def devices(self, person: int, node: str) -> Sequence[str]:
        """The resources of a person that want events of a node."""
        interested = self._interested.get(person)
        if interested is None:
            return ()
        return [resource for resource, nodes in interested.items() if node in nodes]

    def present(self, person: int, resource: str, presence: Element) -> None:
        """A device of somebody known here is there; a presence without a hash changes nothing.

        A server may leave it out where it has not changed (XEP-0115 §8.4).
        """
        shown = claim_in(presence)
        if shown is None:
            return
        claim, node = shown
        if self._claims.get(person, {}).get(resource) == claim:
            return
        self.gone(person, resource)
        nodes = self._meaning.get(claim)
        if nodes is not None:
            self._meaning.move_to_end(claim)
            self._wants(person, resource, nodes)
        elif self._has_room(person, claim):
            self._claims.setdefault(person, {})[resource] = claim
            self._waiting.setdefault(claim, {})[person, resource] = node
            self._ask_next()

    def gone(self, person: int, resource: str | None) -> None:
        """A device is gone; None: all of a person's are."""
        claims = self._claims.get(person, {})
        for each in list(claims) if resource is None else [resource]:
            if each in claims:
                self._no_longer_waits(claims.pop(each), (person, each))
        if not claims:
            self._claims.pop(person, None)
        interested = self._interested.get(person, {})
        if resource is not None:
            interested.pop(resource, None)
        if resource is None or not interested:
            self._interested.pop(person, None)

    def lost(self) -> None:
        """The stream has ended: nobody is known to be there."""
        for kept in (self._interested, self._claims, self._waiting, self._asked):
            kept.clear()

    def _has_room(self, person: int, claim: Claim) -> bool:
        devices = len(self._claims.get(person, ())) + len(self._interested.get(person, ()))
        if devices >= DEVICES_KEPT:
            return False
        return claim in self._waiting or len(self._waiting) < CLAIMS_WAITING

    def _wants(self, person: int, resource: str, nodes: frozenset[str]) -> None:
        interested = self._interested.get(person, {})
        if nodes and len(interested) < DEVICES_KEPT:
            self._interested.setdefault(person, {})[resource] = nodes

    def _no_longer_waits(self, claim: Claim, device: _Device) -> None:
        waiting = self._waiting.get(claim)
        if waiting is not None and waiting.pop(device, None) is not None and not waiting:
            del self._waiting[claim]

    # Asking

    def _ask_next(self) -> None:
        """Ask about what waits, one device of a person at a time: nobody keeps all others away."""
        busy = {device[0] for device, _ in self._asked.values()}
        for claim, waiting in self._waiting.items():
            if len(self._asked) >= ASKED_AT_ONCE:
                return
            if claim not in self._asked:
                device = next((each for each in waiting if each[0] not in busy), None)
                if device is not None:
                    busy.add(device[0])
                    self._ask(claim, device, waiting[device])

    def _ask(self, claim: Claim, device: _Device, node: str) -> None:
        person, resource = device
        address = f"{self._graph.person(person).jid}/{resource}"
        iq = Element(tag("iq"), {"from": self._home, "to": address, "type": "get"})
        SubElement(iq, tag("query", DISCO_INFO), node=node)
        future = self._component.ask(iq, ANSWER_WITHIN_S)
        self._asked[claim] = (device, future)
        future.add_done_callback(partial(self._answered, claim, device))

    def _answered(self, claim: Claim, device: _Device, future: "asyncio.Future[Element]") -> None:
        """A device has answered, or will not any more."""
        if self._asked.get(claim) != (device, future):
            return  # of a stream that has ended
        del self._asked[claim]
        answer = _answer_in(future)
        nodes = frozenset[str]() if answer is None else _wanted_in(answer)
        if answer is not None and claim_of(answer, claim.algorithm) == claim:
            self._learn(claim, nodes)
        elif device in self._waiting.get(claim, {}):
            self._no_longer_waits(claim, device)
            self._wants(*device, nodes)
        self._ask_next()

    def _learn(self, claim: Claim, nodes: frozenset[str]) -> None:
        """What a hash means is known now, for all who show it."""
        self._meaning[claim] = nodes
        if len(self._meaning) > CLAIMS_KEPT:
            self._meaning.popitem(last=False)
        for person, resource in self._waiting.pop(claim, {}):
            claims = self._claims[person]
            del claims[resource]
            if not claims:
                del self._claims[person]
            self._wants(person, resource, nodes)


def _answer_in(future: "asyncio.Future[Element]") -> Element | None:
    """The <query/> that a device has sent; None: it has sent none."""
    if future.cancelled() or future.exception() is not None:
        return None
    iq = future.result()
    return iq.find(tag("query", DISCO_INFO)) if iq.get("type") == "result" else None


def _wanted_in(answer: Element) -> frozenset[str]:
    """The nodes whose events a device wants, of those that there are here (XEP-0163 §4.3.2)."""
    features = {each.get("var", "") for each in answer.findall(tag("feature", DISCO_INFO))}
    return frozenset(node for node in CARED_FOR if node + NOTIFY in features)
