"""What the relay itself says: texts from home@relay, and presence on behalf of authors.

Posts go out by `outbox.py`; everything else that a person did not post is said here, and so within
the limits of `core/courtesy.py`: an answer to somebody known is always given; one to a stranger of
another domain, whose address may be anybody's, only as far as his domain's allowance goes; what
nobody asked for comes at most once in ten seconds.
"""

import asyncio
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Final
from xml.etree.ElementTree import Element, SubElement

from xmpprelay.core.courtesy import Courtesy, Load
from xmpprelay.core.graph import Graph
from xmpprelay.core.model import OWN_LANE, Person
from xmpprelay.core.nodes import MICROBLOG
from xmpprelay.errors import BadCommand, RelayError
from xmpprelay.xmpp.addresses import Addresses
from xmpprelay.xmpp.component import Component
from xmpprelay.xmpp.pubsub.names import EVENT
from xmpprelay.xmpp.stanzas import (
    QUICK_RESPONSE,
    chat,
    error_reply,
    parse_jid,
    presence,
    size_at_least,
    tag,
)

_NAMED: Final = 5
"""Authors that a summary names; the rest are counted together, so that it stays one line."""

MENTIONS_WAITING: Final = 1000
"""Notices that wait for their ten seconds to be over; more are not said."""


PORTION: Final = 100
"""People who are sent presences in one turn of the loop."""


