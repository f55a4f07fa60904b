"""What can be changed in the database, one named operation for each kind of change.

Each operation takes the rows that neighbours in the queue have submitted, and uses as few
statements for them as it can; the order is kept. Nothing is decided here that is not a question of
the database: whether a follow is wanted, or a handle well-formed, has been settled before.

`grows=True` marks what a full disk refuses: posts, people and follows. Everything else is still
tried, so that cursors, settings and endings go on.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import (
    Select,
    and_,
    bindparam,
    delete,
    insert,
    or_,
    select,
    update,
)

from xmpprelay.core.model import (
    Appended,
    DeliveryRows,
    Follow,
    Mode,
    Person,
    Post,
    Standing,
)
from xmpprelay.errors import HandleTaken, Refused, TooMany
from xmpprelay.store.dedupe import key_of, post_row, posts_by_key
from xmpprelay.store.dialect import upsert
from xmpprelay.store.rows import (
    FOLLOW,
    PERSON,
    STANDING,
    WITH_HANDLE,
    follow_of,
    missed_text,
    people_of,
    standing_of,
    standing_row,
)
from xmpprelay.store.schema import fanout, follow, handle, person, post, setting, standing
from xmpprelay.store.writer import Transaction, operation

# --- posts ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PostRow:
    """A post to be made, unless it is there already."""

    author: int  # person id
    text: str
    lang: str | None = None
    origin: str | None = None  # <origin-id/>: makes the post the same for as long as it lives
    stanza_id: str | None = None  # without an origin: for ten minutes, and with the same text
    lanes: Callable[[], Sequence[str]] = tuple
    # Gives the lanes in which somebody may have to get it. Asked when the post gets its number, so
    # that what was committed while the row waited counts.


@operation(grows=True)
def append_post(tx: Transaction, rows: Sequence[PostRow]) -> list[Appended]:
    """Make posts, each once: a resend gives the post that was made the first time.

    A duplicate takes no number and opens no fan-out. A row with neither id is always a new post.
    """
    keys = [key_of(row.author, row.text, row.origin, row.stanza_id) for row in rows]
    made = posts_by_key(tx.conn, [key for key in keys if key is not None], tx.now)
    results, posts, cursors = [], [], []
    for row, key in zip(rows, keys, strict=True):
        there = None if key is None else made.get(key)
        if there is not None:
            results.append(Appended(there, duplicate=True))
            continue
        new = Post(tx.numbers.take(1), row.author, row.text, row.lang, tx.now)
        if key is not None:
            made[key] = new
        results.append(Appended(new, duplicate=False))
        posts.append(post_row(new, key))
        cursors += [{"number": new.number, "lane": lane, "position": 0} for lane in row.lanes()]
    if posts:
        tx.conn.execute(insert(post), posts)
    if cursors:
        tx.conn.execute(insert(fanout), cursors)
    return results


# --- people --------------------------------------------------------------------------------------


@operation(grows=True)
def add_person(tx: Transaction, rows: Sequence[str]) -> list[Person]:
    """Make the people with these bare JIDs known; those who are known stay as they are."""
    known = people_by_jid(tx, rows)
    return [known[jid] for jid in rows]


@dataclass(frozen=True, slots=True)
class HandleRow:
    """A handle for a person."""

    person: int
    handle: str  # lower case, well-formed
    skeleton: str  # what it looks like: unique over all handles, retired ones as well (S12.1)


@operation(grows=True)
def take_handle(tx: Transaction, rows: Sequence[HandleRow]) -> list[Person]:
    """Give people their handles; taking one's own again changes nothing.

    Raises HandleTaken where somebody else has or had the handle, or one that looks the same;
    Refused for somebody who has another handle.
    """
    give_handles(tx, rows)
    asked = select(*PERSON).select_from(WITH_HANDLE).where(person.c.id.in_(_ids(rows)))
    people = {each.id: each for each in people_of(tx.conn.execute(asked))}
    return [people[row.person] for row in rows]


def give_handles(tx: Transaction, rows: Sequence[HandleRow]) -> None:
    """Do what `take_handle` does, for many people at once."""
    asked = select(handle.c.handle, handle.c.skeleton, handle.c.person).where(
        or_(
            handle.c.handle.in_([row.handle for row in rows]),
            handle.c.skeleton.in_([row.skeleton for row in rows]),
            handle.c.person.in_(_ids(rows)),
        )
    )
    taken, similar, own = set(), set(), {}
    for name, skeleton, who in tx.conn.execute(asked):
        taken.add(name)
        similar.add(skeleton)
        own[who] = name
    new = []
    for row in rows:
        if own.get(row.person) == row.handle:
            continue
        if row.person in own:
            old = own[row.person]
            raise Refused(f"@{row.handle} is not for @{old}: a handle cannot be changed yet.")
        if row.handle in taken:
            raise HandleTaken(f"@{row.handle} is taken: choose another handle.")
        if row.skeleton in similar:
            raise HandleTaken(
                f"@{row.handle} looks too much like another one: choose another handle."
            )
        taken.add(row.handle)
        similar.add(row.skeleton)
        own[row.person] = row.handle
        new.append(
            {
                "handle": row.handle,
                "skeleton": row.skeleton,
                "person": row.person,
                "since": tx.now,
            }
        )
    if new:
        tx.conn.execute(insert(handle), new)


def _ids(rows: Sequence[HandleRow]) -> list[int]:
    return [row.person for row in rows]


def people_by_jid(tx: Transaction, jids: Sequence[str]) -> dict[str, Person]:
    """Find the people with these JIDs, and make those who are missing, in the order given."""
    asked = select(*PERSON).select_from(WITH_HANDLE)
    found = tx.conn.execute(asked.where(person.c.jid.in_(jids)))
    people = {each.jid: each for each in people_of(found)}
    if new := [jid for jid in dict.fromkeys(jids) if jid not in people]:
        tx.conn.execute(insert(person), [{"jid": jid, "created": tx.now} for jid in new])
        found = tx.conn.execute(asked.where(person.c.jid.in_(new)))
        people |= {each.jid: each for each in people_of(found)}
    return people


# --- follows -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FollowRow:
    """Somebody wants to follow somebody, or to follow him in another way."""

    follower: int  # person id
    author: int  # person id
    mode: Mode | None = None  # None: an old follow keeps its mode, a new one is in home mode
    limit: int | None = 2000  # how many people one may follow; None: no limit


@dataclass(frozen=True, slots=True)
class Followed:
    """What became of it."""

    follow: Follow
    standing: Standing  # the follower's, as it is stored now
    new: bool  # False: there was this follow before; at most its mode has changed


@operation(grows=True)
def add_follow(tx: Transaction, rows: Sequence[FollowRow]) -> list[Followed]:
    """Let people follow, from the next post on; one follow a pair, whatever is asked again.

    A follower who has no standing gets one: away from the next post on, until he is seen. An
    existing follow keeps its `since`. Raises TooMany over the limit.
    """
    followers = list({row.follower for row in rows})
    follows, counts = _follows_of(tx, followers)
    standings = _standings_for(tx, followers)
    changed: dict[tuple[int, int], Follow] = {}
    results = []
    for row in rows:
        key = (row.follower, row.author)
        old = follows.get(key)
        if old is None and row.limit is not None and counts[row.follower] >= row.limit:
            raise TooMany(f"You follow {row.limit} people, the most there can be: unfollow one.")
        if old is None:
            counts[row.follower] += 1
            follows[key] = Follow(*key, row.mode or Mode.HOME, since=tx.numbers.next)
        elif row.mode is not None:
            follows[key] = replace(old, mode=row.mode)
        if follows[key] != old:
            changed[key] = follows[key]
        results.append(Followed(follows[key], standings[row.follower], new=old is None))
    upsert(tx.conn, follow, [_follow_row(each) for each in changed.values()])
    return results


@dataclass(frozen=True, slots=True)
class EndRow:
    """Somebody follows somebody no more."""

    follower: int  # person id
    author: int  # person id


@operation(grows=False)
def end_follow(tx: Transaction, rows: Sequence[EndRow]) -> list[bool]:
    """End follows, and tell of each whether there was one. Standings stay."""
    return [
        tx.conn.execute(
            delete(follow).where(follow.c.follower == row.follower, follow.c.author == row.author)
        ).rowcount
        > 0
        for row in rows
    ]


def _follows_of(
    tx: Transaction, followers: Sequence[int]
) -> tuple[dict[tuple[int, int], Follow], Counter[int]]:
    """Give all that these people follow, and how many each of them follows."""
    found = tx.conn.execute(select(*FOLLOW).where(follow.c.follower.in_(followers)))
    follows = {(each.follower, each.author): each for each in map(follow_of, found)}
    return follows, Counter(follower for follower, _ in follows)


def _standings_for(tx: Transaction, people: Sequence[int]) -> dict[int, Standing]:
    """Give these people's standings, and make those that are missing."""
    found = tx.conn.execute(select(*STANDING).where(standing.c.person.in_(people)))
    standings = {each.person: each for each in map(standing_of, found)}
    new = [Standing(who, tx.numbers.next, tx.now) for who in people if who not in standings]
    if new:
        tx.conn.execute(insert(standing), [standing_row(each) for each in new])
    return standings | {each.person: each for each in new}


