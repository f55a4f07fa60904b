"""Which time it is for people, as their clients tell (XEP-0202): a daily digest needs it (S10.3).

Asked is only who has chosen such a digest and no `tz`, who lets home@relay see his presence, and is
there: when he chooses it, and again when a day has passed, so that it follows him when he travels.
His devices are asked one after the other until one of them tells. Nothing waits for the answer but
the answer to `digest`, and that not for long; whoever does not tell keeps what he told before, and
has UTC if he never did.
"""

import asyncio
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Final
from xml.etree.ElementTree import Element, SubElement

from xmpprelay.choices import CLIENT_ZONE, Choices
from xmpprelay.core.delivery import Delivery
from xmpprelay.core.graph import Graph
from xmpprelay.core.model import Person
from xmpprelay.core.text import offset_in
from xmpprelay.errors import StreamError, TryLater
from xmpprelay.log import get_logger
from xmpprelay.xmpp.component import Component
from xmpprelay.xmpp.stanzas import tag

log = get_logger("clocks")

TIME: Final = "urn:xmpp:time"

AGAIN_AFTER: Final = timedelta(days=1)

ANSWER_WITHIN_S: Final = 5.0
"""How long a device may take to tell."""

PATIENCE_S: Final = 2.0
"""How long the answer to `digest` waits for that."""

DEVICES: Final = 3
"""So many of a person's devices are asked in turn."""

ASKED_AT_ONCE: Final = 64
"""People who are asked at a time; for whom there is no room is asked in another minute."""


class Clocks:
    """The zones that people's clients tell. `home` is the address that asks.

    `patience_s` is how long `learn` waits at most; tests, which have no time, set it.
    """

    def __init__(
        self,
        component: Component,
        home: str,
        graph: Graph,
        delivery: Delivery,
        choices: Choices,
        now: Callable[[], datetime],
    ) -> None:
        self._component = component
        self._home = home
        self._graph = graph
        self._delivery = delivery
        self._choices = choices
        self._now = now
        self.patience_s = PATIENCE_S
        self._asked_at: dict[int, datetime] = {}
        self._asking: dict[int, asyncio.Task[None]] = {}

    async def learn(self, person: Person) -> None:
        """Ask a person's clients, unless he has chosen `tz`; returns soon, told or not."""
        self._ask(person)
        asking = self._asking.get(person.id)
        if asking is not None:
            await asyncio.wait({asking}, timeout=self.patience_s)

    def minute(self, people: Iterable[int]) -> None:
        """A minute has passed: ask those of these people who were not asked for a day."""
        before = self._now() - AGAIN_AFTER
        for person in people:
            asked_at = self._asked_at.get(person)
            if asked_at is None or asked_at <= before:
                self._ask(self._graph.person(person))

    def forget(self, person: int) -> None:
        """Somebody has left: what his client still tells is not kept."""
        self._asked_at.pop(person, None)

    async def close(self) -> None:
        """Ask no more."""
        for task in list(self._asking.values()):
            task.cancel()
            await asyncio.wait({task})

    def _ask(self, person: Person) -> None:
        if self._choices.of(person.id).zone is not None or not self._delivery.sees(person.id):
            return
        if person.id in self._asking or len(self._asking) >= ASKED_AT_ONCE:
            return
        self._asked_at[person.id] = self._now()
        task = self._asking[person.id] = asyncio.create_task(self._learn(person))
        task.add_done_callback(lambda _: self._asking.pop(person.id, None))

    async def _learn(self, person: Person) -> None:
        try:
            for device in self._delivery.devices_of(person.id)[:DEVICES]:
                zone = await self._told_by(f"{person.jid}/{device}")
                if zone is not None:
                    await self._keep(person, zone)
                    return
        except (StreamError, TryLater) as error:
            log.info("zone.not_learnt", why=error.sentence)

    async def _told_by(self, device: str) -> str | None:
        iq = Element(tag("iq"), {"from": self._home, "to": device, "type": "get"})
        SubElement(iq, tag("time", TIME))
        try:
            answer = await self._component.ask(iq, ANSWER_WITHIN_S)
        except TimeoutError:
            return None
        if answer.get("type") != "result":
            return None
        return offset_in(answer.findtext(f"{tag('time', TIME)}/{tag('tzo', TIME)}", ""))

    async def _keep(self, person: Person, zone: str) -> None:
        here = person.id in self._asked_at  # he may have left meanwhile
        if here and zone != self._choices.of(person.id).client_zone:
            await self._choices.set(person.id, CLIENT_ZONE, zone)
