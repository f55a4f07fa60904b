"""Which time it is where somebody is: who is asked, when, and what an answer does (S10.3)."""

import asyncio
from collections.abc import AsyncIterator
from datetime import time
from pathlib import Path
from xml.etree.ElementTree import Element, SubElement

import pytest

from tests.unit.less_world import ALICE, BOB, HOUR, Scene, scene
from xmpprelay.choices import CLIENT_ZONE
from xmpprelay.core.model import Grant, Person, Standing
from xmpprelay.core.text import offset_in
from xmpprelay.core.wishes import of_author
from xmpprelay.errors import StreamError
from xmpprelay.store.queries import load_settings
from xmpprelay.xmpp.clocks import AGAIN_AFTER, ASKED_AT_ONCE, DEVICES, TIME, Clocks
from xmpprelay.xmpp.stanzas import tag

HOME = "home@relay.example"
PHONE = "bob@example.org/phone"


class Devices:
    """People's devices in place of the stream.

    Each answers as is said, with None not yet; of others it is said that they do not know it.
    """

    def __init__(self) -> None:
        self.says: dict[str, str | type[Exception] | None] = {}  # by full JID
        self.asked: list[str] = []
        self.silent: list[asyncio.Future[Element]] = []

    def ask(self, iq: Element, within_s: float) -> "asyncio.Future[Element]":
        assert (iq.get("from"), iq.get("type"), within_s) == (HOME, "get", 5.0)
        assert iq.find(tag("time", TIME)) is not None
        device = iq.get("to", "")
        self.asked.append(device)
        future: asyncio.Future[Element] = asyncio.get_running_loop().create_future()
        told = self.says.get(device, LookupError)
        if told is None:
            self.silent.append(future)
        elif isinstance(told, str):
            future.set_result(result(told))
        elif told is LookupError:
            future.set_result(result("+01:00", "error"))
        else:
            future.set_exception(told("not now"))
        return future


def result(tzo: str, kind: str = "result") -> Element:
    iq = Element(tag("iq"), type=kind)
    SubElement(SubElement(iq, tag("time", TIME)), tag("tzo", TIME)).text = tzo
    return iq


class Place:
    """Bob's world, with devices that can be asked."""

    def __init__(self, world: Scene) -> None:
        self.world = world
        self.devices = Devices()
        self.build()

    def build(self) -> None:
        world = self.world
        self.clocks = Clocks(
            self.devices,  # type: ignore[arg-type]
            HOME,
            world.graph,
            world.delivery,
            world.choices,
            world.reads_clock,
        )
        world.less.learn_zone = self.clocks.learn

    async def chooses(self) -> None:
        person = self.world.person()
        await self.world.less.set_digest(person, of_author(ALICE), at=time(8))

    async def minute(self) -> None:
        self.clocks.minute(self.world.digests.daily())
        await self.asked_all()

    async def asked_all(self) -> None:
        """Return when nobody is asked any more."""
        while self.clocks._asking:
            await asyncio.wait(self.clocks._asking.values())
            await asyncio.sleep(0)

    @property
    def clock(self) -> str | None:
        return self.world.choices.of(BOB).clock


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    async with scene(tmp_path / "relay.db") as world:
        place = Place(world)
        yield place
        await place.clocks.close()


@pytest.mark.parametrize("text", ["+01:00", "-05:30", "+14:00", "-14:00", "+00:00", "-00:00"])
def test_an_offset_is_taken_as_it_is_written(text: str) -> None:
    assert offset_in(text) == text


def test_z_is_utc() -> None:
    assert offset_in("Z") == "+00:00"


@pytest.mark.parametrize(
    "text",
    ["", "z", "UTC", "01:00", "+1:00", "+0100", "+01:60", "+14:01", "+15:00", "-99:00", "+01:00 ",
     "+01:00\n", "+٠١:٠٠", "Europe/Berlin", "+01:00:00"],
)  # fmt: skip
def test_junk_is_no_offset(text: str) -> None:
    assert offset_in(text) is None


async def test_a_daily_digest_comes_at_the_time_of_his_client(place: Place) -> None:
    place.devices.says[PHONE] = "+09:00"
    await place.chooses()
    assert place.devices.asked == [PHONE]
    await place.world.posts_now(ALICE)
    await place.world.later(10 * HOUR)  # 07:00 there
    assert place.world.told == []
    await place.world.later(HOUR)
    assert place.world.told == [(1,)]


@pytest.mark.parametrize("told", ["half past nine", LookupError, TimeoutError, StreamError])
async def test_who_does_not_tell_has_utc(place: Place, told: str | type[Exception]) -> None:
    place.devices.says[PHONE] = told
    await place.chooses()
    assert place.devices.asked == [PHONE]
    assert place.clock is None
    await place.world.posts_now(ALICE)
    await place.world.later(19 * HOUR)
    assert place.world.told == []
    await place.world.later(HOUR)
    assert place.world.told == [(1,)]


