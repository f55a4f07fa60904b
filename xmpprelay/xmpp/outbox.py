"""The shell of `core/delivery.py`: carries out its work and tells it what came of that.

Everything here happens in the order in which `Delivery.take()` says it. Writing is immediate;
storing is one task, so that rows reach the database in order, whatever fails; barriers, reads and
probes are questions whose answers come back as events. Nothing here decides who gets what.

Storing waits for the database for as long as it takes: while rows are not stored, their windows'
slots are not free, so a disk that stands still stops the fan-out, and nothing is lost (S1, docs/
flow.md). A cursor or a standing that cannot be stored is tried again every second.

What is written to another domain is confirmed by a ping to that domain. When that fails, or a probe
or a post comes back, the breaker of its lane opens (`core/lanes.py`): nothing goes there but a ping
from time to time. An answer that comes too late still shows that the domain is there.
"""

import asyncio
import random
from collections import deque
from collections.abc import Callable, Collection, Coroutine, Sequence
from datetime import datetime
from typing import Any, Final, Protocol
from xml.etree.ElementTree import Element

from xmpprelay.core.delivery import IN_FLIGHT, Delivery
from xmpprelay.core.graph import Graph
from xmpprelay.core.lanes import FIRST_REMOTE_WINDOW
from xmpprelay.core.model import OWN_LANE, DeliveryRows, Grant
from xmpprelay.core.work import (
    AllowanceUsed,
    Ask,
    AskLater,
    Canary,
    FillLater,
    Held,
    Probe,
    ProbeBounce,
    Read,
    RefusedBy,
    Store,
    Summary,
    Work,
    Write,
)
from xmpprelay.errors import StoreError, StreamError
from xmpprelay.log import get_logger
from xmpprelay.xmpp.addresses import Addresses
from xmpprelay.xmpp.barrier import Barrier, processed
from xmpprelay.xmpp.component import ANSWER_WITHIN_S, Component
from xmpprelay.xmpp.multicast import Multicast
from xmpprelay.xmpp.rendering import Rendering
from xmpprelay.xmpp.stanzas import TO, escaped, presence

log = get_logger("outbox")

COLLECT_S: Final = 1.0
"""How long a window to a remote domain may take more before its barrier is asked for."""

PROBES_AT_ONCE: Final = 500
"""Probes to the own server between two turns of the loop."""

REMOTE_PROBES_PER_S: Final = 50
"""Probes to one remote domain, at most; more would look like an attack there."""

ASK_AGAIN_AFTER_S: Final = (15.0, 60.0)
"""When those who are silent are asked again, after the stream came up; a guess. An ejabberd that is
busy keeps a stream that was killed for seconds, and sends answers there.
"""

NO_BARRIER: Final = "probe"
"""The mark of probes of which no barrier waits for the answer; see barrier.py."""

LATE_S: Final = 4000.0
"""How long an answer of a remote domain that comes too late is still heard: until the next canary,
which is asked at most so much later."""

RETRY_STORE_S: Final = 1.0


class Texts(Protocol):
    """What people are told when the fan-out has something to say to them."""

    def summary(self, person: int, counts: "dict[int, int]") -> None:
        """What a return left to `more` (S11.2)."""

    def allowance_used(self, person: int) -> None:
        """Showing one's presence lifts the limit (S11.4)."""


