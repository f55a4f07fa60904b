"""What is known of posts beside an author with very many followers (tests/bench/crowded.py)."""

from tests.bench.crowded import ALONE, CROWDED, Arrivals, Row, ratio
from tests.bench.latency import percentile


def test_a_post_has_arrived_with_the_last_follower() -> None:
    arrivals = Arrivals(followers=(2, 3))
    assert not arrivals.came(author=0, post=7, now=1.0)
    assert not arrivals.came(author=1, post=7, now=2.0)  # another author's
    assert not arrivals.came(author=1, post=7, now=3.0)
    assert arrivals.came(author=0, post=7, now=4.0)
    assert arrivals.last == {(0, 7): 4.0}
    assert not arrivals.doubled


def test_a_delivery_too_many_is_a_double() -> None:
    arrivals = Arrivals(followers=(1,))
    assert arrivals.came(0, 0, 1.0)
    assert not arrivals.came(0, 0, 2.0)
    assert (arrivals.doubled, arrivals.last) == (1, {(0, 0): 1.0})


def test_the_ratio_is_of_the_same_percentile() -> None:
    rows = {ALONE: Row([1.0, 2.0, 4.0]), CROWDED: Row([6.0, 3.0, 5.0])}
    assert ratio(rows, 50) == 5.0 / 2.0
    assert ratio(rows, 99) == 6.0 / 4.0


def test_a_percentile_is_a_value_that_was_measured() -> None:
    values = [float(value) for value in range(200, 0, -1)]
    assert percentile(values, 50) == 100.0
    assert percentile(values, 99) == 198.0
    assert percentile([3.0], 99) == 3.0
