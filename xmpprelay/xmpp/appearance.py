"""How authors look in the contact lists of those who follow them, and that they look otherwise now.

An author's presence tells which picture he has (XEP-0153). When it changes, whoever has his address
as a contact and is there gets his presence anew; and devices that want events of his picture or his
nickname get those (XEP-0163, XEP-0084 §3.3, XEP-0172): so does nobody from whom he is hidden.

Somebody with ten thousand followers, who changes his picture time and again, would have all of them
told each time. So they are told at once, and then at most once a minute, of what he looks like by
then.
"""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final
from xml.etree.ElementTree import Element, SubElement

from xmpprelay.core.courtesy import Lately
from xmpprelay.core.delivery import Delivery
from xmpprelay.core.graph import Graph
from xmpprelay.core.model import Mode, Person
from xmpprelay.core.nodes import AVATAR_METADATA, NICK
from xmpprelay.core.profile import Profile
from xmpprelay.log import get_logger
from xmpprelay.profiles import Profiles
from xmpprelay.xmpp.addresses import Addresses, Author
from xmpprelay.xmpp.cards import avatar_metadata, nick, photo_update
from xmpprelay.xmpp.component import Component
from xmpprelay.xmpp.interests import Interests
from xmpprelay.xmpp.profiles import ONLY_ITEM
from xmpprelay.xmpp.pubsub.names import EVENT
from xmpprelay.xmpp.stanzas import tag
from xmpprelay.xmpp.voice import PORTION, Voice

log = get_logger("appearance")

TOLD_EVERY_S: Final = 60.0
"""An author's followers are told at most so often how he looks."""

_KEPT: Final = 10_000


class Appearance:
    """Tells followers how authors look. `monotonic` is the clock that spans are measured with."""

    def __init__(
        self,
        component: Component,
        addresses: Addresses,
        graph: Graph,
        delivery: Delivery,
        voice: Voice,
        interests: Interests,
        profiles: Profiles,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._component = component
        self._addresses = addresses
        self._graph = graph
        self._delivery = delivery
        self._voice = voice
        self._interests = interests
        self._profiles = profiles
        self._monotonic = monotonic
        self._told = Lately(TOLD_EVERY_S, _KEPT)
        self._untold: dict[int, Profile] = {}  # by person: how he looked when they were told last
        self._telling: asyncio.Task[None] | None = None
        self.failures = 0  # what was not foreseen

    def photo(self, address: str) -> Element | None:
        """Which picture an address has, for its presence; None: it is no author's."""
        target = self._addresses.of(address)
        if not isinstance(target, Author):
            return None
        return photo_update(self._profiles.of(target.person.id).picture)

    def changed(self, person: int, before: Profile, now: Profile) -> None:
        """An author looks otherwise: his followers are told, or will be."""
        if (before.name, before.picture) != (now.name, now.picture):
            self._untold.setdefault(person, before)
            self.tick()

    def tick(self) -> None:
        """A minute has passed, or there is something to tell: tell what may be told by now."""
        if self._telling is None and next(self._due(), None) is not None:
            self._telling = asyncio.get_running_loop().create_task(self._tell_all())

    def forget(self, person: int) -> None:
        """Somebody has left: nothing is told of him any more."""
        self._untold.pop(person, None)

    async def close(self) -> None:
        """Tell nothing more."""
        self._untold.clear()
        if self._telling is not None:
            self._telling.cancel()
            await asyncio.wait({self._telling})

    def _due(self) -> Iterator[int]:
        now = self._monotonic()
        return (who for who in self._untold if self._told.since(who, now) >= TOLD_EVERY_S)

    async def _tell_all(self) -> None:
        try:
            while (person := next(self._due(), None)) is not None:
                self._told.happens(person, self._monotonic())
                await self._tell(person, self._untold.pop(person))
        except Exception:  # the top of the telling: the next change may be told
            self.failures += 1
            log.exception("appearance.failed")
        finally:
            self._telling = None

    async def _tell(self, author: int, before: Profile) -> None:
        """What is shown is read when it is sent: followers never see an old picture last."""
        now = self._profiles.of(author)
        nodes = [AVATAR_METADATA] if before.picture != now.picture else []
        nodes += [NICK] if before.name != now.name else []
        followers = [each.id for each in self._graph.followers(author)]
        for number, follower in enumerate(followers):
            if number % PORTION == PORTION - 1:
                await asyncio.sleep(0)
            self._tell_one(self._graph.person(author), self._graph.person(follower), nodes)

    def _tell_one(self, author: Person, follower: Person, nodes: Sequence[str]) -> None:
        """Whether he may be told is asked here, when it is his turn, and not before (S6.2).

        Between that and the sending nothing is waited for.
        """
        follow = self._graph.follow(follower.id, author.id)
        if follow is None or self._graph.hides(follower.jid, author.id):
            return
        if author.handle is None or not self._delivery.devices_of(follower.id):
            return
        if follow.mode is Mode.AUTHOR and AVATAR_METADATA in nodes:  # a contact of his
            address = self._addresses.author(author)
            self._component.send(self._voice.here(address, follower.jid))
        if follow.mode is not Mode.HOME:  # he knows that address
            for node in nodes:
                self._send_event(author, follower, node)

    def _send_event(self, author: Person, follower: Person, node: str) -> None:
        profile, address = self._profiles.of(author.id), self._addresses.author(author)
        for resource in self._interests.devices(follower.id, node):
            to = f"{follower.jid}/{resource}"
            message = Element(tag("message"), {"from": address, "to": to, "type": "headline"})
            event = SubElement(message, tag("event", EVENT))
            items = SubElement(event, tag("items", EVENT), node=node)
            shown = profile.picture if node == AVATAR_METADATA else None
            item = SubElement(items, tag("item", EVENT), id=shown.sha1 if shown else ONLY_ITEM)
            told = avatar_metadata(shown) if node == AVATAR_METADATA else None
            item.append(nick(author.handle or "", profile) if told is None else told)
            self._component.send(message)