class Outbox:
    """Brings posts to people. `store` and `held` are the store's and the journal's side.

    `remote_within_s`, `collect_s` and `remote_probes_per_s` say how patient and how gentle it is
    with other domains, `ask_again_after_s` with the silent; tests, which have no time, set them.
    """

    def __init__(
        self,
        delivery: Delivery,
        graph: Graph,
        component: Component,
        addresses: Addresses,
        rendering: Rendering,
        multicast: Multicast,
        *,
        store: Callable[[DeliveryRows], Coroutine[Any, Any, None]],
        held: Callable[[Read], Coroutine[Any, Any, Held]],
        now: Callable[[], datetime],
    ) -> None:
        self._delivery = delivery
        self._graph = graph
        self._component = component
        self._addresses = addresses
        self._rendering = rendering
        self._store = store
        self._held = held
        self._now = now
        self._multicast = multicast
        multicast.failed = self._multicast_failed
        self.barrier = Barrier(
            component,
            multicast,
            probe=self._probe_together,
            probe_alone=self._probe_alone,
            answers=delivery.sees,
        )
        self._texts: Texts | None = None
        self._first_time: Callable[[int, str], bool] = _always
        self.refused: Callable[[int, int], None] = _nobody_learns  # (person, author) (S6.6)
        self._waking = False
        self._to_store: deque[Store] = deque()
        self._storing: asyncio.Task[None] | None = None
        self.remote_within_s = ANSWER_WITHIN_S
        self.collect_s = COLLECT_S
        self.remote_probes_per_s: float = REMOTE_PROBES_PER_S
        self.ask_again_after_s: Sequence[float] = ASK_AGAIN_AFTER_S
        self._reading = asyncio.Lock()
        self._probes: dict[str, deque[int]] = {}
        self._late: dict[str, asyncio.Task[None]] = {}  # the newest unanswered question of a domain
        self._down: set[str] = set()  # the lanes of which the log says so
        self._tasks: set[asyncio.Task[None]] = set()
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._generation = 0  # of the stream: what a lost one has asked for is of no use
        self._idle = asyncio.Event()
        self._closing = False
        self._landed = asyncio.Event()

    def tells(self, texts: Texts, first_time: Callable[[int, str], bool]) -> None:
        """Set who tells people things, and who knows what a person was told before."""
        self._texts = texts
        self._first_time = first_time

    # Events of the stream

    def stream_up(self) -> None:
        """The stream is up: everybody's presence is asked for."""
        self._generation += 1
        self._spawn(self._learn_server())
        self._delivery.stream_up(self._now())
        for after_s in self.ask_again_after_s:
            self._later(f"silent {after_s}", after_s, self._ask_again)
        self.wake()

    def stream_lost(self) -> None:
        """The stream is gone."""
        self._generation += 1
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self._probes.clear()
        self._down.clear()  # the next stream will show
        self.barrier.lost()
        self._multicast.lost()
        self._delivery.stream_lost(self._now())
        self.wake()

    def _ask_again(self) -> None:
        self._delivery.probe_silent(self._now())

    async def _learn_server(self) -> None:
        """Find out whether the own server works in order: Prosody does (XEP-0092)."""
        try:
            name = await self._component.version_of(self._component.server_domain)
        except (TimeoutError, StreamError):
            return
        self.barrier.in_order = name == "Prosody"
        self._delivery.server_reads_all(name == "Prosody")
        log.info("server.known", name=name, barrier="ping" if self.barrier.in_order else "probes")
        after_s = None if self.barrier.in_order else self._multicast.wait_s()
        if after_s is not None:
            self._later("multicast", after_s, self._look_for_multicast)

    def _look_for_multicast(self) -> None:
        self._spawn(self._multicast.look())

    def _multicast_failed(self) -> None:
        self._component.drop("the server's multicast service has failed")

    def wake(self) -> None:
        """There may be work: do it in this turn of the loop, after what has just happened."""
        if not self._waking:
            self._waking = True
            self._idle.clear()
            asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        self._waking = False
        while True:
            halted = self._component.paused or self._closing
            work = self._delivery.take(self._now(), 0 if halted else IN_FLIGHT)
            for piece in work:
                self._carry_out(piece)
            if not work or halted:
                break
        for lane in [lane for lane in self._down if not self._delivery.is_down(lane)]:
            self._down.discard(lane)
            log.info("lane.up", domain=lane)
        if self._closing and not self._delivery.in_flight():
            self._landed.set()
        if not self._to_store and self._storing is None:
            self._idle.set()

    async def settled(self) -> None:
        """Return when everything that was decided is stored."""
        await self._idle.wait()

    async def landed(self) -> None:
        """Send nothing more, and return when all that was written is confirmed."""
        self._closing = True
        self.wake()
        await self._landed.wait()

    def _carry_out(self, work: Work) -> None:
        match work:
            case Write():
                self._write(work)
            case Ask(window, lane, people):
                question = self.barrier.own(people) if lane == OWN_LANE else self._reaches(lane)
                self._spawn(self._confirm(window, lane, question))
            case AskLater(window, _):
                self._later(f"window {window}", self.collect_s, self._delivery.window_due, window)
            case FillLater(lane, after_s):
                self._later(f"fill {lane}", after_s, self._delivery.fill_due, lane)
            case Store():
                self._to_store.append(work)
                if self._storing is None:
                    self._storing = self._spawn(self._store_all())
            case Read():
                self._spawn(self._read(work))
            case Probe(people):
                self._probe(people)
            case ProbeBounce(person, after_s):
                self._spawn(self._probe_bounce(person, after_s))
            case Summary(person, counts):
                if self._texts is not None:
                    self._texts.summary(person, dict(counts))
            case AllowanceUsed(person):
                if self._texts is not None and self._first_time(person, "allowance"):
                    self._texts.allowance_used(person)
            case RefusedBy(person, author):
                self.refused(person, author)
            case Canary(lane, after_s):
                if lane not in self._down:
                    self._down.add(lane)
                    log.warning("lane.down", domain=lane)
                self._probes.pop(lane, None)  # when it is back, everybody is asked for anew
                self._later(f"canary {lane}", after_s, self._send_canary, lane)

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if task is self._storing:
            self._storing = None
        if not task.cancelled() and (failure := task.exception()) is not None:
            log.error("outbox.failed", exc_info=failure)
            self._component.drop("the outbox failed")  # everything under way is done again

    def _later(self, name: str, after_s: float, do: Callable[..., None], *arguments: Any) -> None:
        def due() -> None:
            self._timers.pop(name, None)
            do(*arguments)
            self.wake()

        before = self._timers.get(name)
        if before is not None:  # the canary of a breaker that was closed meanwhile
            before.cancel()
        self._timers[name] = asyncio.get_running_loop().call_later(after_s, due)

    # Stanzas

    def _write(self, work: Write) -> None:
        rendering, shows = self._rendering, self._shows
        if work.lane == OWN_LANE and self._multicast.service is not None:
            chunks = list(rendering.together(work.live, work.held, shows, self._multicast))
        else:
            chunks = [chunk for part in work.live for chunk in rendering.live(part, shows)]
            chunks += [
                rendering.stanza(post, person, store=not shows(person), held=True)
                for person, post in work.held
            ]
        self._component.write(b"".join(chunks))

    def _shows(self, person: int) -> bool:
        return self._delivery.grant_of(person) is Grant.GRANTED

    async def _confirm(self, window: int, lane: str, question: Coroutine[Any, Any, bool]) -> None:
        generation = self._generation
        confirmed = await question
        if generation != self._generation:
            return
        if confirmed:
            self._delivery.barrier_answered(window, lane, self._now())
        elif lane == OWN_LANE:
            self._component.drop("the server does not answer")
        else:
            self._delivery.barrier_failed(window, lane, self._now())
        self.wake()

    # Other domains

    async def _reaches(self, domain: str) -> bool:
        """Whether a remote domain has processed all that was written to it before."""
        question = self._component.ping(domain, LATE_S)
        await asyncio.wait({question}, timeout=self.remote_within_s)
        if question.done():
            return await processed(question)
        before = self._late.get(domain)
        if before is not None:
            before.cancel()
        self._late[domain] = self._spawn(self._hears_late(domain, question))
        return False

    async def _hears_late(self, domain: str, question: "asyncio.Future[Element]") -> None:
        if await processed(question):
            self._delivery.lane_restored(domain, self._now())
            self.wake()

    async def _reaches_or_fails(self, domain: str) -> bool:
        """Whether a remote domain is there; if not, its breaker is open."""
        generation = self._generation
        there = await self._reaches(domain)
        if not there and generation == self._generation:
            self._delivery.lane_failed(domain, self._now())
            self.wake()
        return there

    def _send_canary(self, lane: str) -> None:
        self._spawn(self._canary(lane))

    async def _canary(self, lane: str) -> None:
        generation = self._generation
        there = await self._reaches(lane)
        if generation != self._generation:
            return
        if there:
            self._delivery.lane_restored(lane, self._now())
        else:
            self._delivery.canary_failed(lane)
        self.wake()

    # Presence

    def _probe(self, people: tuple[int, ...]) -> None:
        for person in people:
            lane = self._graph.lane(person)
            queue = self._probes.get(lane)
            if queue is None:
                queue = self._probes[lane] = deque()
                self._spawn(self._send_probes(lane, queue))
            queue.append(person)

    async def _send_probes(self, lane: str, queue: deque[int]) -> None:
        """Send what is queued. More than a few go to another domain only when it is there."""
        own = lane == OWN_LANE
        if own or len(queue) <= FIRST_REMOTE_WINDOW or await self._reaches_or_fails(lane):
            while queue and self._probes.get(lane) is queue:
                for _ in range(min(len(queue), PROBES_AT_ONCE if own else 1)):
                    self._send_probe(queue.popleft())
                wait_s = 0.0 if own else random.uniform(1.0, 1.5) / self.remote_probes_per_s
                await asyncio.sleep(wait_s)
        if self._probes.get(lane) is queue:
            del self._probes[lane]

    def _send_probe(self, person: int, mark: str = NO_BARRIER) -> None:
        """Ask for a person's presence, to be answered to this resource of ours."""
        jid = self._graph.person(person).jid
        self._component.send(presence(f"{self._addresses.home}/{mark}", jid, "probe"))

    def _probe_together(self, people: Collection[int], mark: str) -> None:
        """Probe all people of a window, by the way that its posts went."""
        before, after = self._probe_pieces(mark)
        jids = [escaped(self._graph.person(person).jid) for person in people]
        self._component.write(b"".join(self._multicast.presences(before, after, jids)))

    def _probe_alone(self, people: Collection[int], mark: str) -> None:
        """Probe each by himself; what is the same in the probes is written once."""
        before, after = self._probe_pieces(mark)
        jids = (escaped(self._graph.person(person).jid) for person in people)
        self._component.write(b"".join([piece for jid in jids for piece in (before, jid, after)]))

    def _probe_pieces(self, mark: str) -> tuple[bytes, bytes]:
        probe = presence(f"{self._addresses.home}/{mark}", TO, "probe")
        before, _, after = self._component.checked(probe).partition(TO.encode())
        return before, after

    async def _probe_bounce(self, person: int, after_s: float) -> None:
        generation = self._generation
        if after_s:
            await asyncio.sleep(after_s)
            if generation != self._generation:
                return
        lane = self._graph.lane(person)
        if lane == OWN_LANE:
            self._send_probe(person)
            await self.barrier.ping(self._component.server_domain)
        elif await self._reaches_or_fails(lane):  # else the probe would come back, too
            self._send_probe(person)
            await self._reaches_or_fails(lane)
        if generation == self._generation:
            self._delivery.probe_ended(person, self._now())
            self.wake()

    # Rows

    async def _store_all(self) -> None:
        """Store what is queued, in order; whatever queues up meanwhile goes into one write."""
        while self._to_store:
            batch = list(self._to_store)
            rows = DeliveryRows(
                cursors=tuple(cursor for store in batch for cursor in store.rows.cursors),
                standings=tuple(row for store in batch for row in store.rows.standings),
            )
            try:
                await self._store(rows)
            except StoreError as error:
                log.warning("delivery.not_stored", why=error.sentence)
                await asyncio.sleep(RETRY_STORE_S)
                continue
            for store in batch:
                self._to_store.popleft()
                self._delivery.stored(store.token)
        self._storing = None
        self.wake()

    async def _read(self, read: Read) -> None:
        try:
            async with self._reading:  # many may return at once, and others have to read as well
                held = await self._held(read)
        except StoreError as error:
            log.warning("return.not_read", why=error.sentence)
            await asyncio.sleep(RETRY_STORE_S)
            self._spawn(self._read(read))
            return
        self._delivery.looked_up(read.person, held)
        self.wake()

    async def close(self) -> None:
        """Stop asking; what is decided is stored."""
        for timer in self._timers.values():
            timer.cancel()
        for task in self._tasks - {self._storing}:
            task.cancel()
        await self.settled()


def _nobody_learns(person: int, author: int) -> None:
    log.info("post.refused", person=person, author=author)


def _always(_person: int, _what: str) -> bool:
    return True
