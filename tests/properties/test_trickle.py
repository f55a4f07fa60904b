"""The trickle against a primary that fails in every way: nothing lost, nothing doubled, in order.

XMPPRELAY_TRICKLE_SEEDS and XMPPRELAY_TRICKLE_POSTS make it longer (`make chaos`).
"""

import os
from collections import Counter
from typing import Final

import pytest

from tests.primaries.faults import CHAOS
from tests.properties.trickle.life import Books, Plan, live
from tests.properties.trickle.outage import CAPACITY, away, returns

SEEDS: Final = int(os.environ.get("XMPPRELAY_TRICKLE_SEEDS", "40"))
FIRST: Final = int(os.environ.get("XMPPRELAY_TRICKLE_FIRST_SEED", "0"))
POSTS: Final = int(os.environ.get("XMPPRELAY_TRICKLE_POSTS", "100"))
GROUP: Final = 10


def told(seed: int, books: Books) -> str:
    return "\n".join([f"seed {seed}:", *books.bad[:10]])


@pytest.mark.parametrize("first", range(FIRST, FIRST + SEEDS, GROUP))
@pytest.mark.timeout(600)
def test_each_post_is_inserted_once_and_in_order(first: int) -> None:
    met: Counter[str] = Counter()
    kills = 0
    for seed in range(first, min(first + GROUP, FIRST + SEEDS)):
        books = live(Plan(seed, POSTS))
        assert not books.bad, told(seed, books)
        assert books.inserted > POSTS // 2, "hardly anything was inserted"
        met += books.faults
        kills += books.kills
    assert kills, "nothing was killed"
    assert len(met) > len(CHAOS) // 2, f"few kinds of faults: {met}"


def test_without_looking_posts_are_doubled() -> None:
    """The control: an unclear outcome is taken for a failure."""
    doubled = sum(len(live(Plan(seed, POSTS, looks=False)).doubled) for seed in range(3))
    assert doubled, "the runs above show nothing"


def test_a_run_can_be_repeated() -> None:
    first, again = live(Plan(7, 30)), live(Plan(7, 30))
    assert (first.requests, first.faults) == (again.requests, again.faults)


# --- a long outage, and the way back -------------------------------------------------------------

BACKLOG: Final = int(os.environ.get("XMPPRELAY_BACKLOG", "1000"))
QUEUE: Final = int(os.environ.get("XMPPRELAY_QUEUE", "10000"))


@pytest.mark.parametrize("limited", [False, True], ids=["slows down", "refuses"])
@pytest.mark.timeout(1800)
def test_the_return_is_gentle_and_nobody_waits_behind_the_backlog(limited: bool) -> None:
    """`refuses`: above its capacity, which the operator has told the relay."""
    came = returns(BACKLOG, limited=limited)
    assert came.stored == came.expected, "lost, or doubled"
    assert came.refused == 0, f"{came.refused} requests were too many"
    assert came.peak <= CAPACITY * 1.1, f"{came.peak} requests a second"
    assert came.live_at(0.95) < 10.0, f"live posts waited for {came.live_at(0.95):.1f} s"
    assert came.drained_s < 1.3 * came.ideal_s, f"{came.drained_s:.0f} s, not {came.ideal_s:.0f}"


@pytest.mark.timeout(1800)
def test_what_a_turn_asks_besides_counts() -> None:
    """Each status is read back. Two requests may leave at once here and there, hence the margin."""
    came = returns(BACKLOG, limited=True, read_back=True, ceiling=0.95 * CAPACITY)
    assert came.stored == came.expected, "lost, or doubled"
    assert came.refused == 0, f"{came.refused} requests were too many"
    assert came.peak <= CAPACITY, f"{came.peak} requests a second"
    assert came.live_at(0.95) < 10.0, f"live posts waited for {came.live_at(0.95):.1f} s"
    assert came.drained_s < 1.3 * came.ideal_s, f"{came.drained_s:.0f} s, not {came.ideal_s:.0f}"


@pytest.mark.timeout(1800)
def test_a_week_away_costs_two_probes_in_five_minutes_and_little_memory() -> None:
    came = away(QUEUE, days=7)
    assert came.waiting == QUEUE
    assert came.most_probes <= 2
    assert came.taken_bytes < 2_000_000, "the queue is in the database, not in memory"
