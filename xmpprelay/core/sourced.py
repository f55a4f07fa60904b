"""Entries of an author's own node, at his own address, and what is to be done with each: pure.

An author may let the relay take his posts from there (`source pep`). What was there before he said
so is history; what comes after it is a post, its new text an edit. Which entries are known is
written down, so none is taken twice: not by an event and a look at the node, not after a restart,
not when the node shows an old one again.

XEP-0277, XEP-0163
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, auto
from typing import Final

from xmpprelay.core.atom import Said, atom_id, name_in
from xmpprelay.core.model import Post
from xmpprelay.core.text import parse_message_id

SAME_WITHIN: Final = timedelta(minutes=10)
"""The same by chat and as an entry, within so long, is one post."""


@dataclass(frozen=True, slots=True)
class OwnItem:
    """An entry of an author's own node, read once; whom it names as its author does not count."""

    id: str  # of the item
    said: Said | None  # None: there is no post in it
    problem: str = ""  # then: why, as a sentence for its author

    @property
    def digest(self) -> str:
        """Tells whether the text is another one than before."""
        text = self.problem if self.said is None else self.said.text
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    @property
    def time(self) -> datetime | None:
        """When it was published, aware, as its author's client says; None: it does not."""
        return None if self.said is None else self.said.published or self.said.updated


@dataclass(frozen=True, slots=True)
class Retracted:
    """An entry that its author has taken back."""

    id: str  # of the item


OwnChange = OwnItem | Retracted


@dataclass(frozen=True, slots=True)
class Known:
    """What is written down of an entry."""

    number: int | None  # of the post that it is; None: it is none
    digest: str | None  # of its text; None: it is history, or was retracted


class Step(Enum):
    """What is to be done with an entry."""

    PASS = auto()  # nothing
    KEEP = auto()  # it is history: it is known from now on
    POST = auto()
    EDIT = auto()  # the post that it is has a new text


def step_for(item: OwnItem, known: Known | None, since: datetime, *, live: bool) -> Step:
    """What is to be done with an entry that is not the relay's own.

    `since` is when its author said `source pep`, `live` whether it came as an event. What has no
    date is taken only then: at a look at the node it may be as old as the node. Many clients date
    to the second; so an event of the very second in which he said it is taken as well. An entry in
    which there is no post goes the same way, so that its author is told.
    """
    if known is not None:
        if known.digest is None or known.digest == item.digest:
            return Step.PASS
        return Step.POST if known.number is None else Step.EDIT
    if item.time is None:
        return Step.POST if live else Step.KEEP
    begin = since.replace(microsecond=0) if live else since
    return Step.KEEP if item.time < begin else Step.POST


def is_relays_own(item: OwnItem, domain: str, epoch: str) -> bool:
    """Whether the relay at `domain` has published it there itself, as its primary service."""
    named = parse_message_id(item.id)
    if named is not None and named[1] == epoch:
        return True
    called = None if item.said is None or item.said.id is None else item.said.id
    name = None if called is None else name_in(called)
    return name is not None and called == atom_id(domain, name)


def says_the_same(post: Post, text: str, parent: int | None) -> bool:
    """Whether a post says what a text says, in answer to the same post or to none.

    Clients differ in the white space at ends and breaks.
    """
    return post.parent == parent and post.text.split() == text.split()
