"""The audience of a post in a large graph: how long it takes to find, and what the graph costs.

One author has 10,000 followers, of whom 200 block somebody or him, 500 mute, and 2,000 have chosen
which replies they want. "First" is with nothing known of the post, as when it was just made, or
after a change of blocks or settings; "again" is with nothing changed since. The graph is one of
100,000 people and 1,000,000 follows. It is all computing, so what is told is the processor's time.
"""

import argparse
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import Final

from xmpprelay.core.blocks import OPERATOR
from xmpprelay.core.graph import Graph
from xmpprelay.core.model import OWN_LANE, Follow, Mode, Person, Post
from xmpprelay.core.routing import Audience
from xmpprelay.core.wishes import Mute, Sort, Span, Whose, Wishes

FOLLOWERS: Final = 10_000
PEOPLE: Final = 100_000
FOLLOWS: Final = 1_000_000
RUNS: Final = 21
BARRED: Final = 100
AUTHOR, OTHER = 1, 2
NOW: Final = datetime(2030, 1, 1, tzinfo=UTC)


def crowd() -> Graph:
    """The author, and followers of whom some are choosy."""
    graph = Graph(["example.org"])
    for person in range(1, FOLLOWERS + 3):
        graph.add_person(Person(person, f"p{person}@example.org", None))
    for person in range(3, FOLLOWERS + 3):
        graph.add_follow(Follow(person, AUTHOR, Mode.AUTHOR, 1))
    mute = Mute(Sort.PERSON, str(OTHER), Span(NOW - timedelta(days=1)))
    for person in range(3, 203):
        graph.block(person, f"p{OTHER if person % 2 else AUTHOR}@example.org")
    for person in range(203, 703):
        graph.set_wishes(person, Wishes(mutes=(mute,)))
    for person in range(703, 2703):
        graph.set_wishes(person, Wishes(replies=Whose.ALL if person % 2 else Whose.NONE))
    return graph


def add_options(parser: argparse.ArgumentParser) -> None:
    """There is nothing that it could be told."""


def run_as_asked(_: argparse.Namespace) -> None:
    """Measure, and print a table."""
    run()


def run() -> None:
    """Print the figures as rows of docs/performance.md."""
    graph = crowd()
    plain = Post(50, AUTHOR, "hello", None, NOW)
    print("| a post of an author with 10,000 followers | first, ms | again, ms |")
    print("|---|---|---|")
    _measure(graph, "a plain post", plain)
    _measure(graph, "a reply", replace(plain, targets=(OTHER,)))
    _measure(graph, "a mention", replace(plain, mentions=(OTHER,)))
    for number in range(BARRED):
        graph.block(OPERATOR, f"*.spam{number}.example")
        graph.block(AUTHOR, f"p{FOLLOWERS - number}@example.org")
    _measure(graph, "a plain post, with blocks by author and operator", plain)
    with _memory() as mib:
        began = time.thread_time()
        large = Graph(["example.org"])
        for person in range(1, PEOPLE + 1):
            large.add_person(Person(person, f"person{person}@example.org", None))
        each = FOLLOWS // PEOPLE
        for follow in range(FOLLOWS):
            follower = 1 + follow // each
            author = 1 + (follower * 7919 + follow % each * 104_729) % PEOPLE
            large.add_follow(Follow(follower, author, Mode.HOME, 1))
        took_s = time.thread_time() - began
    print(f"\n100,000 people and 1,000,000 follows: {mib()} MiB, made in {took_s:.1f} s")


def _measure(graph: Graph, name: str, post: Post) -> None:
    first, again = [], []
    for _ in range(RUNS):
        first.append(_ms(lambda: Audience(graph, post, OWN_LANE).allowed()))
        audience = Audience(graph, post, OWN_LANE)
        audience.allowed()
        again.append(_ms(audience.allowed))
    print(f"| {name} | {median(first):.1f} | {median(again):.3f} |")


def _ms(do: Callable[[], object]) -> float:
    began = time.thread_time()
    do()
    return (time.thread_time() - began) * 1000


@contextmanager
def _memory() -> Iterator[Callable[[], int]]:
    """How much the peak of the process grows, in MiB."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield lambda: (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024
