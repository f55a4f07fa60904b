"""One slow domain holds up nobody but itself, and has at most two windows under way.

How fast others are beside it is measured by `python -m tests.bench slow-domain`; here it is shown
that they wait for nothing.
"""

from typing import Final

from tests.faults.far_crowd import Crowd, crowd
from tests.integration.world import FAR, ODD, World
from tests.servers.towns import TOWNS
from xmpprelay.core.lanes import FIRST_REMOTE_WINDOW, WINDOW, WINDOWS
from xmpprelay.core.model import Draft

RUNS_IN = TOWNS

SLOW: Final = 120
POSTS: Final = 20


async def test_a_slow_domain_holds_up_nobody_else(world: World) -> None:
    [alice] = await world.authors("alice")
    [carol] = await world.people("carol")
    await carol.says("follow alice")
    world.service.outbox.collect_s = 0.02
    slow, quick = crowd(SLOW, FAR), crowd(20, ODD)
    texts = [f"post {n}" for n in range(POSTS)]
    async with Crowd(world, FAR, slow, slow) as far, Crowd(world, ODD, quick, quick) as odd:
        await far.follow()
        await odd.follow()
        far.pings = False
        for text in texts:
            await world.service.relay.accept(Draft(alice.jid, text, None, None, None))
        await carol.gets_post(texts[-1])
        assert carol.posts() == texts
        await odd.have(POSTS)
        odd.check(texts)
        assert far.unconfirmed == FIRST_REMOTE_WINDOW, "it has had no more, and answered nothing"

        while sum(map(len, far.had.values())) < SLOW * POSTS:
            await far.confirm()
        far.confirm_all()
        assert WINDOW < far.most_unconfirmed <= WINDOWS * WINDOW
        await world.settled()
        far.check(texts)
