"""Messages: the door by which people post and type commands; and bounces of what we sent.

A stanza is read once, here. What is no post and no command is dealt with at this door:

- errors are bounces: told to the fan-out by the id of the post, never answered, never posted;
- group chat, headlines, carbons and forwarded messages are nothing to us (a component has none);
- encrypted messages, corrections, retractions and reactions are never posted; their fallback text
  above all;
- a message without a body (typing, markers, receipts) is nothing to say anything about.

A post or command gets one answer, after the commit: a text, or an error with a sentence, and the
XEP-0184 receipt if one was asked for. What a stranger writes that is no command is answered once a
day. What the relay has just said to somebody, and what another relay says, is never a post: two
programs that answer each other would go on for ever (S12.3).
"""

import re
from collections.abc import Callable, Coroutine
from datetime import datetime, timedelta
from typing import Any, Final
from xml.etree.ElementTree import Element, SubElement

from xmpprelay.commands.grammar import Ask, Command, Line, Problem, Text, parse
from xmpprelay.commands.run import Commands
from xmpprelay.core.delivery import Delivery
from xmpprelay.core.graph import Graph
from xmpprelay.core.model import OWN_LANE, Appended, Draft
from xmpprelay.core.text import (
    Noise,
    clean,
    language_tag,
    noise,
    parse_message_id,
    parse_short_id,
    short_id,
)
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
from xmpprelay.xmpp.peers import Peers
from xmpprelay.xmpp.stanzas import (
    ORIGIN,
    RECEIPTS,
    UNREACHABLE,
    XML,
    body_of,
    error_condition,
    parse_jid,
    reply,
    tag,
)
from xmpprelay.xmpp.voice import Voice

_MAX_ID_CHARS: Final = 200
"""Longer ids of a client are not used to recognise a resend; all real ones are far shorter."""