def _follow_row(value: Follow) -> dict[str, Any]:
    return {
        "follower": value.follower,
        "author": value.author,
        "mode": value.mode.value,
        "since": value.since,
    }


# --- deliveries ----------------------------------------------------------------------------------


@operation(grows=False)
def store_delivery(tx: Transaction, rows: Sequence[DeliveryRows]) -> list[None]:
    """Keep how far deliveries have come. Of two rows for the same thing the later one counts."""
    standings = {each.person: each for row in rows for each in row.standings}
    cursors = {(each.number, each.lane): each for row in rows for each in row.cursors}
    upsert(tx.conn, standing, [standing_row(each) for each in standings.values()])
    moved = [each for each in cursors.values() if each.position is not None]
    done = [each for each in cursors.values() if each.position is None]
    # A row may be new: its lane came up in the transaction that made the post.
    upsert(
        tx.conn,
        fanout,
        [{"number": each.number, "lane": each.lane, "position": each.position} for each in moved],
    )
    if done:
        this = and_(fanout.c.number == bindparam("n"), fanout.c.lane == bindparam("l"))
        tx.conn.execute(delete(fanout).where(this), [{"n": e.number, "l": e.lane} for e in done])
    return [None] * len(rows)


@dataclass(frozen=True, slots=True)
class StartRow:
    """The relay starts."""

    lane_of: Callable[[str], str]  # the lane of a bare JID


