"""What the configuration makes of a driver; and its requests are counted for where they go."""

import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.primaries import faults
from tests.primaries.faults import Op
from tests.primaries.profiles import MASTODON
from tests.primaries.server import Server
from tests.primaries.world import World
from xmpprelay.config import Primary, Secret
from xmpprelay.core.primary import EVERYBODY, Account, Outcome, Status
from xmpprelay.inserting import drivers_of

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
TEA = Status("k3f.ab12cd", "xmpp:k3f", "alice@example.test", "alice", "Tea?", NOON)


async def nobody_asks(_to: str, _kind: str, _payload: Any) -> Any:
    raise AssertionError("only the pubsub driver asks over XMPP")


@pytest.fixture
async def servers() -> AsyncIterator[Sequence[Server]]:
    async with AsyncExitStack() as stack:
        worlds = [World(MASTODON, time.time) for _ in range(2)]
        yield [await stack.enter_async_context(Server(world)) for world in worlds]


async def test_each_request_is_counted_for_its_instance(servers: Sequence[Server]) -> None:
    left: Counter[str] = Counter()
    sites = tuple(server.site for server in servers)
    config = Primary(driver="mastodon", instances=sites)
    drivers = drivers_of(config, nobody_asks, lambda site: left.update([site]))
    first, second = sites
    await drivers[first].probe()
    await drivers[second].insert(servers[1].world.join("alice", 1), TEA, "key")
    await drivers[second].insert(Account(2, second, "revoked"), TEA, "key")
    for server in servers:
        assert left[server.site] == server.world.requests.total()
    assert left[first] == 3
    assert left[second] == 2
    for driver in drivers.values():
        await driver.aclose()


@pytest.mark.parametrize("driver", ["mastodon", "webhook"])
async def test_of_only_one_the_name_is_empty(servers: Sequence[Server], driver: str) -> None:
    left: list[str] = []
    secret = Secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    config = Primary(driver=driver, url=servers[0].site, secret=secret)  # type: ignore[arg-type]
    drivers = drivers_of(config, nobody_asks, left.append)
    await drivers[""].probe()
    assert set(left) == {""}
    await drivers[""].aclose()


@pytest.mark.parametrize("linked", [True, False])
@pytest.mark.parametrize("read_back", [True, False])
async def test_each_post_is_read_back_if_the_operator_wants_it(
    servers: Sequence[Server], linked: bool, read_back: bool
) -> None:
    server = servers[0]
    url, instances = ("", (server.site,)) if linked else (server.site, ())
    config = Primary(driver="mastodon", url=url, instances=instances, read_back=read_back)
    (driver,) = drivers_of(config, nobody_asks).values()
    account = server.world.join("alice", 1 if linked else EVERYBODY)
    server.world.script.then(faults.FINE, faults.ANTISPAM)
    outcomes = [(await driver.insert(account, TEA, key)).outcome for key in ("a", "b")]
    assert server.world.requests[Op.SHOW] == (2 if read_back else 0)
    assert outcomes == [Outcome.INSERTED, Outcome.REJECTED if read_back else Outcome.INSERTED]
    await driver.aclose()
