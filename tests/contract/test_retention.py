"""Old posts: what goes, and what stays because somebody or something needs it (`[retention]`)."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from sqlalchemy import func, select, update

from tests.contract.store_world import Clock, Opened, people, texts
from xmpprelay.core.delivery import Delivery
from xmpprelay.core.graph import Graph
from xmpprelay.core.insertion import State, Where
from xmpprelay.core.model import Cursor, DeliveryRows, Kind, Mode, Person, Post, Rest, Standing
from xmpprelay.retention import Retention
from xmpprelay.store import queries
from xmpprelay.store.database import Database
from xmpprelay.store.insertion import SettleRow, newest_remote, rows_of_post, settle
from xmpprelay.store.likes import LikeRow, like
from xmpprelay.store.operations import FollowRow, add_follow, store_delivery
from xmpprelay.store.posts import ChangeRow, PostRow, append_post, change_post
from xmpprelay.store.retention import STEP
from xmpprelay.store.schema import addressed, insertion, liking, post, sourced
from xmpprelay.store.sources import EntryRow, known_entries, remember
from xmpprelay.store.writer import Transaction, operation

KEEP: Final = timedelta(days=400)
ALICE, BOB, CAROL = 1, 2, 3


@pytest.fixture
async def db(opened: Opened) -> AsyncIterator[Database]:
    async with opened() as database:
        assert await people(database, "alice", "bob", "carol") == [ALICE, BOB, CAROL]
        yield database


async def says(db: Database, author: int = ALICE, text: str = "one", **more: Any) -> int:
    return (await db.write(append_post, PostRow(author, text, **more))).post.number


async def follows(db: Database, follower: int = BOB, author: int = ALICE) -> None:
    await db.write(add_follow, FollowRow(follower, author, Mode.HOME))


async def stands(db: Database, person: int = BOB, **more: Any) -> None:
    """Where somebody stands; live, if nothing is said."""
    values: dict[str, Any] = {"away_from": None, "away_at": None} | more
    await db.write(store_delivery, DeliveryRows((), (Standing(person, **values),)))


async def inserted(db: Database, number: int, clock: Clock, **more: Any) -> None:
    """A post's row for the primary, as it is said; INSERTED now, if nothing is."""
    [row] = await db.read(lambda conn: rows_of_post(conn, number))
    done: dict[str, Any] = {
        "state": State.INSERTED,
        "due": None,
        "first_sent": clock.now(),
        "last_sent": clock.now(),
        "remote_id": f"r{number}",
        "where": PLACE,
    }
    await db.write(settle, SettleRow(replace(row, **done | more), row.state))


PLACE: Final = Where("a table")


def retention(
    db: Database, clock: Clock, waiting: timedelta | None = None, **more: Any
) -> Retention:
    settings = {"delivery": Delivery(Graph(["example.org"])), "changed": lambda _: None} | more
    return Retention(db, posts=KEEP, waiting=waiting, now=clock.now, pause_s=0, **settings)


async def removed(db: Database, clock: Clock, **more: Any) -> int:
    """Removes what is old; how many posts have gone."""
    room = retention(db, clock, **more)
    assert await room.round() == 0, "it looks twice"
    return await room.round()


async def numbers(db: Database) -> list[int]:
    return list(
        await db.read(lambda conn: conn.scalars(select(post.c.number).order_by(post.c.number)))
    )


async def grows_old(db: Database, clock: Clock) -> int:
    """So much time passes that all posts are old but for one that comes now."""
    clock.pass_s((KEEP + timedelta(days=1)).total_seconds())
    return await says(db, CAROL, "young")


async def count(db: Database, table: Any) -> int:
    return await db.read(lambda conn: conn.scalar(select(func.count()).select_from(table))) or 0


# --- what goes -----------------------------------------------------------------------------------


