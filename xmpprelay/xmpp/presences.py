"""Presence: the door by which people follow from their contact list, and who is there.

Every answer comes from the graph, which says what the database says: after a restart a follower's
probe is answered like before it, and nobody is unfollowed by a crash (promise 7). A subscription is
committed first and then confirmed.

- subscribe to an author: follow him in author mode (S5.1); to home@relay or the domain: allowed.
- subscribed, unsubscribed to home@relay: whether we may see the sender's presence (S5.5). Who has
  refused, and then allows it or puts home on his list, is asked again.
- probe: an answer, and a sign that the prober is there (S11.1).
- available, unavailable: remembered for people who follow somebody, and for nobody else; and what
  their devices want events of (`interests.py`). An author's tells which picture his own address
  has (`own_cards.py`).
- error: no answer; from our own server, that it cannot reach a follower's domain (docs/flow.md).

Any of them but an error shows that the sender's domain is there again, if it was not.
"""

from collections.abc import Callable, Coroutine
from datetime import datetime
from typing import Any
from xml.etree.ElementTree import Element

from xmpprelay.core.delivery import Delivery
from xmpprelay.core.graph import Graph
from xmpprelay.core.model import Grant, Mode, Person
from xmpprelay.errors import RelayError, TooMany, TryLater
from xmpprelay.keeping_out import KeepingOut
from xmpprelay.log import get_logger
from xmpprelay.people import Outcome, People, asked
from xmpprelay.xmpp.addresses import Addresses, Author, Home
from xmpprelay.xmpp.barrier import Barrier
from xmpprelay.xmpp.interests import Interests
from xmpprelay.xmpp.own_cards import OwnCards
from xmpprelay.xmpp.stanzas import (
    UNREACHABLE,
    error_condition,
    parse_jid,
    presence,
    stamp_of,
    tag,
)
from xmpprelay.xmpp.voice import Voice

log = get_logger("presence")

_MIN_PRIORITY, _MAX_PRIORITY = -128, 127


