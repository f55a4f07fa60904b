"""One author with ten thousand followers posts as fast as he may; the others' posts pass.

Against amplification 1 → N there are the token bucket of each author, the budget of deliveries
(`relay/taking.py`), and the fair slices of a window (`core/lanes.py`). Here the fan-out's state
machine is driven window by window: so many windows are a second. What is looked at is order and
bounds, never time.
"""

from typing import Final

import pytest

from tests.unit.by_hand import ALICE, Relay
from xmpprelay.config import Limits
from xmpprelay.core.lanes import WINDOW
from xmpprelay.core.model import Person
from xmpprelay.core.pacing import Bucket, Rate

FOLLOWERS: Final = range(1000, 11_000)
OTHERS: Final = range(20, 25)
EVERY: Final = 9
"""Another author posts in each so many windows."""

IN_FLIGHT: Final = 2
"""Windows that are written already when a post comes."""


class Author:
    """Who posts as fast as he may."""

    def __init__(self, followers: int) -> None:
        limits = Limits()
        deliveries = limits.deliveries_per_minute
        self._rates = (
            (Rate(limits.posts_per_second, limits.burst), 1),
            (Rate(limits.posts_per_hour / 3600, limits.posts_per_hour), 1),
            (Rate(deliveries / 60, deliveries), followers),
        )
        self._buckets = [Bucket.full(rate, 0.0) for rate, _ in self._rates]

    def may_post(self, now: float) -> bool:
        taken = [
            bucket.take(rate, now, cost)
            for bucket, (rate, cost) in zip(self._buckets, self._rates, strict=True)
        ]
        after = [each for each in taken if isinstance(each, Bucket)]
        if len(after) < len(taken):
            return False
        self._buckets = after
        return True


def town() -> Relay:
    """Everybody is there; each of the others has some dozens of Alice's followers."""
    relay = Relay(FOLLOWERS)
    for author in OTHERS:
        relay.graph.add_person(Person(author, f"p{author}@own.example", f"p{author}"))
        for follower in FOLLOWERS[author :: 10_000 // (author - 10)]:
            relay.follow(follower, author, since=1)
    relay.comes(*FOLLOWERS)
    relay.settle()
    relay.take_written()
    return relay


@pytest.mark.parametrize("windows_a_second", [100, 60])
def test_others_pass_within_a_bounded_number_of_windows(windows_a_second: int) -> None:
    relay, alice = town(), Author(len(FOLLOWERS))
    waiting: dict[int, tuple[int, int, int]] = {}  # number -> (left, since which window, within)
    flooded = passed = 0
    for window in range(8 * windows_a_second):
        while alice.may_post(window / windows_a_second):
            relay.commit(ALICE)
            flooded += 1
        if window % EVERY == 0:
            author = OTHERS[window // EVERY % len(OTHERS)]
            readers = relay.graph.follower_count(author)
            number = relay.commit(author)
            [load] = relay.delivery.lane_loads()
            open_posts = -(-load.waiting // len(FOLLOWERS)) + len(waiting) + 1
            share = max(1, WINDOW // (open_posts + 1))
            waiting[number] = readers, window, IN_FLIGHT + -(-readers // share)
        relay.turn()
        for _, number in relay.take_written():
            if number in waiting:
                left, since, within = waiting[number]
                waiting[number] = left - 1, since, within
        for number, (left, since, within) in list(waiting.items()):
            assert window - since <= within, f"#{number} waits for {left}"
            if left == 0:
                del waiting[number]
                passed += 1
        relay.answer_first()
        relay.store()
    assert passed > 8 * windows_a_second // EVERY - 5
    assert flooded >= 12, "he posts all the time"
