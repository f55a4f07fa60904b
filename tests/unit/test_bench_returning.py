"""What is known of those who return (tests/bench/returning.py, returns.py)."""

from tests.bench.returning import Lack
from tests.bench.returns import middles


def test_somebody_has_everything_with_his_last_post() -> None:
    lack = Lack(posts=2, followers=2)
    for follower, post, now in ((0, 0, 1.0), (1, 0, 2.0), (1, 0, 3.0), (1, 1, 4.0), (0, 1, 5.0)):
        lack.came(follower, post, now)
    assert lack.ended == [4.0, 5.0]
    assert not lack.disordered


def test_a_post_behind_a_later_one_is_not_in_order() -> None:
    lack = Lack(posts=3, followers=2)
    for post in (0, 2, 1, 0):  # the last is a repeat, which is another fault
        lack.came(0, post, 1.0)
    assert lack.disordered == 1
    for post in (0, 1, 2):
        lack.came(1, post, 2.0)
    assert lack.disordered == 1


def test_times_of_a_return_are_medians_of_the_rounds() -> None:
    rounds = [[1.0, 20.0, 300.0], [2.0, 10.0, 500.0], [9.0, 15.0, 400.0]]
    assert middles(rounds) == (2.0, 15.0, 400.0)
