"""kill -9 of the server, again and again, in the middle of a fan-out: nothing confirmed is lost.

The relay survives the server. What it had written is then of three sorts: settled (the barrier was
answered, and the relay will never send it again), in flight (sent again to whoever comes back), or
still to be sent. So the question to the barrier is: has everybody who was there seen everything in
the end, *once or more*? Whatever the barrier confirmed too early is missing.

One kill: two hundred people are logged in and follow alice, whose posts come faster than the server
can deliver them; somewhere in there it is killed. What it had handed to the kernel still arrives.
It is started again, all log in, the relay finds it and brings everybody what he lacks. A last post,
the fence, comes behind all of that; then the books are closed.

The control runs set the barrier to the ping on ejabberd, or let its probes overtake posts, which
confirms too early: they must lose.
Timeline posts carry <no-store/>; with `archived` the hint is taken off on the wire, so that mod_mam
has to store each of them. Sessions then lag far behind each other, and one answer says nothing of
its neighbour: the barrier asks everybody. With mod_multicast a kill is made when that is used.

alice is pinned as a person: the relay measures every hour who is an outlet, whose posts come by
digest, and a run may take longer. A run that gets stuck ends there, and counts as failed.
"""

import asyncio
import contextlib
import itertools
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.chaos.crowd import Light, gather, leave
from tests.faults.ledger import IN_FLIGHT
from tests.integration.world import World
from tests.servers.towns import EjabberdTown, ProsodyTown
from xmpprelay.core.model import Draft
from xmpprelay.core.volume import Tier
from xmpprelay.errors import StreamError
from xmpprelay.service import Service

Server = ProsodyTown | EjabberdTown

FOLLOWERS: Final = 200
KILL_AFTER_S: Final = (0.1, 0.9)
BURST: Final = 5
AHEAD: Final = 1000
"""So many deliveries always wait to be written, so that the windows are full."""

QUIET_S: Final = 60.0
"""When nothing comes for so long, nothing more will."""

STRIKES_WITHIN_S: Final = 5.0
"""A kill waits so long for stanzas in flight: on a busy machine there are none for a while."""

NO_STORE: Final = b'<no-store xmlns="urn:xmpp:hints" />'
KILL_SERVICE: Final = (
    'exit(whereis(gen_mod:get_module_proc(<<"example.test">>, mod_multicast)), kill), ok.'
)


@dataclass
class Figures:
    """What came of some kills."""

    kills: int = 0
    posts: int = 0
    deliveries: int = 0
    in_flight: int = 0  # at the kills
    repeated: int = 0
    lost: int = 0
    of: list[str] = field(default_factory=list)  # some of what was lost
    doubled: int = 0
    worst: int = 0  # most repeats by one kill
    stuck: list[str] = field(default_factory=list)  # where the run ended too early

    @property
    def bad(self) -> list[str]:
        """What must not be; empty when all is well."""
        lost = [f"{self.lost} lost: {', '.join(self.of[:5])}"] if self.lost else []
        return [*lost, *self.wrong]

    @property
    def wrong(self) -> list[str]:
        """The same where something has to be lost, or may be."""
        found = list(self.stuck)
        if self.doubled:
            found.append(f"{self.doubled} under two ids")
        if self.worst > IN_FLIGHT:
            found.append(f"{self.worst} repeats by one kill")
        return found


def _nothing() -> None:
    """Nobody wants to know."""


