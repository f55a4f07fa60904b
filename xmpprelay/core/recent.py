"""The newest posts in memory, so that a short absence is answered without reading the journal."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import islice
from typing import Final

from xmpprelay.core.model import CHANGES, Kind, Post

RECENT: Final = 4096
"""Posts kept; at a kilobyte each a few megabytes, and hours of most relays' traffic."""

_SHOWING: Final = frozenset({Kind.BOOST, Kind.EDIT})
"""What shows another post: that it is deleted counts for it, too."""


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
        self._shown_by: dict[int, list[int]] = {}  # number -> its boosts and edits, ascending
        self._by_author: dict[int, list[int]] = {}  # whom one follows -> numbers, ascending
        self._by_named: dict[int, list[int]] = {}  # whom it concerns besides -> numbers, ascending
        self._changes: dict[tuple[int, int | None], int] = {}  # see `change_of`
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
        self._index(post)
        if post.kind in _SHOWING and post.original is not None:
            self._shown_by.setdefault(post.original.number, []).append(post.number)
        if (change := _changes(post)) is not None:
            self._changes[change] = post.number
        self.next_number = post.number + 1
        while len(self._numbers) > self._keep and not self._still_open(self._numbers[0]):
            self._forget(self._posts.pop(self._numbers.popleft()))
            self.complete_from = self._numbers[0]

    def _forget(self, post: Post) -> None:
        self._unindex(post)
        if post.kind in _SHOWING and post.original is not None:
            showing = self._shown_by[post.original.number]
            showing.remove(post.number)
            if not showing:
                del self._shown_by[post.original.number]
        if (change := _changes(post)) is not None:
            self._changes.pop(change, None)

    def revise(self, post: Post) -> list[Post]:
        """A post is not any more as it was; gives what shows it, as that is now, itself first."""
        showing = (self._posts[number] for number in self._shown_by.get(post.number, ()))
        revised = [post, *(replace(each, original=post) for each in showing)]
        for each in revised:
            before = self._posts.get(each.number)
            if before is not None:
                self._unindex(before)
                self._posts[each.number] = each
                self._index(each)
        return revised

    def _index(self, post: Post) -> None:
        insort(self._by_author.setdefault(_author(post), []), post.number)
        for person in set(post.concerns):
            insort(self._by_named.setdefault(person, []), post.number)

    def _unindex(self, post: Post) -> None:
        _take_out(self._by_author, _author(post), post.number)
        for person in set(post.concerns):
            _take_out(self._by_named, person, post.number)

    def get(self, number: int) -> Post | None:
        """The post with that number, or None when it is not in memory."""
        return self._posts.get(number)

    def change_of(self, number: int, edit: int | None) -> int | None:
        """The entry of a post's edit, from 1, or of its deletion (None); None: not in memory."""
        return self._changes.get((number, edit))

    def changes_from(self, first: int) -> Iterable[Post]:
        """The posts that entries from a number up have changed, as they are now."""
        for number in self.numbers(first, self.next_number - 1):
            post = self._posts[number]
            if post.kind in CHANGES and post.original is not None:
                yield post.original

    def concerning(
        self, person: int, follows: Iterable[int], first: int, last: int
    ) -> Iterable[int]:
        """The numbers in memory of what may be for somebody, each once, in no order.

        That is what those whom he follows have posted, boosted or changed, and what names him;
        nobody gets anything else (S2).
        """
        authors = self._by_author.keys() & follows
        found = [self._by_author[author] for author in authors]
        found.append(self._by_named.get(person, []))
        return {n for each in found for n in each[bisect_left(each, first) :] if n <= last}

    def numbers(self, first: int, last: int) -> Iterable[int]:
        """The numbers in memory from `first` to `last`, both included, ascending."""
        numbers = self._numbers
        return islice(numbers, bisect_left(numbers, first), bisect_right(numbers, last))


def _author(post: Post) -> int:
    """Whose followers an entry is for: of a change, those of the author of what it changes."""
    changed = post.original if post.kind in CHANGES else None
    return post.author if changed is None else changed.author


def _take_out(index: dict[int, list[int]], key: int, number: int) -> None:
    numbers = index[key]
    del numbers[bisect_left(numbers, number)]
    if not numbers:
        del index[key]


def _changes(post: Post) -> tuple[int, int | None] | None:
    """Which post an entry changes, and which edit of it that is; None: it is no change."""
    if post.kind not in CHANGES or post.original is None:
        return None
    return post.original.number, post.edits if post.kind is Kind.EDIT else None
