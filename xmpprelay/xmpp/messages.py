"""Messages: the door by which people post and type commands; and bounces of what we sent.

A stanza is read once, here. What is no post and no command is dealt with at this door:

- errors are bounces: told to the fan-out by the id of the post, never answered, never posted;
- events of nodes are for `own_nodes.py`, where they come from a bare JID, and nothing else is;
- group chat, headlines, carbons and forwarded messages are nothing to us (a component has none);
- encrypted messages are never posted, their fallback text above all;
- corrections, retractions and reactions are for `changes.py`;
- any other message without a body (typing, markers, receipts) is nothing to say anything about.

A post or command gets one answer, after the commit: a text, or an error with a sentence, and the
XEP-0184 receipt if one was asked for. What a stranger writes that is no command is answered once a
day. What the relay has just said to somebody, and what another relay says, is never a post: two
programs that answer each other would go on for ever (S12.3).
"""

import re
from collections.abc import Callable, Coroutine
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final
from xml.etree.ElementTree import Element, SubElement

from xmpprelay.account import Account
from xmpprelay.commands.grammar import Ask, Command, Line, Problem, Text
from xmpprelay.commands.run import Commands
from xmpprelay.core.delivery import Delivery
from xmpprelay.core.graph import Graph
from xmpprelay.core.model import OWN_LANE, Draft
from xmpprelay.core.text import (
    Noise,
    clean,
    noise,
    parse_change_id,
    parse_message_id,
    parse_short_id,
)
from xmpprelay.errors import (
    BadCommand,
    BadRequest,
    NotRegistered,
    Refused,
    RelayError,
    TryLater,
)
from xmpprelay.keeping_out import KeepingOut
from xmpprelay.relay import Relay
from xmpprelay.xmpp.addresses import Address, Addresses, Author
from xmpprelay.xmpp.changes import Changes
from xmpprelay.xmpp.component import Component, Unforeseen
from xmpprelay.xmpp.incoming import SAYING, about, draft_of, says_something, text_of
from xmpprelay.xmpp.peers import Peers
from xmpprelay.xmpp.pubsub.names import EVENT
from xmpprelay.xmpp.stanzas import (
    RECEIPTS,
    UNREACHABLE,
    error_condition,
    parse_jid,
    reply,
    tag,
)
from xmpprelay.xmpp.voice import Voice

_SAID_FOR: Final = timedelta(minutes=1)
_HOME_LINE: Final = re.compile(r"[a-z0-9_]{2,20}: .*  #([0-9a-z]{1,13})", re.DOTALL)
"""A post as home@relay sends it (S1.2)."""

_NO_ACCOUNT: Final = frozenset({"item-not-found", "gone"})
"""Of the conditions that come back these say it for certain; the usual one says nothing."""

_NOT_FOR_US: Final = frozenset(
    {
        tag("received", "urn:xmpp:carbons:2"),
        tag("sent", "urn:xmpp:carbons:2"),
        tag("forwarded", "urn:xmpp:forward:0"),
        tag("result", "urn:xmpp:mam:2"),
    }
)
_EVENT: Final = tag("event", EVENT)
_ENCRYPTED: Final = frozenset(
    {
        tag("encryption", "urn:xmpp:eme:0"),
        tag("encrypted", "eu.siacs.conversations.axolotl"),
        tag("encrypted", "urn:xmpp:omemo:1"),
        tag("encrypted", "urn:xmpp:omemo:2"),
        tag("openpgp", "urn:xmpp:openpgp:0"),
        tag("x", "jabber:x:encrypted"),
    }
)
_SAYS: Final = SAYING | _ENCRYPTED
"""Without any of these there is nothing to be done for a message: it need not be read."""


