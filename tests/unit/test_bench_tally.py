"""What the followers of a benchmark know of the posts that they had (xmpprelay/bench/tally.py)."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from xmpprelay.bench.tally import Run, account_of, marks_in

STREAM = b"<message><body>A ~3.14~ post</body></message><message>~0.2~ and ~0.2~ twice</message>"


def test_the_last_follower_is_known() -> None:
    run = Run(posts=2, followers=2)
    assert not run.came(follower=0, post=1, now=1.0)
    assert not run.came(follower=0, post=1, now=2.0)  # once more is not the other one
    assert not run.came(follower=1, post=0, now=3.0)
    assert run.came(follower=1, post=1, now=4.0)
    assert run.first == [3.0, 1.0]


def test_what_is_lost_and_what_comes_twice_is_told() -> None:
    well, run = Run(posts=1, followers=1), Run(posts=2, followers=2)
    well.came(0, 0, 1.0)
    for follower, post in ((0, 0), (1, 0), (1, 0), (1, 1), (1, 0)):
        run.came(follower, post, 1.0)
    account = account_of([well, run], ["f0", "f1"])
    assert (account.expected, account.lost, account.doubled) == (5, 1, 2)
    assert account.examples == ("f0 had post 1.1 0 times", "f1 had post 1.0 3 times")


@given(st.lists(st.integers(0, len(STREAM))))
def test_a_mark_is_found_once_however_it_is_cut(cuts: list[int]) -> None:
    found, tail = [], b""
    for begin, end in pairwise([0, *sorted(cuts), len(STREAM)]):
        marks, tail = marks_in(tail + STREAM[begin:end])
        found += marks
    assert found == [(3, 14), (0, 2), (0, 2)]
