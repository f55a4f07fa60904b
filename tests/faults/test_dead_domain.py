"""Five thousand followers on a domain that is dead: left alone, and everybody has everything after.

XMPPRELAY_ALL_RETURN=1 lets all of them return, and not a few: half a million deliveries.
"""

import os
from collections import Counter
from typing import Final
from xml.etree.ElementTree import Element

from tests.faults.far_crowd import Crowd, crowd
from tests.integration.world import FAR, World
from tests.servers.towns import TOWNS
from xmpprelay.core.lanes import FIRST_REMOTE_WINDOW
from xmpprelay.core.model import Draft
from xmpprelay.core.recipients import State

RUNS_IN = TOWNS

FOLLOWERS: Final = 5000
POSTS: Final = 100
RETURN: Final = FOLLOWERS if os.environ.get("XMPPRELAY_ALL_RETURN") == "1" else 40


async def test_a_hundred_posts_to_five_thousand_on_a_dead_domain(world: World) -> None:
    [alice] = await world.authors("alice")
    [carol] = await world.people("carol")
    await carol.says("follow alice")
    service, delivery = world.service, world.service.delivery
    people = crowd(FOLLOWERS, FAR)
    async with Crowd(world, FAR, people, there=()) as far:
        await far.follow()
    ids = [world.person_id(jid) for jid in people]
    assert all(delivery.state_of(person) is State.LIVE for person in ids)

    errors = count_errors(world)
    delivery.first_canary_s = 0.1
    texts = [f"post {n}" for n in range(POSTS)]
    for text in texts:
        await service.relay.accept(Draft(alice.jid, text, None, None, None))
    await carol.gets_post(texts[-1])
    assert carol.posts() == texts, "nobody else waits"
    await world.until(lambda: errors["iq"] >= 3)
    assert 0 < errors["message"] + errors["presence"] <= FIRST_REMOTE_WINDOW
    assert delivery.is_down(FAR)
    assert service.graph.follower_count(world.person_id(alice)) == FOLLOWERS + 1

    service.outbox.collect_s, service.outbox.remote_probes_per_s = 0.02, 1e6
    async with Crowd(world, FAR, people, there=people[:RETURN]) as far:
        await far.have(POSTS)
        await world.until(lambda: far.probes == FOLLOWERS)
        await world.settled()
        far.says("f0", "ping")
        await far.gets(body="pong")
        far.check(texts)


def count_errors(world: World) -> Counter[str]:
    """How much of what kind comes back to the relay from now on."""
    errors: Counter[str] = Counter()
    component = world.service.component
    take = component._spawn_event

    def counted(xml: Element) -> None:
        if xml.get("type") == "error":
            errors[xml.tag.rpartition("}")[2]] += 1
        take(xml)

    component._spawn_event = counted  # type: ignore[method-assign]
    return errors
