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
from collections.abc import Callable
from typing import Final
from xml.etree.ElementTree import Element

from xmpprelay.errors import StreamError
from xmpprelay.xmpp.component import Component
from xmpprelay.xmpp.stanzas import error_condition

SILENT_S: Final = 2.0
"""A session on the same machine that has not answered by then may be gone without a word."""

_PROCESSED: Final = frozenset({"service-unavailable", "feature-not-implemented"})
"""Errors to a ping that the domain itself has made: it has processed what came before."""


class Barrier:
    """Asks whether windows were processed.

    `probe` sends a presence probe to a person, with a mark; `answers` says whether he is known to
    be online and lets us see it, so that he, or rather his session, can be asked.
    """

    def __init__(
        self,
        component: Component,
        *,
        probe: Callable[[int, str], None],
        answers: Callable[[int], bool],
        silent_s: float = SILENT_S,
    ) -> None:
        self._component = component
        self._probe = probe
        self._answers = answers
        self._silent_s = silent_s
        self._waiting: dict[int, dict[str, asyncio.Future[bool]]] = {}  # person -> mark -> answer
        self._marks = itertools.count(1)
        self.in_order = False  # the own server works off the stream in order

    async def own(self, people: tuple[int, ...]) -> bool:
        """Whether the own server has processed all that was written to these people; ascending.

        False: it does not answer, or the stream was lost.
        """
        online = () if self.in_order else tuple(p for p in people if self._answers(p))
        if not online:
            return await self.ping(self._component.server_domain)
        answers = await asyncio.gather(*map(self._asked, online))
        return all(answers) or await self.ping(self._component.server_domain)

    async def ping(self, domain: str) -> bool:
        """Whether a domain has processed all that was written to it before (XEP-0199)."""
        return await processed(self._component.ping(domain))

    async def _asked(self, person: int) -> bool:
        if not self._answers(person):
            return False
        mark, future = f"barrier-{next(self._marks)}", asyncio.get_running_loop().create_future()
        waiting = self._waiting.setdefault(person, {})
        waiting[mark] = future
        timer = asyncio.get_running_loop().call_later(self._silent_s, _say, future, False)
        self._probe(person, mark)
        try:
            return await future
        finally:
            timer.cancel()
            del waiting[mark]
            if not waiting and self._waiting.get(person) is waiting:
                del self._waiting[person]

    def seen(self, person: int, mark: str, stamped: bool) -> None:
        """A presence of a person has come to this resource of ours; "": to the bare address."""
        waiting = self._waiting.get(person, {})
        if mark:
            _say(waiting.get(mark), True)
        elif stamped:
            _say(next(iter(waiting.values()), None), True)

    def gone(self, person: int) -> None:
        """A person is unavailable: he will not answer."""
        for future in self._waiting.get(person, {}).values():
            _say(future, False)

    def lost(self) -> None:
        """The stream is lost: nobody will answer."""
        for person in self._waiting:
            self.gone(person)
        self._waiting.clear()


async def processed(question: "asyncio.Future[Element]") -> bool:
    """Whether the answer to a ping says that what was written before it is processed."""
    try:
        answer = await question
    except (TimeoutError, StreamError):
        return False
    return answer.get("type") == "result" or error_condition(answer) in _PROCESSED


def _say(future: "asyncio.Future[bool] | None", answer: bool) -> None:
    if future is not None and not future.done():
        future.set_result(answer)
