"""The look: what a person who has returned lacks, and what of it comes now (docs/flow.md).

A look decides and changes nothing of a standing; `core/delivery.py` carries its outcome out. It is
made without waiting for anything, on what is in memory: the newest posts, and what was read from
the journal for this return. When that does not reach, its outcome is to read.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from xmpprelay.core.graph import Graph
from xmpprelay.core.model import Post, Rest
from xmpprelay.core.recent import Recent
from xmpprelay.core.recipients import Batch, Catch, Recipient
from xmpprelay.core.routing import decide
from xmpprelay.core.work import Held, Read


@dataclass(frozen=True, slots=True)
class ReadOn:
    """What he lacks has to be read first."""

    read: Read


@dataclass(frozen=True, slots=True)
class Nothing:
    """He lacks nothing: he is live."""


@dataclass(frozen=True, slots=True)
class Exhausted:
    """He lacks something, and his allowance of the day is used up (S11.4)."""


@dataclass(frozen=True, slots=True)
class Found:
    """These posts come now; none of them when all that he lacks is left to `more`."""

    batch: Batch
    posts: tuple[Post, ...]


Look = ReadOn | Nothing | Exhausted | Found


def look(
    graph: Graph, recent: Recent, recipient: Recipient, catch: Catch, room: int, now: datetime
) -> Look:
    """What comes to a returned person now: at most `room` posts, ascending (S11.2, S11.4).

    There is room for one at least.
    """
    upto = _known_upto(recent, recipient, catch)
    complete = upto == recent.next_number - 1
    if not catch.planned and not complete:  # what is left to `more` is said of the whole
        return ReadOn(_read(recent, recipient, catch))
    lane = recipient.lane
    lacked = _lacked(graph, recent, recipient, catch, upto)
    ready = [post for post in lacked if lane.passed(post.number, recipient.id)]
    skipped = _plan(recent, recipient, catch, ready, now)
    ready = [post for post in ready if post.number not in skipped]
    if not ready and not skipped:
        return Nothing() if complete else ReadOn(_read(recent, recipient, catch))
    if recipient.blind() and ready:
        room = min(room, recipient.allowance(now))
        if not room:
            return Exhausted()
    chosen = tuple(ready[:room])
    highest = max(*skipped, *(post.number for post in chosen), 0, 0)
    noted = tuple(
        post.number
        for post in lacked
        if post.number < highest and not lane.passed(post.number, recipient.id)
    )
    sent = tuple(post.number for post in chosen)
    batch = Batch(recipient.id, sent, skipped, highest, noted, catch.rest, catch.note)
    return Found(batch, chosen)


def take_held(recent: Recent, recipient: Recipient, catch: Catch, read: Read, held: Held) -> None:
    """Take up the answer to a read; it adds to what was read before for this return."""
    away_from = _away_from(recent, recipient)
    posts = {n: p for n, p in catch.held.items() if n >= away_from or n in recipient.missed}
    posts.update((post.number, post) for post in held.posts)
    older = [*catch.older, *held.older]
    if not catch.planned:
        surplus = sorted(posts)[: max(0, len(posts) - read.limit)]
        older += [(number, posts.pop(number).author) for number in surplus]
    catch.held = posts
    catch.older = tuple(older)
    catch.upto = max(catch.upto, held.upto)
    catch.sought |= {n for n in read.missed if n <= held.upto}


def _away_from(recent: Recent, recipient: Recipient) -> int:
    return recent.next_number if recipient.away_from is None else recipient.away_from


def _unread(recent: Recent, recipient: Recipient, catch: Catch) -> list[int]:
    """Those of his `missed` that are neither in memory nor read."""
    low = (n for n in recipient.missed if n < recent.complete_from)
    return sorted(n for n in low if n not in catch.sought)


def _known_upto(recent: Recent, recipient: Recipient, catch: Catch) -> int:
    """The number up to which all that he lacks is in memory, or has been read."""
    first_unknown = max(_away_from(recent, recipient), catch.upto + 1)
    if first_unknown >= recent.complete_from:
        first_unknown = recent.next_number
    return min([first_unknown, *_unread(recent, recipient, catch)]) - 1


def _lacked(
    graph: Graph, recent: Recent, recipient: Recipient, catch: Catch, upto: int
) -> list[Post]:
    """What he lacks and may have now, up to a number, ascending."""
    away_from = _away_from(recent, recipient)
    numbers = {n for n in catch.held if away_from <= n <= upto}
    numbers.update(recent.numbers(away_from, upto))
    numbers.update(n for n in recipient.missed if n <= upto)
    posts = (recent.get(n) or catch.held.get(n) for n in sorted(numbers))
    return [p for p in posts if p is not None and decide(graph, p, recipient.id).yes]


def _plan(
    recent: Recent, recipient: Recipient, catch: Catch, ready: list[Post], now: datetime
) -> frozenset[int]:
    """At the first look of a longer absence: what is left to `more` (S11.2)."""
    if catch.planned:
        return frozenset()
    catch.planned = True
    # Of what was read over only the number is known: from here on memory speaks for what it has.
    catch.upto = min(catch.upto, recent.complete_from - 1)
    newest = recipient.catchup
    if recipient.blind():
        newest = min(newest, recipient.allowance(now))
    left = {n: author for n, author in catch.older if n < recent.complete_from}
    left.update((post.number, post.author) for post in ready[: max(0, len(ready) - newest)])
    if not left:
        return frozenset()
    for author in left.values():
        catch.note[author] = catch.note.get(author, 0) + 1
    catch.rest = Rest(min(left), max(left))
    return frozenset(left)


def _read(recent: Recent, recipient: Recipient, catch: Catch) -> Read:
    newest = not catch.planned
    return Read(
        person=recipient.id,
        away_from=max(_away_from(recent, recipient), catch.upto + 1),
        missed=tuple(_unread(recent, recipient, catch)),
        upto=recent.next_number - 1,
        limit=recipient.catchup if newest else recipient.lane.limit,
        newest=newest,
    )
