"""The time from sending a post to its arrival: at the first follower, at the last, and as the `ok`.

One author, ten followers who are all online, five in author mode and five in home mode. The posts
go one at a time: the next is sent when everybody has had the last one. All clients are in this
process, the relay and Prosody in one each, everything on one machine; the times are this process's,
from before the author's client sends to when the stanza has been parsed by the other client.

The rate limits are lifted. Everything else is as in `xmpprelay quickstart`: on disk before `ok`.

For comparison: what a sync of the same disk takes by itself, and a chat message from the author to
a follower, without the relay.
"""

import argparse
import asyncio
import contextlib
import math
import os
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from tests.bench import figures
from xmpprelay.quickstart.people import Person
from xmpprelay.quickstart.prosody import Prosody
from xmpprelay.quickstart.relay_process import RelayProcess

FOLLOWERS = 10
NO_LIMITS = {"posts_per_second": 1000, "burst": 10_000, "posts_per_hour": 3_600_000}

Times = list[tuple[str, float]]  # who has had the post, and after how many milliseconds


def add_options(parser: argparse.ArgumentParser) -> None:
    """What it can be told."""
    parser.add_argument("--posts", type=int, default=200, metavar="N")
    parser.add_argument("--json", type=Path, metavar="FILE")


def run_as_asked(asked: argparse.Namespace) -> None:
    """Measure, and print a table."""
    times = asyncio.run(main(asked.posts))
    print(
        f"{asked.posts} posts, one at a time, to {FOLLOWERS} followers; milliseconds from sending"
    )
    print(f"{'to':30}{'p50':>8}{'p99':>8}{'max':>8}")
    for name, values in times.items():
        show(name, values)
    plan = {"posts": asked.posts, "followers": FOLLOWERS}
    figures.write(asked.json, plan, {"times": times})


async def main(posts: int) -> dict[str, list[float]]:
    """The milliseconds of each post, and of what it is compared with, by their names."""
    with tempfile.TemporaryDirectory(prefix="xmpprelay-bench-") as folder:
        async with Prosody() as server, running(RelayProcess(Path(folder), server, NO_LIMITS)):
            home = f"home@{server.component_domain}"
            author, *followers = [await someone(server, n) for n in range(1 + FOLLOWERS)]
            await ask(author, home, f"join {author.name}", "Welcome")
            for number, follower in enumerate(followers):
                if number % 2:
                    await ask(follower, home, f"follow {author.name}", "You follow")
                else:
                    await follow_by_presence(follower, f"{author.name}@{server.component_domain}")
                follower.presence(home, "subscribed")
            for _ in range(10):  # the first ones fill caches
                await one_post(author, followers, home, "before it counts")
            times = [await one_post(author, followers, home, f"post {n}") for n in range(posts)]
            direct = [await one_chat(author, followers[0], f"chat {n}") for n in range(posts)]
            await asyncio.gather(*(person.log_out() for person in (author, *followers)))
            syncs = [sync_alone(Path(folder)) for _ in range(posts)]
    of_followers = [[ms for who, ms in one if who != author.name] for one in times]
    return {
        "the first follower": [min(each) for each in of_followers],
        "the last follower": [max(each) for each in of_followers],
        "the author's ok": [ms for one in times for who, ms in one if who == author.name],
        "a sync of the disk": syncs,
        "a chat message, no relay": direct,
    }


@contextlib.asynccontextmanager
async def running(relay: RelayProcess) -> AsyncIterator[None]:
    await relay.start()
    try:
        yield
    finally:
        await relay.stop()


async def someone(server: Prosody, number: int) -> Person:
    name = f"person{number}"
    jid = await server.add_user(name, name)
    person = Person(name, jid, name, server.host, server.c2s_port)
    await person.log_in()
    return person


async def ask(person: Person, home: str, line: str, expected: str) -> None:
    sent = person.says(home, line)
    await person.sees(f"{expected} …", lambda seen: expected in seen.text, answers=sent)


async def follow_by_presence(person: Person, author: str) -> None:
    person.presence(author, "subscribe")
    await person.sees("consent", lambda seen: (seen.kind, seen.sender) == ("subscribed", author))


async def one_post(author: Person, followers: Sequence[Person], home: str, text: str) -> Times:
    """Posts, and waits until everybody has had it."""
    sent = author.says(home, text)
    waits = [author.sees("ok", lambda seen: seen.text.startswith("ok #"), answers=sent)]
    waits += [person.sees("the post", lambda seen: text in seen.text) for person in followers]
    seen = await asyncio.gather(*waits)
    names = [person.name for person in (author, *followers)]
    return [(name, 1000 * (one.at - sent.at)) for name, one in zip(names, seen, strict=True)]


async def one_chat(author: Person, reader: Person, text: str) -> float:
    """Sends a chat message; the milliseconds until it was read."""
    sent = author.says(reader.jid, text)
    seen = await reader.sees("the message", lambda seen: seen.text == text)
    return 1000 * (seen.at - sent.at)


def sync_alone(folder: Path) -> float:
    """Writes one page to a new place and syncs it; the milliseconds that takes."""
    with (folder / "sync").open("ab") as file:
        file.write(bytes(4096))
        file.flush()
        began = time.perf_counter()
        os.fsync(file.fileno())
        return 1000 * (time.perf_counter() - began)


def show(name: str, values: Sequence[float]) -> None:
    figures = (percentile(values, 50), percentile(values, 99), max(values))
    print(f"{name:30}" + "".join(f"{figure:8.1f}" for figure in figures))


def percentile(values: Sequence[float], percent: int) -> float:
    """The smallest value that so many percent of the values do not exceed."""
    return sorted(values)[math.ceil(len(values) * percent / 100) - 1]