class Messages:
    """Takes message stanzas. `queue` runs a person's affairs one after the other.

    `take_event`, which is set by whoever builds the relay, takes events from bare JIDs.
    """

    def __init__(
        self,
        component: Component,
        addresses: Addresses,
        graph: Graph,
        delivery: Delivery,
        relay: Relay,
        commands: Commands,
        account: Account,
        keeping_out: KeepingOut,
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
        self._account = account
        self._changes = Changes(graph, relay, commands)
        self._keeping_out = keeping_out
        self._voice = voice
        self._peers = peers
        self._epoch = epoch
        self.take_event: Callable[[str, Element], None] = lambda _sender, _stanza: None
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
            return
        tags = {child.tag for child in stanza}
        if _EVENT in tags:  # whatever body is beside it, nobody has typed it
            if not resource and to == self._addresses.home:
                self.take_event(sender, stanza)
        elif kind in ("groupchat", "headline") or not tags.isdisjoint(_NOT_FOR_US):
            return
        elif not tags.isdisjoint(_SAYS) and (
            says_something(stanza) or not tags.isdisjoint(_ENCRYPTED)
        ):
            # a type that nobody knows is `normal` (RFC 6121 §5.2.2)
            self._written(sender, to, stanza, text_of(stanza) or "")

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
            body = clean(body)
            target, line = self._read(sender, to, stanza, body)
            command = isinstance(line, Command)
            text = await self._do(sender, target, stanza, body, line)
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
            elif text:
                self._voice.reply(stanza, text, before)
            elif before is not None:  # after `quiet on` the receipt is all that is said (S1.5)
                self._voice.answer(stanza, before)

    def _read(self, sender: str, to: str, stanza: Element, body: str) -> tuple[Address, Line]:
        """To whom something was written, and what it is."""
        self._keeping_out.admit(sender)
        target = self._addresses.of(to)
        if target is None:
            raise self._addresses.missing(sender, to)
        _refuse_unreadable(stanza, body)
        if body and self._is_echo(sender, body):
            raise Refused(
                "This is what I have just sent you, so it was not posted. Write it in other words."
            )
        here = target.person if isinstance(target, Author) else None
        return target, self._commands.read(body, sender, here)

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

    async def _do(
        self, sender: str, target: Address, stanza: Element, body: str, line: Line
    ) -> str:
        """The answer to a message, once it is done."""
        here = target.person if isinstance(target, Author) else None
        draft = draft_of(stanza, sender, body)
        answer = await self._changes.do(draft, about(stanza), here)
        if answer is not None:
            return answer
        match line:
            case Command():
                return await self._commands.run(draft, line, here)
            case Problem(sentence, usage):
                raise BadCommand(sentence, usage)
            case Ask(sentence):
                return sentence
            case Text(text, forced, relay_only):
                relay_only = relay_only or draft.relay_only
                draft = replace(draft, text=text, forced=forced, relay_only=relay_only)
                return await self._post(target, draft)

    async def _as_newcomer(self, draft: Draft) -> str:
        """What somebody without a handle writes (S12.3)."""
        note = await self._account.newcomer(draft)
        return f"{await self._relay.typed(draft, None)}. {note}"

    async def _post(self, target: Address, draft: Draft) -> str:
        if isinstance(target, Author):  # whatever is typed there must not be posted by a `join`
            return await self._relay.typed(draft, target.person)
        await self._refuse_relays(draft.author)
        try:
            return await self._relay.typed(draft, None)
        except NotRegistered:
            return await self._as_newcomer(draft)

    async def _refuse_relays(self, sender: str) -> None:
        """Raise Refused if somebody who may post is another relay (S12.3)."""
        person = self._graph.by_jid(sender)
        if person is None or person.handle is None:
            return
        lane = self._graph.lane(person.id)
        if lane != OWN_LANE and await self._peers.is_relay(lane):
            raise Refused("This comes from another relay, so it was not posted.")

    def _bounced(self, sender: str, resource: str, stanza: Element) -> None:
        """Something of ours came back. Nothing is ever answered (RFC 6120 §8.3.1).

        That a domain cannot be reached is for our own server to say, in the name of the bare JID
        that was written to; a client, which has a resource, cannot say it for all of its domain.
        """
        person = self._graph.by_jid(sender)
        number = self._number_of(stanza.get("id", ""))
        if person is None or number is None:
            return
        lane = self._graph.lane(person.id)
        if lane != OWN_LANE and not resource and error_condition(stanza) in UNREACHABLE:
            self._delivery.lane_failed(lane, self._now())
        else:
            if error_condition(stanza) in _NO_ACCOUNT:
                self._keeping_out.no_such_account(person.id)
            self._delivery.bounced(person.id, number, self._now())
        self._wake()

    def _number_of(self, name: str) -> int | None:
        """The entry of the journal that a message of ours brought, by the message's id."""
        post = parse_message_id(name)
        if post is not None:
            return post[0] if post[1] == self._epoch else None
        change = parse_change_id(name)
        if change is None or change[1] != self._epoch:
            return None
        return self._delivery.change_of(change[0], change[2])


def _receipt(stanza: Element) -> Element | None:
    """The receipt of XEP-0184, from the address that was written to; None: none was asked for."""
    if stanza.find(tag("request", RECEIPTS)) is None:
        return None
    receipt = reply(stanza, "message", stanza.get("type"))
    name = receipt.attrib.pop("id", "")
    if not name:
        return None
    SubElement(receipt, tag("received", RECEIPTS), id=name)
    return receipt


class _Encrypted(BadRequest):
    """Of this a stranger is told besides that he has no handle: he may well send it again."""


def _refuse_unreadable(stanza: Element, body: str) -> None:
    """What must not be posted, whatever its fallback text says (S12.3)."""
    sort = noise(body)
    if any(child.tag in _ENCRYPTED for child in stanza) or sort in (Noise.OTR, Noise.ENCRYPTED):
        raise _Encrypted("This came encrypted, so it was not posted. Send it unencrypted.")
    if sort is Noise.AUTOMATIC:
        raise Refused("This is an automatic reply, so it was not posted.")
