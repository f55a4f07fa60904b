"""The scripted primary does what its script says: otherwise the engine's tests show nothing."""

import asyncio
from dataclasses import replace
from random import Random

import pytest

from tests.primaries import faults
from tests.primaries.clock import START, Clock
from tests.primaries.faults import Fault, How, Op, Script
from tests.primaries.ids import make_id, sort_key
from tests.primaries.profiles import (
    GOTOSOCIAL,
    MASTODON,
    PLEROMA,
    PROFILES,
    TAKAHE,
    Limit,
    Profile,
)
from tests.primaries.twin import Twin
from tests.primaries.world import Call, Capacity, World
from xmpprelay.core.primary import (
    Account,
    Attempt,
    Found,
    LookFailed,
    Outcome,
    Status,
    Visibility,
)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def world_of(profile: Profile, clock: Clock, **how: object) -> tuple[World, Account]:
    world = World(profile, clock.now, **how)  # type: ignore[arg-type]
    return world, world.join("alice", 1)


def call(account: Account, op: Op = Op.INSERT, **fields: object) -> Call:
    return Call(op, account.token, **{"text": "tea", **fields})  # type: ignore[arg-type]


def post(clock: Clock, text: str) -> Status:
    return Status(text, f"tag:{text}", "alice@example.org", "alice", text, clock.utc())


# --- When it is done -----------------------------------------------------------------------------


def test_late_is_late(clock: Clock) -> None:
    world, alice = world_of(MASTODON, clock)
    reply = world.meet(call(alice, text="late"), faults.LATE).reply
    assert reply.status == 504
    clock.at = START + 1.5
    world.meet(call(alice, text="in between"))
    clock.at = START + 1.999
    assert world.texts() == ["in between"]
    clock.at = START + 60.0
    assert world.texts() == ["in between", "late"]
    assert [each.at for each in world.stored()] == [START + 1.5, START + 2.0]
    early, late = world.stored()
    assert sort_key(early.id) < sort_key(late.id)


def test_what_is_late_is_done_before_whoever_asks_after_it(clock: Clock) -> None:
    world, alice = world_of(GOTOSOCIAL, clock)
    world.meet(call(alice, text="late"), faults.LATE)
    clock.at = START + 2.0
    page = world.meet(call(alice, Op.LIST, remote_id=alice.remote_id)).reply.page
    assert [each.text for each in page] == ["late"]


def test_late_twice_with_one_key_is_once_where_keys_count(clock: Clock) -> None:
    for profile, times in ((MASTODON, 1), (PLEROMA, 1), (GOTOSOCIAL, 2), (TAKAHE, 2)):
        world, alice = world_of(profile, clock)
        for _ in range(2):
            world.meet(call(alice, key="key"), faults.LATE_HANG)
        clock.at += 2.0
        assert len(world.stored()) == times, profile


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.software)
def test_every_fault_does_what_it_says_and_no_more(profile: Profile, clock: Clock) -> None:
    every = [each for each in vars(faults).values() if isinstance(each, Fault)]
    assert len(every) > 35
    for fault in every:
        world, alice = world_of(profile, clock)
        met = world.meet(call(alice), fault)
        assert met.fault is fault
        assert len(world.stored()) == fault.done, fault
        clock.at += 3600.0
        assert len(world.stored()) == (fault.done or fault.late_s is not None), fault
        assert met.reply.status == (fault.status or met.reply.status), fault


# --- Keys ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.software)
def test_an_error_is_replayed_only_where_it_is_kept(profile: Profile, clock: Clock) -> None:
    world, alice = world_of(profile, clock, limits=())
    world.meet(call(alice, key="key"), faults.ERROR_500)
    assert world.meet(call(alice, key="key")).reply.good != profile.replays_errors
    world.forget_keys()
    assert world.meet(call(alice, key="key")).reply.good


def test_errors_of_proxies_are_kept_nowhere(clock: Clock) -> None:
    world, alice = world_of(PLEROMA, clock)
    for fault in (faults.ERROR_502, faults.ERROR_504, faults.HANG, faults.RESET):
        world.meet(call(alice, key="key"), fault)
    assert world.meet(call(alice, key="key")).reply.good


def test_a_key_is_of_one_account_and_may_be_forgotten(clock: Clock) -> None:
    world, alice = world_of(MASTODON, clock)
    bob = world.join("bob", 2)
    for account in (alice, bob, alice):
        world.meet(call(account, key="key"))
    assert len(world.stored()) == 2
    world.meet(call(alice, key="key"), faults.KEYS_FORGOTTEN)
    assert len(world.stored(alice)) == 2