@operation(grows=False)
def start(tx: Transaction, rows: Sequence[StartRow]) -> list[None]:
    """Let nobody be live, and note what may not have reached those who were.

    Everybody live is away from the next post on, and lacks each post whose fan-out was open in his
    lane and not confirmed up to him, if he follows its author since before it. Then no fan-out is
    open: what is missed comes with each one's return.
    """
    missed: dict[int, list[int]] = {}
    for number, lane, who, jid in tx.conn.execute(_unconfirmed()):
        if rows[0].lane_of(jid) == lane:
            missed.setdefault(who, []).append(number)
    tx.conn.execute(
        update(standing)
        .where(standing.c.away_from.is_(None))
        .values(away_from=tx.numbers.next, away_at=tx.now, missed=missed_text(()))
    )
    if missed:
        tx.conn.execute(
            update(standing)
            .where(standing.c.person == bindparam("who"))
            .values(missed=bindparam("numbers")),
            [{"who": who, "numbers": missed_text(each)} for who, each in missed.items()],
        )
    tx.conn.execute(delete(fanout))
    return [None] * len(rows)


def _unconfirmed() -> Select[Any]:
    """Ask for (number, lane, person id, JID) of live followers beyond the cursor, in any lane."""
    return (
        select(fanout.c.number, fanout.c.lane, person.c.id, person.c.jid)
        .join_from(fanout, post, post.c.number == fanout.c.number)
        .join(follow, and_(follow.c.author == post.c.author, follow.c.since <= post.c.number))
        .join(standing, standing.c.person == follow.c.follower)
        .join(person, person.c.id == follow.c.follower)
        .where(standing.c.away_from.is_(None), follow.c.follower > fanout.c.position)
        .order_by(fanout.c.number)
    )


# --- settings ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SettingRow:
    """One person's choice."""

    person: int
    name: str
    value: str | None  # None: back to the default; the row goes


@operation(grows=False)
def set_setting(tx: Transaction, rows: Sequence[SettingRow]) -> list[None]:
    """Keep what people have chosen. Of two rows for the same choice the later one counts."""
    chosen = {(row.person, row.name): row.value for row in rows}
    kept = [
        {"person": who, "name": name, "value": value}
        for (who, name), value in chosen.items()
        if value is not None
    ]
    upsert(tx.conn, setting, kept)
    gone = [{"who": w, "what": name} for (w, name), value in chosen.items() if value is None]
    if gone:
        this = and_(setting.c.person == bindparam("who"), setting.c.name == bindparam("what"))
        tx.conn.execute(delete(setting).where(this), gone)
    return [None] * len(rows)
