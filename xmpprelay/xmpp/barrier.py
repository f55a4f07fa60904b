"""The barrier: a question whose answer means that a window was processed (docs/flow.md, move 3).

A component stream has no acknowledgements (XEP-0198 does not apply), so a window is followed by a
question. Which one depends on who has to have processed it:

- A remote domain: a ping to *that* domain (XEP-0199). The own server's answer would say nothing of
  what still waits for the connection between the servers.
- The own server, if it is Prosody: a ping to it. Prosody works off a stream in order.
- Any other own server: presence probes. ejabberd routes a message into a process for each session,
  and a ping overtakes them: measured, 1,464 of 486,400 "confirmed" messages were lost in kills, and
  nearly all where messages are archived. A probe is answered by the follower's own session, behind
  what was written to him, so everybody who was written to in a window is probed. Asking every tenth
  was cheaper and not enough: 11 posts were lost in 100 kills of a busy server, since the sessions
  between two that have answered may not have had their turn yet (docs/reliability.md).

Only an answer to that very probe counts: each is sent from a resource of its own, its mark, to
which servers answer. A server that answers to the bare address is taken at its word if the answer
is stamped (<delay/>), as a presence that a client sends by itself is not. Where somebody is silent
for two seconds, or gone, a ping decides, as it does where nobody is known to be online.
"""

import asyncio
import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Final
from xml.etree.ElementTree import Element

from xmpprelay.errors import StreamError
from xmpprelay.xmpp.component import Component
from xmpprelay.xmpp.stanzas import error_condition

SILENT_S: Final = 2.0
"""A session on the same machine that has not answered by then may be gone without a word."""

_PROCESSED: Final = frozenset({"service-unavailable", "feature-not-implemented"})
"""Errors to a ping that the domain itself has made: it has processed what came before."""


class _Round:
    """The people of one window who are asked; `over` says whether all have answered."""

    def __init__(self, people: Iterable[int], over: "asyncio.Future[bool]") -> None:
        self._left = set(people)
        self._all_answered = True
        self.over = over

    def heard(self, person: int, *, answered: bool) -> None:
        """He has answered, or it is known that he will not."""
        self._left.discard(person)
        self._all_answered &= answered
        if not self._left and not self.over.done():
            self.over.set_result(self._all_answered)

    def no_more(self) -> None:
        """Whoever has not answered by now does not count."""
        if not self.over.done():
            self.over.set_result(False)


class Barrier:
    """Asks whether windows were processed.

    `probe` sends presence probes to people, with a mark; `answers` says whether somebody is known
    to be online and lets us see it, so that he, or rather his session, can be asked.
    """

    def __init__(
        self,
        component: Component,
        *,
        probe: Callable[[Sequence[int], str], None],
        answers: Callable[[int], bool],
        silent_s: float = SILENT_S,
    ) -> None:
        self._component = component
        self._probe = probe
        self._answers = answers
        self._silent_s = silent_s
        self._waiting: dict[int, dict[str, _Round]] = {}  # person -> mark -> the window's
        self._marks = itertools.count(1)
        self.in_order = False  # the own server works off the stream in order

    async def own(self, people: tuple[int, ...]) -> bool:
        """Whether the own server has processed all that was written to these people; ascending.

        False: it does not answer, or the stream was lost.
        """
        online = () if self.in_order else tuple(p for p in people if self._answers(p))
        if online and await self._all_answer(online):
            return True
        return await self.ping(self._component.server_domain)

    async def ping(self, domain: str) -> bool:
        """Whether a domain has processed all that was written to it before (XEP-0199)."""
        return await processed(self._component.ping(domain))

    async def _all_answer(self, people: tuple[int, ...]) -> bool:
        """Whether each of them has answered; until then, or until those left are silent."""
        loop = asyncio.get_running_loop()
        mark, asked = f"barrier-{next(self._marks)}", _Round(people, loop.create_future())
        for person in people:
            self._waiting.setdefault(person, {})[mark] = asked
        timer = loop.call_later(self._silent_s, asked.no_more)
        self._probe(people, mark)
        try:
            return await asked.over
        finally:
            timer.cancel()
            for person in people:
                self._forget(person, mark)

    def _forget(self, person: int, mark: str) -> None:
        waiting = self._waiting.get(person)
        if waiting is not None and waiting.pop(mark, None) is not None and not waiting:
            del self._waiting[person]

    def seen(self, person: int, mark: str, stamped: bool) -> None:
        """A presence of a person has come to this resource of ours; "": to the bare address."""
        waiting = self._waiting.get(person, {})
        if not mark and stamped:
            mark = next(iter(waiting), "")
        asked = waiting.get(mark)
        if asked is not None:
            asked.heard(person, answered=True)
            self._forget(person, mark)

    def gone(self, person: int) -> None:
        """A person is unavailable: he will not answer."""
        for asked in self._waiting.pop(person, {}).values():
            asked.heard(person, answered=False)

    def lost(self) -> None:
        """The stream is lost: nobody will answer."""
        for person in list(self._waiting):
            self.gone(person)


async def processed(question: "asyncio.Future[Element]") -> bool:
    """Whether the answer to a ping says that what was written before it is processed."""
    try:
        answer = await question
    except (TimeoutError, StreamError):
        return False
    return answer.get("type") == "result" or error_condition(answer) in _PROCESSED
