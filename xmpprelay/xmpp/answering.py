"""Answers that take a while: a question is put among its sender's affairs, and answered when done.

Whatever comes of it, the question is answered, once (RFC 6120 §8.2.3).
"""

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any
from xml.etree.ElementTree import Element

from xmpprelay.errors import RelayError, TryLater
from xmpprelay.keeping_out import KeepingOut
from xmpprelay.xmpp.component import Unforeseen
from xmpprelay.xmpp.disco import Questions
from xmpprelay.xmpp.stanzas import parse_jid


class Answering:
    """Answers later. `queue` runs a person's affairs one after the other."""

    def __init__(
        self,
        questions: Questions,
        keeping_out: KeepingOut,
        queue: Callable[[str, Callable[[], Coroutine[Any, Any, None]]], bool],
    ) -> None:
        self._questions = questions
        self._keeping_out = keeping_out
        self._queue = queue

    def put(
        self, iq: Element, answer: Callable[[], Awaitable[Element]], *, changes: bool = False
    ) -> None:
        """Answer a question with the payload that is to come, or with the RelayError instead.

        `changes`: it is to change something, which somebody whom the operator has blocked may not.
        Raises TryLater if too much waits already, Refused.
        """
        sender, _ = parse_jid(iq.get("from", ""))
        if changes:
            self._keeping_out.admit(sender)
        if not self._queue(sender, lambda: self._answer(iq, answer)):
            raise TryLater("That is more than can be taken at once. Try again in a minute.")

    async def _answer(self, iq: Element, answer: Callable[[], Awaitable[Element]]) -> None:
        try:
            self._questions.done(iq, await answer())
        except RelayError as error:
            self._questions.refused(iq, error)
        except Exception:
            self._questions.refused(iq, Unforeseen())
            raise
