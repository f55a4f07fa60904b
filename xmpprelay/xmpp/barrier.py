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

Where the server copies stanzas for us (`multicast.py`) the probes go with the posts. Then silence
may also mean that the service has lost both. So it is pinged, and has worked off what it had; then
who is silent is probed by himself. His session answers in order: if he answers that, and not what
came by the service, that was lost.
"""

import asyncio
import itertools
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import Final
from xml.etree.ElementTree import Element

from xmpprelay.errors import StreamError
from xmpprelay.xmpp.component import Component
from xmpprelay.xmpp.multicast import Multicast
from xmpprelay.xmpp.stanzas import error_condition

SILENT_S: Final = 2.0
"""A session on the same machine that has not answered by then may be gone without a word."""

_PROCESSED: Final = frozenset({"service-unavailable", "feature-not-implemented"})
"""Errors to a ping that the domain itself has made: it has processed what came before."""


class _Round:
    """People of one window who are asked, by a mark; `over` says whether all have answered."""

    def __init__(self, people: Iterable[int], mark: str) -> None:
        self.mark = mark
        self.silent = set(people)  # until it is known that they will not answer, too
        self.answered: set[int] = set()
        self.over: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._all_answered = True

    def heard(self, person: int, *, answered: bool) -> None:
        """He has answered, or it is known that he will not."""
        self.silent.discard(person)
        if answered:
            self.answered.add(person)
        self._all_answered &= answered
        if not self.silent and not self.over.done():
            self.over.set_result(self._all_answered)

    def no_more(self) -> None:
        """Whoever has not answered by now is silent."""
        if not self.over.done():
            self.over.set_result(False)


class Barrier:
    """Asks whether windows were processed.

    `probe` sends presence probes to people, with a mark, as posts are sent to them; `probe_alone`
    to each by himself, past the server's service. `answers` says whether somebody is known to be
    online and lets us see it, so that he, or rather his session, can be asked.
    """

    def __init__(
        self,
        component: Component,
        multicast: Multicast,
        *,
        probe: Callable[[Collection[int], str], None],
        probe_alone: Callable[[Collection[int], str], None],
        answers: Callable[[int], bool],
        silent_s: float = SILENT_S,
    ) -> None:
        self._component = component
        self._multicast = multicast
        self._probe = probe
        self._probe_alone = probe_alone
        self._answers = answers
        self._silent_s = silent_s
        self._waiting: dict[int, dict[str, _Round]] = {}  # person -> mark -> the window's
        self._marks = itertools.count(1)
        self.in_order = False  # the own server works off the stream in order

    async def own(self, people: tuple[int, ...]) -> bool:
        """Whether the own server has processed all that was written to these people; ascending.

        False: it does not answer, or has lost something, or the stream was lost.
        """
        online = () if self.in_order else tuple(p for p in people if self._answers(p))
        service = self._multicast.service
        with self._round(online) as asked:
            if online and await self._all_answer(asked, self._probe):
                return True
            if service is not None and not await self._has_passed_on(service, asked):
                return False
        return await self.ping(self._component.server_domain)

    async def ping(self, domain: str) -> bool:
        """Whether a domain has processed all that was written to it before (XEP-0199)."""
        return await processed(self._component.ping(domain))

    async def _has_passed_on(self, service: str, asked: _Round) -> bool:
        """Whether the service has worked off what it was given, and lost none of it."""
        if not await self.ping(service):
            return False
        with self._round([person for person in asked.silent if self._answers(person)]) as alone:
            if alone.silent:
                await self._all_answer(alone, self._probe_alone)
            lost = asked.silent & alone.answered
        if lost:
            self._multicast.fails("it has lost what it was given")
        return not lost

    async def _all_answer(
        self, asked: _Round, probe: Callable[[Collection[int], str], None]
    ) -> bool:
        """Probe them. Whether each has answered; until then, or until those left are silent."""
        timer = asyncio.get_running_loop().call_later(self._silent_s, asked.no_more)
        probe(sorted(asked.silent), asked.mark)
        try:
            return await asked.over
        finally:
            timer.cancel()

    @contextmanager
    def _round(self, people: Collection[int]) -> Iterator[_Round]:
        """While it lasts it is heard who of these people answers to its mark."""
        asked = _Round(people, f"barrier-{next(self._marks)}")
        for person in people:
            self._waiting.setdefault(person, {})[asked.mark] = asked
        try:
            yield asked
        finally:
            for person in people:
                self._forget(person, asked.mark)

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
