"""What live posts wait for while feeds are asked for, 200 times a second.

One author, ten followers who are online. Rounds with and without requests take turns, since what
else runs on the machine comes and goes. The requests come from a process of their own, at even
distances, by twenty connections: for the author's feed, which is another one after each post, half
of them with the ETag of the answer before. In a third kind of round they ask another process, which
has one feed and no relay: what is lost then is lost to the asking itself, by so few processors.
"""

import argparse
import asyncio
import itertools
import multiprocessing
import tempfile
import time
from contextlib import AsyncExitStack, ExitStack
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Final

import aiohttp
from aiohttp import web

from tests.bench import figures
from tests.bench.latency import FOLLOWERS, Times, ask, one_post, percentile, show, someone
from tests.integration.process import RelayProcess
from xmpprelay.config import Limits
from xmpprelay.quickstart.private_server import free_port
from xmpprelay.quickstart.prosody import Prosody

PER_SECOND: Final = 200
CONNECTIONS: Final = 20
NO_LIMITS: Final = Limits(posts_per_second=1000.0, burst=10_000, posts_per_hour=3_600_000)

_TABLE = '[web]\nlisten = "127.0.0.1:{port}"\nbase_url = "https://pages.test"\n'


def add_options(parser: argparse.ArgumentParser) -> None:
    """What it can be told."""
    parser.add_argument("--posts", type=int, default=100, metavar="N")
    parser.add_argument("--rounds", type=int, default=5, metavar="N")
    parser.add_argument("--json", type=Path, metavar="FILE")


def run_as_asked(asked: argparse.Namespace) -> None:
    """Measure, and print a table."""
    times, answered = asyncio.run(main(asked.posts, asked.rounds))
    _print(times, answered)
    plan = {"posts": asked.posts, "rounds": asked.rounds, "per_second": PER_SECOND}
    figures.write(asked.json, plan, {"times": times, "answered_per_s": answered})


async def main(posts: int, rounds: int) -> tuple[dict[str, list[float]], list[float]]:
    """The milliseconds of posts to followers by what goes on, and requests answered a second."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="xmpprelay-bench-") as folder, ExitStack() as ending:
        table = _TABLE.format(port=port)
        async with (
            Prosody() as server,
            RelayProcess(server, Path(folder), NO_LIMITS, table) as relay,
        ):
            elsewhere = ending.enter_context(_Elsewhere())
            await relay.starts()
            home = f"home@{server.component_domain}"
            author, *followers = [await someone(server, n) for n in range(1 + FOLLOWERS)]
            await ask(author, home, f"join {author.name}", "Welcome")
            for follower in followers:
                await ask(follower, home, f"follow {author.name}", "You follow")
                follower.presence(home, "subscribed")
            for n in range(50):  # so that the feed is as long as it gets
                await one_post(author, followers, home, f"before it counts {n}")
            rows: dict[str, list[Times]] = {"nobody asks": [], "others are asked": [], "asked": []}
            urls = {
                "others are asked": f"http://127.0.0.1:{elsewhere.port}/",
                "asked": f"http://127.0.0.1:{port}/@{author.name}.atom",
            }
            answered: list[float] = []
            for kind in list(rows) * rounds:
                async with AsyncExitStack() as asking:
                    if kind in urls:
                        crowd = asking.enter_context(_Crowd(urls[kind]))
                    for n in range(posts):
                        rows[kind].append(await one_post(author, followers, home, f"post {n}"))
                if kind == "asked":
                    answered.append(crowd.per_second)
            await asyncio.gather(*(person.log_out() for person in (author, *followers)))
    times = {
        kind: [ms for each in found for who, ms in each if who != author.name]
        for kind, found in rows.items()
    }
    return times, answered


def _print(times: dict[str, list[float]], answered: list[float]) -> None:
    print(f"{'to the followers, ms':30}{'p50':>8}{'p99':>8}{'max':>8}")
    for kind, values in times.items():
        show(kind, values)
    p99 = [percentile(values, 99) for values in times.values()]
    print(f"p99, asked: {p99[2] / p99[0]:.2f} of nobody asks, {p99[2] / p99[1]:.2f} of others")
    print(f"requests answered a second: {min(answered):.0f} to {max(answered):.0f}")


class _Elsewhere:
    """A process that serves one feed of the usual size, and does nothing else."""

    def __init__(self) -> None:
        self.port = free_port()
        context = multiprocessing.get_context("spawn")
        self._process = context.Process(target=_serve, args=(self.port,), daemon=True)

    def __enter__(self) -> "_Elsewhere":
        self._process.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.join()


def _serve(port: int) -> None:
    feed = bytes(25_000)

    async def answers(request: web.Request) -> web.Response:
        status = 304 if "If-None-Match" in request.headers else 200
        return web.Response(
            body=b"" if status == 304 else feed, status=status, headers={"ETag": "x"}
        )

    app = web.Application()
    app.router.add_get("/", answers)
    web.run_app(app, host="127.0.0.1", port=port, print=None, access_log=None)


class _Crowd:
    """A process that asks for an address again and again, while this is entered."""

    def __init__(self, url: str) -> None:
        context = multiprocessing.get_context("spawn")  # this process has a loop that runs
        self._ends = context.Event()
        self._begun = context.Event()
        self._counted = context.Queue()
        arguments = (url, self._begun, self._ends, self._counted)
        self._process = context.Process(target=_ask_for, args=arguments)
        self.per_second = 0.0

    def __enter__(self) -> "_Crowd":
        self._process.start()
        self._begun.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        self.per_second = self._counted.get(timeout=30)
        self._process.join()


def _ask_for(url: str, begun: Event, ends: Event, counted: "multiprocessing.Queue[float]") -> None:
    counted.put(asyncio.run(_asking(url, begun, ends)))


async def _asking(url: str, begun: Event, ends: Event) -> float:
    """Ask at even distances; how many answers a second came."""
    answers, began, waiting = 0, time.monotonic(), set[asyncio.Task[None]]()
    tags: list[str] = [""]

    async def one(session: aiohttp.ClientSession, number: int) -> None:
        nonlocal answers
        headers = {"If-None-Match": tags[0]} if number % 2 else {}
        async with session.get(url, headers=headers) as response:
            assert response.status in (200, 304), response.status
            await response.read()
            tags[0] = response.headers["ETag"]
            answers += 1

    connector = aiohttp.TCPConnector(limit=CONNECTIONS)
    async with aiohttp.ClientSession(connector=connector) as session:
        for number in itertools.count():
            if ends.is_set():
                break
            waiting.add(task := asyncio.create_task(one(session, number)))
            task.add_done_callback(waiting.discard)
            begun.set()
            due = began + (number + 1) / PER_SECOND
            await asyncio.sleep(max(0.0, due - time.monotonic()))
        await asyncio.gather(*waiting)
        return answers / (time.monotonic() - began)