class Crowd:
    """alice, those who follow her, and a relay that survives its server."""

    def __init__(self, world: World, server: Server) -> None:
        self._world = world
        self._server = server
        self._names = itertools.count(1)
        self._written = 0  # messages, by the relay
        self._followers: list[Light] = []
        self._alice: Light | None = None

    async def gathers(self, followers: int) -> None:
        """Everybody logs in, and follows alice; the server has all of it on disk."""
        server = self._server
        relay = server.component_domain
        [self._alice] = await gather(server, relay, ["alice"])
        answer = await self._alice.asks("join alice")
        assert answer.startswith("Welcome"), answer
        await self._world.service.volume.pin("alice", Tier.PERSON)
        self._followers = await gather(server, relay, [f"f{n}" for n in range(followers)])
        answers = await asyncio.gather(*(each.asks("follow alice") for each in self._followers))
        assert all(answer.startswith("You follow @alice") for answer in answers), answers
        await self._fence()
        await server.flush()  # else the contact lists die with it

    def forces_the_ping(self) -> None:
        """The control: as if ejabberd worked off a stream in order."""
        service = self._world.service
        barrier, domain = service.outbox.barrier, service.component.server_domain

        async def own(people: tuple[int, ...]) -> bool:
            del people
            return await barrier.ping(domain)

        barrier.own = own  # type: ignore[method-assign]

    def probes_past_the_service(self) -> None:
        """The other control: posts wait in the multicast service, and their probes do not."""
        barrier = self._world.service.outbox.barrier
        barrier._probe = barrier._probe_alone

    def reads_along(self, *, archived: bool) -> None:
        """Count what the relay writes; with `archived`, let the server keep what it would not."""
        component = self._world.service.component
        write = component.write

        def counted(data: bytes) -> None:
            if data.startswith(b"<message "):
                alone = data.count(b"<message ") - data.count(b"<addresses ")
                self._written += alone + data.count(b"<address ")
            write(data.replace(NO_STORE, b"") if archived else data)

        component.write = counted  # type: ignore[method-assign]

    async def disperses(self) -> None:
        await leave([*self._followers, *([self._alice] if self._alice else [])])

    async def kill(self, number: int, figures: Figures) -> None:
        """One kill, and the books of what was posted around it."""
        service, server = self._world.service, self._server
        if isinstance(server, EjabberdTown) and server.multicast:
            await self._world.until(lambda: service.multicast.service is not None)
        after_s = random.Random(number).uniform(*KILL_AFTER_S)

        def strike() -> None:
            ends_at = time.monotonic() + STRIKES_WITHIN_S
            while not _in_flight(service) and time.monotonic() < ends_at:
                time.sleep(0.0005)
            os.kill(server.pid, signal.SIGKILL)
            figures.in_flight += _in_flight(service)

        # Not from the loop, which would strike only when it has nothing else to do.
        assassin = threading.Timer(after_s, strike)
        assassin.start()
        for each in self._followers:
            each.hoards()
        tokens = await self._posts_while(lambda: server.running)
        await server.kill()
        everybody = [*self._followers, self._alice] if self._alice else self._followers
        await asyncio.gather(*(each.is_cut_off() for each in everybody))
        before = sum(each.repeats() for each in self._followers)
        await server.start()
        await asyncio.gather(*(each.comes() for each in everybody))
        tokens.append(await self._fence())
        gone = [each.account.jid for each in everybody if not each.connected]
        assert not gone, f"the server has dropped {', '.join(gone)}"
        self._books(tokens, before, figures)

    async def kill_service(self, number: int, figures: Figures) -> None:
        """The same of ejabberd's multicast service alone: another one takes its place at once."""
        service, server, chance = self._world.service, self._server, random.Random(number)
        assert isinstance(server, EjabberdTown)
        await self._world.until(lambda: service.multicast.service is not None)
        before = sum(each.repeats() for each in self._followers)
        over = False

        async def strike() -> None:
            nonlocal over
            try:
                await asyncio.sleep(chance.uniform(*KILL_AFTER_S))
                await self._world.until(lambda: _in_flight(service) > 0)
                figures.in_flight += _in_flight(service)
                await server.ask(KILL_SERVICE)
                await asyncio.sleep(chance.uniform(0.0, 0.3))  # people go on meanwhile
            finally:
                over = True

        tokens, _ = await asyncio.gather(self._posts_while(lambda: not over), strike())
        tokens.append(await self._fence())
        self._books(tokens, before, figures)
        if service.multicast.service is None:  # it would not be looked for for an hour
            await service.multicast.look()

    def _books(self, tokens: Sequence[str], before: int, figures: Figures) -> None:
        """What came of these posts; `before`: the repeats until then."""
        figures.kills += 1
        figures.posts += len(tokens)
        for each in self._followers:
            missing = each.missing(tokens)
            figures.lost += len(missing)
            figures.deliveries += len(tokens) - len(missing)
            figures.of += [f"{token} to {each.account.jid}" for token in missing[:1]]
            figures.doubled += len(each.doubled())
        repeats = sum(each.repeats() for each in self._followers)
        figures.repeated += repeats - before
        figures.worst = max(figures.worst, repeats - before)

    async def _posts_while(self, so: Callable[[], bool]) -> list[str]:
        """Post as fast as keeps the windows full, as long as something is so."""
        tokens: list[str] = []
        self._written = 0
        while so():
            if len(tokens) * len(self._followers) < self._written + AHEAD:
                tokens += await asyncio.gather(*(self._posts() for _ in range(BURST)))
            await asyncio.sleep(0)
        return tokens

    async def _posts(self) -> str:
        assert self._alice is not None
        token = f"post-{next(self._names)}"
        draft = Draft(self._alice.account.jid, token, None, None, None)
        await self._world.service.relay.accept(draft)
        return token

    async def _fence(self) -> str:
        """A last post; returns when everybody has it, and so all that he will get before it."""
        token = await self._posts()
        await asyncio.gather(*(each.gets_all([token], QUIET_S) for each in self._followers))
        return token


async def run(
    server: Server,
    folder: Path,
    first: int,
    kills: int,
    *,
    followers: int = FOLLOWERS,
    archived: bool = False,
    control: "Callable[[Crowd], None] | None" = None,
    of_service: bool = False,
    told: Callable[[], None] = _nothing,
) -> Figures:
    """Kill this server so many times under a relay's fan-out; `told` is called after each.

    `archived`: its archive has to keep every post. `control` takes the protection off.
    `of_service`: its multicast service is killed, and it goes on.
    """
    figures = Figures()
    async with World(server, folder) as world:
        world.uses_multicast()
        service = await world.starts()
        service.component.steady_s = 0.0  # a new connection is tried for at once each time
        crowd = Crowd(world, server)
        crowd.reads_along(archived=archived)
        if control is not None:
            control(crowd)
        await crowd.gathers(followers)
        try:
            for number in range(first, first + kills):
                await (crowd.kill_service if of_service else crowd.kill)(number, figures)
                told()
        except (AssertionError, ConnectionError, StreamError) as why:
            figures.stuck.append(f"kill {number}, after {figures.kills}: {why}")
        finally:
            await crowd.disperses()
    return figures


def _in_flight(service: Service) -> int:
    """Stanzas under way, counted from another thread; what changes meanwhile is counted again."""
    while True:
        with contextlib.suppress(RuntimeError):
            return service.delivery.in_flight()