async def test_what_nobody_needs_goes_with_all_that_belongs_to_it(
    db: Database, clock: Clock
) -> None:
    await follows(db)
    first = await says(db, mentions=(CAROL,), account=ALICE, origin="o1")
    await db.write(like, LikeRow(BOB, first))
    await db.write(remember, EntryRow(ALICE, "entry", first, "digest"))
    await inserted(db, first, clock)
    clock.pass_s(1)
    second = await says(db, account=ALICE)
    await inserted(db, second, clock)
    await stands(db, BOB)
    await stands(db, CAROL)
    young = await grows_old(db, clock)
    assert await removed(db, clock) == 1
    assert await numbers(db) == [second, young], "the second is the account's last receipt"
    assert (await count(db, addressed), await count(db, liking)) == (0, 0)
    assert await count(db, insertion) == 1
    known = await db.read(lambda conn: known_entries(conn, ALICE, ["entry"]))
    assert (known["entry"].number, known["entry"].digest) == (None, None), "it is still known"
    assert await count(db, sourced) == 1
    assert await says(db, origin="o1") == young + 1, "its origin went with it"


async def test_what_is_young_stays(db: Database, clock: Clock) -> None:
    number = await says(db)
    clock.pass_s((KEEP - timedelta(seconds=1)).total_seconds())
    await says(db)
    assert await removed(db, clock) == 0
    clock.pass_s(2)
    assert await removed(db, clock) == 1
    assert number not in await numbers(db)


async def test_the_newest_stays_and_numbers_go_on(opened: Opened, clock: Clock) -> None:
    async with opened() as db:
        await people(db, "alice")
        for _ in range(3):
            await says(db)
        clock.pass_s(2 * KEEP.total_seconds())
        assert await removed(db, clock) == 2
        assert await numbers(db) == [3]
    async with opened() as db:
        assert await says(db) == 4


async def test_a_clock_that_is_wrong_for_a_moment_removes_nothing(
    db: Database, clock: Clock
) -> None:
    await says(db)
    await says(db)
    room = retention(db, clock)
    for ahead in (timedelta(), 2 * KEEP, timedelta(), 2 * KEEP, timedelta()):
        clock.jump(ahead)
        assert await room.round() == 0
        clock.jump(-ahead)
    clock.pass_s(2 * KEEP.total_seconds())
    assert [await room.round() for _ in range(3)] == [0, 1, 0]


async def test_nothing_goes_where_all_is_kept_for_ever(db: Database, clock: Clock) -> None:
    await says(db)
    await grows_old(db, clock)
    kept = Retention(
        db,
        Delivery(Graph(["example.org"])),
        None,
        None,
        changed=lambda _: None,
        now=clock.now,
        pause_s=0,
    )
    assert (await kept.round(), await kept.round()) == (0, 0)
    assert len(await numbers(db)) == 2


async def test_whoever_has_had_it_or_came_later_holds_nothing(db: Database, clock: Clock) -> None:
    number = await says(db)
    await follows(db, BOB)  # from the next one on
    await stands(db, BOB, away_from=1, away_at=clock.now())
    await stands(db, CAROL, away_from=1, away_at=clock.now())  # who follows nobody
    await grows_old(db, clock)
    await removed(db, clock)
    assert number not in await numbers(db)


# --- what stays ----------------------------------------------------------------------------------

Need = Callable[[Database, Clock], Awaitable[tuple[int, Callable[[], Awaitable[object]]]]]
"""Makes an old post that is needed; gives its number, and what ends the need."""


async def an_away_follower(db: Database, clock: Clock) -> Any:
    await follows(db)
    number = await says(db)
    await stands(db, away_from=number, away_at=clock.now())
    return number, lambda: stands(db)


async def a_post_that_came_back(db: Database, clock: Clock) -> Any:
    await follows(db)
    number = await says(db)
    await stands(db, missed=(number,))
    return number, lambda: stands(db)


async def what_is_left_to_more(db: Database, clock: Clock) -> Any:
    await follows(db)
    number = await says(db)
    await stands(db, rest=Rest(number, number))
    return number, lambda: stands(db)


async def a_letter(db: Database, clock: Clock) -> Any:
    number = await says(db, kind=Kind.DIRECT, targets=(BOB,))
    await stands(db, away_from=number, away_at=clock.now())
    return number, lambda: stands(db)


async def a_mention_that_came_back(db: Database, clock: Clock) -> Any:
    number = await says(db, mentions=(BOB,))
    await stands(db, missed=(number,))
    return number, lambda: stands(db)


