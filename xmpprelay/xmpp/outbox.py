"""The shell of `core/delivery.py`: carries out its work and tells it what came of that.

Everything here happens in the order in which `Delivery.take()` says it. Writing is immediate;
storing is one task, so that rows reach the database in order, whatever fails; barriers, reads and
probes are questions whose answers come back as events. Nothing here decides who gets what.

Storing waits for the database for as long as it takes: while rows are not stored, their windows'
slots are not free, so a disk that stands still stops the fan-out, and nothing is lost (S1, docs/
flow.md). A cursor or a standing that cannot be stored is tried again every second.
"""

import asyncio
import random
from collections import deque
from collections.abc import Callable, Coroutine
from datetime import datetime
from typing import Any, Final, Protocol

from xmpprelay.core.delivery import IN_FLIGHT, Delivery
from xmpprelay.core.graph import Graph
from xmpprelay.core.model import OWN_LANE, DeliveryRows, Grant
from xmpprelay.core.work import (
    AllowanceUsed,
    Ask,
    AskLater,
    Canary,
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
from xmpprelay.xmpp.barrier import Barrier
from xmpprelay.xmpp.component import Component
from xmpprelay.xmpp.rendering import Rendering
from xmpprelay.xmpp.stanzas import domain_of, presence

log = get_logger("outbox")

COLLECT_S: Final = 1.0
"""How long a window to a remote domain may take more before its barrier is asked for."""

PROBES_AT_ONCE: Final = 500
"""Probes to the own server between two turns of the loop."""

REMOTE_PROBES_PER_S: Final = 50
"""Probes to one remote domain; more would look like an attack there."""

RETRY_STORE_S: Final = 1.0


class Texts(Protocol):
    """What people are told when the fan-out has something to say to them."""

    def summary(self, person: int, counts: "dict[int, int]") -> None:
        """What a return left to `more` (S11.2)."""

    def allowance_used(self, person: int) -> None:
        """Showing one's presence lifts the limit (S11.4)."""


class Outbox:
    """Brings posts to people. `store` and `held` are the store's and the journal's side."""

    def __init__(
        self,
        delivery: Delivery,
        graph: Graph,
        component: Component,
        addresses: Addresses,
        rendering: Rendering,
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
        self.barrier = Barrier(component, probe=self._send_probe, answers=delivery.sees)
        self._texts: Texts | None = None
        self._first_time: Callable[[int, str], bool] = _always
        self._waking = False
        self._to_store: deque[Store] = deque()
        self._storing: asyncio.Task[None] | None = None
        self._probes: dict[str, deque[int]] = {}
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
        self.wake()

    def stream_lost(self) -> None:
        """The stream is gone."""
        self._generation += 1
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self._probes.clear()
        self.barrier.lost()
        self._delivery.stream_lost(self._now())
        self.wake()

    async def _learn_server(self) -> None:
        """Find out whether the own server works in order: Prosody does (XEP-0092)."""
        try:
            name = await self._component.version_of(self._component.server_domain)
        except (TimeoutError, StreamError):
            return
        self.barrier.in_order = name == "Prosody"
        log.info("server.known", name=name, barrier="ping" if self.barrier.in_order else "probes")

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
                own = lane == OWN_LANE
                question = self.barrier.own(people) if own else self.barrier.ping(lane)
                self._spawn(self._confirm(window, lane, question))
            case AskLater(window, _):
                self._later(f"window {window}", COLLECT_S, self._delivery.window_due, window)
            case Store():
                self._to_store.append(work)
                if self._storing is None:
                    self._storing = self._spawn(self._store_all())
            case Read():
                self._spawn(self._read(work))
            case Probe(people):
                self._probe(people)
            case ProbeBounce(person):
                self._spawn(self._probe_bounce(person))
            case Summary(person, counts):
                if self._texts is not None:
                    self._texts.summary(person, dict(counts))
            case AllowanceUsed(person):
                if self._texts is not None and self._first_time(person, "allowance"):
                    self._texts.allowance_used(person)
            case RefusedBy(person, author):
                log.info("post.refused", person=person, author=author)
            case Canary(lane, after_s):
                log.warning("lane.down", domain=lane, canary_s=after_s)
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

        self._timers[name] = asyncio.get_running_loop().call_later(after_s, due)

    # Stanzas

    def _write(self, work: Write) -> None:
        stanza, granted = self._rendering.stanza, self._shows
        chunks = [
            stanza(post, person, store=not granted(person), held=False)
            for person, post in work.live
        ]
        chunks += [
            stanza(post, person, store=not granted(person), held=True) for person, post in work.held
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

    def _send_canary(self, lane: str) -> None:
        self._spawn(self._canary(lane))

    async def _canary(self, lane: str) -> None:
        generation = self._generation
        there = await self.barrier.ping(lane)
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
        while queue and self._probes.get(lane) is queue:
            for _ in range(min(len(queue), PROBES_AT_ONCE if lane == OWN_LANE else 1)):
                self._send_probe(queue.popleft())
            wait_s = 0.0 if lane == OWN_LANE else random.uniform(0.5, 1.5) / REMOTE_PROBES_PER_S
            await asyncio.sleep(wait_s)
        if self._probes.get(lane) is queue:
            del self._probes[lane]

    def _send_probe(self, person: int) -> None:
        jid = self._graph.person(person).jid
        self._component.send(presence(self._addresses.home, jid, "probe"))

    async def _probe_bounce(self, person: int) -> None:
        generation = self._generation
        self._send_probe(person)
        lane = self._graph.lane(person)
        domain = self._component.server_domain
        if lane != OWN_LANE:
            domain = domain_of(self._graph.person(person).jid)
        await self.barrier.ping(domain)
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


def _always(_person: int, _what: str) -> bool:
    return True