class Voice:
    """Says things to people. Nothing it says is asked again or kept: it is lost with the stream.

    `now_s` is a monotonic clock.
    """

    def __init__(
        self,
        component: Component,
        addresses: Addresses,
        graph: Graph,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._component = component
        self._addresses = addresses
        self._graph = graph
        self._now_s = now_s
        self._courtesy = Courtesy()
        self._waiting = 0  # notices that are yet to be said
        self.summed_up: Callable[[int, Mapping[int, int]], bool] = lambda _person, _counts: False
        # Says otherwise what a return has left, to whoever wants it so; whether it does.
        self.state: Callable[[], tuple[str | None, str | None]] = lambda: (None, None)
        # The <show/> and <status/> of home@relay (S14).
        self.photo: Callable[[str], Element | None] = lambda _: None
        # Which picture an address of ours has, for its presence (XEP-0153).
        self.shows_interest: Callable[[Element, str], None] = lambda _here, _to: None
        # Puts into the presence of home@relay of what it wants events (XEP-0163).

    # Who is spoken to

    def is_stranger(self, jid: str) -> bool:
        """Whether somebody has no handle and follows nobody."""
        person = self._graph.by_jid(jid)
        if person is None:
            return True
        return person.handle is None and not any(self._graph.following(person.id))

    def may_be_forged(self, jid: str) -> bool:
        """Whether it is a stranger's address that our own server does not vouch for."""
        return self._graph.lane_of_jid(jid) != OWN_LANE and self.is_stranger(jid)

    def hears(self, jid: str) -> bool:
        """Whether somebody who wants an answer is listened to now.

        The people of another domain, all together, are only so many times a second: what is behind
        theirs in the stream, an author's post, must not wait long.
        """
        lane = self._graph.lane_of_jid(jid)
        return lane == OWN_LANE or self._courtesy.hears(lane, self._now_s())

    # Answers

    def answer(self, cause: Element, *answers: Element) -> None:
        """Answer a stanza; a stranger of another domain, if his domain's allowance covers it."""
        sender, _ = parse_jid(cause.get("from", ""))
        goes = [self._component.checked(each) for each in answers]
        if self.may_be_forged(sender):
            came = Load(1, size_at_least(cause))
            load = Load(len(goes), sum(map(len, goes)))
            domain = self._graph.lane_of_jid(sender)
            if not self._courtesy.answers(domain, came, load, self._now_s()):
                return
        self._component.write(b"".join(goes))

    def refuse(self, cause: Element, error: RelayError) -> None:
        """Answer a stanza with an error."""
        self.answer(cause, error_reply(cause, error))

    def refuse_text(self, cause: Element, error: RelayError, what: str) -> None:
        """Say that a text was not taken. A stranger is told `what` once a day (S12.3).

        After that, one of our own server's people gets the bare condition, so that nothing is lost
        without a word; and one from elsewhere, whose address may be forged, nothing.
        """
        sender, _ = parse_jid(cause.get("from", ""))
        known = not self.is_stranger(sender)
        if known or self._courtesy.tells_today(sender, what, self._now_s()):
            self.refuse(cause, error)
        elif not self.may_be_forged(sender):
            self.answer(cause, error_reply(cause, error, bare=True))

    def reply(self, cause: Element, text: str, receipt: Element | None = None) -> None:
        """Answer a command or a post with a text from home@relay, behind its receipt (S1.5)."""
        sender, _ = parse_jid(cause.get("from", ""))
        self._courtesy.says(sender, text, self._now_s())
        answer = chat(self._addresses.home, sender, text, uuid.uuid4().hex)
        self.answer(cause, *([] if receipt is None else [receipt]), answer)

    def ask_back(self, cause: Element, text: str, receipt: Element | None) -> None:
        """Answer with a question that nobody asked for; too soon after the last, as an error.

        An error is never answered, so two programs do not go on about it for ever.
        """
        sender, _ = parse_jid(cause.get("from", ""))
        if self._courtesy.says_unasked(sender, self._now_s()):
            self.refuse(cause, BadCommand(text))
        else:
            self.reply(cause, text, receipt)

    def has_said(self, jid: str, text: str) -> bool:
        """Whether a line is one that home@relay has just said to somebody (S12.3)."""
        return self._courtesy.has_said(jid, text, self._now_s())

    def tell(self, jid: str, text: str, buttons: Sequence[tuple[str, str]] = ()) -> None:
        """A chat message from home@relay (S1.5), without any limit; `buttons` as in `mention`."""
        self._courtesy.says(jid, text, self._now_s())
        message = chat(self._addresses.home, jid, text, uuid.uuid4().hex)
        for value, label in buttons:
            SubElement(message, tag("response", QUICK_RESPONSE), value=value, label=label)
        self._component.send(message)

    # What nobody asked for

    def mention(self, jid: str, text: str, buttons: Sequence[tuple[str, str]] = ()) -> None:
        """Say something that nobody asked for, as soon as the ten seconds since the last are over.

        It can be answered by a button (XEP-0439): (what it sends, what stands on it). A stranger is
        told nothing, and neither is an account of the relay's own.
        """
        if self.is_stranger(jid) or jid.rpartition("@")[2] == self._addresses.domain:
            return
        wait_s = self._courtesy.says_unasked(jid, self._now_s())
        if not wait_s:
            self.tell(jid, text, buttons)
        elif self._waiting < MENTIONS_WAITING:
            self._waiting += 1
            loop = asyncio.get_running_loop()
            loop.call_later(wait_s, self._mention_again, jid, text, buttons)

    def _mention_again(self, jid: str, text: str, buttons: Sequence[tuple[str, str]]) -> None:
        self._waiting -= 1
        self.mention(jid, text, buttons)

    def summary(self, person: int, counts: dict[int, int]) -> None:
        """What a return left to `more` (S11.2)."""
        if self.summed_up(person, counts):
            return
        most = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
        names = [(self._graph.person(author).handle or "?", count) for author, count in most]
        line = ", ".join(f"{name} {count}" for name, count in names[:_NAMED])
        if len(names) > _NAMED:
            line += f", others {sum(count for _, count in names[_NAMED:])}"
        total = sum(counts.values())
        text = f"{total} more: {line}. `more`, `more {names[0][0]}` or `skip`"
        self.mention(self._graph.person(person).jid, text)

    def allowance_used(self, person: int) -> None:
        """Why no more comes today to somebody who hides his presence (S11.4)."""
        self.mention(
            self._graph.person(person).jid,
            "That was today's share for somebody whose presence I may not see. Allow "
            f"{self._addresses.home} to see when you are online, and you get everything, "
            "when you are there.",
        )

    def ask_presence(self, person: Person) -> bool:
        """Ask to see somebody's presence (S5.5); False: the stream is down, he was not asked."""
        self._component.send(presence(self._addresses.home, person.jid, "subscribe"))
        return self._component.up

    def subscribed(self, cause: Element, follower: str, address: str) -> None:
        """Tell a follower's server that he may see an address, which is there (RFC 6121 §3.1.5)."""
        self.answer(cause, presence(address, follower, "subscribed"), self.here(address, follower))

    def here(self, address: str, follower: str) -> Element:
        """The presence of an address of ours; that of home@relay tells of the primary (S14)."""
        show, status = self.state() if address == self._addresses.home else (None, None)
        here = presence(address, follower)
        for name, text in (("show", show), ("status", status)):
            if text is not None:
                SubElement(here, tag(name)).text = text
        photo = self.photo(address)
        if photo is not None:
            here.append(photo)
        if address == self._addresses.home:
            self.shows_interest(here, follower)
        return here

    async def shows(self, people: Sequence[str]) -> None:
        """Let people see the presence of home@relay as it is now; a portion at a time."""
        for number, jid in enumerate(people):
            if number % PORTION == 0:
                await asyncio.sleep(0)
            self._component.send(self.here(self._addresses.home, jid))

    def not_subscribed(self, cause: Element, follower: str, address: str) -> None:
        """Tell a server that its roster is out of date (RFC 6121 §4.3.2)."""
        self.answer(cause, presence(address, follower, "unsubscribed"))

    def admitted(self, follower: Person, author: Person) -> None:
        """Tell a follower's server that the author has let him follow (S5.2)."""
        address = self._addresses.author(author)
        self._component.send(presence(address, follower.jid, "subscribed"))
        self._component.send(self.here(address, follower.jid))

    def follow_ended(self, follower: Person, author: Person) -> None:
        """Tell a follower's server that he follows no more (RFC 6121 §3.2.1)."""
        address = self._addresses.author(author)
        self._component.send(presence(address, follower.jid, "unavailable"))
        self._component.send(presence(address, follower.jid, "unsubscribed"))

    def subscription(self, follower: Person, author: Person, state: str) -> None:
        """Tell somebody who gets events what his subscription is now (XEP-0060 §12.12)."""
        named = {"from": self._addresses.author(author), "to": follower.jid, "type": "headline"}
        message = Element(tag("message"), named)
        told = {"node": MICROBLOG, "jid": follower.jid, "subscription": state}
        SubElement(SubElement(message, tag("event", EVENT)), tag("subscription", EVENT), told)
        self._component.send(message)