# --- Ids and lists -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["snowflake", "flake", "ulid"])
def test_ids_sort_as_they_were_made(kind: str) -> None:
    made = [make_id(kind, serial, START + serial // 7) for serial in range(1, 200)]
    assert len(set(made)) == len(made)
    assert sorted(made, key=sort_key) == made
    if kind == "snowflake":
        assert sorted(made) != made, "sorting them as texts is a mistake that is to be noticed"
    else:
        assert not any(each.isdecimal() for each in made)


def test_a_list_goes_upward_from_a_mark_and_downward_without(clock: Clock) -> None:
    world, alice = world_of(MASTODON, clock)
    for n in range(50):
        world.meet(call(alice, text=f"{n}"))

    def page(**fields: object) -> list[int]:
        reply = world.meet(call(alice, Op.LIST, remote_id=alice.remote_id, **fields)).reply
        return [int(each.text) for each in reply.page]

    ids = [each.id for each in world.stored()]
    assert page() == list(range(49, 29, -1))
    assert page(min_id=ids[9], limit=100) == list(range(49, 9, -1))
    assert page(min_id=ids[4]) == list(range(24, 4, -1))
    assert page(max_id=ids[4]) == [3, 2, 1, 0]
    assert page(min_id=ids[49]) == []


def test_takahe_hides_and_makes_public(clock: Clock) -> None:
    world, alice = world_of(TAKAHE, clock)
    for visibility in Visibility:
        world.meet(call(alice, visibility=visibility))
    page = world.meet(call(alice, Op.LIST, remote_id=alice.remote_id)).reply.page
    assert {each.visibility for each in page} == {Visibility.PUBLIC, Visibility.UNLISTED}
    private = world.stored()[2]
    world.meet(call(alice, Op.EDIT, remote_id=private.id, text="coffee"))
    assert (private.text, private.visibility) == ("coffee", Visibility.PUBLIC)


# --- Limits and capacity -------------------------------------------------------------------------


def test_a_limit_is_counted_for_whom_it_is(clock: Clock) -> None:
    for by, answers in (("account", [200, 200, 429]), ("address", [200, 429, 429])):
        limit = Limit(2, 10.0, by=by, writes_only=True)
        world, alice = world_of(MASTODON, clock, limits=(limit,))
        bob = world.join("bob", 2)
        replies = [world.meet(call(each)).reply for each in (alice, bob, bob, bob)]
        assert [each.status for each in replies[:1] + replies[2:]] == answers
        assert world.meet(call(alice, Op.VERIFY)).reply.good
        clock.at += 10.0
        assert world.meet(call(bob)).reply.good
        assert world.limited == answers.count(429)


def test_what_is_above_the_capacity_is_counted_and_refused(clock: Clock) -> None:
    world, alice = world_of(GOTOSOCIAL, clock, limits=(), capacity=Capacity(5))
    assert world.capacity
    answers = []
    for _ in range(20):
        answers.append(world.meet(call(alice)).reply.status)
        clock.at += 0.125
    assert answers[:7] == [200] * 5 + [429] * 2
    assert (world.capacity.peak, world.capacity.over) == (8, 15)
    clock.at += 2.0
    assert world.meet(call(alice)).reply.good


def test_or_it_gets_slower_and_slower(clock: Clock) -> None:
    capacity = Capacity(4, slows_down=True)
    world, alice = world_of(GOTOSOCIAL, clock, limits=(), capacity=capacity)
    waits = [world.meet(call(alice)).slow_s for _ in range(6)]
    assert waits == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.25, 1.5])
    assert (capacity.over, len(world.stored())) == (2, 6)


# --- The script ----------------------------------------------------------------------------------


def test_what_is_next_goes_before_outages_and_those_before_chance() -> None:
    script, rng = Script(), Random(1)
    script.at_random(rng, 1.0, [faults.ERROR_500])
    script.outage(faults.HANG, start=10.0, end=20.0, ops=faults.WRITES)
    script.then(faults.RESET, faults.REFUSE)
    drawn = [
        script.draw(op, at)
        for op, at in (
            (Op.DELETE, 10.0), (Op.INSERT, 10.0), (Op.INSERT, 5.0), (Op.INSERT, 19.9),
            (Op.LIST, 19.9), (Op.INSERT, 20.0),
        )
    ]  # fmt: skip
    assert drawn == [
        faults.HANG, faults.RESET, faults.REFUSE, faults.HANG, faults.ERROR_500, faults.ERROR_500,
    ]  # fmt: skip
    script.mend()
    assert script.draw(Op.INSERT, 15.0) is faults.FINE


def test_chance_has_its_share_and_is_the_seed_s() -> None:
    def drawn(seed: int) -> list[Fault]:
        script = Script()
        script.at_random(Random(seed), 0.38)
        return [script.draw(Op.INSERT, 0.0) for _ in range(5000)]

    first = drawn(7)
    failed = [each for each in first if each is not faults.FINE]
    assert len(failed) == pytest.approx(0.38 * 5000, rel=0.1)
    assert set(failed) == set(faults.CHAOS)
    assert first == drawn(7) != drawn(8)


# --- The twin's own promises ---------------------------------------------------------------------


