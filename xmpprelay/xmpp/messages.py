"""Messages: the door by which people post and type commands; and bounces of what we sent.

A stanza is read once, here. What is no post and no command is dealt with at this door:

- errors are bounces: told to the fan-out by the id of the post, never answered, never posted;
- group chat, headlines, carbons and forwarded messages are nothing to us (a component has none);
- encrypted messages, corrections, retractions and reactions are never posted; their fallback text
  above all;
- a message without a body (typing, markers, receipts) is nothing to say anything about.

A post or command gets one answer, after the commit: a text, or an error with a sentence, and the
XEP-0184 receipt if one was asked for.
"""

from collections.abc import Callable, Coroutine
from datetime import datetime
from typing import Any, Final
from xml.etree.ElementTree import Element, SubElement

from xmpprelay.commands.grammar import Ask, Command, Problem, Text, parse
from xmpprelay.commands.run import Commands
from xmpprelay.core.delivery import Delivery
from xmpprelay.core.graph import Graph
from xmpprelay.core.model import OWN_LANE, Appended, Draft
from xmpprelay.core.text import Noise, clean, language_tag, noise, parse_message_id, short_id
from xmpprelay.errors import (
    BadCommand,
    BadRequest,
    NotThere,
    Refused,
    RelayError,
    TryLater,
    UnknownHandle,
)
from xmpprelay.relay import Relay
from xmpprelay.xmpp.addresses import Address, Addresses, Author
from xmpprelay.xmpp.component import Component, Unforeseen
from xmpprelay.xmpp.stanzas import (
    ORIGIN,
    RECEIPTS,
    XML,
    body_of,
    error_condition,
    error_reply,
    parse_jid,
    reply,
    tag,
)
from xmpprelay.xmpp.voice import Voice

_MAX_ID_CHARS: Final = 200
"""Longer ids of a client are not used to recognise a resend; all real ones are far shorter."""

_UNREACHABLE: Final = frozenset({"remote-server-not-found", "remote-server-timeout"})

_NOT_FOR_US: Final = (
    tag("received", "urn:xmpp:carbons:2"),
    tag("sent", "urn:xmpp:carbons:2"),
    tag("forwarded", "urn:xmpp:forward:0"),
    tag("result", "urn:xmpp:mam:2"),
)
_ENCRYPTED: Final = (
    tag("encryption", "urn:xmpp:eme:0"),
    tag("encrypted", "eu.siacs.conversations.axolotl"),
    tag("encrypted", "urn:xmpp:omemo:1"),
    tag("encrypted", "urn:xmpp:omemo:2"),
    tag("openpgp", "urn:xmpp:openpgp:0"),
    tag("x", "jabber:x:encrypted"),
)
_CHANGES: Final = (
    tag("replace", "urn:xmpp:message-correct:0"),
    tag("retract", "urn:xmpp:message-retract:1"),
    tag("retract", "urn:xmpp:message-retract:0"),
    tag("apply-to", "urn:xmpp:fasten:0"),
    tag("reactions", "urn:xmpp:reactions:0"),
)