class Presences:
    """Takes presence stanzas. `queue` runs a person's affairs one after the other.

    `came`, `left` and `granted`, which are set by whoever builds the relay, are told of devices of
    people known here, and of who lets his presence be seen.
    """

    def __init__(
        self,
        addresses: Addresses,
        graph: Graph,
        delivery: Delivery,
        people: People,
        voice: Voice,
        barrier: Barrier,
        keeping_out: KeepingOut,
        interests: Interests,
        own_cards: OwnCards,
        *,
        queue: Callable[[str, Callable[[], Coroutine[Any, Any, None]]], bool],
        wake: Callable[[], None],
        now: Callable[[], datetime],
    ) -> None:
        self._addresses = addresses
        self._graph = graph
        self._delivery = delivery
        self._people = people
        self._voice = voice
        self._barrier = barrier
        self._keeping_out = keeping_out
        self._interests = interests
        self._own_cards = own_cards
        self._queue = queue
        self._wake = wake
        self._now = now
        self.came: Callable[[int, str], None] = _nothing
        self.left: Callable[[int, str | None], None] = _nothing
        self.granted: Callable[[int], None] = _nothing

    def take(self, stanza: Element) -> None:
        """One presence stanza; returns at once."""
        try:
            sender, resource = parse_jid(stanza.get("from", ""))
            to, mark = parse_jid(stanza.get("to", ""))
        except ValueError:
            return
        kind = stanza.get("type")
        if kind == "error":
            if not resource:  # a client cannot say so for all of its domain
                self._came_back(sender, stanza)
            return
        self._heard_of(self._graph.lane_of_jid(sender))
        if kind is None:
            self._available(sender, resource, stanza, mark)
        elif kind == "unavailable":
            self._unavailable(sender, resource)
        elif kind in ("subscribed", "unsubscribed"):
            self._granted(sender, to, granted=kind == "subscribed")
        elif self._voice.is_stranger(sender) and not self._voice.hears(sender):
            return
        elif kind == "probe":
            self._probe(sender, to, stanza)
        elif kind == "subscribe":
            self._put(sender, stanza, lambda: self._subscribe(sender, to, stanza))
        elif kind == "unsubscribe":
            self._put(sender, stanza, lambda: self._unsubscribe(sender, to, stanza))

    def take_availability(self, stanza: Element) -> None:
        """Who is there, and nothing else: all that is wanted of a relay that stops.

        The barrier lives by it where the own server is asked by probes.
        """
        if stanza.get("type") in (None, "unavailable"):
            self.take(stanza)

    def _put(
        self, sender: str, stanza: Element, affair: Callable[[], Coroutine[Any, Any, None]]
    ) -> None:
        if not self._queue(sender, affair):
            error = TryLater("That is more than can be taken at once. Try again in a minute.")
            self._voice.refuse(stanza, error)

    def _heard_of(self, lane: str) -> None:
        if self._delivery.is_down(lane):
            self._delivery.lane_restored(lane, self._now())
            self._wake()

    def _came_back(self, sender: str, stanza: Element) -> None:
        """A probe came back; it is never answered (RFC 6120 §8.3.1)."""
        person = self._known(sender)
        if person is not None and error_condition(stanza) in UNREACHABLE:
            self._delivery.lane_failed(self._graph.lane(person), self._now())
            self._wake()

    def _known(self, jid: str) -> int | None:
        """The id of a person whose presence is remembered; None for everybody else."""
        person = self._graph.by_jid(jid)
        return person.id if person is not None and self._delivery.knows(person.id) else None

    def _available(self, sender: str, resource: str, stanza: Element, mark: str) -> None:
        person = self._known(sender)
        self._own_cards.present(sender, stanza)
        if person is not None:
            self._keeping_out.is_there(sender)
            priority, stamp = _priority(stanza), stamp_of(stanza)
            self._delivery.available(person, resource, priority, stamp, self._now())
            self._interests.present(person, resource, stanza)
            self.came(person, resource)
            self._barrier.seen(person, mark, stamped=stamp is not None)
            self._wake()

    def _unavailable(self, sender: str, resource: str) -> None:
        person = self._known(sender)
        if person is not None:
            self._delivery.unavailable(person, resource or None, self._now())
            self._interests.gone(person, resource or None)
            self.left(person, resource or None)
            if not self._delivery.sees(person):
                self._barrier.gone(person)
            self._wake()

    def _probe(self, sender: str, to: str, stanza: Element) -> None:
        """Answer from the graph (RFC 6121 §4.3.2); `subscribed` is said again, in case it was lost.

        A server that probes for somebody who does not follow is told so: its roster is out of date.
        That is also how the entry of somebody who was blocked ends: with the bytes of an author who
        does not exist (S6.1).
        """
        target = self._addresses.of(to)
        if isinstance(target, Home):
            self._voice.answer(stanza, self._voice.here(to, sender))
        elif isinstance(target, Author) and self._follows(sender, target.person):
            self._keeping_out.asks_again(sender, target.person)
            if self._graph.hides(sender, target.person.id):
                # by the operator: the follow is kept, so the contact must not end
                self._voice.answer(stanza, presence(to, sender, "unavailable"))
            else:
                self._voice.subscribed(stanza, sender, to)
        else:
            self._tell_new_address(sender, to)
            self._voice.not_subscribed(stanza, sender, to)
        self._keeping_out.is_there(sender)
        person = self._known(sender)
        if person is not None:
            self._delivery.sign_of(person)
            self._wake()

    def _tell_new_address(self, sender: str, to: str) -> None:
        """Whoever follows goes on following under the author's new address; he is told once."""
        author = self._addresses.former(to)
        if author is None or not self._follows(sender, author):
            return
        person = self._known(sender)
        if person is not None and self._people.first_time(person, f"renamed {to}"):
            new = self._addresses.author(author)
            self._voice.tell(sender, f"{to} is now {new}: what you follow comes from there.")

    def _follows(self, jid: str, author: Person) -> bool:
        person = self._graph.by_jid(jid)
        return person is not None and self._graph.follow(person.id, author.id) is not None

    async def _subscribe(self, sender: str, to: str, stanza: Element) -> None:
        target = self._addresses.of(to)
        if isinstance(target, Home):
            self._voice.subscribed(stanza, sender, to)
            self._ask_again(sender)
            return
        if target is None or self._graph.barred(target.person.jid):
            self._voice.not_subscribed(stanza, sender, to)
            return
        try:
            self._keeping_out.admit(sender)
            self._keeping_out.asks_again(sender, target.person)
            outcome = await self._people.follow(sender, target.person, Mode.AUTHOR)
        except (TooMany, TryLater) as error:
            self._voice.refuse(stanza, error)  # his server may ask again when he logs in
        except RelayError as refusal:
            self._voice.not_subscribed(stanza, sender, to)
            self._voice.mention(sender, refusal.sentence)
        else:
            if outcome is Outcome.ASKED:  # no presence: his server goes on waiting (RFC 6121 §3.1)
                self._voice.tell(sender, asked(target.person))
            else:
                self._voice.subscribed(stanza, sender, to)

    async def _unsubscribe(self, sender: str, to: str, stanza: Element) -> None:
        target = self._addresses.of(to)
        if isinstance(target, Author):
            try:
                if await self._people.unfollow(sender, target.person):
                    return
            except RelayError as error:
                self._voice.refuse(stanza, error)
                return
        self._voice.answer(  # RFC 6121 §3.3.3
            stanza, presence(to, sender, "unavailable"), presence(to, sender, "unsubscribed")
        )

    def _granted(self, sender: str, to: str, *, granted: bool) -> None:
        person = self._known(sender)
        if person is None or not isinstance(self._addresses.of(to), Home):
            return
        if granted and self._delivery.grant_of(person) is Grant.REFUSED:
            # Allowed after all; but ejabberd, which passes it on, shows his presence only to who
            # has asked, and what we asked is answered.
            self._ask_again(sender)
            return
        grant = Grant.GRANTED if granted else Grant.REFUSED
        self._delivery.set_grant(person, grant, self._now())
        if granted:
            self.granted(person)
        self._wake()

    def _ask_again(self, jid: str) -> None:
        """He may have refused before, and has now done what looks like a change of mind."""
        known, person = self._known(jid), self._graph.by_jid(jid)
        if known is None or person is None:
            return
        refused = self._delivery.grant_of(known) is Grant.REFUSED
        if refused and self._voice.ask_presence(person):
            self._delivery.set_grant(known, Grant.ASKED, self._now())
            self._wake()


def _priority(stanza: Element) -> int:
    """The priority of a presence; 0 where there is none to be read (RFC 6121 §4.7.2.3)."""
    element = stanza.find(tag("priority"))
    try:
        value = int((element.text or "0") if element is not None else "0")
    except ValueError:
        return 0
    return max(_MIN_PRIORITY, min(_MAX_PRIORITY, value))


def _nothing(*_: object) -> None:
    """What happens before anybody has asked to be told."""