class Sleeps:
    """Every sleep waits until the test ends it."""

    def __init__(self) -> None:
        self.asked: list[tuple[float, asyncio.Future[None]]] = []
        self.new = asyncio.Event()

    async def __call__(self, wait_s: float) -> None:
        future = asyncio.get_running_loop().create_future()
        self.asked.append((wait_s, future))
        self.new.set()
        await future

    async def next(self) -> tuple[float, "asyncio.Future[None]"]:
        await self.new.wait()
        self.new.clear()
        return self.asked[-1]


async def test_the_test_decides_when_an_answer_comes(clock: Clock) -> None:
    world, alice = world_of(MASTODON, clock)
    sleeps = Sleeps()
    twin = Twin(world, sleep=sleeps, rtt_s=lambda: 0.25)
    asking = asyncio.create_task(twin.insert(alice, post(clock, "tea"), "key"))
    wait_s, arrives = await sleeps.next()
    assert (wait_s, world.texts()) == (0.125, [])
    arrives.set_result(None)
    wait_s, answered = await sleeps.next()
    assert (wait_s, world.texts(), asking.done()) == (0.125, ["tea"], False)
    answered.set_result(None)
    assert (await asking).outcome is Outcome.INSERTED


@pytest.mark.parametrize(("half", "stored"), [(1, []), (2, ["tea"])])
async def test_a_task_that_ends_early_has_done_what_had_arrived(
    clock: Clock, half: int, stored: list[str]
) -> None:
    world, alice = world_of(MASTODON, clock)
    sleeps = Sleeps()
    twin = Twin(world, sleep=sleeps)
    asking = asyncio.create_task(twin.insert(alice, post(clock, "tea"), "key"))
    for _ in range(half - 1):
        (await sleeps.next())[1].set_result(None)
    await sleeps.next()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert world.texts() == stored


@pytest.mark.parametrize(("where", "stored"), [("leaves", []), ("arrived", ["tea"])])
async def test_it_can_be_killed_at_each_moment(clock: Clock, where: str, stored: list[str]) -> None:
    class Killed(BaseException):
        pass

    def moment(now: str, op: Op) -> None:
        if (now, op) == (where, Op.INSERT):
            raise Killed

    world, alice = world_of(MASTODON, clock)
    twin = Twin(world, sleep=clock.sleep, moment=moment)
    with pytest.raises(Killed):
        await twin.insert(alice, post(clock, "tea"), "key")
    assert world.texts() == stored


async def test_silence_lasts_as_long_as_the_driver_waits(clock: Clock) -> None:
    world, alice = world_of(MASTODON, clock)
    twin = Twin(world, sleep=clock.sleep, rtt_s=lambda: 0.5, timeout_s=20.0)
    for fault in (faults.HANG, faults.SLOW_BODY):
        began = clock.at
        world.script.then(fault)
        await twin.insert(alice, post(clock, "tea"), "key")
        assert clock.at - began == pytest.approx(20.0)
    assert fault.how is How.SLOW
    assert twin.asked == {Op.INSERT: 2}


# --- What becomes of those who do not look -------------------------------------------------------


async def insert_all(world: World, clock: Clock, account: Account, *, looks: bool) -> list[str]:
    """A small engine: everything in order; what is unclear is looked for, or sent again."""
    twin = Twin(world, sleep=clock.sleep, rtt_s=lambda: 0.2)
    high_water = None
    for n in range(60):
        sent, key = post(clock, f"post {n}"), f"{n}"
        first = clock.utc()
        while (result := await twin.insert(account, sent, key)).outcome is not Outcome.INSERTED:
            await clock.sleep(result.retry_after_s or 3.0)
            key += "'" * looks  # a look has shown that a new key does no harm
            if looks and result.outcome is Outcome.UNKNOWN:
                attempt = Attempt(sent, first, clock.utc(), high_water)
                while isinstance(look := await twin.reconcile(account, attempt), LookFailed):
                    await clock.sleep(3.0)
                if isinstance(look, Found):
                    result = replace(result, remote_id=look.candidates[0].remote_id)
                    break
        high_water = result.remote_id
    return world.texts(account)


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.software)
async def test_looking_loses_and_doubles_nothing(profile: Profile, clock: Clock) -> None:
    world, alice = world_of(profile, clock, limits=())
    world.script.at_random(Random(5), 0.38, ops=frozenset({Op.INSERT, Op.LIST}))
    assert await insert_all(world, clock, alice, looks=True) == [f"post {n}" for n in range(60)]
    assert sum(world.faults.values()) > 20


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.software)
async def test_a_key_protects_only_where_it_counts(profile: Profile, clock: Clock) -> None:
    world, alice = world_of(profile, clock, limits=())
    unclear = [each for each in faults.UNCLEAR if not each.kept]  # Pleroma keeps those for hours
    world.script.at_random(Random(5), 0.38, unclear)
    texts = await insert_all(world, clock, alice, looks=False)
    assert set(texts) == {f"post {n}" for n in range(60)}
    doubled = len(texts) - 60
    assert doubled == 0 if profile.key_window_s else doubled > 10
