"""The barrier on the own server: a ping where it works in order, probes elsewhere.

Where posts and probes go through the server's multicast service, that may have lost both.
"""

import asyncio
from collections.abc import Callable, Collection, Coroutine
from typing import Any
from xml.etree.ElementTree import Element

import pytest

from xmpprelay.errors import StreamError
from xmpprelay.xmpp.barrier import Barrier
from xmpprelay.xmpp.stanzas import STANZA_ERRORS, tag


class Stream:
    """A stream whose pings are answered by hand."""

    server_domain = "example.test"

    def __init__(self) -> None:
        self.pings: list[tuple[str, asyncio.Future[Element]]] = []
        self.pinged = asyncio.Event()

    def ping(self, domain: str) -> "asyncio.Future[Element]":
        future: asyncio.Future[Element] = asyncio.get_running_loop().create_future()
        self.pings.append((domain, future))
        self.pinged.set()
        return future

    def answer(self, kind: str = "result", condition: str | None = None) -> None:
        iq = Element(tag("iq"), type=kind)
        if condition is not None:
            error = Element(tag("error"))
            error.append(Element(tag(condition, STANZA_ERRORS)))
            iq.append(error)
        self.pings[-1][1].set_result(iq)


SERVICE = "multicast.example.test"
SHORT_S = 0.2
"""How long people may be silent, in tests that wait for that."""


class Service:
    """The server's multicast service; None: it has none."""

    service: str | None = None

    def __init__(self) -> None:
        self.failures = 0

    def fails(self, why: str) -> None:
        assert why
        self.failures += 1


class World:
    """A barrier with everything around it in plain sight."""

    def __init__(self, silent_s: float = 60.0) -> None:
        self.stream = Stream()
        self.multicast = Service()
        self.probed: list[int] = []
        self.marks: list[str] = []
        self.alone: list[tuple[int, str]] = []  # who was probed by himself, by which mark
        self.online: set[int] = set(range(1, 1000))
        self.barrier = Barrier(
            self.stream,  # type: ignore[arg-type]
            self.multicast,  # type: ignore[arg-type]
            probe=self._probe,
            probe_alone=self._probe_alone,
            answers=lambda person: person in self.online,
            silent_s=silent_s,
        )

    def _probe_alone(self, people: Collection[int], mark: str) -> None:
        self.alone += [(person, mark) for person in people]
        self.stream.pinged.clear()

    def _probe(self, people: Collection[int], mark: str) -> None:
        self.probed += people
        self.marks += [mark] * len(people)

    def seen(self, person: int) -> None:
        """His session answers the last probe."""
        last = max(at for at, each in enumerate(self.probed) if each == person)
        self.barrier.seen(person, self.marks[last], stamped=True)

    async def ask(self, *people: int) -> "asyncio.Task[bool]":
        """Ask for a window's barrier; returns when the questions are out."""
        return await self.begin(self.barrier.own(people))

    async def begin(self, question: Coroutine[Any, Any, bool]) -> "asyncio.Task[bool]":
        task = asyncio.get_running_loop().create_task(question)
        await self.turns()
        return task

    async def turns(self) -> None:
        for _ in range(10):
            await asyncio.sleep(0)


@pytest.fixture
def world() -> World:
    return World()


async def test_a_server_that_works_in_order_is_pinged(world: World) -> None:
    world.barrier.in_order = True
    asked = await world.ask(*range(1, 101))
    assert world.probed == []
    assert [domain for domain, _ in world.stream.pings] == ["example.test"]
    world.stream.answer()
    assert await asked


async def test_elsewhere_everybody_is_probed_and_all_must_answer(world: World) -> None:
    asked = await world.ask(*range(1, 96))
    assert world.probed == [*range(1, 96)]
    assert world.stream.pings == []
    for person in world.probed[:-1]:
        world.seen(person)
    await world.turns()
    assert not asked.done(), "one has not answered"
    world.seen(95)
    assert await asked


async def test_somebody_else_says_nothing(world: World) -> None:
    asked = await world.ask(3)
    world.barrier.seen(2, world.marks[0], stamped=True)
    await world.turns()
    assert not asked.done()
    world.seen(3)
    assert await asked


@pytest.mark.parametrize(("mark", "stamped"), [("probe", True), ("barrier-0", True), ("", False)])
async def test_what_is_no_answer_to_this_very_probe_says_nothing(
    world: World, mark: str, stamped: bool
) -> None:
    """An answer to a probe of before may have been given before the window was processed."""
    asked = await world.ask(1)
    world.barrier.seen(1, mark, stamped=stamped)
    await world.turns()
    assert not asked.done()
    world.seen(1)
    assert await asked


async def test_a_server_that_answers_to_the_bare_address_is_understood(world: World) -> None:
    asked = await world.ask(1)
    world.barrier.seen(1, "", stamped=True)
    assert await asked


async def test_where_one_is_gone_the_ping_decides_when_the_others_have_answered(
    world: World,
) -> None:
    asked = await world.ask(1, 2)
    world.barrier.gone(2)
    await world.turns()
    assert world.stream.pings == []
    world.seen(1)
    await world.stream.pinged.wait()
    assert not asked.done()
    world.stream.answer()
    assert await asked


async def test_where_one_is_silent_the_ping_decides() -> None:
    world = World(silent_s=0.0)
    asked = await world.ask(1, 2)
    await world.stream.pinged.wait()
    assert world.probed == [1, 2]
    world.stream.answer()
    assert await asked