async def test_what_he_said_himself_counts_and_then_nobody_is_asked(place: Place) -> None:
    await place.world.choices.set(BOB, CLIENT_ZONE, "+02:00")
    await place.world.choices.set(BOB, "tz", "Asia/Tokyo")
    await place.chooses()
    await place.minute()
    assert (place.devices.asked, place.clock) == ([], "Asia/Tokyo")
    await place.world.choices.set_all(BOB, {"tz": None})
    assert place.clock == "+02:00"


async def test_a_digest_every_hour_needs_no_clock(place: Place) -> None:
    await place.world.less.set_digest(place.world.person(), of_author(ALICE), every=HOUR)
    await place.minute()
    assert place.devices.asked == []


@pytest.mark.parametrize("grant", [Grant.ASKED, Grant.REFUSED])
async def test_who_hides_his_presence_is_not_asked(place: Place, grant: Grant) -> None:
    place.world.delivery.set_grant(BOB, grant, place.world.now)
    await place.chooses()
    assert place.devices.asked == []


async def test_who_is_away_is_asked_when_he_is_back(place: Place) -> None:
    await place.world.leaves()
    await place.chooses()
    assert place.devices.asked == []
    place.devices.says[PHONE] = "-05:00"
    await place.world.comes()
    await place.minute()
    assert (place.devices.asked, place.clock) == ([PHONE], "-05:00")


async def test_a_person_who_has_moved_is_followed_once_a_day(place: Place) -> None:
    place.devices.says[PHONE] = "+01:00"
    await place.chooses()
    place.devices.says[PHONE] = "-08:00"
    await place.world.later(AGAIN_AFTER - HOUR)
    await place.minute()
    assert place.clock == "+01:00"
    await place.world.later(HOUR)
    await place.minute()
    assert place.clock == "-08:00"
    place.devices.says[PHONE] = LookupError
    await place.world.later(AGAIN_AFTER)
    await place.minute()
    assert (len(place.devices.asked), place.clock) == (3, "-08:00")


async def test_his_devices_are_asked_in_turn_and_not_all_of_them(place: Place) -> None:
    for name, priority in (("tablet", 9), ("old", -1), ("watch", 5), ("desk", 5)):
        at = place.world.reads_clock()
        place.world.delivery.available(BOB, name, priority, None, at)
        place.devices.says[f"bob@example.org/{name}"] = TimeoutError
    place.devices.says["bob@example.org/watch"] = "+03:00"
    await place.chooses()
    names = [device.partition("/")[2] for device in place.devices.asked]
    assert (names, place.clock) == (["tablet", "desk", "watch"], "+03:00")
    place.devices.asked.clear()
    place.devices.says["bob@example.org/watch"] = LookupError
    await place.world.later(AGAIN_AFTER)
    await place.minute()
    assert len(place.devices.asked) == DEVICES


async def test_a_silent_device_keeps_nobody_waiting_and_may_tell_later(place: Place) -> None:
    place.clocks.patience_s = 0.0
    place.devices.says[PHONE] = None
    await place.chooses()
    assert place.clock is None
    await place.chooses()  # he is being asked
    assert place.devices.asked == [PHONE]
    place.devices.silent[0].set_result(result("Z"))
    await place.asked_all()
    assert place.clock == "+00:00"


async def test_it_is_known_after_a_restart(place: Place) -> None:
    place.devices.says[PHONE] = "+05:45"
    await place.chooses()
    await place.world.restarts(BOB)
    place.world.choices.load(await place.world.db.read(lambda conn: list(load_settings(conn))))
    assert place.clock == "+05:45"


async def test_what_the_client_of_somebody_who_has_left_tells_is_not_kept(place: Place) -> None:
    place.clocks.patience_s = 0.0
    place.devices.says[PHONE] = None
    await place.chooses()
    place.clocks.forget(BOB)
    place.devices.silent[0].set_result(result("+01:00"))
    await place.asked_all()
    assert await place.world.db.read(lambda conn: list(load_settings(conn))) == []


async def test_many_are_asked_by_and_by(place: Place) -> None:
    crowd = range(100, 100 + ASKED_AT_ONCE + 1)
    world = place.world
    for person in crowd:
        world.graph.add_person(Person(person, f"p{person}@example.org", None))
        world.delivery.standing_made(Standing(person, 1, world.now), world.now)
        world.delivery.set_grant(person, Grant.GRANTED, world.now)
        world.delivery.available(person, "phone", 0, None, world.now)
        place.devices.says[f"p{person}@example.org/phone"] = None
    place.clocks.minute(crowd)
    await asyncio.sleep(0)
    assert len(place.devices.asked) == ASKED_AT_ONCE
    for future in place.devices.silent:
        future.set_result(result("Z"))
    await place.asked_all()
    place.clocks.minute(crowd)
    await asyncio.sleep(0)
    assert len(place.devices.asked) == len(crowd)
