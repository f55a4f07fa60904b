"""Posts in the database: made once, changed, taken back; each change is an entry of its own.

What depends on the moment is written down in the post when it is made (docs/decisions.md): whether
its author is new, how many posts his hour and his day had before it, who boosted the same post in
the day before. So nobody has to ask a clock later, or count again.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Connection,
    Select,
    and_,
    func,
    or_,
    select,
    type_coerce,
    update,
)

from xmpprelay.core.model import CHANGES, Appended, Kind, Post, Queued, Standing
from xmpprelay.core.primary import Visibility
from xmpprelay.core.text import short_id
from xmpprelay.errors import Refused, UnknownPost
from xmpprelay.store.dedupe import Key, NewPost, insert_posts, key_of, posts_by_key
from xmpprelay.store.dialect import Question, insertion, numbers, numbers_value
from xmpprelay.store.insertion import queue_change, queue_posts
from xmpprelay.store.operations import standings_for
from xmpprelay.store.rows import POST, posts_of
from xmpprelay.store.schema import (
    EPOCH_START,
    MICROSECOND,
    NAMED_OTHERWISE,
    addressed,
    fanout,
    handle,
    post,
)
from xmpprelay.store.writer import Transaction, operation

NEW_AUTHOR: Final = timedelta(days=1)
"""Somebody who has his handle for less is new (S2.3)."""

BOOST_AGAIN: Final = timedelta(days=1)
"""For so long a boost of the same post is not shown again (S8.1)."""

EDITABLE: Final = timedelta(days=1)
"""How long a post may be edited (S9.1)."""

MAX_EDITS: Final = 5
"""How often (S9.1)."""

_NO_LANES: Final[tuple[str, ...]] = ()


def nowhere(_: Post) -> Sequence[str]:
    """Nobody has to get it."""
    return _NO_LANES


@dataclass(frozen=True, slots=True)
class PostRow:
    """A post to be made, unless it is there already."""

    author: int  # person id
    text: str
    lang: str | None = None
    origin: str | None = None  # <origin-id/>: makes the post the same for as long as it lives
    stanza_id: str | None = None  # without an origin: for ten minutes, and with the same text
    lanes: Callable[[Post], Sequence[str]] = nowhere
    # Gives the lanes in which somebody may have to get it. Asked when the post gets its number, so
    # that what was committed while the row waited counts.
    kind: Kind = Kind.POST  # not a change
    targets: tuple[int, ...] = ()
    mentions: tuple[int, ...] = ()
    parent: int | None = None
    root: int | None = None
    original: int | None = None  # the number of the post that is boosted
    relay_only: bool = False
    live_per_hour: int | None = None  # so many an hour come by themselves, more are surplus
    attachments: tuple[str, ...] = ()
    account: int | None = None  # in whose name it is inserted into the primary; None: never
    most: Visibility = Visibility.PUBLIC  # who may see it there at most
    item: str | None = None  # the id that its author gave it as an item of his node

    @property
    def said(self) -> str:
        """What makes two of its author's messages the same, where they have no origin."""
        if self.kind is Kind.POST:
            return self.text
        return f"{self.kind.value} {self.original} {self.targets} {self.text}"


@operation(grows=True)
def append_post(tx: Transaction, rows: Sequence[PostRow]) -> list[Appended]:
    """Make posts, each once: a resend gives the post that was made the first time.

    A duplicate takes no number and opens no fan-out. A row with neither id is always a new post.
    Everybody whom a post is addressed to has a standing from now on. UnknownPost: what is to be
    boosted is gone.
    """
    keys = [key_of(row.author, row.said, row.origin, row.stanza_id) for row in rows]
    made = posts_by_key(tx.conn, [key for key in keys if key is not None], tx.now)
    pace = _Pace(tx, {row.author for row in rows})
    results: list[Appended] = []
    posts: list[NewPost] = []
    cursors: list[_Open] = []
    addresses: list[_Address] = []
    queue: list[tuple[Post, int, Visibility]] = []
    for row, key in zip(rows, keys, strict=True):
        there = None if key is None else made.get(key)
        if there is not None:
            results.append(Appended(there, duplicate=True))
            continue
        named = {*row.targets, *row.mentions} if row.targets or row.mentions else _NOBODY
        standings = _standings(tx, named)
        new = _make(tx, row, pace)
        if key is not None:
            made[key] = new
        queued = () if row.account is None else (Queued(row.account, 1),)
        queue += [(new, each.account, row.most) for each in queued]
        lanes = row.lanes(new)
        results.append(
            Appended(new, duplicate=False, standings=standings, queued=queued, lanes=(lanes,))
        )
        posts.append((new, key, row.stanza_id))
        cursors += [(new.number, lane, 0) for lane in lanes]
        addresses += [(who, new.number) for who in named]
    _insert(tx, posts, cursors, addresses)
    queue_posts(tx, queue)
    return results


