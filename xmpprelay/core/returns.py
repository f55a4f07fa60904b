"""The look: what a person who has returned lacks, and what of it comes now (docs/flow.md).

A look decides and changes nothing of a standing; `core/delivery.py` carries its outcome out. It is
made without waiting for anything, on what is in memory: the newest posts, and what was read from
the journal for this return. When that does not reach, its outcome is to read.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from xmpprelay.core.graph import Graph
from xmpprelay.core.model import CHANGES, Kind, Post, Rest
from xmpprelay.core.recent import Recent
from xmpprelay.core.recipients import Batch, Catch, Recipient
from xmpprelay.core.routing import PERSONAL, decide
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
    lacked, personal = _lacked(graph, recent, recipient, catch, upto)
    ready = [post for post in lacked if lane.passed(post.number, recipient.id)]
    to_come = {post.number for post in lacked} - {post.number for post in ready}
    skipped = _plan(recent, recipient, catch, ready, to_come, personal, now)
    ready = [post for post in ready if post.number not in skipped]
    if not ready and not skipped:
        return Nothing() if complete else ReadOn(_read(recent, recipient, catch))
    if recipient.blind() and ready:
        room = min(room, recipient.allowance(now))
        if not room:
            return Exhausted()
    chosen = tuple(ready[:room])
    highest = max(*skipped, *(post.number for post in chosen), 0, 0)
    sent = tuple(post.number for post in chosen)
    settled = skipped.union(sent)
    noted = tuple(n for n in (post.number for post in lacked) if n < highest and n not in settled)
    seen = recent.next_number
    batch = Batch(recipient.id, sent, skipped, highest, seen, noted, catch.rest, catch.note)
    return Found(batch, chosen)


def take_held(recent: Recent, recipient: Recipient, catch: Catch, read: Read, held: Held) -> None:
    """Take up the answer to a read; it adds to what was read before for this return."""
    away_from = _away_from(recent, recipient)
    posts = {n: p for n, p in catch.held.items() if n >= away_from or n in recipient.missed}
    posts.update((post.number, post) for post in held.posts)
    older = [*catch.older, *held.older]
    catch.personal |= held.personal
    if not catch.planned:
        timeline = sorted(posts.keys() - catch.personal)
        surplus = timeline[: max(0, len(timeline) - read.limit)]
        older += [(number, posts.pop(number).author) for number in surplus]
    catch.holds(posts)
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
) -> tuple[list[Post], frozenset[int]]:
    """What he lacks and may have now, up to a number, ascending; and what of it is personal.

    The change of a post that he had not is nothing to him: that comes as it is now.
    """
    away_from = _away_from(recent, recipient)
    numbers = {n for n in catch.held if away_from <= n <= upto}
    follows = {author.id for author in graph.following(recipient.id)}
    numbers.update(recent.concerning(recipient.id, follows, away_from, upto))
    numbers.update(n for n in recipient.missed if n <= upto)
    found: list[Post] = []
    personal: set[int] = set()
    for number in sorted(numbers):
        post = recent.get(number) or catch.held.get(number)
        if post is None or _of_what_he_lacks(post, recipient, catch):
            continue
        decision = decide(graph, post, recipient.id)
        if decision.yes:
            found.append(post)
            if decision.why in PERSONAL:
                personal.add(number)
    return found, frozenset(personal)


def _of_what_he_lacks(change: Post, recipient: Recipient, catch: Catch) -> bool:
    if change.kind not in CHANGES or change.original is None or recipient.id in change.mentions:
        return False
    number = change.original.number
    if number in catch.had or (change.kind is Kind.DELETE and number in recipient.in_doubt):
        return False
    if recipient.left_to_more(number):
        return True
    if not catch.began_without(number):
        return False
    seen = catch.seen_with(number)
    return seen is None or recipient.lacks(number) or change.number < seen


def _plan(
    recent: Recent,
    recipient: Recipient,
    catch: Catch,
    ready: list[Post],
    to_come: set[int],
    personal: frozenset[int],
    now: datetime,
) -> frozenset[int]:
    """At the first look of a longer absence: what is left to `more` (S11.2).

    A rest is a span of numbers: it says what in it he has had, or will have live.
    """
    if catch.planned:
        return frozenset()
    catch.planned = True
    # Of what was read over only the number is known: from here on memory speaks for what it has.
    catch.upto = min(catch.upto, recent.complete_from - 1)
    newest = recipient.catchup
    timeline = [post for post in ready if post.number not in personal]
    if recipient.blind():
        of_today = recipient.allowance(now) - (len(ready) - len(timeline))
        newest = max(0, min(newest, of_today))
    left = {n: author for n, author in catch.older if n < recent.complete_from}
    left.update((post.number, post.author) for post in timeline[: max(0, len(timeline) - newest)])
    if not left:
        return frozenset()
    for author in left.values():
        catch.note[author] = catch.note.get(author, 0) + 1
    away_from = _away_from(recent, recipient)
    listed = tuple(sorted(number for number in left if number < away_from))
    whole_from = away_from if listed else 0
    first, last = min(left), max(left)
    live = tuple(sorted(number for number in to_come if first < number < last))
    catch.rest = Rest(first, last, (), whole_from, listed, live)
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
