"""The queues of what people send: order for each, side by side for all, and a bound."""

import asyncio
from collections.abc import Awaitable, Callable

from structlog.testing import capture_logs

from xmpprelay.xmpp.intake import IN_ALL, OF_STRANGERS, PER_SENDER, Intake

Affair = Callable[[], Awaitable[None]]


class Desk:
    """Affairs that wait until they are let through, and note when they were begun and done."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.done: list[str] = []
        self._gates: dict[str, asyncio.Event] = {}

    def affair(self, name: str) -> Callable[[], "asyncio.Future[None]"]:
        async def run() -> None:
            self.begun.append(name)
            gate = self._gates.setdefault(name.partition(" ")[0], asyncio.Event())
            await gate.wait()
            self.done.append(name)

        return run  # type: ignore[return-value]

    def opens(self, sender: str) -> None:
        self._gates.setdefault(sender, asyncio.Event()).set()


async def turns(number: int = 5) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


async def test_one_persons_affairs_are_done_in_order_one_at_a_time() -> None:
    intake, desk = Intake(), Desk()
    for n in range(3):
        assert intake.put("alice", desk.affair(f"alice {n}"))
    await turns()
    assert desk.begun == ["alice 0"]
    desk.opens("alice")
    await intake.drained()
    assert desk.done == ["alice 0", "alice 1", "alice 2"]


async def test_nobody_waits_for_anybody_else() -> None:
    intake, desk = Intake(), Desk()
    intake.put("alice", desk.affair("alice 0"))
    intake.put("bob", desk.affair("bob 0"))
    intake.put("alice", desk.affair("alice 1"))
    intake.put("bob", desk.affair("bob 1"))
    desk.opens("bob")
    await turns(10)
    assert desk.done == ["bob 0", "bob 1"]
    desk.opens("alice")
    await intake.drained()


async def test_above_a_senders_bound_nothing_of_his_is_taken() -> None:
    intake, desk = Intake(), Desk()
    taken = [intake.put("alice", desk.affair(f"alice {n}")) for n in range(PER_SENDER + 2)]
    assert taken == [True] * PER_SENDER + [False] * 2
    assert intake.put("bob", desk.affair("bob 0"))
    await turns()
    assert intake.put("alice", desk.affair("alice again")), "one is under way, and waits no more"
    desk.opens("alice")
    desk.opens("bob")
    await intake.drained()
    assert "alice again" in desk.done
    assert len(desk.done) == PER_SENDER + 2


async def test_above_the_bound_of_all_nothing_is_taken() -> None:
    intake, desk = Intake(), Desk()
    assert all(intake.put(f"s{n}", desk.affair(f"s{n} 0")) for n in range(IN_ALL))
    assert not intake.put("late", desk.affair("late 0"))
    for n in range(IN_ALL):
        desk.opens(f"s{n}")
    await intake.drained()
    desk.opens("late")
    assert intake.put("late", desk.affair("late 0"))
    await intake.drained()
    assert len(desk.done) == IN_ALL + 1


async def test_strangers_have_a_bound_of_their_own() -> None:
    desk = Desk()
    intake = Intake(lambda sender: sender.startswith("stranger"))
    taken = [intake.put(f"stranger{n}", desk.affair("s 0")) for n in range(OF_STRANGERS + 3)]
    assert taken == [True] * OF_STRANGERS + [False] * 3
    assert intake.put("alice", desk.affair("a 0"))
    desk.opens("s")
    desk.opens("a")
    await intake.drained()
    assert intake.put("stranger again", desk.affair("s 1"))
    await intake.drained()
    assert len(desk.done) == OF_STRANGERS + 2


async def test_what_raises_is_counted_and_told_and_takes_nothing_with_it() -> None:
    async def fails() -> None:
        raise RecursionError

    intake, desk = Intake(), Desk()
    desk.opens("alice")
    with capture_logs() as logs:
        intake.put("alice", fails)
        intake.put("alice", desk.affair("alice 0"))
        await intake.drained()
    assert desk.done == ["alice 0"]
    assert intake.failures == 1
    assert [entry["event"] for entry in logs] == ["affair.failed"]


async def test_drained_is_at_once_where_nothing_waits() -> None:
    intake, desk = Intake(), Desk()
    await asyncio.wait_for(intake.drained(), 1)
    desk.opens("alice")
    intake.put("alice", desk.affair("alice 0"))
    await intake.drained()
    await asyncio.wait_for(intake.drained(), 1)