_SAID_FOR: Final = timedelta(minutes=1)
_HOME_LINE: Final = re.compile(r"[a-z0-9_]{2,20}: .*  #([0-9a-z]{1,13})", re.DOTALL)
"""A post as home@relay sends it (S1.2)."""

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
        peers: Peers,
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
        self._peers = peers
        self._epoch = epoch
        self._queue = queue
        self._wake = wake
        self._now = now

    def take(self, stanza: Element) -> None:
        """One message stanza; returns at once."""
        try:
            sender, resource = parse_jid(stanza.get("from", ""))
            to, _ = parse_jid(stanza.get("to", ""))
        except ValueError:
            return
        kind = stanza.get("type", "normal")
        if kind == "error":
            self._bounced(sender, resource, stanza)
        elif kind not in ("groupchat", "headline") and not _has(stanza, _NOT_FOR_US):
            # a type that nobody knows is `normal` (RFC 6121 §5.2.2)
            body = body_of(stanza)
            if body is not None or _has(stanza, _ENCRYPTED):
                self._written(sender, to, stanza, body or "")

    def _written(self, sender: str, to: str, stanza: Element, body: str) -> None:
        if sender.rpartition("@")[2] == self._addresses.domain:
            return  # ourselves, by way of some other server's echo
        if self._voice.is_stranger(sender) and not self._voice.hears(sender):
            return
        if not self._queue(sender, lambda: self._answer(sender, to, stanza, body)):
            error = TryLater("That is more than can be taken at once. Send it again in a minute.")
            self._voice.refuse(stanza, error)

    async def _answer(self, sender: str, to: str, stanza: Element, body: str) -> None:
        command = False
        try:
            target, line = self._read(sender, to, stanza, clean(body))
            command = isinstance(line, Command)
            text = await self._do(sender, target, stanza, line)
        except RelayError as error:
            if command:
                self._voice.refuse(stanza, error)
            else:
                what = "encrypted" if isinstance(error, _Encrypted) else "text"
                self._voice.refuse_text(stanza, error, what)
        except Exception:
            self._voice.refuse(stanza, Unforeseen())  # never silence (promise 2)
            raise
        else:
            before = _receipt(stanza)
            if isinstance(line, Ask):
                self._voice.ask_back(stanza, text, before)
            else:
                self._voice.reply(stanza, text, before)

    def _read(self, sender: str, to: str, stanza: Element, body: str) -> tuple[Address, Line]:
        """To whom something was written, and what it is."""
        target = self._addresses.of(to)
        if target is None:
            raise UnknownHandle(f"Nobody here has the address {to}.")
        _refuse_unreadable(stanza, body)
        if self._is_echo(sender, body):
            raise Refused(
                "This is what I have just sent you, so it was not posted. Write it in other words."
            )
        here = target.person.handle if isinstance(target, Author) else None
        return target, parse(body, self._commands.names(sender), here)

    def _is_echo(self, sender: str, body: str) -> bool:
        """Whether home@relay sent this line to this person in the last minute (S12.3)."""
        if self._voice.has_said(sender, body):
            return True
        person, line = self._graph.by_jid(sender), _HOME_LINE.fullmatch(body.strip())
        number = None if line is None else parse_short_id(line[1])
        if person is None or number is None:
            return False
        written = self._delivery.written_at(person.id, number)
        return written is not None and self._now() - written < _SAID_FOR

    async def _do(self, sender: str, target: Address, stanza: Element, line: Line) -> str:
        """The answer to a message, once it is done."""
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
        await self._refuse_relays(sender)
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

    async def _refuse_relays(self, sender: str) -> None:
        """Raise Refused if somebody who may post is another relay (S12.3)."""
        person = self._graph.by_jid(sender)
        if person is None or person.handle is None:
            return
        lane = self._graph.lane(person.id)
        if lane != OWN_LANE and await self._peers.is_relay(lane):
            raise Refused("This comes from another relay, so it was not posted.")

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

    def _bounced(self, sender: str, resource: str, stanza: Element) -> None:
        """Something of ours came back. Nothing is ever answered (RFC 6120 §8.3.1).

        That a domain cannot be reached is for our own server to say, in the name of the bare JID
        that was written to; a client, which has a resource, cannot say it for all of its domain.
        """
        person = self._graph.by_jid(sender)
        known = parse_message_id(stanza.get("id", ""))
        if person is None or known is None or known[1] != self._epoch:
            return
        lane = self._graph.lane(person.id)
        if lane != OWN_LANE and not resource and error_condition(stanza) in UNREACHABLE:
            self._delivery.lane_failed(lane, self._now())
        else:
            self._delivery.bounced(person.id, known[0], self._now())
        self._wake()


def _receipt(stanza: Element) -> Element | None:
    """The receipt of XEP-0184, from the address that was written to; None: none was asked for."""
    name = stanza.get("id")
    if not name or stanza.find(tag("request", RECEIPTS)) is None:
        return None
    receipt = reply(stanza, "message", stanza.get("type"))
    receipt.attrib.pop("id")
    SubElement(receipt, tag("received", RECEIPTS), id=name)
    return receipt


def _has(stanza: Element, tags: tuple[str, ...]) -> bool:
    return any(child.tag in tags for child in stanza)


def _usable_id(text: str | None) -> str | None:
    return text if text and len(text) <= _MAX_ID_CHARS else None


class _Encrypted(BadRequest):
    """Of this a stranger is told besides that he has no handle: he may well send it again."""


def _refuse_unreadable(stanza: Element, body: str) -> None:
    """What must not be posted, whatever its fallback text says (S12.3)."""
    sort = noise(body)
    if _has(stanza, _ENCRYPTED) or sort in (Noise.OTR, Noise.ENCRYPTED):
        raise _Encrypted("This came encrypted, so it was not posted. Send it unencrypted.")
    if sort is Noise.AUTOMATIC:
        raise Refused("This is an automatic reply, so it was not posted.")
    if _has(stanza, _CHANGES):
        raise NotThere(
            "Correcting, retracting and reactions are not there yet; nothing was changed."
        )