async def an_open_fan_out(db: Database, clock: Clock) -> Any:
    number = await says(db, lanes=lambda _: ("",))
    done = DeliveryRows((Cursor(number, "", None),), ())
    return number, lambda: db.write(store_delivery, done)


def waiting_as(state: State, **more: Any) -> Need:
    async def waits(db: Database, clock: Clock) -> Any:
        number = await says(db, account=ALICE)
        await inserted(db, number, clock, state=state, remote_id=None, **more)
        return number, lambda: inserted(db, number, clock, state=State.CANCELLED)

    return waits


async def what_a_waiting_reply_answers(db: Database, clock: Clock) -> Any:
    number = await says(db)
    answer = await says(db, BOB, parent=number, account=BOB)
    return number, lambda: inserted(db, answer, clock, state=State.CANCELLED)


async def the_last_receipt(db: Database, clock: Clock) -> Any:
    number = await says(db, account=ALICE)
    await inserted(db, number, clock)

    async def another() -> None:
        clock.pass_s(1)
        await inserted(db, await says(db, account=ALICE), clock)

    return number, another


async def a_receipt_while_something_is_unclear(db: Database, clock: Clock) -> Any:
    number = await says(db, account=ALICE)
    await inserted(db, number, clock)
    clock.pass_s(1)
    await inserted(db, await says(db, account=ALICE), clock)
    unclear = await says(db, account=ALICE)
    await inserted(db, unclear, clock, state=State.UNKNOWN, due=clock.now(), remote_id=None)
    return number, lambda: inserted(db, unclear, clock, state=State.CANCELLED)


async def what_a_boost_shows(db: Database, clock: Clock) -> Any:
    number = await says(db)
    clock.pass_s(timedelta(days=100).total_seconds())
    boost = await says(db, BOB, kind=Kind.BOOST, original=number)

    async def boost_goes() -> None:
        clock.pass_s(KEEP.total_seconds())
        await says(db, CAROL, "younger")
        await removed(db, clock)
        assert boost not in await numbers(db)

    return number, boost_goes


@pytest.mark.parametrize(
    "need",
    [
        an_away_follower,
        a_post_that_came_back,
        what_is_left_to_more,
        a_letter,
        a_mention_that_came_back,
        an_open_fan_out,
        pytest.param(waiting_as(State.QUEUED), id="queued"),
        pytest.param(waiting_as(State.HELD), id="held"),
        pytest.param(waiting_as(State.PARKED), id="parked"),
        pytest.param(waiting_as(State.REFUSED), id="refused"),
        what_a_waiting_reply_answers,
        the_last_receipt,
        a_receipt_while_something_is_unclear,
        what_a_boost_shows,
    ],
)
async def test_what_is_needed_stays_until_it_is_not(db: Database, clock: Clock, need: Need) -> None:
    number, ends = await need(db, clock)
    clock.pass_s((KEEP - timedelta(days=50)).total_seconds())
    await says(db, CAROL, "younger")
    clock.pass_s(timedelta(days=51).total_seconds())
    await removed(db, clock)
    assert number in await numbers(db)
    await ends()
    await removed(db, clock)
    assert number not in await numbers(db)


async def test_a_change_stays_with_what_it_changes(db: Database, clock: Clock) -> None:
    number = await says(db)
    await db.write(change_post, ChangeRow(ALICE, number, "two"))
    await grows_old(db, clock)
    await removed(db, clock)
    assert await numbers(db) == [number, 3], "the post is gone with the next round"
    await removed(db, clock)
    assert await numbers(db) == [3]


async def test_the_high_water_mark_of_each_place_stays(db: Database, clock: Clock) -> None:
    for where in (PLACE, PLACE, Where("another"), Where("another")):
        clock.pass_s(1)
        await inserted(db, await says(db, account=ALICE), clock, where=where)
    await grows_old(db, clock)
    await removed(db, clock)
    assert await numbers(db) == [2, 4, 5]
    assert await db.read(lambda conn: newest_remote(conn, ALICE, PLACE)) == "r2"


# --- people who do not come back -----------------------------------------------------------------


