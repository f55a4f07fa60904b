"""The microblogs of authors at their own addresses: asked, and listened to (XEP-0060, XEP-0163).

Two ways lead from there to home@relay, and no server knows both well (docs/decisions.md): a
subscription of the node, and the `+notify` that home@relay shows in its presence to each device of
such an author. Both are kept up; whatever comes twice is known by its id. What is published while
nobody listens is found by a look at the node: with each new stream, and once an hour. One that is
not there yet is looked for more often, since a Prosody tells nobody that it is made.

What counts comes from the author's bare JID, which nobody else can write: his own server.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Final
from xml.etree.ElementTree import Element, SubElement

from xmpprelay.core.graph import Graph
from xmpprelay.core.model import OWN_LANE, Person
from xmpprelay.core.nodes import MICROBLOG
from xmpprelay.core.sourced import OwnChange, OwnItem
from xmpprelay.errors import StreamError
from xmpprelay.log import get_logger
from xmpprelay.sources import Look, Reach, Sources
from xmpprelay.xmpp.caps import Shown
from xmpprelay.xmpp.component import Component
from xmpprelay.xmpp.own_items import ITEMS_READ, changes_in, item_of, others_publish
from xmpprelay.xmpp.pubsub.names import EVENT, PUBSUB
from xmpprelay.xmpp.stanzas import XML, error_condition, presence, tag

log = get_logger("own_nodes")

LOOK_EVERY_S: Final = 3600.0
LOOK_AGAIN_S: Final = 60.0
LOOK_FOR_S: Final = 300.0
"""For a node that is not there yet; a guess at what somebody waits who posts for the first time."""

AT_ONCE: Final = 16
"""Nodes that are looked at at a time …"""

AT_ONCE_ELSEWHERE: Final = 4
"""… and so many of one foreign domain, which may be a dead one."""

DEVICES: Final = 32
"""Devices of one author to which something is shown, as many as of his presence are kept."""

_CLOSED: Final = frozenset({"forbidden", "not-authorized", "not-allowed", "subscription-required"})


class OwnNodes:
    """Reaches the nodes of authors. `now_s` is a monotonic clock.

    `devices_of` gives the devices that are known of a person; `here` makes a presence of home@relay
    for somebody, which shows to whoever is listened to that he is.
    """

    def __init__(
        self,
        component: Component,
        home: str,
        graph: Graph,
        sources: Sources,
        devices_of: Callable[[int], Sequence[str]],
        here: Callable[[str, str], Element],
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._component = component
        self._home = home
        self._graph = graph
        self._sources = sources
        self._devices_of = devices_of
        self._here = here
        self._now_s = now_s
        self._due: dict[int, float] = {}  # when each node is looked at next
        self._ready: dict[int, None] = {}  # whose turn it is, in order
        self._looking: dict[int, asyncio.Task[None]] = {}
        self._at_work = 0  # looks that are not at their end
        self._lanes: Counter[str] = Counter()  # of those that are being looked at
        self._seen: set[int] = set()  # whose nodes were looked at on this stream
        self._shown: dict[int, set[str]] = {}  # devices that know that events are wanted
        self.shown: Shown | None = None  # what home@relay shows of itself; set once that is known
        sources.node = self

    # Looking

    async def look(self, person: Person) -> Look:
        """Subscribe to somebody's node, and see what is there. Never raises."""
        if self._at_work >= AT_ONCE:
            return Look(Reach.SILENT)
        self._at_work += 1
        try:
            subscribed = await self._ask(person, "set", self._about("subscribe"))
            answer = await self._ask(person, "get", _items())
        except (TimeoutError, StreamError):
            return Look(Reach.SILENT)
        finally:
            self._at_work -= 1
        reach = _reach(answer)
        if reach in (None, Reach.MISSING):
            self._seen.add(person.id)
        if reach is Reach.MISSING:
            self._due[person.id] = self._now_s() + LOOK_FOR_S
        if reach is not None:
            return Look(reach)
        log.debug("node.looked_at", subscribed=subscribed.get("type") == "result")
        found = answer.findall(f"{tag('pubsub', PUBSUB)}/{tag('items', PUBSUB)}")
        return Look(None, tuple(self._items(person, answer, found)))

    def _items(self, person: Person, answer: Element, found: list[Element]) -> Iterator[OwnItem]:
        language = answer.get(f"{{{XML}}}lang")
        for items in found:
            if items.get("node") == MICROBLOG:
                for element in items.findall(tag("item", PUBSUB))[-ITEMS_READ:]:
                    item = item_of(element, person.jid, language)
                    if item is not None:
                        yield item

    def _ask(self, person: Person, kind: str, payload: Element) -> "asyncio.Future[Element]":
        iq = Element(tag("iq"), {"from": self._home, "to": person.jid, "type": kind})
        iq.append(payload)
        return self._component.ask(iq)

    def _about(self, verb: str) -> Element:
        payload = Element(tag("pubsub", PUBSUB))
        SubElement(payload, tag(verb, PUBSUB), node=MICROBLOG, jid=self._home)
        return payload

    # When

    def begin(self, person: Person) -> None:
        """Listen to what is published there, from now on."""
        self.again(person.id)
        for resource in self._devices_of(person.id):
            self.present(person.id, resource)

    def end(self, person: Person) -> None:
        """Listen no more."""
        self._due.pop(person.id, None)
        self._seen.discard(person.id)
        self._ready.pop(person.id, None)
        if self._shown.pop(person.id, None) is not None:
            # What was shown is taken back only so.
            self._component.send(presence(self._home, person.jid, "unavailable"))
            self._component.send(self._here(self._home, person.jid))
        if self._component.up:
            self._ask(person, "set", self._about("unsubscribe"))

    def again(self, person: int) -> None:
        """Look there again, soon."""
        self._due[person] = min(self._due.get(person, float("inf")), self._now_s() + LOOK_AGAIN_S)

    def stream_up(self) -> None:
        """There is a new stream: see what was missed."""
        for person in self._sources.people():
            self._ready[person] = None
        self._look_on()

    def stream_lost(self) -> None:
        """The stream has ended: nobody is known to be there."""
        self._ready.clear()
        self._seen.clear()
        self._shown.clear()

    def minute(self) -> None:
        """A minute has passed: look at the nodes whose turn it is."""
        now = self._now_s()
        if self._component.up:
            self._ready |= dict.fromkeys(p for p, due in self._due.items() if due <= now)
            self._look_on()

    async def close(self) -> None:
        """Look no more."""
        self._ready.clear()
        for task in list(self._looking.values()):
            task.cancel()
            await asyncio.wait({task})

    def _look_on(self) -> None:
        for person in list(self._ready):
            if max(len(self._looking), self._at_work) >= AT_ONCE:
                return
            del self._ready[person]
            lane = self._graph.lane(person)
            if not self._sources.listens_to(person) or person in self._looking:
                continue
            if lane != OWN_LANE and self._lanes[lane] >= AT_ONCE_ELSEWHERE:
                self.again(person)
                continue
            self._due[person] = self._now_s() + LOOK_EVERY_S
            self._lanes[lane] += 1
            task = self._looking[person] = asyncio.create_task(self._look(person))
            task.add_done_callback(partial(self._looked, person, lane))

    async def _look(self, person: int) -> None:
        look = await self.look(self._graph.person(person))
        if look.items:
            self._sources.came(person, look.items, live=False)

    def _looked(self, person: int, lane: str, _: "asyncio.Task[None]") -> None:
        del self._looking[person]
        self._lanes[lane] -= 1
        if not self._lanes[lane]:
            del self._lanes[lane]
        self._look_on()

    # Listening

    def take(self, sender: str, stanza: Element) -> None:
        """An event from a bare JID (XEP-0060 §7.1.2.1); of most people it is nothing to us."""
        person = self._graph.by_jid(sender)
        event = stanza.find(tag("event", EVENT))
        if event is None or person is None or not self._sources.listens_to(person.id):
            return
        if others_publish(stanza, sender):
            return
        language = stanza.get(f"{{{XML}}}lang")
        changes: list[OwnChange] = []
        for element in event:
            if element.get("node") != MICROBLOG:
                continue
            if element.tag == tag("items", EVENT):
                changes += changes_in(element, sender, language)
                if any(not len(item) for item in element.findall(tag("item", EVENT))):
                    self.again(person.id)  # without what is in them
            elif element.tag == tag("delete", EVENT):
                self.again(person.id)  # and the subscription with it
        if changes:
            # A server repeats its newest item to whoever subscribes: it may be an old one.
            self._sources.came(person.id, changes, live=person.id in self._seen)

    def granted(self, person: int) -> None:
        """Somebody lets us see his presence, and so, mostly, his node."""
        if self._sources.listens_to(person) and self._component.up:
            self._ready[person] = None
            self._look_on()

    def present(self, person: int, resource: str) -> None:
        """A device of somebody is there: it is shown that events are wanted (XEP-0163 §4.3.2)."""
        shown = self._shown.get(person, ())
        if self._sources.listens_to(person) and resource not in shown and len(shown) < DEVICES:
            self._shown.setdefault(person, set()).add(resource)
            to = f"{self._graph.person(person).jid}/{resource}"
            self._component.send(self._here(self._home, to))

    def gone(self, person: int, resource: str | None) -> None:
        """A device is gone; None: all of them are."""
        if resource is None:
            self._shown.pop(person, None)
        else:
            self._shown.get(person, set()).discard(resource)

    def shows_interest(self, here: Element, to: str) -> None:
        """Show in a presence of home@relay that events are wanted of whom it is for."""
        person = self._graph.by_jid(to.partition("/")[0])
        if person is not None and self.shown is not None and self._sources.listens_to(person.id):
            self.shown.put_into(here)


def _items() -> Element:
    payload = Element(tag("pubsub", PUBSUB))
    SubElement(payload, tag("items", PUBSUB), node=MICROBLOG, max_items=str(ITEMS_READ))
    return payload


def _reach(answer: Element) -> Reach | None:
    """What an answer means that is an error (XEP-0060 §6.5.9); None: it is none."""
    if answer.get("type") == "result":
        return None
    condition = error_condition(answer)
    if condition in _CLOSED:
        return Reach.CLOSED
    return Reach.MISSING if condition == "item-not-found" else Reach.SILENT
