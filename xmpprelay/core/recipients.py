"""One person as the fan-out sees him: his standing, his resources, what is under way to him.

This is the mutable side of `Standing`. The rules of reachability (S11.1, S11.4) live here; the
moves that change a recipient's state live in `core/delivery.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import Enum
from typing import TYPE_CHECKING, Final

from xmpprelay.core.model import Grant, Post, Rest, Standing
from xmpprelay.core.pacing import Bucket

if TYPE_CHECKING:
    from xmpprelay.core.lanes import Lane
    from xmpprelay.core.work import Read

BLIND_PER_DAY: Final = 20
"""Posts a day to somebody whose presence the relay may not see (S11.4)."""

MAX_RESOURCES: Final = 32
"""Resources remembered per person: more than anybody has, and a bound for strangers."""

MAX_MISSED: Final = 1000
"""Bounces remembered per person; above it the oldest go to the archive of his own server alone."""

STAMP_GRAIN: Final = timedelta(seconds=1)
"""Servers stamp presence by the second: within it, "before" is not certain."""


class State(Enum):
    """Where a recipient stands."""

    AWAY = "away"  # gets nothing now; his standing holds it
    CATCHING = "catching"  # has returned; what he lacks is being sent
    LIVE = "live"  # gets each post as its fan-out passes him


@dataclass(slots=True)
class Resource:
    """One available resource."""

    priority: int
    since: datetime  # the stamp of its <delay/>, or the time at which its presence came


class Verdict(Enum):
    """What the answers after a bounce say about one post."""

    LACKS = "lacks"  # nobody who was there when it was written has answered: he lacks it
    HAS = "has"  # another device of his had it, or would not take it
    REFUSES = "refuses"  # all who were there have answered, and none took it (S6.6)


@dataclass(slots=True)
class BounceProbe:
    """A question that is open after bounces: which of his devices are still there?"""

    before: dict[str, Resource]  # the resources known when the first stanza bounced
    left_at: datetime | None  # when one was last lost before that
    asked: int = 1  # how many probes have been sent; the answers to the last one count
    due: datetime | None = None  # when the last one is sent
    numbers: set[int] = field(default_factory=set)  # what has bounced
    seen: dict[str, Resource] = field(default_factory=dict)  # who has answered

    def gone(self, resource: str | None, now: datetime) -> None:
        """A resource is unavailable; None: all are. What it has answered counts no more."""
        if resource is None:
            self.seen.clear()
        else:
            self.seen.pop(resource, None)
            self.left_at = now

    def verdict(self, written: datetime | None) -> Verdict:
        """What the answers say about a post written at that time; None: not remembered.

        Whoever was there then got a copy, if anybody took messages at all; so one with a negative
        priority shows nothing, but may be the one that sent its copy back.
        """
        if written is None:
            return Verdict.LACKS
        there = {n for n, seen in self.seen.items() if seen.since + STAMP_GRAIN <= written}
        if not any(self.seen[name].priority >= 0 for name in there):
            return Verdict.LACKS
        then = {name for name, known in self.before.items() if known.since <= written}
        all_known = self.left_at is None or self.left_at < written
        return Verdict.REFUSES if all_known and then == there else Verdict.HAS


@dataclass(slots=True)
class Catch:
    """A return under way."""

    planned: bool  # the newest are chosen, or all are wanted: from here on everything is sent
    away_from: int  # his standing when it began, and
    missed: frozenset[int]  # which tells whether he had a post that is changed now
    had: set[int] = field(default_factory=set)  # of `missed`: what was on its way, and has arrived
    parts: list[tuple[int, int]] = field(default_factory=list)  # settled batches: (highest, seen)
    held: dict[int, Post] = field(default_factory=dict)  # read from the journal
    shown: dict[int, list[int]] = field(default_factory=dict)  # number -> what of `held` shows it
    upto: int = 0  # what was read is all that he lacks from his `away_from` up to this number
    sought: frozenset[int] = frozenset()  # those of his `missed` that were read
    older: tuple[tuple[int, int], ...] = ()  # (number, author) of posts that were read over
    personal: set[int] = field(default_factory=set)  # of `held`: what comes in any case
    rest: Rest | None = None  # takes the place of his last rest when the first batch is settled
    note: dict[int, int] = field(default_factory=dict)  # of that rest: author -> posts

    def began_without(self, number: int) -> bool:
        """Whether he lacked an entry when this return began."""
        return number >= self.away_from or number in self.missed

    def seen_with(self, number: int) -> int | None:
        """Up to which entry, that not included, changes are in a post that this return has brought.

        None: it has not come so far. If it came behind higher ones, some are not counted.
        """
        return next((seen for highest, seen in self.parts if number <= highest), None)

    def holds(self, posts: dict[int, Post]) -> None:
        """What was read, in the place of what was read before."""
        self.held, self.shown = posts, {}
        for number, post in posts.items():
            shown = number if post.original is None else post.original.number
            self.shown.setdefault(shown, []).append(number)

    def revise(self, post: Post) -> None:
        """A post is not any more as it was read; nor is what shows it."""
        for number in self.shown.get(post.number, ()):
            each = self.held[number]
            self.held[number] = post if number == post.number else replace(each, original=post)


@dataclass(slots=True)
class Batch:
    """What one look has put into a window (docs/flow.md, "The return")."""

    person: int
    sent: tuple[int, ...]
    skipped: frozenset[int]
    highest: int
    seen: int  # the first number that was not known when it was written
    noted: tuple[int, ...]  # numbers below `highest` that had not passed him then
    rest: Rest | None
    note: Mapping[int, int]  # of that rest: author -> posts


@dataclass(slots=True)
class Recipient:
    """The fan-out's record of one person; made from his stored standing."""

    id: int
    lane: Lane
    away_from: int | None
    away_at: datetime | None
    missed: set[int]
    rest: Rest | None
    grant: Grant
    day: int
    used: int
    in_doubt: set[int] = field(default_factory=set)  # was under way when he left, or was lost
    state: State = State.AWAY
    resources: dict[str, Resource] = field(default_factory=dict)
    left_at: datetime | None = None  # when a resource of his was last lost
    catch: Catch | None = None
    asked: tuple[Catch, Read] | None = None  # a read that is not answered yet: one at a time
    batch: Batch | None = None
    probe: BounceProbe | None = None
    asks: Bucket | None = None  # what is left of his probes after bounces
    note: Mapping[int, int] = field(default_factory=dict)  # of his rest, not yet told
    summary_at: datetime | None = None  # when he was last told what he may fetch by `more`
    broken_at: datetime | None = None  # when a return was broken off whose newest were chosen
    catchup: int = 20  # the newest so many come by themselves (S11.2)

    @classmethod
    def of(cls, standing: Standing, lane: Lane) -> Recipient:
        """The recipient of a stored standing; nothing is known of his presence yet."""
        return cls(
            id=standing.person,
            lane=lane,
            away_from=standing.away_from,
            away_at=standing.away_at,
            missed=set(standing.missed),
            rest=standing.rest,
            grant=standing.grant,
            day=standing.day,
            used=standing.used,
            state=State.LIVE if standing.away_from is None else State.AWAY,
        )

    def standing(self) -> Standing:
        """His standing as it is to be stored."""
        return Standing(
            person=self.id,
            away_from=self.away_from,
            away_at=self.away_at,
            missed=tuple(sorted(self.missed)),
            rest=self.rest,
            grant=self.grant,
            day=self.day,
            used=self.used,
        )

    def nothing_open(self) -> bool:
        """Whether what is confirmed to have come to him changes nothing of his standing."""
        return (
            self.state is State.LIVE
            and self.grant is Grant.GRANTED
            and not self.missed
            and not self.in_doubt
        )

    def lacks(self, number: int) -> bool:
        """Whether an entry waits for his return, as far as he may have it."""
        return number in self.missed or (self.away_from is not None and number >= self.away_from)

    def left_to_more(self, number: int) -> bool:
        """Whether a number lies in what his last return left to `more`."""
        return self.rest is not None and self.rest.holds(number)

    def returns(self, *, planned: bool, next_number: int) -> Catch:
        """A return that begins now."""
        away_from = next_number if self.away_from is None else self.away_from
        return Catch(planned, away_from, frozenset(self.missed))

    @property
    def online(self) -> bool:
        """Whether a resource that takes messages is known: priority ≥ 0 (RFC 6121 §8.5.2)."""
        return any(resource.priority >= 0 for resource in self.resources.values())

    def blind(self) -> bool:
        """Whether his presence is hidden, and he shows no device that takes messages (S11.4)."""
        return self.grant is not Grant.GRANTED and not self.online

    def allowance(self, now: datetime) -> int:
        """How many posts he may still be sent today without his presence being seen (S11.4)."""
        today = day_of(self.id, now)
        return BLIND_PER_DAY if today != self.day else max(0, BLIND_PER_DAY - self.used)

    def spend(self, now: datetime, posts: int = 1) -> None:
        """Count posts sent to him today without his presence being seen."""
        today = day_of(self.id, now)
        if today != self.day:
            self.day, self.used = today, 0
        self.used += posts

    def exhaust(self, now: datetime) -> None:
        """Use up the allowance of today: a post came back (S11.4)."""
        self.day, self.used = day_of(self.id, now), BLIND_PER_DAY

    def reachable(self, now: datetime) -> bool:
        """Whether he can be sent to now, as far as he himself is concerned (S11.1)."""
        return self.online or (self.blind() and self.allowance(now) > 0)


def day_of(person: int, now: datetime) -> int:
    """The number of a person's day; it begins at an hour of his own, to spread the load (S11.1)."""
    return int(now.timestamp() // 3600 - person % 24) // 24
