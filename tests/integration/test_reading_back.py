"""A server says that it has a post, and drops it: with `read_back` its author is told."""

import time
from pathlib import Path

from tests.integration.test_inserting import ADMIN, ALICE, posts, says, site, until
from tests.integration.wire import RELAY, wired
from tests.integration.world import Clock
from tests.primaries import faults
from tests.primaries.profiles import MASTODON
from tests.primaries.server import Server
from tests.primaries.world import World
from xmpprelay.config import Primary, Secret, Xmpp
from xmpprelay.core.primary import EVERYBODY


async def test_what_was_dropped_as_spam_is_told_with_what_to_do(tmp_path: Path) -> None:
    async with Server(World(MASTODON, time.time)) as server:
        token = Secret(server.world.join("relay", EVERYBODY).token)
        primary = Primary(
            driver="mastodon", url=server.site, token=token, read_back=True, per_second=0.01
        )
        clock = Clock()
        xmpp = Xmpp(domain=RELAY, secret=Secret("secret"), admins=(ADMIN,))
        async with wired(tmp_path, clock, primary=primary, xmpp=xmpp) as wire:
            await says(wire, ALICE, "join alice")
            await wire.service.inserting.open()
            wire.service.inserting.start()
            await until(lambda: not site(wire).health.away)
            server.world.script.then(faults.ANTISPAM)
            name = await posts(wire, ALICE, "https://example.test/tea")
            await until(lambda: site(wire).total == 0)
            await wire.quiet()
            [told] = [each.body for each in wire.taken() if each.to == ALICE and each.body]
            assert told == (
                f"The service behind this relay did not take {name} (It has answered with yes and "
                "dropped the post, as it does with spam: write it anew with fewer links and "
                f"mentions, or ask the moderators there.). `resend {name}` tries again, "
                f"`drop {name}` ends it."
            )
            assert "fewer links and mentions" in await says(wire, ALICE, "pending")
            assert site(wire).wait_s(clock.monotonic()) > 150.0, "two requests, at one in 100 s"
            clock.passes(minutes=10)
            await says(wire, ALICE, f"resend {name}")
            await until(lambda: site(wire).total == 0)
            assert server.world.texts() == ["alice: https://example.test/tea"]
