"""Reading on a real server: what waits, what is far back, what is too long, who asks."""

import re
from collections.abc import Sequence
from typing import Final

from sqlalchemy import insert

from tests.integration.world import World
from xmpprelay import reading
from xmpprelay.store.schema import post
from xmpprelay.store.writer import Operation, Transaction

MANY: Final = 2500
"""More posts than one question to the database looks at."""


async def test_a_post_that_waits_for_somebody_is_said_to_wait(world: World) -> None:
    alice, bob = await world.authors("alice", "bob")
    await bob.says("follow alice")
    await bob.says("catchup 0")
    await world.live(bob)
    await bob.leaves()
    await alice.says("hello")
    world.clock.passes(minutes=6)
    await bob.comes()
    assert await bob.hears() == "1 more: alice 1. `more`, `more alice` or `skip`"
    assert await bob.says("why #1") == "#1 waits for your `more`: you follow the author (S2.2)."
    await bob.says("more")
    await bob.gets_post("hello")
    await world.until(lambda: not world.service.delivery.in_flight())
    assert await bob.says("why #1") == "#1 was sent to you: you follow the author (S2.2)."


async def test_what_is_not_there_and_what_is_hidden_are_the_same_bytes(world: World) -> None:
    alice, bob = await world.authors("alice", "bob")
    await alice.says("not for bob")
    await alice.says("block bob")
    for line in ("show #{}", "why #{}"):
        hidden = await bob.is_refused(line.format(1))
        missing = await bob.is_refused(line.format(8))
        assert (hidden.condition, hidden.type) == (missing.condition, missing.type)
        assert hidden.text.replace("#1", "#8") == missing.text
    for line in ("last {}", "whois {}", "last @{}", ":whois {}", "last {} 3", "whois {}@%s"):
        alike = []
        for name in ("alice", "nobdy"):
            refusal = await bob.tries(line.replace("%s", bob.relay).format(name))
            said = refusal.text if refusal is not None else await bob.hears()
            alike.append(re.sub("#[0-9]", "#", said.replace(name, "x")))
        assert alike[0] == alike[1], line


async def test_who_follows_nobody_and_is_unknown_may_read_what_is_public(world: World) -> None:
    [alice] = await world.authors("alice")
    await alice.says("hello")
    far = await world.far()
    far.says("carol", "last alice")
    answer = await far.gets(kind="message", to=f"carol@{far.domain}", sender=far.home)
    assert answer.body == "alice: hello  #1 · now"


async def test_a_search_and_a_timeline_look_back_a_bounded_number_of_posts(
    world: World,
) -> None:
    alice, bob, carol = await world.authors("alice", "bob", "carol")
    await carol.says("follow alice")
    await carol.says("follow bob")
    await alice.says("the needle")
    await carol.gets_post("the needle")
    await world.stops()
    await world.starts()
    await world.service.db.write(_many, world.person_id(alice))
    await world.stops()
    await world.starts()
    found = await carol.says('find "needle"')
    assert found.startswith("alice: the needle  #1 · "), "three questions are within the bound"
    shown = await carol.says("timeline 2")
    assert [line.partition("  ")[0] for line in shown.split("\n")] == [
        "alice: hay 2499", "alice: hay 2500", "`timeline 4` shows more.",
    ]  # fmt: skip
    assert await bob.says('find "straw"') == "No such post."


async def test_an_answer_is_never_longer_than_a_server_takes(world: World) -> None:
    alice, bob = await world.authors("alice", "bob")
    for number in range(10):
        await alice.says(f"{number}" * 1900)
    shown = await bob.says("last alice 10")
    assert len(shown) < reading.ANSWER_CHARS + 100
    assert shown.startswith("The last 8; more is too long for one message.\nalice: 2222")
    assert shown.endswith("#a · now")


def _insert_many(tx: Transaction, rows: Sequence[int]) -> list[None]:
    [author] = rows
    first = tx.numbers.take(MANY)
    tx.conn.execute(
        insert(post),
        [
            {"number": first + n, "author": author, "text": f"hay {n + 1}", "created": tx.now}
            for n in range(MANY)
        ],
    )
    return [None]


_many = Operation(_insert_many, grows=True)
