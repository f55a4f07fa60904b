"""Which follower has had which post, and how often.

A post has a *mark* in its text, `~run.number~`, so that it is found without parsing what came.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

CHARACTERS: Final = 160
"""Of a post's text."""

EXAMPLES: Final = 5
"""Of what is wrong, for people."""

_REST: Final = "and so on, as somebody writes who has things to tell to all who follow her; " * 3
_MARK: Final = re.compile(rb"~(\d+)\.(\d+)~")
_LONGEST_MARK: Final = 20


@dataclass(frozen=True, slots=True)
class Account:
    """What became of posts."""

    expected: int  # deliveries
    lost: int
    doubled: int
    examples: tuple[str, ...]  # of what is wrong

    @property
    def well(self) -> bool:
        """Whether each post came to everybody, and once."""
        return not self.lost and not self.doubled


@dataclass(slots=True)
class Run:
    """Who has had which of some posts, and how often."""

    posts: int
    followers: int
    seen: bytearray = field(init=False)  # by follower, then by post
    waiting: list[int] = field(init=False)  # by post: how many have not had it
    first: list[float] = field(init=False)  # by post: when it came to the first one

    def __post_init__(self) -> None:
        self.seen = bytearray(self.posts * self.followers)
        self.waiting = [self.followers] * self.posts
        self.first = [0.0] * self.posts

    def came(self, follower: int, post: int, now: float) -> bool:
        """One has come to somebody; whether he was the last who had not had it."""
        at = follower * self.posts + post
        times = self.seen[at]
        self.seen[at] = min(times + 1, 255)
        if times:
            return False
        waiting = self.waiting[post]
        if waiting == self.followers:
            self.first[post] = now
        self.waiting[post] = waiting - 1
        return waiting == 1


def text_of(run: int, post: int) -> str:
    """The text of a post, with its mark in it."""
    return f"A post ~{run}.{post}~ {_REST}"[:CHARACTERS]


def marks_in(data: bytes) -> tuple[list[tuple[int, int]], bytes]:
    """The marks in what has come, as (run, post); and what is to be put before what comes next."""
    found, end = [], 0
    for mark in _MARK.finditer(data):
        found.append((int(mark[1]), int(mark[2])))
        end = mark.end()
    return found, data[max(end, len(data) - _LONGEST_MARK) :]


def account_of(runs: Sequence[Run], names: Sequence[str]) -> Account:
    """What became of the posts of some runs, up to now; `names` are the followers'."""
    lost = doubled = 0
    examples: list[str] = []
    for number, run in enumerate(runs):
        for at, times in enumerate(run.seen):
            if times != 1:
                lost += not times
                doubled += max(0, times - 1)
                who, post = divmod(at, run.posts)
                if len(examples) < EXAMPLES:
                    examples.append(f"{names[who]} had post {number}.{post} {times} times")
    expected = sum(len(run.seen) for run in runs)
    return Account(expected, lost, doubled, tuple(examples))
