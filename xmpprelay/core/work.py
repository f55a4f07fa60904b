"""What the fan-out asks its shell to do: the work that `Delivery.take()` gives, in order.

`xmpp/outbox.py` carries it out and reports back by the event named in each class.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from xmpprelay.core.model import DeliveryRows, Post


@dataclass(frozen=True, slots=True)
class Part:
    """Posts that all of some people get: to the first of them all of the posts, and so on."""

    people: tuple[int, ...]  # ascending
    posts: tuple[Post, ...]
    seen: bool = False  # it is known that all of them let their presence be seen


def pairs(parts: Iterable[Part]) -> Iterator[tuple[int, Post]]:
    """Each stanza of some parts, as (person, post), in order."""
    return ((person, post) for part in parts for person in part.people for post in part.posts)


@dataclass(frozen=True, slots=True)
class Write:
    """Write these stanzas, in this order."""

    window: int
    lane: str
    live: tuple[Part, ...]
    held: tuple[tuple[int, Post], ...]  # (person, post) to be sent with the post's own time


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask for the barrier of a window now, behind all that was written."""

    window: int
    lane: str
    people: tuple[int, ...]  # to whom something was written in it, ascending


@dataclass(frozen=True, slots=True)
class AskLater:
    """Say `window_due` in a second: the window may still take more until then."""

    window: int
    lane: str


@dataclass(frozen=True, slots=True)
class FillLater:
    """Say `fill_due` after so long: the next window of a lane would be too soon now."""

    lane: str
    after_s: float


@dataclass(frozen=True, slots=True)
class Store:
    """Store these rows in one transaction, after all earlier ones; then say `stored(token)`."""

    token: int
    rows: DeliveryRows


@dataclass(frozen=True, slots=True)
class Read:
    """Read what a person lacks: his `missed` and all from `away_from`; then say `looked_up`."""

    person: int
    away_from: int
    missed: tuple[int, ...]
    upto: int  # nothing above it, even if it is there already
    limit: int
    newest: bool  # the newest `limit`, naming the older ones; else the oldest `limit`


@dataclass(frozen=True, slots=True)
class Probe:
    """Ask for the presence of these people."""

    people: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ProbeBounce:
    """Ask for a person's presence and, by a ping behind it, for the end of the answers."""

    person: int
    after_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Summary:
    """Tell a person what his return left to `more`: author -> posts (S11.2)."""

    person: int
    counts: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class AllowanceUsed:
    """Tell a person, once in his life, that showing his presence lifts the limit (S11.4)."""

    person: int


@dataclass(frozen=True, slots=True)
class RefusedBy:
    """All devices of a person are there and none took a post of this author (S6.6)."""

    person: int
    author: int


@dataclass(frozen=True, slots=True)
class Canary:
    """Ping a domain whose breaker is open, after so many seconds."""

    lane: str
    after_s: float


Work = (
    Write
    | Ask
    | AskLater
    | FillLater
    | Store
    | Read
    | Probe
    | ProbeBounce
    | Summary
    | AllowanceUsed
    | RefusedBy
    | Canary
)


@dataclass(frozen=True, slots=True)
class Held:
    """The answer to a `Read`: all that the person lacks up to `upto`, as far as routing allows."""

    posts: tuple[Post, ...]  # ascending
    upto: int
    older: tuple[tuple[int, int], ...] = ()  # ascending (number, author) of those read over
    personal: frozenset[int] = frozenset()  # those of `posts` that come in any case (S11.2)
