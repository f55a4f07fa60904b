"""The newest posts in memory, so that a short absence is answered without reading the journal."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Final

from xmpprelay.core.model import Post

RECENT: Final = 4096
"""Posts kept; at a kilobyte each a few megabytes, and hours of most relays' traffic."""


class Recent:
    """Every post from `complete_from` up to, but not including, `next_number`.

    `still_open` says of a number whether a fan-out still needs it: such a post is never let go.
    `keep` is how many are kept besides.
    """

    def __init__(self, still_open: Callable[[int], bool], keep: int = RECENT) -> None:
        self._still_open = still_open
        self._keep = keep
        self._posts: dict[int, Post] = {}
        self._numbers: deque[int] = deque()
        self.next_number = 1
        self.complete_from = 1

    def load(self, posts: Iterable[Post], next_number: int) -> None:
        """Take up the newest posts at the start: ascending, without a gap up to `next_number`."""
        for post in posts:
            self.add(post)
        self.next_number = next_number
        self.complete_from = self._numbers[0] if self._numbers else next_number

    def add(self, post: Post) -> None:
        """Take up the next post, and let the oldest go."""
        self._posts[post.number] = post
        self._numbers.append(post.number)
        self.next_number = post.number + 1
        while len(self._numbers) > self._keep and not self._still_open(self._numbers[0]):
            del self._posts[self._numbers.popleft()]
            self.complete_from = self._numbers[0]

    def get(self, number: int) -> Post | None:
        """The post with that number, or None when it is not in memory."""
        return self._posts.get(number)

    def numbers(self, first: int, last: int) -> Iterable[int]:
        """The numbers in memory from `first` to `last`, both included, ascending."""
        numbers = self._numbers
        return islice(numbers, bisect_left(numbers, first), bisect_right(numbers, last))