class Messages:
    """Takes message stanzas. `queue` runs a person's affairs one after the other."""

    def __init__(
        self,
        component: Component,
        addresses: Addresses,
        graph: Graph,
        delivery: Delivery,
        relay: Relay,
        commands: Commands,
        voice: Voice,
        *,
        epoch: str,
        queue: Callable[[str, Callable[[], Coroutine[Any, Any, None]]], bool],
        wake: Callable[[], None],
        now: Callable[[], datetime],
    ) -> None:
        self._component = component
        self._addresses = addresses
        self._graph = graph
        self._delivery = delivery
        self._relay = relay
        self._commands = commands
        self._voice = voice
        self._epoch = epoch
        self._queue = queue
        self._wake = wake
        self._now = now

    def take(self, stanza: Element) -> None:
        """One message stanza; returns at once."""
        try:
            sender, _ = parse_jid(stanza.get("from", ""))
            to, _ = parse_jid(stanza.get("to", ""))
        except ValueError:
            return
        kind = stanza.get("type", "normal")
        if kind == "error":
            self._bounced(sender, stanza)
        elif kind not in ("groupchat", "headline") and not _has(stanza, _NOT_FOR_US):
            # a type that nobody knows is `normal` (RFC 6121 §5.2.2)
            body = body_of(stanza)
            if body is not None or _has(stanza, _ENCRYPTED):
                self._written(sender, to, stanza, body or "")

    def _written(self, sender: str, to: str, stanza: Element, body: str) -> None:
        if sender.rpartition("@")[2] == self._addresses.domain:
            return  # ourselves, by way of some other server's echo
        if not self._queue(sender, lambda: self._answer(sender, to, stanza, body)):
            error = TryLater("That is more than can be taken at once. Send it again in a minute.")
            self._component.send(error_reply(stanza, error))

    async def _answer(self, sender: str, to: str, stanza: Element, body: str) -> None:
        try:
            text = await self._do(sender, to, stanza, clean(body))
        except RelayError as error:
            self._component.send(error_reply(stanza, error))
            return
        except Exception:
            self._component.send(error_reply(stanza, Unforeseen()))  # never silence (promise 2)
            raise
        self._receipt(stanza)
        self._voice.tell(sender, text)

    async def _do(self, sender: str, to: str, stanza: Element, body: str) -> str:
        """The answer to a message, once it is done."""
        target = self._addresses.of(to)
        if target is None:
            raise UnknownHandle(f"Nobody here has the address {to}.")
        _refuse_unreadable(stanza, body)
        here = target.person.handle if isinstance(target, Author) else None
        line = parse(body, self._commands.names(sender), here)
        match line:
            case Command():
                return await self._commands.run(sender, line)
            case Problem(sentence, usage):
                raise BadCommand(sentence, usage)
            case Ask(sentence):
                return sentence
            case Text(text):
                return await self._post(sender, target, stanza, text)

    async def _post(self, sender: str, target: Address, stanza: Element, text: str) -> str:
        if isinstance(target, Author):
            raise NotThere(
                f"Writing to {target.jid} alone is not there yet, and this was not posted. "
                f"To post it for all, write to {self._addresses.home}."
            )
        lang = stanza.get(f"{{{XML}}}lang")
        origin = stanza.find(tag("origin-id", ORIGIN))
        draft = Draft(
            author=sender,
            text=text,
            lang=None if lang is None else language_tag(lang),
            origin=None if origin is None else _usable_id(origin.get("id")),
            stanza_id=_usable_id(stanza.get("id")),
        )
        return self._accepted(await self._relay.accept(draft))

    def _accepted(self, appended: Appended) -> str:
        """What an author is told of his post (S1.5)."""
        now, later = self._delivery.audience_now(appended.post.author)
        name = f"ok #{short_id(appended.post.number)}"
        if appended.duplicate:
            return f"{name}: it was posted already"
        total = now + later
        if total >= 5:  # fewer, and the counts would say whether his only follower is online
            return f"{name}: {now} now, {later} later"
        people = {0: "nobody follows you yet", 1: "1 person"}.get(total, f"{total} people")
        return f"{name}: {people}"

    def _receipt(self, stanza: Element) -> None:
        """The receipt of XEP-0184, from the address that was written to."""
        name = stanza.get("id")
        if name and stanza.find(tag("request", RECEIPTS)) is not None:
            receipt = reply(stanza, "message", stanza.get("type"))
            receipt.attrib.pop("id")
            SubElement(receipt, tag("received", RECEIPTS), id=name)
            self._component.send(receipt)

    def _bounced(self, sender: str, stanza: Element) -> None:
        """Something of ours came back. Nothing is ever answered (RFC 6120 §8.3.1)."""
        person = self._graph.by_jid(sender)
        known = parse_message_id(stanza.get("id", ""))
        if person is None or known is None or known[1] != self._epoch:
            return
        lane = self._graph.lane(person.id)
        if lane != OWN_LANE and error_condition(stanza) in _UNREACHABLE:
            self._delivery.lane_failed(lane, self._now())
        else:
            self._delivery.bounced(person.id, known[0], self._now())
        self._wake()


def _has(stanza: Element, tags: tuple[str, ...]) -> bool:
    return any(child.tag in tags for child in stanza)


def _usable_id(text: str | None) -> str | None:
    return text if text and len(text) <= _MAX_ID_CHARS else None


def _refuse_unreadable(stanza: Element, body: str) -> None:
    """What must not be posted, whatever its fallback text says (S12.3)."""
    sort = noise(body)
    if _has(stanza, _ENCRYPTED) or sort in (Noise.OTR, Noise.ENCRYPTED):
        raise BadRequest("This came encrypted, so it was not posted. Send it unencrypted.")
    if sort is Noise.AUTOMATIC:
        raise Refused("This is an automatic reply, so it was not posted.")
    if _has(stanza, _CHANGES):
        raise NotThere(
            "Correcting, retracting and reactions are not there yet; nothing was changed."
        )
