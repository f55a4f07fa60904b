"""Floods from another domain, small: an honest author is served in order, and nothing grows.

The floods are those of `tests/chaos/floods.py`, which runs them in full size and takes the time.
"""

import itertools
from typing import Final

import pytest

from tests.chaos.floods import Far as Flooder
from tests.chaos.floods import Flood, asking, bounces, deep, large, malformed, questions, strangers
from tests.integration.clients import count, said
from tests.integration.world import World
from tests.servers.towns import FAR, TOWNS

RUNS_IN: Final = TOWNS

MANY: Final = 400
EACH: Final = 5
"""Posts that alice writes while a flood goes on."""


def floods(world: World) -> list[Flood]:
    home = f"home@{world.server.component_domain}"
    return [
        strangers(home, 3 * MANY),
        asking(home, MANY),
        questions(home, MANY),
        malformed(home, MANY, 1000),
        bounces(home, MANY // 4),
        deep(home, 3, world.server.deepest),
        large(home, 3),
    ]


async def test_an_author_is_served_in_order_and_nothing_grows(world: World) -> None:
    alice, bob = await world.authors("alice", "bob")
    await bob.says("follow alice")
    await world.live(bob)
    relay = world.server.component_domain
    texts = []
    async with Flooder(world.server) as far:
        far.sends(
            f"<message from='eve@{FAR}' to='home@{relay}'><body>follow alice</body></message>"
        )
        await world.until(lambda: world.service.graph.by_jid(f"eve@{FAR}") is not None)
        people = len(list(world.service.graph.people()))
        for flood in floods(world):
            texts += [f"{len(texts) + n} during {flood.name}" for n in range(EACH)]
            for text in texts[-EACH:]:
                alice.sends(text)
            await far.floods(flood)
            await far.until_all_is_dealt_with(relay)
            await alice.fence()
        await alice.says("the last")
    await bob.gets_post("the last")
    posts = [said(each) for each in bob.mail.ledger if each.post_id is not None]
    assert posts == [*texts, "the last"]
    assert count(alice.mail.ledger, type="error") == 0
    assert world.streams == 1
    service = world.service
    assert len(list(service.graph.people())) == people, "no stranger is remembered"
    assert not service.component._questions or service.delivery.in_flight()
    assert service.db.next_number == len(texts) + 2


@pytest.mark.parametrize("door", ["presence", "question"])
async def test_who_asks_too_much_is_heard_again_later_and_others_all_the_time(
    world: World, door: str
) -> None:
    await world.starts()
    far, odd = await world.far(), await world.far("odd.test")
    numbers = itertools.count()

    def asks(domain: str) -> str:
        who = f"u{next(numbers)}@{domain}"
        if door == "presence":
            return f"<presence from='{who}' to='{far.home}' type='probe'/>"
        return (
            f"<iq from='{who}' to='{far.home}' type='get' id='q'><ping xmlns='urn:xmpp:ping'/></iq>"
        )

    async def all_is_read() -> None:
        await world.service.component.ping(FAR)  # its answer is taken before what waits
        await world.until(lambda: not world.service.component.precedence)

    far.sends("".join(asks(FAR) for _ in range(5000)))
    odd.sends(asks("odd.test"))
    await odd.gets(sender=odd.home)
    await all_is_read()
    await all_is_read()
    answered = len(far.mail.ledger)
    assert 10 <= answered < 5000
    world.clock.passes(minutes=10)
    far.sends(asks(FAR))
    await far.mail.until(lambda: len(far.mail.ledger) > answered)
