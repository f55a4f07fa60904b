"""Which domains are relays like this one: what they send is never a post (S12.3).

Two relays that follow each other would post each other's posts, and the answers to them. A relay
says what it is when it is asked (XEP-0030), so the domain of somebody who posts is asked once a
day. One that gives no answer is taken for none, and is asked again after an hour.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final
from xml.etree.ElementTree import Element, SubElement

from xmpprelay.errors import StreamError
from xmpprelay.xmpp.component import Component
from xmpprelay.xmpp.disco import DISCO_INFO, RELAY_FEATURE
from xmpprelay.xmpp.stanzas import tag

ANSWER_WITHIN_S: Final = 5.0
"""How long a post waits for what its author's domain says of itself."""

KNOWN_FOR_S: Final = 86_400.0
SILENT_FOR_S: Final = 3_600.0

_DOMAINS_KEPT: Final = 2_000
_ASKED_AT_ONCE: Final = 64
"""Questions that are open at a time; a domain for which there is no room is asked with a later
post."""


class Peers:
    """What other domains say of themselves."""

    def __init__(self, component: Component, now_s: Callable[[], float] = time.monotonic) -> None:
        self._component = component
        self._now_s = now_s
        self._known: OrderedDict[str, tuple[bool, float]] = OrderedDict()  # until when
        self._asked: dict[str, asyncio.Task[bool]] = {}

    async def is_relay(self, domain: str) -> bool:
        """Whether a domain is a relay; False as well where it does not say."""
        known = self._known.get(domain)
        if known is not None and self._now_s() < known[1]:
            return known[0]
        task = self._asked.get(domain)
        if task is None:
            if len(self._asked) >= _ASKED_AT_ONCE:
                return False
            task = self._asked[domain] = asyncio.create_task(self._ask(domain))
            task.add_done_callback(lambda _: self._asked.pop(domain, None))
        return await asyncio.shield(task)

    async def _ask(self, domain: str) -> bool:
        iq = Element(tag("iq"), {"from": self._component.domain, "to": domain, "type": "get"})
        SubElement(iq, tag("query", DISCO_INFO))
        try:
            answer = await self._component.ask(iq, ANSWER_WITHIN_S)
        except TimeoutError:
            self._learn(domain, False, SILENT_FOR_S)
            return False
        except StreamError:
            return False
        path = f"{tag('query', DISCO_INFO)}/{tag('feature', DISCO_INFO)}[@var='{RELAY_FEATURE}']"
        relay = answer.get("type") == "result" and answer.find(path) is not None
        self._learn(domain, relay, KNOWN_FOR_S)
        return relay

    def _learn(self, domain: str, relay: bool, for_s: float) -> None:
        self._known[domain] = relay, self._now_s() + for_s
        self._known.move_to_end(domain)
        if len(self._known) > _DOMAINS_KEPT:
            self._known.popitem(last=False)