async def test_nobody_online_means_the_ping(world: World) -> None:
    world.online.clear()
    asked = await world.ask(1, 2)
    assert world.probed == []
    world.stream.answer()
    assert await asked


async def test_each_window_has_an_answer_of_its_own(world: World) -> None:
    first = await world.ask(7)
    second = await world.ask(7)
    assert world.probed == [7, 7]
    world.barrier.seen(7, world.marks[0], stamped=True)
    assert await first
    await world.turns()
    assert not second.done(), "the answer to the first says nothing of the second window"
    world.seen(7)
    assert await second


@pytest.mark.parametrize(
    ("condition", "confirmed"),
    [
        ("service-unavailable", True),
        ("feature-not-implemented", True),
        ("remote-server-timeout", False),
        ("remote-server-not-found", False),
        ("resource-constraint", False),
    ],
)
async def test_an_error_confirms_only_if_the_domain_itself_has_made_it(
    world: World, condition: str, confirmed: bool
) -> None:
    asked = await world.begin(world.barrier.ping("elsewhere.test"))
    world.stream.answer("error", condition)
    assert await asked is confirmed


@pytest.mark.parametrize("failure", [TimeoutError, lambda: StreamError("lost")])
async def test_silence_and_a_lost_stream_confirm_nothing(
    world: World, failure: Callable[[], Exception]
) -> None:
    asked = await world.begin(world.barrier.ping("elsewhere.test"))
    world.stream.pings[-1][1].set_exception(failure())
    assert not await asked


async def test_who_answers_twice_counts_once_and_who_is_gone_has_not_answered(
    world: World,
) -> None:
    asked = await world.ask(1, 2)
    world.seen(1)
    world.seen(1)
    world.barrier.gone(1)
    await world.turns()
    assert not asked.done(), "the other one has not answered"
    world.seen(2)
    assert await asked
    assert world.stream.pings == []


async def test_nothing_is_kept_of_a_window_that_is_over(world: World) -> None:
    asked = await world.ask(1, 2, 3)
    world.seen(1)
    world.barrier.gone(2)
    asked.cancel()
    await world.turns()
    assert not world.barrier._waiting


async def test_a_lost_stream_ends_the_waiting(world: World) -> None:
    asked = await world.ask(1)
    world.online.clear()
    world.barrier.lost()
    await world.turns()
    world.stream.pings[-1][1].set_exception(StreamError("lost"))
    assert not await asked


# --- through a multicast service ------------------------------------------------------------------


async def _silent(*people: int) -> "tuple[World, asyncio.Task[bool]]":
    """A window that went by the service; nobody has answered in time, so the service is pinged."""
    world = World(SHORT_S)
    world.multicast.service = SERVICE
    asked = await world.ask(*people)
    await world.stream.pinged.wait()
    assert [domain for domain, _ in world.stream.pings] == [SERVICE]
    assert world.alone == []
    return world, asked


async def test_when_all_answer_the_service_is_not_asked(world: World) -> None:
    world.multicast.service = SERVICE
    asked = await world.ask(1, 2)
    world.seen(1)
    world.seen(2)
    assert await asked
    assert world.stream.pings == []


async def test_a_service_that_does_not_answer_confirms_nothing() -> None:
    world, asked = await _silent(1)
    world.stream.answer("error", "remote-server-not-found")
    await world.turns()
    assert asked.done(), "nobody else is asked"
    assert not await asked


async def test_who_answers_his_own_probe_only_has_lost_what_came_by_the_service() -> None:
    world, asked = await _silent(1, 2)
    world.stream.answer("error", "service-unavailable")
    await world.turns()
    assert [person for person, _ in world.alone] == [1, 2]
    world.barrier.seen(2, world.alone[1][1], stamped=True)
    await world.turns()
    assert not asked.done(), "the other one may be slow"
    async with asyncio.timeout(5):  # nobody else is asked
        assert not await asked
    assert world.multicast.failures == 1
    assert len(world.stream.pings) == 1, "the server's own answer would say nothing"


async def test_who_is_only_slow_answers_both_and_has_lost_nothing() -> None:
    world, asked = await _silent(1, 2)
    world.stream.answer()
    await world.turns()
    for person, mark in world.alone:
        world.seen(person)
        world.barrier.seen(person, mark, stamped=True)
    await world.stream.pinged.wait()
    assert world.stream.pings[-1][0] == "example.test"
    world.stream.answer()
    assert await asked
    assert world.multicast.failures == 0


async def test_only_the_silent_are_asked_again_and_where_they_stay_so_the_ping_decides() -> None:
    world, asked = await _silent(1, 2, 3)
    world.seen(1)
    world.online.discard(3)
    world.barrier.gone(3)
    world.stream.answer()
    await world.turns()
    assert [person for person, _ in world.alone] == [2]
    await world.stream.pinged.wait()
    world.stream.answer()
    assert await asked
    assert world.multicast.failures == 0
    assert not world.barrier._waiting


async def test_where_nobody_is_online_the_service_is_asked_before_the_server(world: World) -> None:
    """What it was given is for them, too."""
    world.multicast.service = SERVICE
    world.online.clear()
    asked = await world.ask(1)
    assert [domain for domain, _ in world.stream.pings] == [SERVICE]
    world.stream.answer("error", "service-unavailable")
    await world.turns()
    assert [domain for domain, _ in world.stream.pings] == [SERVICE, "example.test"]
    world.stream.answer()
    assert await asked
