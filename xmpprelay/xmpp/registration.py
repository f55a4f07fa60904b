"""Registration by a client's form (XEP-0077), the same as typing `join HANDLE`."""

from collections.abc import Callable, Coroutine
from typing import Any, Final
from xml.etree.ElementTree import Element, SubElement

from xmpprelay.core.graph import Graph
from xmpprelay.errors import BadRequest, NotThere, RelayError, TryLater
from xmpprelay.people import People
from xmpprelay.xmpp.addresses import Address, Author
from xmpprelay.xmpp.component import Unforeseen
from xmpprelay.xmpp.disco import NOTHING, NotUnderstood, Questions
from xmpprelay.xmpp.stanzas import parse_jid, tag

REGISTER: Final = "jabber:iq:register"


class Registration:
    """Answers registration forms at the domain and at home@relay."""

    def __init__(
        self,
        questions: Questions,
        graph: Graph,
        people: People,
        queue: Callable[[str, Callable[[], Coroutine[Any, Any, None]]], bool],
    ) -> None:
        self._questions = questions
        self._graph = graph
        self._people = people
        self._queue = queue
        questions.answer("get", tag("query", REGISTER), self._form)
        questions.answer("set", tag("query", REGISTER), self._submitted)

    def _form(self, iq: Element, target: Address, payload: Element) -> Element:
        """What is asked for, or what is known (XEP-0077 §3.1)."""
        del payload
        _not_at_authors(target)
        query = Element(tag("query", REGISTER))
        person = self._graph.by_jid(parse_jid(iq.get("from", ""))[0])
        if person is not None and person.handle is not None:
            SubElement(query, tag("registered", REGISTER))
            SubElement(query, tag("username", REGISTER)).text = person.handle
        else:
            instructions = SubElement(query, tag("instructions", REGISTER))
            instructions.text = "Choose the handle to post under: 2 to 20 of a-z, 0-9 and _."
            SubElement(query, tag("username", REGISTER))
        return query

    def _submitted(self, iq: Element, target: Address, payload: Element) -> None:
        _not_at_authors(target)
        if payload.find(tag("remove", REGISTER)) is not None:
            raise NotThere("Leaving the relay is not there yet; ask the operator.")
        username = payload.find(tag("username", REGISTER))
        if username is None or not username.text:
            raise BadRequest("Give the handle to post under as the user name.")
        handle = username.text
        sender, _ = parse_jid(iq.get("from", ""))
        if not self._queue(sender, lambda: self._join(iq, sender, handle)):
            raise TryLater("That is more than can be taken at once. Try again in a minute.")

    async def _join(self, iq: Element, sender: str, handle: str) -> None:
        try:
            await self._people.join(sender, handle)
        except RelayError as error:
            self._questions.refused(iq, error)
        except Exception:
            self._questions.refused(iq, Unforeseen())  # every question is answered
            raise
        else:
            self._questions.done(iq, NOTHING)


def _not_at_authors(target: Address) -> None:
    if isinstance(target, Author):
        raise NotUnderstood("One registers at the relay, not at somebody who posts there.")
