"""Registration by a client's form (XEP-0077): `join HANDLE` and `leave-relay yes`."""

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final
from xml.etree.ElementTree import Element, SubElement

from xmpprelay.account import Account
from xmpprelay.core.graph import Graph
from xmpprelay.errors import BadRequest, RelayError, TryLater
from xmpprelay.keeping_out import KeepingOut
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
        account: Account,
        keeping_out: KeepingOut,
        queue: Callable[[str, Callable[[], Coroutine[Any, Any, None]]], bool],
    ) -> None:
        self._questions = questions
        self._graph = graph
        self._account = account
        self._keeping_out = keeping_out
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
        sender, _ = parse_jid(iq.get("from", ""))
        if payload.find(tag("remove", REGISTER)) is not None:  # XEP-0077 §3.2
            self._put(iq, sender, lambda: self._account.leave(sender))
            return
        username = payload.find(tag("username", REGISTER))
        if username is None or not username.text:
            raise BadRequest("Give the handle to post under as the user name.")
        handle = username.text
        self._put(iq, sender, lambda: self._account.join(sender, handle))

    def _put(self, iq: Element, sender: str, do: Callable[[], Awaitable[object]]) -> None:
        self._keeping_out.admit(sender)
        if not self._queue(sender, lambda: self._done(iq, do)):
            raise TryLater("That is more than can be taken at once. Try again in a minute.")

    async def _done(self, iq: Element, do: Callable[[], Awaitable[object]]) -> None:
        try:
            await do()
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
