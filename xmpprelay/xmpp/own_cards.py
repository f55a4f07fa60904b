"""What authors' own addresses show, taken over: their servers are asked for vCards (XEP-0054).

It is done when somebody joins, when his presence tells of another picture than the last time
(XEP-0153), and when he types `profile own`. The relay asks by its domain, which is on nobody's
contact list: so it is told what anybody is told, and nothing that is for his contacts alone.

Four are asked at a time, one person at most once in ten minutes. What goes wrong, a server that
does not answer or a card that is none, leaves everything as it is.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from hashlib import sha1
from typing import Final
from xml.etree.ElementTree import Element, SubElement

from xmpprelay.core.courtesy import Lately
from xmpprelay.core.graph import Graph
from xmpprelay.core.model import Person
from xmpprelay.errors import RelayError, StreamError
from xmpprelay.log import get_logger
from xmpprelay.profiles import Card, Profiles
from xmpprelay.xmpp.cards import VCARD, photo_hash, picture_in, texts_in
from xmpprelay.xmpp.component import Component
from xmpprelay.xmpp.stanzas import error_condition, tag

log = get_logger("own_cards")

ASKED_EVERY_S: Final = 600.0
"""One person's server is asked for his card at most so often."""

AT_ONCE: Final = 4

WAITING: Final = 1_000
"""People whose cards are to be asked for; above it somebody's next presence is as good."""

_KEPT: Final = 10_000


class OwnCards:
    """Asks for vCards. `monotonic` is the clock that spans are measured with."""

    def __init__(
        self,
        component: Component,
        graph: Graph,
        profiles: Profiles,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._component = component
        self._graph = graph
        self._profiles = profiles
        self._monotonic = monotonic
        self._asked = Lately(ASKED_EVERY_S, _KEPT)
        self._waiting: OrderedDict[int, str | None] = OrderedDict()  # by person: the hash he showed
        self._tasks: set[asyncio.Task[None]] = set()
        self.failures = 0  # what was not foreseen

    def look(self, person: Person, shown: str | None = None) -> bool:
        """Take over what somebody's own address shows, soon; whether that will be done.

        `shown` is the hash of his picture, as far as it is known. It is not done again so soon
        after the last time, nor for somebody without a handle, or blocked by the operator.
        """
        if person.handle is None or self._graph.barred(person.jid):
            return False
        if self._asked.since(person.id, self._monotonic()) < ASKED_EVERY_S:
            return False
        if len(self._waiting) >= WAITING:
            return False
        self._asked.happens(person.id, self._monotonic())
        self._waiting[person.id] = shown
        if len(self._tasks) < AT_ONCE:
            task = asyncio.get_running_loop().create_task(self._work_off())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return True

    def present(self, jid: str, presence: Element) -> None:
        """A presence of somebody has come: look, if it tells of a picture that was not seen yet."""
        person = self._graph.by_jid(jid)
        if person is None or person.handle is None:
            return
        shown = photo_hash(presence)
        if shown is not None and shown != self._profiles.of(person.id).source:
            self.look(person, shown)

    def forget(self, person: int) -> None:
        """Somebody has left."""
        self._waiting.pop(person, None)

    async def close(self) -> None:
        """Ask nobody any more."""
        self._waiting.clear()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _work_off(self) -> None:
        while self._waiting:
            person, shown = self._waiting.popitem(last=False)
            try:
                await self._take_over(self._graph.person(person), shown)
            except (TimeoutError, StreamError, RelayError) as error:
                why = getattr(error, "sentence", "no answer")
                log.info("profile.not_taken_over", person=person, why=why)
            except Exception:  # the top of the loop: the next card may be better
                self.failures += 1
                log.exception("profile.failed", person=person)

    async def _take_over(self, person: Person, shown: str | None) -> None:
        iq = Element(tag("iq"), {"from": self._component.domain, "to": person.jid, "type": "get"})
        SubElement(iq, tag("vCard", VCARD))
        answer = await self._component.ask(iq)
        if answer.get("type") != "result":
            condition = error_condition(answer)
            log.info("profile.not_taken_over", person=person.id, why=condition)
            return
        card = answer.find(tag("vCard", VCARD))
        await self._profiles.take_over(person, _read(Element("") if card is None else card, shown))


def _read(card: Element, shown: str | None) -> Card:
    """What a card shows; a picture in it that cannot be read is none."""
    try:
        picture = picture_in(card)
    except RelayError as error:
        log.info("profile.picture_refused", why=error.sentence)
        picture = None
    source = "" if picture is None else sha1(picture).hexdigest()  # noqa: S324 - XEP-0153
    return Card(texts_in(card), picture, source if shown is None else shown)
