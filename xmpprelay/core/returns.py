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
    """What he lacks has to be read; up to `past` there is nothing for him."""

    read: Read
    past: int | None


@dataclass(frozen=True, slots=True)
class Nothing:
    """He lacks nothing: he is live."""


@dataclass(frozen=True, slots=True)
class NoRoom:
    """He lacks something, and there is no room for it in this window."""


@dataclass(frozen=True, slots=True)
class Exhausted:
    """He lacks something, and his allowance of the day is used up (S11.4)."""


@dataclass(frozen=True, slots=True)
class Found:
    """These posts come now; none of them when all that he lacks is left to `more`."""

    batch: Batch
    posts: tuple[Post, ...]


Look = ReadOn | Nothing | NoRoom | Exhausted | Found


def look(
    graph: Graph, recent: Recent, recipient: Recipient, catch: Catch, room: int, now: datetime
) -> Look:
    """What comes to a returned person now: at most `room` posts, ascending (S11.2, S11.4)."""
    upto = _known_upto(recent, recipient, catch)
    if upto is None:
        return ReadOn(_read(recent, recipient, catch), None)
    lane = recipient.lane
    lacked = _lacked(graph, recent, recipient, catch, upto)
    ready = [post for post in lacked if lane.passed(post.number, recipient.id)]
    skipped = _plan(recipient, catch, ready, now)
    ready = [post for post in ready if post.number not in skipped]
    if not ready and not skipped:
        if upto < recent.next_number - 1:
            return ReadOn(_read(recent, recipient, catch, upto + 1), upto)
        return Nothing()
    if recipient.blind() and ready:
        room = min(room, recipient.allowance(now))
        if not room:
            return Exhausted()
    chosen = tuple(ready[:room])
    if not chosen and not skipped:
        return NoRoom()
    highest = max(*skipped, *(post.number for post in chosen), 0, 0)
    noted = tuple(
        post.number
        for post in lacked
        if post.number < highest and not lane.passed(post.number, recipient.id)
    )
    sent = tuple(post.number for post in chosen)
    return Found(Batch(recipient.id, sent, skipped, highest, noted, catch.rest), chosen)


def take_held(recent: Recent, catch: Catch, held: Held) -> None:
    """Take up the answer to a read."""
    catch.reading = False
    catch.held = {post.number: post for post in held.posts}
    catch.upto = held.upto
    catch.sought = frozenset(n for n in catch.sought if n <= held.upto)
    catch.older = tuple(pair for pair in held.older if pair[0] < recent.complete_from)


def _away_from(recent: Recent, recipient: Recipient) -> int:
    return recent.next_number if recipient.away_from is None else recipient.away_from


def _known_upto(recent: Recent, recipient: Recipient, catch: Catch) -> int | None:
    """The number up to which all that he lacks is in memory; None: it has to be read."""
    low = {n for n in recipient.missed if n < recent.complete_from}
    if not low <= catch.sought:
        return None
    away_from = _away_from(recent, recipient)
    if away_from >= recent.complete_from or catch.upto + 1 >= recent.complete_from:
        return recent.next_number - 1
    return catch.upto if catch.upto >= away_from else None


def _lacked(
    graph: Graph, recent: Recent, recipient: Recipient, catch: Catch, upto: int
) -> list[Post]:
    """What he lacks and may have now, up to a number, ascending."""
    away_from = _away_from(recent, recipient)
    numbers = {n for n in catch.held if away_from <= n <= upto}
    numbers.update(recent.numbers(away_from, upto))
    numbers.update(recipient.missed)
    posts = (recent.get(n) or catch.held.get(n) for n in sorted(numbers))
    return [p for p in posts if p is not None and decide(graph, p, recipient.id).yes]


def _plan(recipient: Recipient, catch: Catch, ready: list[Post], now: datetime) -> frozenset[int]:
    """At the first look of a longer absence: what is left to `more` (S11.2)."""
    if catch.planned:
        return frozenset()
    catch.planned = True
    newest = recipient.catchup
    if recipient.blind():
        newest = min(newest, recipient.allowance(now))
    left = dict(catch.older)
    left.update((post.number, post.author) for post in ready[: max(0, len(ready) - newest)])
    if not left:
        return frozenset()
    for author in left.values():
        catch.note[author] = catch.note.get(author, 0) + 1
    catch.rest = Rest(min(left), max(left))
    return frozenset(left)


def _read(recent: Recent, recipient: Recipient, catch: Catch, start: int | None = None) -> Read:
    newest = not catch.planned
    return Read(
        person=recipient.id,
        away_from=start or _away_from(recent, recipient),
        missed=tuple(sorted(recipient.missed)),
        upto=recent.next_number - 1,
        limit=recipient.catchup if newest else recipient.lane.limit,
        newest=newest,
    )
