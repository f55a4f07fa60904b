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
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import (
    CompoundSelect,
    and_,
    bindparam,
    delete,
    insert,
    or_,
    select,
    union,
    update,
)

from xmpprelay.core.model import DeliveryRows, Follow, Kind, Mode, Person, Standing
from xmpprelay.errors import HandleTaken, Refused, TooMany
from xmpprelay.store.dialect import Change, upsert
from xmpprelay.store.gate import Gate, forget_request
from xmpprelay.store.rows import (
    FOLLOW,
    PERSON,
    STANDING,
    WITH_HANDLE,
    follow_of,
    ids_text,
    people_of,
    standing_of,
    standing_row,
)
from xmpprelay.store.schema import (
    addressed,
    fanout,
    follow,
    handle,
    person,
    post,
    setting,
    standing,
)
from xmpprelay.store.writer import Transaction, operation

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
    forget_retired(tx)
    give_handles(tx, rows)
    asked = select(*PERSON).select_from(WITH_HANDLE).where(person.c.id.in_(_ids(rows)))
    people = {each.id: each for each in people_of(tx.conn.execute(asked))}
    return [people[row.person] for row in rows]


ANSWERED_FOR: Final = timedelta(days=90)
"""So long an old handle tells the new one (S12.2)."""

RETIRED_FOR: Final = timedelta(days=365)
"""And after that, or if its owner has left, it is nobody's for so long."""


def forget_retired(tx: Transaction) -> None:
    """Set free the handles that were nobody's for long enough (S12.2)."""
    left = and_(handle.c.successor.is_(None), handle.c.retired < tx.now - RETIRED_FOR)
    changed = handle.c.retired < tx.now - ANSWERED_FOR - RETIRED_FOR
    tx.conn.execute(delete(handle).where(handle.c.person.is_(None), or_(left, changed)))


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
            raise Refused(f"You are @{old} already; `:join {row.handle}` changes that.")
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
    approved: bool = False  # a protected author has agreed, or the operator imports it


@dataclass(frozen=True, slots=True)
class Followed:
    """What became of it."""

    follow: Follow
    standing: Standing  # the follower's, as it is stored now
    new: bool  # False: there was this follow before; at most its mode has changed


@dataclass(frozen=True, slots=True)
class Asked:
    """It has to wait: the author is protected (S5.2), or the two are cut off (S6.1)."""

    follower: int  # person id
    author: int  # person id
    new: bool  # True: the author is to be told, of the first time only


@operation(grows=True)
def add_follow(tx: Transaction, rows: Sequence[FollowRow]) -> list[Followed | Asked]:
    """Let people follow, from the next post on; one follow a pair, whatever is asked again.

    A follower who has no standing gets one: away from the next post on, until he is seen. An
    existing follow keeps its `since`. Raises TooMany over the limit.
    """
    followers = list({row.follower for row in rows})
    follows, counts = _follows_of(tx, followers)
    gate = Gate(tx, [(row.follower, row.author) for row in rows])
    changed: dict[tuple[int, int], Follow] = {}
    outcomes: list[tuple[Follow, bool] | Asked] = []
    for row in rows:
        key = (row.follower, row.author)
        old = follows.get(key)
        held = counts[row.follower] + gate.waiting(row.follower)
        if old is None and row.limit is not None and held >= row.limit:
            raise TooMany(f"You follow {row.limit} people, the most there can be: unfollow one.")
        if old is None and gate.closed(*key, approved=row.approved):
            outcomes.append(Asked(*key, new=gate.ask(*key, row.mode)))
            continue
        if old is None:
            gate.followed(*key)
            counts[row.follower] += 1
            follows[key] = Follow(*key, row.mode or Mode.HOME, since=tx.numbers.next)
        elif row.mode is not None:
            follows[key] = replace(old, mode=row.mode)
        if follows[key] != old:
            changed[key] = follows[key]
        outcomes.append((follows[key], old is None))
    upsert(tx.conn, follow, [_follow_row(each) for each in changed.values()])
    return _with_standings(tx, outcomes)


def _with_standings(
    tx: Transaction, outcomes: Sequence[tuple[Follow, bool] | Asked]
) -> list[Followed | Asked]:
    """Who follows has a standing; who waits needs none."""
    people = {each[0].follower: None for each in outcomes if not isinstance(each, Asked)}
    standings = standings_for(tx, list(people))
    return [
        each
        if isinstance(each, Asked)
        else Followed(each[0], standings[each[0].follower], new=each[1])
        for each in outcomes
    ]


@dataclass(frozen=True, slots=True)
class EndRow:
    """Somebody follows somebody no more."""

    follower: int  # person id
    author: int  # person id


@operation(grows=False)
def end_follow(tx: Transaction, rows: Sequence[EndRow]) -> list[bool]:
    """End follows, and tell of each whether there was one. Standings stay.

    A request that waits is withdrawn with it, but not one that was denied: it holds its time.
    """
    for row in rows:
        forget_request(tx, row.follower, row.author, shown=True)
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


def standings_for(tx: Transaction, people: Sequence[int]) -> dict[int, Standing]:
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
    _FAN_OUT_DONE.each_stored(tx.conn, [(each.number, each.lane) for each in done])
    return [None] * len(rows)


_FAN_OUT_DONE: Final = Change(
    delete(fanout).where(fanout.c.number == bindparam("n"), fanout.c.lane == bindparam("l"))
)


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
    for number, lane, who, jid in sorted(tx.conn.execute(_unconfirmed())):
        if rows[0].lane_of(jid) == lane:
            missed.setdefault(who, []).append(number)
    tx.conn.execute(
        update(standing)
        .where(standing.c.away_from.is_(None))
        .values(away_from=tx.numbers.next, away_at=tx.now, missed=ids_text(()))
    )
    if missed:
        tx.conn.execute(
            update(standing)
            .where(standing.c.person == bindparam("who"))
            .values(missed=bindparam("numbers")),
            [{"who": who, "numbers": ids_text(each)} for who, each in missed.items()],
        )
    tx.conn.execute(delete(fanout))
    return [None] * len(rows)


def _unconfirmed() -> CompoundSelect[Any]:
    """Ask for (number, lane, person id, JID) of live people beyond the cursor, in any lane.

    They are followers, and whom a post is addressed to.
    """
    followers = (
        select(fanout.c.number, fanout.c.lane, person.c.id, person.c.jid)
        .join_from(fanout, post, post.c.number == fanout.c.number)
        .join(follow, and_(follow.c.author == post.c.author, follow.c.since <= post.c.number))
        .join(standing, standing.c.person == follow.c.follower)
        .join(person, person.c.id == follow.c.follower)
        .where(standing.c.away_from.is_(None), follow.c.follower > fanout.c.position)
        .where(post.c.kind != Kind.DIRECT.value)
    )
    named = (
        select(fanout.c.number, fanout.c.lane, person.c.id, person.c.jid)
        .join_from(fanout, addressed, addressed.c.number == fanout.c.number)
        .join(standing, standing.c.person == addressed.c.person)
        .join(person, person.c.id == addressed.c.person)
        .where(standing.c.away_from.is_(None), addressed.c.person > fanout.c.position)
    )
    return union(followers, named)


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
