"""A second connection: the relay connects anew while the server takes the old one for alive.

Between relay and server no byte passes any more, and both ends stay open, as when the network fails
under a tunnel of `ssh -L`; a new connection passes. An author posts all the time: when the relay
gives the old connection up, when a post comes through then, how often the new connection is
refused, and how many posts are lost, before and after.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Final

from tests.bench.scene import EVERY_S, FEW, Row, Scene, had_by_all
from tests.bench.tunnel import Tunnel
from xmpprelay.quickstart.private_server import PrivateServer

WATCHED_S: Final = 60.0
"""After the relay has given up the old connection."""

NOTICES_WITHIN_S: Final = 30.0
"""It asks after 15 s of silence, and waits 10 s for the answer."""

SETTLES_S: Final = 5.0
"""For what is repeated after a connection was lost."""


@dataclass(frozen=True, slots=True)
class Outage:
    """What an outage was like; times in seconds."""

    gave_up_s: float  # the relay, the old connection
    lost_before: int  # posts, until then
    through_s: float | None  # after that: the first post that was sent since the failure and came
    tried: int  # connections of the relay since then
    refused: int
    sent: int  # posts, since then
    came: int  # of these, to everybody
    doubled: int  # deliveries of all
    watched_s: float

    def told(self) -> str:
        """As a sentence."""
        gave_up = f"the relay gives up after {self.gave_up_s:.0f} s"
        begins = f"{gave_up}, {self.lost_before} posts lost until then; "
        lost = f"{self.sent - self.came} of {self.sent} lost since then"
        if self.through_s is None:
            why = f"refused {self.refused} times, still so after {self.watched_s:.0f} s"
            return f"{begins}{why}; {lost}"
        again = f", {self.tried} connections" if self.tried > 1 else ""
        twice = f", {self.doubled} deliveries twice" if self.doubled else ""
        return f"{begins}a post through {self.through_s:.1f} s later; {lost}{again}{twice}"


async def second_connection(server: PrivateServer, setting: str, value: str) -> Row:
    """The network fails, and the relay connects anew."""
    tunnel = Tunnel()
    async with Scene(server, FEW, tunnel) as scene:
        most = int((NOTICES_WITHIN_S + WATCHED_S) / EVERY_S)
        posts = await scene.followers.expect(1 + most)
        scene.way.sends(posts.text(0))
        await posts.there(0, within_s=10)
        await asyncio.sleep(1)  # until all that is confirmed
        tunnel.fails()
        failed, sent = time.perf_counter(), list[float]()
        while len(sent) < most and not _is_over(tunnel.since):
            sent.append(time.perf_counter())
            scene.way.sends(posts.text(len(sent)))
            await asyncio.sleep(EVERY_S)
        await asyncio.sleep(SETTLES_S)
        account = await scene.followers.account()
        numbers = range(1, 1 + len(sent))
        came = {number: at for number in numbers if (at := await had_by_all(posts, number))}
        refused = scene.relay.counts("stream.unreachable")
    if not tunnel.since:
        raise SystemExit("Error: the relay did not notice that the connection was dead.")
    gave_up = tunnel.since[0]
    after = {number for number, at in enumerate(sent, 1) if at >= gave_up}
    through = min(came.values(), default=None)
    outage = Outage(
        gave_up_s=gave_up - failed,
        lost_before=len(sent) - len(after | came.keys()),
        through_s=None if through is None else through - gave_up,
        tried=len(tunnel.since),
        refused=refused,
        sent=len(after),
        came=len(after & came.keys()),
        doubled=account.doubled,
        watched_s=time.perf_counter() - gave_up,
    )
    return Row(server.name, setting, value, outage.told(), asdict(outage))


def _is_over(since: Sequence[float]) -> bool:
    return bool(since) and time.perf_counter() - since[0] > WATCHED_S
