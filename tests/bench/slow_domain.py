"""What a slow domain costs the others: the time to people of the own server, with it and without.

One author, ten followers on the own server, all online; and a thousand on another domain, who are
online as well, on a server that answers each ping after five seconds. Nothing is confirmed there
any sooner, so its lane is full all the time. The posts go one at a time, a twentieth of a second
apart. Runs without the other domain and with it take turns, each with a new relay and a new
database. In each run the times of all posts to all ten followers count; they are those of
`latency`.
"""

import argparse
import asyncio
import contextlib
import statistics
import tempfile
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Final

from tests.bench.latency import FOLLOWERS, NO_LIMITS, ask, percentile, someone
from tests.integration.clients import FarServer, Stanza
from xmpprelay.quickstart.people import Person
from xmpprelay.quickstart.prosody import Prosody
from xmpprelay.quickstart.relay_process import RelayFailed, RelayProcess

DOMAIN: Final = "slow.test"
SECRET: Final = "slow"
SLOW_FOLLOWERS: Final = 1000
ANSWERS_AFTER_S: Final = 5.0
EVERY_S: Final = 0.05


class SlowDomain(FarServer):
    """A domain with many followers, which answers pings late."""

    def __init__(self, server: Prosody) -> None:
        super().__init__(
            DOMAIN, SECRET, server.host, server.component_port, server.component_domain
        )
        self.posts = 0

    def _arrived(self, stanza: Stanza) -> None:
        if stanza.kind == "iq":
            result = f"<iq from='{DOMAIN}' to='{stanza.sender}' id='{stanza.id}' type='result'/>"
            asyncio.get_running_loop().call_later(ANSWERS_AFTER_S, self.sends, result)
        elif stanza.post_id is not None:
            self.posts += 1
        else:
            super()._arrived(stanza)

    async def comes_online(self, people: Sequence[str]) -> None:
        """Returns when the relay knows that all of them are there."""
        for jid in people:
            self.sends(
                f"<presence from='{jid}/phone' to='{self.home}'/>"
                f"<presence from='{jid}' to='{self.home}' type='subscribed'/>"
            )
        self.says(people[0].partition("@")[0], "ping")
        await self.gets(body="pong", within_s=30)


def add_options(parser: argparse.ArgumentParser) -> None:
    """What it can be told."""
    parser.add_argument("--posts", type=int, default=200, metavar="N")
    parser.add_argument("--rounds", type=int, default=5, metavar="N")


def run_as_asked(asked: argparse.Namespace) -> None:
    """Measure, and print a table."""
    asyncio.run(main(asked.posts, asked.rounds))


async def main(posts: int, rounds: int) -> None:
    """Measure, and print a table."""
    component = f'Component "{DOMAIN}"\n    component_secret = "{SECRET}"'
    without: list[list[float]] = []
    beside: list[list[float]] = []
    async with Prosody(extra_config=component) as server:
        people = [await someone(server, n) for n in range(1 + FOLLOWERS)]
        for number in range(1 + 2 * rounds):  # the first one fills caches
            slow = number % 2 == 0
            times = await one_run(server, people, posts, slow=slow)
            if number:
                (beside if slow else without).append(times)
        await asyncio.gather(*(person.log_out() for person in people))
    print(f"{posts} posts to {FOLLOWERS} followers, {rounds} runs each; milliseconds from sending")
    print(f"{'medians of the runs':30}{'p50':>8}{'p99':>8}{'max':>8}")
    alone, crowded = show("without the slow domain", without), show("beside it", beside)
    print(f"{'ratio':30}" + "".join(f"{b / a:8.2f}" for a, b in zip(alone, crowded, strict=True)))


async def one_run(
    server: Prosody, people: Sequence[Person], posts: int, *, slow: bool
) -> list[float]:
    """The milliseconds of each post to each follower of the own server."""
    author, *followers = people
    home = f"home@{server.component_domain}"
    times: list[float] = []
    with tempfile.TemporaryDirectory(prefix="xmpprelay-bench-") as folder:
        async with fresh_relay(server, Path(folder)) as relay:
            await ask(author, home, f"join {author.name}", "Welcome")
            for follower in followers:
                await ask(follower, home, f"follow {author.name}", "You follow")
                follower.presence(home, "subscribed")
            async with slow_domain(relay, server, author.name, Path(folder), wanted=slow):
                for number in range(posts):
                    times += await one_post(author, followers, home, f"post {number}.")
                    await asyncio.sleep(EVERY_S)
    for person in people:
        person.forgets()
    return times


@contextlib.asynccontextmanager
async def fresh_relay(server: Prosody, folder: Path) -> AsyncIterator[RelayProcess]:
    """A relay that knows nobody yet."""
    relay = RelayProcess(folder, server, NO_LIMITS)
    await relay.start()
    try:
        yield relay
    finally:
        # How it ends beside a domain that confirms nothing is not measured.
        with contextlib.suppress(RelayFailed):
            await relay.stop()


@contextlib.asynccontextmanager
async def slow_domain(
    relay: RelayProcess, server: Prosody, author: str, folder: Path, *, wanted: bool
) -> AsyncIterator[None]:
    """The slow domain, with its people online; nothing where it is not wanted."""
    if not wanted:
        yield
        return
    people = [f"f{n}@{DOMAIN}" for n in range(SLOW_FOLLOWERS)]
    table = folder / "people.csv"
    table.write_text("jid,handle,follows\n" + "".join(f"{jid},,{author}\n" for jid in people))
    await relay.command("people", "import", str(table))
    async with SlowDomain(server) as domain:
        await domain.comes_online(people)
        yield
        assert domain.posts > 0, "nothing was sent to the slow domain"


async def one_post(
    author: Person, followers: Sequence[Person], home: str, text: str
) -> list[float]:
    """Posts, and waits until every follower has had it; the milliseconds to each."""
    sent = author.says(home, text)
    seen = await asyncio.gather(
        *(person.sees("the post", lambda seen: text in seen.text) for person in followers)
    )
    return [1000 * (each.at - sent.at) for each in seen]


def show(name: str, runs: Sequence[Sequence[float]]) -> tuple[float, float, float]:
    """Print, and give, the medians of the runs' figures: p50, p99, the greatest."""
    figures = (
        statistics.median(percentile(run, 50) for run in runs),
        statistics.median(percentile(run, 99) for run in runs),
        statistics.median(max(run) for run in runs),
    )
    print(f"{name:30}" + "".join(f"{figure:8.1f}" for figure in figures))
    return figures
