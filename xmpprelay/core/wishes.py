"""What one person has chosen to see, and how: settings, mutes, groups, `off`, caps and digests.

All classes are frozen, a change is a new `Wishes`. Spans are kept with the time at which they
began, and compared with the time at which a post was accepted, so that no clock is needed here, and
so that a post from within a span stays covered when it comes later (S7).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta
from enum import StrEnum
from typing import Final


class Whose(StrEnum):
    """The values of `replies` and `mentions` (S2.2, S2.3)."""

    ALL = "all"
    FOLLOWING = "following"
    NONE = "none"


class Dms(StrEnum):
    """Who may send direct messages (S4.1)."""

    FOLLOWED = "followed"
    ALL = "all"
    NONE = "none"


class Window(StrEnum):
    """What plain text in one person's window is (S3)."""

    DM = "dm"
    REPLY = "reply"
    ASK = "ask"


class Delivery(StrEnum):
    """As what posts come (S1.4)."""

    CHAT = "chat"
    HEADLINE = "headline"


@dataclass(frozen=True, slots=True)
class Span:
    """From a time on, up to another one or for good; `since` counts, `until` does not."""

    since: datetime
    until: datetime | None = None

    def covers(self, time: datetime) -> bool:
        """Whether a time lies in it."""
        return self.since <= time and (self.until is None or time < self.until)


class Scope(StrEnum):
    """How far a mute of a person goes (S7)."""

    POSTS = ""  # everything but what is for me alone, and replies to me
    ALL = "all"
    BOOSTS = "boosts"  # what this person boosts


class Sort(StrEnum):
    """What a mute is of."""

    PERSON = "person"
    TAG = "tag"
    WORD = "word"


@dataclass(frozen=True, slots=True)
class Mute:
    """One mute; a person is given by his id as a text."""

    sort: Sort
    value: str  # person id, tag without `#`, or words; lower case
    span: Span
    scope: Scope = Scope.POSTS


@dataclass(frozen=True, slots=True)
class Cap:
    """At most so many posts of one author in an hour, or a day (S10.3)."""

    count: int
    daily: bool  # else hourly


@dataclass(frozen=True, slots=True)
class Digest:
    """One message now and then for the posts of one author, or group, from number `since` on.

    `every` None and `at` None: no digest, not even where the author's tier would make one.
    """

    since: int  # the first post number that it is about
    every: timedelta | None = None
    at: time | None = None  # daily, in the person's zone

    @property
    def on(self) -> bool:
        """Whether it collects, or forbids to."""
        return self.every is not None or self.at is not None


EVERYTHING: Final = ""
"""The subject of `off` without a name."""

_GROUP_MARK: Final = "*"


def of_author(author: int) -> str:
    """The subject that is one author."""
    return str(author)


def of_group(name: str) -> str:
    """The subject that is a group."""
    return _GROUP_MARK + name


def group_in(subject: str) -> str | None:
    """The name of the group that a subject is; None: it is none."""
    return subject.removeprefix(_GROUP_MARK) if subject.startswith(_GROUP_MARK) else None


@dataclass(frozen=True, slots=True)
class Wishes:
    """Everything that one person has chosen; the defaults are those of somebody who has not.

    Subjects of `offs` and `digests` are `EVERYTHING`, an author's id as a text, or a group's name
    after a `*`.
    """

    replies: Whose = Whose.FOLLOWING
    mentions: Whose | None = None  # None: all, but of new authors only those whom I follow (S2.3)
    dms: Dms = Dms.FOLLOWED
    window: Window = Window.DM
    delivery: Delivery = Delivery.CHAT
    archive: bool = False
    quiet: bool = False
    ids: bool = False
    lang: str | None = None
    zone: str | None = None  # by `tz`
    client_zone: str | None = None  # as his client tells (XEP-0202)
    mutes: tuple[Mute, ...] = ()
    groups: Mapping[str, frozenset[int]] = field(default_factory=dict)
    offs: Mapping[str, tuple[Span, ...]] = field(default_factory=dict)
    caps: Mapping[int, Cap] = field(default_factory=dict)
    digests: Mapping[str, Digest] = field(default_factory=dict)

    @property
    def plain(self) -> bool:
        """Whether a plain post of somebody whom he follows comes to him in any case."""
        return not (self.mutes or self.offs or self.caps or self.digests)

    @property
    def clock(self) -> str | None:
        """The zone that his times of the day are in; None: UTC (S10.3)."""
        return self.zone or self.client_zone

    @property
    def wary_of(self) -> frozenset[int] | None:
        """Those whose posts, or posts that name them, may stay away; None: anybody's may."""
        if EVERYTHING in self.offs or any(mute.sort is not Sort.PERSON for mute in self.mutes):
            return None
        subjects = map(self.authors_of, (*self.offs, *self.digests))
        return frozenset(self.caps).union((int(mute.value) for mute in self.mutes), *subjects)

    def mute_of(self, author: int, at: datetime) -> Mute | None:
        """The mute of a person that covers what he posted at a time, or None; the widest first."""
        name, widest = str(author), None
        for mute in self.mutes:
            wider = widest is None or _WIDTH[mute.scope] > _WIDTH[widest.scope]
            if wider and mute.value == name and mute.sort is Sort.PERSON and mute.span.covers(at):
                widest = mute
        return widest

    def subjects(self, author: int) -> Iterator[str]:
        """The subjects that an author falls under: he himself, and each group that he is in."""
        yield str(author)
        for name, members in self.groups.items():
            if author in members:
                yield of_group(name)

    def authors_of(self, subject: str) -> frozenset[int]:
        """The authors that a subject is about; of `EVERYTHING` none, since they are not known."""
        if subject == EVERYTHING:
            return frozenset()
        group = group_in(subject)
        return frozenset((int(subject),)) if group is None else self.groups.get(group, frozenset())

    def is_off(self, author: int, at: datetime) -> bool:
        """Whether an author was off at a time: he himself, everybody, or a group of his (S10.1)."""
        if not self.offs:
            return False
        return any(
            span.covers(at)
            for subject in (EVERYTHING, *self.subjects(author))
            for span in self.offs.get(subject, ())
        )

    def digest_for(self, author: int, number: int, *, surplus: bool) -> str | None:
        """The subject of the digest that a post belongs into; None: it comes by itself (S10.3).

        His own choice for the author counts before one for a group of his, and before the tier's.
        """
        for subject in self.subjects(author) if self.digests else ():
            digest = self.digests.get(subject)
            if digest is not None and number >= digest.since:
                return subject if digest.on else None
        return str(author) if surplus else None


_WIDTH: Final = {Scope.BOOSTS: 0, Scope.POSTS: 1, Scope.ALL: 2}

NO_WISHES: Final = Wishes()
"""Of somebody who has chosen nothing."""