_NOBODY: Final[frozenset[int]] = frozenset()


def _make(tx: Transaction, row: PostRow, pace: "_Pace") -> Post:
    nth_hour, nth_day = pace.take(row.author, row.kind)
    return Post(
        number=tx.numbers.take(1),
        author=row.author,
        text=row.text,
        lang=row.lang,
        created=tx.now,
        kind=row.kind,
        targets=row.targets,
        mentions=row.mentions,
        parent=row.parent,
        original=None if row.original is None else _living(tx.conn, row.original),
        boosted_before=() if row.original is None else _boosters(tx, row.original),
        relay_only=row.relay_only,
        new_author=pace.is_new(row.author),
        nth_hour=nth_hour,
        nth_day=nth_day,
        surplus=row.live_per_hour is not None and nth_hour >= row.live_per_hour,
        root=row.root,
        attachments=row.attachments,
        item=row.item,
    )


class _Pace:
    """How many posts the authors of a batch have made in this hour and on this day (UTC)."""

    def __init__(self, tx: Transaction, authors: Iterable[int]) -> None:
        self._now = tx.now
        self._hour = (tx.now - EPOCH_START) // _HOUR  # since 1970
        self._last: dict[int, tuple[int, int, int]] = {}  # author -> hour of his last post, counts
        self._since: dict[int, int] = {}
        for author, since, created, nth_hour, nth_day in LAST_OF.ask(
            tx.conn, authors=numbers_value(authors)
        ):
            if since is not None:
                self._since[author] = since
            if created is not None:
                self._last[author] = (created // _HOUR_MICROSECONDS, nth_hour, nth_day)
        self._new_since = (tx.now - NEW_AUTHOR - EPOCH_START) // MICROSECOND

    def take(self, author: int, kind: Kind) -> tuple[int, int]:
        """Count a post; how many of this hour and of this day came before it."""
        if kind not in _PACED:
            return 0, 0
        last, hour, day = self._last.get(author, _NEVER)
        if last == self._hour:
            counts = (hour + 1, day + 1)
        else:
            counts = (0, day + 1 if last // 24 == self._hour // 24 else 0)
        self._last[author] = (self._hour, *counts)
        return counts

    def is_new(self, author: int) -> bool:
        """Whether an author has his handle for less than a day."""
        since = self._since.get(author)
        return since is None or since > self._new_since


_HOUR: Final = timedelta(hours=1)
_HOUR_MICROSECONDS: Final = _HOUR // MICROSECOND
_NEVER: Final = (-24, 0, 0)
_PACED: Final = (Kind.POST, Kind.BOOST)


def _last_of() -> Select[Any]:
    """Ask of the people `authors` since when each has his handle, and for his last post.

    Times as they are stored: they are only compared.
    """
    people, author = numbers("authors")
    newest = (  # one step down the index of his posts; a maximum would read all of them
        select(post.c.number)
        .where(post.c.author == author, or_(*(post.c.kind == kind.value for kind in _PACED)))
        .order_by(post.c.number.desc())
        .limit(1)
        .correlate(people)
        .scalar_subquery()
    )
    last = post.alias("last")
    return (
        select(
            author,
            type_coerce(handle.c.since, BigInteger),
            type_coerce(last.c.created, BigInteger),
            last.c.nth_hour,
            last.c.nth_day,
        )
        .select_from(people)
        .outerjoin(handle, handle.c.person == author)
        .outerjoin(last, last.c.number == newest)
    )


LAST_OF: Final = Question(_last_of())
"""(person id, since when he has his handle, when his last post was made, its two counts)."""


def _boosters(tx: Transaction, number: int) -> tuple[int, ...]:
    asked = (
        select(post.c.author)
        .where(post.c.original == number, post.c.kind == Kind.BOOST.value)
        .where(post.c.created > tx.now - BOOST_AGAIN, post.c.deleted.is_(False))
        .distinct()
    )
    return tuple(sorted(tx.conn.scalars(asked)))


def _standings(tx: Transaction, people: Collection[int]) -> tuple[Standing, ...]:
    """Standings of people who are addressed, made before the post has its number (docs/flow.md)."""
    return tuple(standings_for(tx, sorted(people)).values()) if people else ()


_Open = tuple[int, str, int]  # post number, lane, and 0: the position of what is open
_Address = tuple[int, int]  # person id, post number


def _insert(
    tx: Transaction,
    posts: Sequence[NewPost],
    cursors: Sequence[_Open],
    addresses: Sequence[_Address],
) -> None:
    insert_posts(tx.conn, posts)
    _OPENING.each_stored(tx.conn, cursors)
    _ADDRESSING.each_stored(tx.conn, addresses)


_OPENING: Final = insertion(fanout)
_ADDRESSING: Final = insertion(addressed)


# --- changes -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ChangeRow:
    """A post is to be edited, or taken back."""

    author: int  # who asks for it
    number: int | None  # the post; None, only for a deletion: the author's last one
    text: str | None  # None: it is deleted
    mentions: tuple[int, ...] = ()  # whom the new text names
    origin: str | None = None
    stanza_id: str | None = None
    lanes: Callable[[Post], Sequence[str]] = nowhere

    @property
    def said(self) -> str:
        """What makes two of its author's messages the same, where they have no origin."""
        kind = Kind.DELETE if self.text is None else Kind.EDIT
        return f"{kind.value} {self.number} {self.text}"


@operation(grows=True)
def change_post(tx: Transaction, rows: Sequence[ChangeRow]) -> list[Appended]:
    """Edit posts or take them back (S9); gives the entry of each change, its post as it is now.

    A deletion takes the boosts of the post along, each by an entry of its own (`further`).
    UnknownPost: there is no such post of that author, or it is deleted; Refused: it is too old, or
    was edited too often, or cannot be edited.
    """
    return [_change(tx, row) for row in rows]


def _change(tx: Transaction, row: ChangeRow) -> Appended:
    kind = Kind.DELETE if row.text is None else Kind.EDIT
    key = key_of(row.author, row.said, row.origin, row.stanza_id)
    there = posts_by_key(tx.conn, [key] if key is not None else [], tx.now)
    if key is not None and key in there:
        return Appended(there[key], duplicate=True)
    before = _own(tx.conn, row)
    if row.text is None:
        now = replace(before, text="", deleted=True)
    else:
        _refuse_edit(tx, before)
        now = replace(before, text=row.text, edits=before.edits + 1)
    fresh = tuple(sorted(set(row.mentions).difference((*before.addressed, row.author))))
    standings = _standings(tx, fresh)
    entry = replace(_entry(tx, kind, now), text=now.text, mentions=fresh)
    values = {"text": now.text, "edits": now.edits, "deleted": now.deleted}
    tx.conn.execute(update(post).where(post.c.number == now.number).values(values))
    further = _take_boosts_back(tx, now) if now.deleted else []
    entries = [entry, *further]
    lanes = tuple(row.lanes(each) for each in entries)
    _insert(
        tx,
        [(entry, key, row.stanza_id), *((each, None, None) for each in further)],
        [
            (each.number, lane, 0)
            for each, its_lanes in zip(entries, lanes, strict=True)
            for lane in its_lanes
        ],
        [(who, each.number) for each in entries for who in set(each.concerns)],
    )
    return Appended(
        entry,
        duplicate=False,
        standings=standings,
        further=tuple(further),
        queued=queue_change(tx, entry),
        lanes=lanes,
    )


def _own(conn: Connection, row: ChangeRow) -> Post:
    """The post that is to be changed; UnknownPost if its author has none such."""
    if row.number is None:
        mine = select(*POST).where(post.c.author == row.author, post.c.deleted.is_(False))
        mine = mine.where(post.c.kind.in_(_CHANGEABLE)).order_by(post.c.number.desc()).limit(1)
        found = posts_of(conn, conn.execute(mine))
        if not found:
            raise UnknownPost("You have no post that could be deleted.")
        return found[0]
    found = posts_of(conn, conn.execute(select(*POST).where(post.c.number == row.number)))
    if not found or found[0].deleted or found[0].author != row.author or found[0].kind in CHANGES:
        raise UnknownPost(f"You have no post #{short_id(row.number)}: `last` shows your posts.")
    return found[0]


_CHANGEABLE: Final = (Kind.POST.value, Kind.DIRECT.value, Kind.BOOST.value)


def _entry(tx: Transaction, kind: Kind, now: Post) -> Post:
    return Post(
        number=tx.numbers.take(1),
        author=now.author,
        text="",
        lang=now.lang,
        created=tx.now,
        kind=kind,
        original=now,
        edits=now.edits,
        relay_only=now.relay_only,
    )


def _take_boosts_back(tx: Transaction, gone: Post) -> list[Post]:
    """Delete what shows a deleted post; the entries that tell of it, ascending."""
    boosts = select(*POST).where(post.c.original == gone.number, post.c.deleted.is_(False))
    boosts = boosts.where(post.c.kind == Kind.BOOST.value).order_by(post.c.number)
    found = posts_of(tx.conn, tx.conn.execute(boosts))
    numbers = [each.number for each in found]
    tx.conn.execute(update(post).where(post.c.number.in_(numbers)).values(deleted=True))
    return [_entry(tx, Kind.DELETE, replace(each, deleted=True, original=gone)) for each in found]


def _refuse_edit(tx: Transaction, before: Post) -> None:
    name = f"#{short_id(before.number)}"
    if before.kind is Kind.BOOST:
        raise Refused(f"{name} is a boost; `del {name}` takes it back.")
    if tx.now - before.created > EDITABLE:
        raise Refused(f"{name} is older than a day and stays as it is; `del {name}` takes it back.")
    if before.edits >= MAX_EDITS:
        raise Refused(f"{name} was edited {MAX_EDITS} times; `del {name}` takes it back.")


def _living(conn: Connection, number: int) -> Post:
    """The post with that number; UnknownPost if there is none, or not any more."""
    found = posts_of(conn, conn.execute(select(*POST).where(post.c.number == number)))
    if not found or found[0].deleted:
        raise UnknownPost(f"There is no post #{short_id(number)}.")
    return found[0]


# --- questions -----------------------------------------------------------------------------------


def own_message(conn: Connection, author: int, name: str) -> Post | None:
    """Give the newest post that a person's message of that id made; a change gives its post.

    `name` is what the person's own client called the message, or its <origin-id/> (S9.3).
    """
    of_that_name = (  # one for each index
        post.c.origin == name,
        and_(post.c.stanza == name, NAMED_OTHERWISE),
    )
    numbers_ = [
        conn.scalar(select(func.max(post.c.number)).where(post.c.author == author, each))
        for each in of_that_name
    ]
    newest = max((number for number in numbers_ if number is not None), default=None)
    if newest is None:
        return None
    found = posts_of(conn, conn.execute(select(*POST).where(post.c.number == newest)))
    return _changed(found[0])


def _changed(entry: Post) -> Post | None:
    return entry.original if entry.kind in CHANGES else entry


def newest_posts(conn: Connection, author: int, since: datetime, limit: int) -> list[Post]:
    """Give an author's newest posts that are not deleted and no boosts, newest first."""
    asked = (
        select(*POST)
        .where(post.c.author == author, post.c.created >= since)
        .where(post.c.kind == Kind.POST.value, post.c.deleted.is_(False))
        .order_by(post.c.number.desc())
        .limit(limit)
    )
    return posts_of(conn, conn.execute(asked))


def wrote_to(conn: Connection, author: int, target: int, since: datetime) -> bool:
    """Whether a person has written to another one alone since a time (S4.1)."""
    asked = (
        select(post.c.number)
        .join_from(addressed, post, post.c.number == addressed.c.number)
        .where(addressed.c.person == target, post.c.author == author)
        .where(post.c.kind == Kind.DIRECT.value, post.c.created >= since)
        .limit(1)
    )
    return conn.scalar(asked) is not None


def boost_of(conn: Connection, author: int, number: int) -> Post | None:
    """Give a person's boost of a post that stands; None: there is none."""
    asked = select(*POST).where(post.c.original == number, post.c.author == author)
    asked = asked.where(post.c.kind == Kind.BOOST.value, post.c.deleted.is_(False)).limit(1)
    return next(iter(posts_of(conn, conn.execute(asked))), None)


__all__ = [
    "ChangeRow",
    "Key",
    "PostRow",
    "append_post",
    "boost_of",
    "change_post",
    "newest_posts",
    "own_message",
    "wrote_to",
]
