"""Who posts here, for who asks: the public list, and finding people by name."""

import asyncio
import time

import pytest

from xmpprelay.core.blocks import OPERATOR
from xmpprelay.core.graph import Graph
from xmpprelay.core.model import Person
from xmpprelay.core.profile import NO_PROFILE, Profile
from xmpprelay.directory import ASKING, FOUND, LOOKED_AT, Directory
from xmpprelay.errors import TooFast, TryLater

ASKER = "asker@example.test"


class Names:
    """Stands in for the profiles' room: what people are called."""

    def __init__(self) -> None:
        self.names: dict[int, str] = {}

    def of(self, person: int) -> Profile:
        return Profile(self.names[person]) if person in self.names else NO_PROFILE


class World:
    def __init__(self) -> None:
        self.graph = Graph(["example.test"])
        self.profiles = Names()
        self.now = 0.0
        self.last = 0
        self.directory = Directory(
            self.graph,
            self.profiles,  # type: ignore[arg-type]
            "relay.test",
            lambda: self.now,
        )

    def adds(self, *handles: str | None, domain: str = "example.test") -> None:
        for handle in handles:
            self.last += 1
            number = self.last
            self.graph.add_person(Person(number, f"p{number}@{domain}", handle))

    def person(self, handle: str) -> Person:
        found = self.graph.by_handle(handle)
        assert found is not None
        return found

    async def found(self, words: str, asker: str = ASKER) -> list[str | None]:
        return [each.handle for each in await self.directory.find(asker, words)]


@pytest.fixture
def world() -> World:
    world = World()
    world.adds("dora", "bob", None, "alice", "carol")
    return world


async def test_the_list_has_all_handles_in_order(world: World) -> None:
    assert await world.directory.public(ASKER) == ["alice", "bob", "carol", "dora"]
    dora = world.person("dora")
    world.graph.add_person(Person(dora.id, dora.jid, "adora"))
    assert await world.directory.public(ASKER) == ["adora", "alice", "bob", "carol"]
    world.graph.add_person(Person(dora.id, dora.jid, None))
    assert await world.directory.public(ASKER) == ["alice", "bob", "carol"]


async def test_who_is_protected_is_found_but_not_listed(world: World) -> None:
    world.graph.protect(world.person("bob").id, on=True)
    assert "bob" not in await world.directory.public(ASKER)
    assert await world.found("bob") == ["bob"]


async def test_who_is_hidden_from_the_asker_is_nowhere_for_him_alone(world: World) -> None:
    world.graph.block(world.person("bob").id, "example.test")
    world.graph.block(world.person("carol").id, ASKER)
    world.graph.block(OPERATOR, world.person("dora").jid)
    assert await world.directory.public(ASKER) == ["alice"]
    assert await world.found("o") == []
    other = "other@far.test"
    assert await world.directory.public(other) == ["alice", "bob", "carol"]
    assert await world.found("o", other) == ["bob", "carol"]
    bob = world.person("bob").jid
    assert "bob" in await world.directory.public(bob), "to himself everybody exists"


async def test_the_relays_own_accounts_are_in_neither(world: World) -> None:
    world.adds("status", domain="relay.test")
    assert "status" not in await world.directory.public(ASKER)
    assert await world.found("status") == []


async def test_words_are_looked_for_in_handle_and_name_together(world: World) -> None:
    world.profiles.names = {world.person("alice").id: "Straße Liddell", 2: "Bobby Tables"}
    assert await world.found("LIDDELL") == ["alice"]
    assert await world.found("ali strasse") == ["alice"]
    assert await world.found("@bob") == ["bob"]
    assert await world.found("bobby alice") == []
    for nothing in ("", "  ", "@", "@ @"):
        assert await world.found(nothing) == []


async def test_a_search_gives_the_first_ones_only(world: World) -> None:
    world.adds(*(f"many{number:03}" for number in range(FOUND + 5)))
    assert await world.found("many") == [f"many{number:03}" for number in range(FOUND)]


async def test_one_asker_is_held_up_and_nobody_else(world: World) -> None:
    for _ in range(int(ASKING.burst)):
        await world.found("bob")
    with pytest.raises(TooFast) as refused:
        await world.found("bob")
    assert await world.found("bob", "other@example.test") == ["bob"]
    world.now += refused.value.retry_after_s
    assert await world.found("bob") == ["bob"]


async def test_not_too_many_wait_and_the_others_have_their_turn(world: World) -> None:
    world.adds(*(f"many{number}" for number in range(2000)))
    lists = [asyncio.ensure_future(world.directory.public(f"{n}@far.test")) for n in range(50)]
    await asyncio.sleep(0)
    with pytest.raises(TryLater):
        await world.directory.public("one@more.test")
    assert not any(each.done() for each in lists), "it was made in one turn of the loop"
    assert {len(await each) for each in lists} == {2004}
    assert len(await world.directory.public("one@more.test")) == 2004


async def test_all_lists_together_take_no_more_than_a_share_of_the_processor(
    world: World,
) -> None:
    world.adds(*(f"many{number}" for number in range(10_000)))
    lists = int(LOOKED_AT.burst / 10_004) + 1
    for number in range(lists):
        await world.directory.find(f"{number}@far.test", "many0", 1)
    with pytest.raises(TryLater):
        await world.directory.find("one@more.test", "many0", 1)
    world.now += 1.0
    await world.directory.find("one@more.test", "many0", 1)


async def test_ten_thousand_authors_hold_up_nobody_for_long(world: World) -> None:
    """The figure is a bound that no machine misses; measured it is two milliseconds."""
    world.adds(*(f"many{number}" for number in range(10_000)))
    world.graph.block(OPERATOR, "spam.test")
    world.graph.handles()
    listing = asyncio.ensure_future(world.directory.public(ASKER))
    longest = 0.0
    while not listing.done():
        began = time.perf_counter()
        await asyncio.sleep(0)
        longest = max(longest, time.perf_counter() - began)
    assert len(listing.result()) == 10_004
    assert longest < 0.1