async def test_who_is_not_seen_for_long_holds_only_what_is_for_him(
    db: Database, clock: Clock
) -> None:
    await follows(db)
    timeline, letter = await says(db), await says(db, kind=Kind.DIRECT, targets=(BOB,))
    await stands(db, away_from=1, away_at=clock.now())
    young = await grows_old(db, clock)
    assert await removed(db, clock, waiting=KEEP + timedelta(days=2)) == 0
    assert await removed(db, clock, waiting=KEEP) == 1
    assert await numbers(db) == [letter, young]
    assert timeline not in await numbers(db)


# --- items, and posts of other relays ------------------------------------------------------------


async def test_an_item_is_emptied_so_that_its_id_is_not_used_again(
    db: Database, clock: Clock
) -> None:
    await says(db, item="entry", text="published")
    young = await grows_old(db, clock)
    assert await removed(db, clock) == 1
    assert await removed(db, clock) == 0, "it is looked at once"
    [gone, _] = await db.read(lambda conn: queries.posts(conn, [1, young]))
    assert (gone.text, gone.deleted, gone.item) == ("", True, "entry")


async def test_what_was_taken_over_counts_from_then_on(db: Database, clock: Clock) -> None:
    @operation(grows=False)
    def takes_over(tx: Transaction, rows: Sequence[int]) -> list[None]:
        values = {"created": clock.now() - 3 * KEEP, "atom_id": post.c.number}
        tx.conn.execute(update(post).where(post.c.number.in_(rows)).values(values))
        return [None for _ in rows]

    for text in ("from elsewhere", "here", "from elsewhere", "here"):
        number = await says(db, text=text)
        if text != "here":
            await db.write(takes_over, number)
    assert await removed(db, clock) == 0
    clock.pass_s(timedelta(days=10).total_seconds())
    for n in range(2):
        await db.write(takes_over, await says(db, text=f"from elsewhere, later {n}"))
    clock.pass_s((KEEP - timedelta(days=9)).total_seconds())
    young = await says(db)
    assert await removed(db, clock) == 4, "what came later is not old"
    assert await numbers(db) == [young - 2, young - 1, young]


# --- in small steps ------------------------------------------------------------------------------


async def test_posts_have_their_turn_between_two_steps(db: Database, clock: Clock) -> None:
    rows = [PostRow(ALICE, f"{n}") for n in range(3 * STEP)]
    await asyncio.gather(*(db.submit(append_post, row) for row in rows))
    await grows_old(db, clock)
    before = db.commits
    left: list[int] = []

    async def posts() -> None:
        while not removing.done():
            await says(db, BOB, "meanwhile")
            left.append(len([text for text in await texts(db) if text.isdigit()]))

    removing = asyncio.create_task(removed(db, clock))
    await posts()
    assert await removing == 3 * STEP
    assert db.commits - before >= 3
    assert {2 * STEP, STEP} & set(left), "a post came when some were gone and some were not"


async def test_what_is_in_memory_is_as_if_deleted_and_authors_feeds_are_made_anew(
    db: Database, clock: Clock
) -> None:
    graph = Graph(["example.org"])
    graph.add_person(Person(ALICE, "alice@example.org", "alice"))
    delivery = Delivery(graph)
    made: Post = (await db.write(append_post, PostRow(ALICE, "one"))).post
    delivery.post_committed(made, ())
    await grows_old(db, clock)
    changed: list[int] = []
    assert await removed(db, clock, delivery=delivery, changed=changed.append) == 1
    kept = delivery.post(made.number)
    assert kept is not None
    assert (kept.text, kept.deleted) == ("", True)
    assert changed == [ALICE]


async def test_room_is_given_back(db: Database, clock: Clock, path: Path) -> None:
    rows = [PostRow(ALICE, f"{n} " + "x" * 2000) for n in range(1000)]
    await asyncio.gather(*(db.submit(append_post, row) for row in rows))
    await grows_old(db, clock)
    pages = await db.read(lambda conn: conn.exec_driver_sql("PRAGMA page_count").scalar_one())
    await removed(db, clock)
    left = await db.read(lambda conn: conn.exec_driver_sql("PRAGMA page_count").scalar_one())
    assert left < pages / 2
