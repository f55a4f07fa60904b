"""What every database has to do for the relay, as one suite.

A database passes by a subclass in a test file, with a fixture `url` that names an empty place:
`test_sqlite.py` is the first. What belongs to SQLite's files alone is tested beside it.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta

import pytest
from sqlalchemy import Connection, func, insert, select
from structlog.testing import capture_logs

from tests.contract.store_world import (
    Clock,
    Gate,
    Watch,
    count_posts,
    people,
    post_row,
    settings,
    texts,
)
from xmpprelay.core.model import Cursor, DeliveryRows, Grant, Mode, Person, Post, Rest, Standing
from xmpprelay.errors import HandleTaken, Refused, StoreError, TooMany
from xmpprelay.store import queries
from xmpprelay.store.bulk import ImportedPerson, import_follows, import_people
from xmpprelay.store.database import Database
from xmpprelay.store.dedupe import Key, key_of, posts_by_key
from xmpprelay.store.operations import (
    EndRow,
    FollowRow,
    HandleRow,
    SettingRow,
    StartRow,
    add_follow,
    add_person,
    end_follow,
    set_setting,
    start,
    store_delivery,
    take_handle,
)
from xmpprelay.store.posts import PostRow, append_post
from xmpprelay.store.schema import handle, post
from xmpprelay.store.writer import BATCH, Transaction, operation


class StoreSuite:
    """Subclass it, and give it a fixture `url`."""

    @pytest.fixture
    async def db(self, url: str, clock: Clock) -> AsyncIterator[Database]:
        db = await Database.open(url, now=clock.now, monotonic=clock.monotonic)
        yield db
        await db.close()

    # --- the writer ------------------------------------------------------------------------------

    async def test_what_arrives_together_shares_one_transaction(self, db: Database) -> None:
        [alice] = await people(db, "alice")
        before = db.commits
        waiting = [db.submit(append_post, post_row(alice, f"{n}")) for n in range(BATCH)]
        await asyncio.gather(*waiting)
        assert db.commits == before + 1
        assert await texts(db) == [f"{n}" for n in range(BATCH)]

    async def test_a_batch_has_a_limit(self, db: Database) -> None:
        watch, before = Watch(), db.commits
        await asyncio.gather(*(db.submit(watch.red, f"{n}") for n in range(BATCH + 1)))
        assert [len(rows) for _, rows in watch.calls] == [BATCH, 1]
        assert db.commits == before + 2

    async def test_what_arrives_during_a_transaction_comes_with_the_next(
        self, db: Database
    ) -> None:
        [alice] = await people(db, "alice")
        gate = Gate()

        @operation(grows=False)
        def takes_long(_tx: Transaction, rows: Sequence[None]) -> list[None]:
            gate.waits_here()
            return [None] * len(rows)

        before = db.commits
        first = asyncio.ensure_future(db.write(takes_long, None))
        await gate.reached()
        waiting = [db.submit(append_post, post_row(alice, f"{n}")) for n in range(9)]
        gate.opens()
        await first
        assert db.commits == before + 1
        await asyncio.gather(*waiting)
        assert db.commits == before + 2

    async def test_rows_keep_their_order_and_neighbours_go_together(self, db: Database) -> None:
        watch = Watch()
        waiting = [db.submit(watch.red if row in "abd" else watch.blue, row) for row in "abcdefg"]
        results = await asyncio.gather(*waiting)
        assert watch.calls == [("red", ["a", "b"]), ("blue", ["c"]), ("red", ["d"]),
                               ("blue", ["e", "f", "g"])]  # fmt: skip
        assert results[1:4] == ["red b", "blue c", "red d"]

    async def test_numbers_follow_the_order_of_submission(self, db: Database) -> None:
        [alice, bob] = await people(db, "alice", "bob")
        assert db.next_number == 1
        made = await asyncio.gather(
            *(db.submit(append_post, post_row((alice, bob)[n % 2], f"{n}")) for n in range(700))
        )
        assert [each.post.number for each in made] == list(range(1, 701))
        assert db.next_number == 701

    async def test_callbacks_come_in_order_after_the_commit_and_before_the_waiters(
        self, db: Database
    ) -> None:
        watch, seen = Watch(), []
        waiting: list[asyncio.Future[str]] = []

        def note(result: str) -> None:
            seen.append((result, db.commits, [each.done() for each in waiting]))
            watch.calls.append(("told", [result]))
            if result == "red 1":
                waiting.append(db.submit(watch.blue, "3", committed=note))

        before = db.commits
        waiting += [db.submit(watch.red, row, committed=note) for row in "12"]
        await asyncio.gather(*waiting)
        await waiting[2]
        assert watch.calls == [
            ("red", ["1", "2"]),
            ("told", ["red 1"]),
            ("told", ["red 2"]),
            ("blue", ["3"]),
            ("told", ["blue 3"]),
        ], "the next transaction waits for the answers"
        assert seen == [
            ("red 1", before + 1, [False, False]),
            ("red 2", before + 1, [False, False, False]),
            ("blue 3", before + 2, [True, True, False]),
        ]

    async def test_a_callback_that_raises_harms_nobody_and_is_logged_once(
        self, db: Database
    ) -> None:
        watch, seen = Watch(), []

        def raises(_result: str) -> None:
            raise RuntimeError("a bug")

        with capture_logs() as logs:
            results = await asyncio.gather(
                db.submit(watch.red, "1", committed=raises),
                db.submit(watch.red, "2", committed=seen.append),
            )
        assert results == ["red 1", "red 2"]
        assert seen == ["red 2"]
        assert [each["event"] for each in logs] == ["store.callback_failed"]
        assert await db.write(watch.red, "3") == "red 3"

    async def test_a_waiter_that_goes_before_the_transaction_changes_nothing(
        self, db: Database
    ) -> None:
        [alice] = await people(db, "alice")
        seen: list[object] = []
        db.submit(append_post, post_row(alice, "one"), committed=seen.append).cancel()
        await db.write(append_post, post_row(alice, "two"))
        assert await texts(db) == ["one", "two"]
        assert len(seen) == 1

    async def test_a_waiter_that_goes_during_the_transaction_changes_nothing(
        self, db: Database
    ) -> None:
        [alice] = await people(db, "alice")
        gate, seen = Gate(), []

        @operation(grows=False)
        def appends_slowly(tx: Transaction, rows: Sequence[PostRow]) -> list[object]:
            gate.waits_here()
            return list(append_post(tx, rows))

        waiter = asyncio.create_task(
            db.write(appends_slowly, post_row(alice, "one"), committed=seen.append)
        )
        await gate.reached()
        waiter.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiter
        assert seen == [], "the transaction was still open"
        gate.opens()
        await db.write(append_post, post_row(alice, "two"))
        assert await texts(db) == ["one", "two"]
        assert len(seen) == 1

    async def test_a_bad_row_fails_alone(self, db: Database) -> None:
        [alice, bob, carol] = await people(db, "alice", "bob", "carol")
        seen: list[object] = []
        before = db.commits
        rows: list[tuple[object, object]] = [
            (append_post, post_row(alice, "one")),
            (append_post, post_row(99, "of nobody")),
            (append_post, post_row(alice, "two", lanes=["", "example.net"])),
            (take_handle, HandleRow(bob, "bob", "bob")),
            (take_handle, HandleRow(carol, "b0b", "bob")),
            (take_handle, HandleRow(carol, "carol", "carol")),
            (append_post, post_row(alice, "not \ud800 text")),
            (append_post, post_row(alice, "three")),
        ]
        outcome = await asyncio.gather(
            *(db.submit(op, row, committed=seen.append) for op, row in rows),
            return_exceptions=True,
        )
        failed = [type(each) for each in outcome if isinstance(each, Exception)]
        assert failed == [StoreError, HandleTaken, UnicodeEncodeError]
        assert await texts(db) == ["one", "two", "three"]
        assert [outcome[n].post.number for n in (0, 2, 7)] == [1, 2, 3], "no gap"
        assert seen == [each for each in outcome if not isinstance(each, Exception)]
        assert db.next_number == 4
        assert db.commits == before + 1
        assert [each.handle for each in await db.read(lambda c: list(queries.load_people(c)))] == [
            None, "bob", "carol",
        ]  # fmt: skip

    async def test_an_operation_with_a_bug_leaves_no_trace(self, db: Database) -> None:
        [alice] = await people(db, "alice")

        @operation(grows=False)
        def half(tx: Transaction, rows: Sequence[str]) -> list[None]:
            append_post(tx, [post_row(alice, row) for row in rows])
            raise RuntimeError("a bug")

        @operation(grows=False)
        def too_few(tx: Transaction, rows: Sequence[str]) -> list[None]:
            append_post(tx, [post_row(alice, row) for row in rows])
            return []

        good = db.submit(append_post, post_row(alice, "good"))
        with pytest.raises(RuntimeError):
            await db.write(half, "half")
        with pytest.raises(ValueError, match="shorter"):
            await db.write(too_few, "too few")
        assert (await good).post.number == 1
        assert (await db.write(append_post, post_row(alice, "too"))).post.number == 2
        assert await texts(db) == ["good", "too"]
        assert not db.failed.is_set()

    async def test_close_writes_what_is_queued_and_takes_no_more(
        self, db: Database, url: str, clock: Clock
    ) -> None:
        [alice] = await people(db, "alice")
        waiting = [db.submit(append_post, post_row(alice, f"{n}")) for n in range(BATCH + 5)]
        await db.close()
        assert [each.result().post.number for each in waiting] == list(range(1, BATCH + 6))
        with pytest.raises(StoreError, match="closed"):
            await db.write(append_post, post_row(alice))
        with pytest.raises(StoreError, match="closed"):
            await texts(db)
        again = await Database.open(url, now=clock.now)
        assert await count_posts(again) == BATCH + 5
        assert again.next_number == BATCH + 6
        assert again.epoch == db.epoch
        await again.close()

    async def test_who_waits_for_the_close_may_go(self, db: Database) -> None:
        [alice] = await people(db, "alice")
        begun = asyncio.Event()

        @operation(grows=False)
        def appends_slowly(tx: Transaction, rows: Sequence[PostRow]) -> list[object]:
            begun.set()
            return list(append_post(tx, rows))

        waiting = [db.submit(appends_slowly, post_row(alice, f"{n}")) for n in range(BATCH + 1)]
        closing = asyncio.create_task(db.close())
        await begun.wait()
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        made = await asyncio.gather(*waiting)
        assert [each.post.number for each in made] == list(range(1, BATCH + 2))

    # --- reading ---------------------------------------------------------------------------------

    async def test_a_read_sees_one_state_however_long_it_takes(self, db: Database) -> None:
        [alice] = await people(db, "alice")
        asked = select(func.count()).select_from(post)
        begun, written = asyncio.Event(), asyncio.Event()

        def look_twice(conn: Connection) -> tuple[int, int]:
            first = conn.scalar(asked)
            begun.set()
            while not written.is_set():
                conn.scalar(select(1))  # lets the loop, and so the writer, run
            return first, conn.scalar(asked)

        reading = asyncio.create_task(db.read(look_twice))
        await begun.wait()
        await db.write(append_post, post_row(alice))
        written.set()
        assert await reading == (0, 0)
        assert await count_posts(db) == 1

    async def test_a_cancelled_read_leaves_reading_possible(self, db: Database) -> None:
        for _ in range(5):  # more often than there are connections
            begun = asyncio.Event()

            def look_for_ever(conn: Connection, begun: asyncio.Event = begun) -> None:
                while True:
                    conn.scalar(select(1))
                    begun.set()

            reading = asyncio.create_task(db.read(look_for_ever))
            await begun.wait()
            reading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reading
        assert await count_posts(db) == 0

    async def test_times_come_back_as_they_were_and_naive_ones_are_refused(
        self, db: Database, clock: Clock
    ) -> None:
        [alice] = await people(db, "alice")
        clock.jump(timedelta(microseconds=123457))
        made = (await db.write(append_post, post_row(alice))).post
        assert made.created == clock.now()
        assert await db.read(lambda c: queries.post_by_number(c, 1)) == made
        naive = Standing(alice, 1, made.created.replace(tzinfo=None))
        with pytest.raises(Exception, match="without a zone"):
            await db.write(store_delivery, DeliveryRows((), (naive,)))

    # --- posts -----------------------------------------------------------------------------------

    @pytest.mark.parametrize("times", [1, 2, 3])
    @pytest.mark.parametrize("together", [True, False])
    @pytest.mark.parametrize("ids", [{"origin": "o1"}, {"stanza_id": "1"}])
    async def test_a_resend_gives_the_post_of_the_first_time(
        self, db: Database, clock: Clock, times: int, together: bool, ids: dict[str, str]
    ) -> None:
        [alice] = await people(db, "alice")
        row = post_row(alice, "hello", lanes=["", "example.net"], **ids)
        if together:
            made = await asyncio.gather(*(db.submit(append_post, row) for _ in range(times)))
        else:
            made = []
            for _ in range(times):
                made.append(await db.write(append_post, row))
                clock.pass_s(60)
        assert [each.duplicate for each in made] == [False, True, True][:times]
        assert {each.post for each in made} == {made[0].post}
        assert await texts(db) == ["hello"]
        assert await db.read(queries.open_fanouts) == [
            Cursor(1, "", 0),
            Cursor(1, "example.net", 0),
        ]
        assert db.next_number == 2

    async def test_an_origin_id_counts_for_good_but_for_its_author_alone(
        self, db: Database, clock: Clock
    ) -> None:
        [alice, bob] = await people(db, "alice", "bob")
        await db.write(append_post, post_row(alice, "hello", origin="o1"))
        clock.pass_s(400 * 24 * 3600)
        edited = await db.write(append_post, post_row(alice, "another text", origin="o1"))
        assert (edited.duplicate, edited.post.text) == (True, "hello")
        assert not (await db.write(append_post, post_row(bob, "hello", origin="o1"))).duplicate

    async def test_a_stanza_id_counts_for_ten_minutes(self, db: Database, clock: Clock) -> None:
        [alice, bob] = await people(db, "alice", "bob")
        row = post_row(alice, "hello", stanza_id="1")
        await db.write(append_post, row)
        clock.pass_s(599)
        assert (await db.write(append_post, row)).duplicate
        assert not (await db.write(append_post, post_row(bob, "hello", stanza_id="1"))).duplicate
        clock.pass_s(2)
        again = await db.write(append_post, row)
        assert (again.duplicate, again.post.number) == (False, 3)
        clock.pass_s(60)
        assert (await db.write(append_post, row)).post.number == 3
        clock.jump(timedelta(minutes=-6))  # now both are within ten minutes
        assert (await db.write(append_post, row)).post.number == 3, "the newest counts"

    async def test_a_clock_set_back_does_not_make_stanza_ids_last(
        self, db: Database, clock: Clock
    ) -> None:
        [alice] = await people(db, "alice")
        await db.write(append_post, post_row(alice, "hello", stanza_id="1"))
        clock.jump(timedelta(days=-1))
        assert not (await db.write(append_post, post_row(alice, "hello", stanza_id="1"))).duplicate

    async def test_a_bot_whose_ids_begin_again_is_heard(self, db: Database, clock: Clock) -> None:
        [bot] = await people(db, "bot")
        for run in ("first", "second"):
            for n in range(1, 11):
                await db.write(append_post, post_row(bot, f"{run} {n}", stanza_id=f"{n}"))
                clock.pass_s(1)
        assert len(await texts(db)) == 20

    async def test_without_ids_every_post_is_a_new_one(self, db: Database) -> None:
        [alice] = await people(db, "alice")
        made = await asyncio.gather(*(db.submit(append_post, post_row(alice)) for _ in range(3)))
        assert [each.duplicate for each in made] == [False] * 3
        assert len(await texts(db)) == 3

    async def test_a_duplicate_can_be_asked_for(self, db: Database, clock: Clock) -> None:
        [alice] = await people(db, "alice")
        row = post_row(alice, "hello", stanza_id="1")
        key = key_of(row.author, row.text, row.origin, row.stanza_id)
        assert key is not None

        async def found() -> dict[Key, Post]:
            return await db.read(lambda c: posts_by_key(c, [key], clock.now()))

        assert await found() == {}
        made = (await db.write(append_post, row)).post
        assert await found() == {key: made}
        clock.pass_s(601)
        assert await found() == {}

    async def test_lanes_are_asked_when_the_post_gets_its_number(self, db: Database) -> None:
        [alice, bob] = await people(db, "alice", "bob")
        lanes: list[str] = []
        db.submit(add_person, "carol@example.net", committed=lambda _: lanes.append("example.net"))
        await db.write(append_post, PostRow(alice, "one", lanes=lambda _: tuple(lanes)))
        await db.write(append_post, PostRow(bob, "two", lanes=lambda _: tuple(lanes)))
        assert await db.read(queries.open_fanouts) == [Cursor(2, "example.net", 0)]

    # --- people ----------------------------------------------------------------------------------

    async def test_a_person_is_made_once_and_ids_ascend(self, db: Database) -> None:
        made = await asyncio.gather(
            *(db.submit(add_person, f"{name}@example.org") for name in ("bob", "alice", "bob"))
        )
        again = await db.write(add_person, "alice@example.org")
        assert [each.id for each in (*made, again)] == [1, 2, 1, 2]
        assert await db.read(lambda c: queries.find_person(c, "bob@example.org")) == made[0]
        assert await db.read(lambda c: queries.find_person(c, "dave@example.org")) is None

    async def test_a_handle_is_taken_once(self, db: Database, clock: Clock) -> None:
        [alice, bob] = await people(db, "alice", "bob")
        row = HandleRow(alice, "alice", "alice")
        person = await db.write(take_handle, row)
        assert person == Person(alice, "alice@example.org", "alice")
        assert await db.write(take_handle, row) == person, "asking again changes nothing"
        with pytest.raises(HandleTaken, match="@alice is taken"):
            await db.write(take_handle, HandleRow(bob, "alice", "alice"))
        with pytest.raises(HandleTaken, match="too much like"):
            await db.write(take_handle, HandleRow(bob, "a1ice", "alice"))
        with pytest.raises(Refused, match="You are @alice already"):
            await db.write(take_handle, HandleRow(alice, "alicia", "alicia"))
        assert await db.write(add_person, "alice@example.org") == person
        assert await db.read(lambda c: list(queries.load_handles(c))) == [
            queries.Handle("alice", "alice", alice, clock.now(), None)
        ]

    async def test_nobody_inherits_a_retired_handle(self, db: Database, clock: Clock) -> None:
        [bob] = await people(db, "bob")

        @operation(grows=False)
        def bury(tx: Transaction, rows: Sequence[str]) -> list[None]:
            times = {"since": tx.now, "retired": tx.now}
            dead = [{"handle": row, "skeleton": row, "person": None, **times} for row in rows]
            tx.conn.execute(insert(handle), dead)
            return [None] * len(rows)

        for name in ("alice", "carol"):  # two at once: a grave belongs to nobody
            await db.write(bury, name)
        with pytest.raises(HandleTaken):
            await db.write(take_handle, HandleRow(bob, "alice", "alice"))
        with pytest.raises(HandleTaken):
            await db.write(take_handle, HandleRow(bob, "car0l", "carol"))
        assert (await db.read(lambda c: queries.find_person(c, "bob@example.org"))).handle is None

    async def test_two_who_want_one_handle_at_once(self, db: Database) -> None:
        [alice, bob] = await people(db, "alice", "bob")
        first, second = await asyncio.gather(
            db.submit(take_handle, HandleRow(alice, "ace", "ace")),
            db.submit(take_handle, HandleRow(bob, "ace", "ace")),
            return_exceptions=True,
        )
        assert first.handle == "ace"
        assert isinstance(second, HandleTaken)

    # --- follows ---------------------------------------------------------------------------------

    async def test_a_follow_begins_with_the_next_post(self, db: Database, clock: Clock) -> None:
        [alice, bob] = await people(db, "alice", "bob")
        before, followed, after = await asyncio.gather(
            db.submit(append_post, post_row(alice, "before")),
            db.submit(add_follow, FollowRow(bob, alice, Mode.AUTHOR)),
            db.submit(append_post, post_row(alice, "after")),
        )
        assert (before.post.number, followed.follow.since, after.post.number) == (1, 2, 2)
        assert followed.new
        assert followed.standing == Standing(bob, away_from=2, away_at=clock.now())
        found = await db.read(lambda c: queries.candidates_for(c, bob, 1, 9, 9))
        assert [each.text for each in found] == ["after"]

    async def test_following_again_changes_the_mode_at_most(self, db: Database) -> None:
        [alice, bob] = await people(db, "alice", "bob")
        first = await db.write(add_follow, FollowRow(bob, alice))
        assert first.follow.mode is Mode.HOME
        live = Standing(bob, None, None, grant=Grant.GRANTED)
        await db.write(store_delivery, DeliveryRows((), (live,)))
        await db.write(append_post, post_row(alice))
        again = await db.write(add_follow, FollowRow(bob, alice, Mode.AUTHOR))
        assert (again.new, again.follow.mode, again.follow.since) == (False, Mode.AUTHOR, 1)
        assert again.standing == live
        silent = await db.write(add_follow, FollowRow(bob, alice))
        assert silent.follow == again.follow
        assert await db.read(lambda c: list(queries.load_follows(c))) == [again.follow]

    async def test_a_follower_has_a_limit(self, db: Database) -> None:
        [alice, bob, carol, dave] = await people(db, "alice", "bob", "carol", "dave")
        wanted = [FollowRow(dave, author, limit=2) for author in (alice, bob, alice, carol)]
        outcome = await asyncio.gather(
            *(db.submit(add_follow, row) for row in wanted), return_exceptions=True
        )
        assert [getattr(each, "new", type(each)) for each in outcome] == [
            True, True, False, TooMany,
        ]  # fmt: skip
        assert (await db.write(add_follow, FollowRow(dave, carol, limit=None))).new

    async def test_a_follow_ends_once(self, db: Database) -> None:
        [alice, bob] = await people(db, "alice", "bob")
        await db.write(add_follow, FollowRow(bob, alice))
        row = EndRow(bob, alice)
        ended = await asyncio.gather(db.submit(end_follow, row), db.submit(end_follow, row))
        assert ended == [True, False]
        assert await db.read(lambda c: list(queries.load_follows(c))) == []
        assert len(await db.read(lambda c: list(queries.load_standings(c)))) == 1

    # --- deliveries ------------------------------------------------------------------------------

    async def test_a_standing_comes_back_as_it_was(self, db: Database, clock: Clock) -> None:
        [alice, bob] = await people(db, "alice", "bob")
        full = Standing(
            person=alice,
            away_from=7,
            away_at=clock.now(),
            missed=(2, 5),
            rest=Rest(1, 6, ((bob, 3), (alice, 4)), whole_from=4, listed=(1, 3), to_come=(5,)),
            grant=Grant.REFUSED,
            day=20513,
            used=20,
        )
        bare = Standing(bob, None, None)
        await db.write(store_delivery, DeliveryRows((), (full, bare)))
        assert await db.read(lambda c: list(queries.load_standings(c))) == [full, bare]

    async def test_the_later_row_counts(self, db: Database) -> None:
        [alice] = await people(db, "alice")
        await db.write(append_post, post_row(alice, lanes=["", "example.net"]))
        await db.write(append_post, post_row(alice, lanes=[""]))
        steps = [
            DeliveryRows((Cursor(1, "", 5), Cursor(2, "", 3)), (Standing(alice, 1, None),)),
            DeliveryRows((Cursor(1, "", None),), (Standing(alice, 2, None, (1,)),)),
            DeliveryRows((Cursor(2, "", 9),), (Standing(alice, None, None),)),
        ]
        await asyncio.gather(*(db.submit(store_delivery, step) for step in steps))
        assert await db.read(queries.open_fanouts) == [
            Cursor(1, "example.net", 0),
            Cursor(2, "", 9),
        ]
        [standing] = await db.read(lambda c: list(queries.load_standings(c)))
        assert standing == Standing(alice, None, None)

    async def test_start_lets_nobody_be_live_and_notes_what_is_in_doubt(
        self, db: Database, clock: Clock
    ) -> None:
        names = ("alice", "bob", "carol", "dave", "erin")
        [alice, bob, carol, dave, erin] = await people(db, *names)
        frank = (await db.write(add_person, "frank@example.net")).id
        for follower in (bob, carol, dave, frank):
            await db.write(add_follow, FollowRow(follower, alice))
        away = Standing(dave, 1, clock.now(), missed=())
        live = [Standing(who, None, None) for who in (bob, carol, erin, frank)]
        await db.write(store_delivery, DeliveryRows((), (away, *live)))
        for text in ("one", "two", "three"):
            await db.write(append_post, post_row(alice, text, lanes=["", "example.net"]))
        await db.write(add_follow, FollowRow(erin, alice))  # after them: none of hers
        cursors = (Cursor(1, "", bob), Cursor(2, "", None), Cursor(3, "example.net", None))
        await db.write(store_delivery, DeliveryRows(cursors))
        left = clock.now()
        clock.pass_s(3600)
        await db.write(start, StartRow(lambda jid: "" if jid.endswith(".org") else "example.net"))
        standings = {each.person: each for each in await db.read(_standings)}
        assert standings == {
            bob: Standing(bob, 4, clock.now(), missed=(3,)),
            carol: Standing(carol, 4, clock.now(), missed=(1, 3)),
            dave: Standing(dave, 1, left),
            erin: Standing(erin, 4, clock.now()),
            frank: Standing(frank, 4, clock.now(), missed=(1, 2)),
        }
        assert await db.read(queries.open_fanouts) == []

    # --- settings --------------------------------------------------------------------------------

    async def test_a_choice_is_kept_changed_and_forgotten(self, db: Database) -> None:
        [alice, bob] = await people(db, "alice", "bob")
        rows = [
            SettingRow(alice, "catchup", "5"),
            SettingRow(alice, "catchup", "7"),
            SettingRow(alice, "ids", "on"),
            SettingRow(alice, "ids", None),
            SettingRow(bob, "ids", "on"),
        ]
        await asyncio.gather(*(db.submit(set_setting, row) for row in rows))
        assert await settings(db) == {(alice, "catchup"): "7", (bob, "ids"): "on"}
        await db.write(set_setting, SettingRow(alice, "catchup", None))
        assert await settings(db) == {(bob, "ids"): "on"}

    # --- the import ------------------------------------------------------------------------------

    async def test_an_import_can_be_run_again(self, db: Database) -> None:
        [dave] = await people(db, "dave")
        chunk = [
            ImportedPerson("alice@example.org", "alice", "alice"),
            ImportedPerson("dave@example.org", "dave", "dave"),
            ImportedPerson("bob@example.org"),
        ]
        made = await db.write(import_people, chunk)
        assert made == (
            Person(2, "alice@example.org", "alice"),
            Person(dave, "dave@example.org", "dave"),
            Person(3, "bob@example.org", None),
        )
        assert await db.write(import_people, chunk) == made
        follows = [FollowRow(3, 2, limit=None), FollowRow(3, dave, limit=None)]
        assert [each.new for each in await db.write(import_follows, follows)] == [True, True]
        assert [each.new for each in await db.write(import_follows, follows)] == [False, False]
        assert await db.read(queries.counts) == queries.Counts(
            people=3, handles=2, follows=2, posts=0, open_fanouts=0, away=1
        )

    async def test_a_chunk_with_a_mistake_is_not_kept(self, db: Database) -> None:
        good = [ImportedPerson("alice@example.org", "alice", "alice")]
        bad = [
            ImportedPerson("bob@example.org", "bob", "bob"),
            ImportedPerson("carol@example.org", "b0b", "bob"),
        ]
        outcome = await asyncio.gather(
            db.submit(import_people, bad), db.submit(import_people, good), return_exceptions=True
        )
        assert isinstance(outcome[0], HandleTaken)
        everybody = await db.read(lambda c: list(queries.load_people(c)))
        assert [each.handle for each in everybody] == ["alice"]

    # --- questions -------------------------------------------------------------------------------

    async def test_what_somebody_lacks(self, db: Database) -> None:
        [alice, bob, carol] = await people(db, "alice", "bob", "carol")
        await db.write(append_post, post_row(alice, "too early"))
        await db.write(add_follow, FollowRow(carol, alice))
        for author, text in ((alice, "a2"), (bob, "b3"), (alice, "a4"), (alice, "a5")):
            await db.write(append_post, post_row(author, text))
        await db.write(add_follow, FollowRow(carol, bob))
        for author, text in ((bob, "b6"), (alice, "a7")):
            await db.write(append_post, post_row(author, text))

        async def candidates(*span: int, newest: bool = False) -> list[str]:
            found = await db.read(lambda c: queries.candidates_for(c, carol, *span, newest=newest))
            return [each.text for each in found]

        assert await candidates(1, 99, 99) == ["a2", "a4", "a5", "b6", "a7"]
        assert await candidates(3, 6, 99) == ["a4", "a5", "b6"]
        assert await candidates(1, 99, 2) == ["a2", "a4"]
        assert await candidates(1, 99, 2, newest=True) == ["b6", "a7"]

    async def test_posts_by_number_and_the_newest(self, db: Database) -> None:
        [alice, bob] = await people(db, "alice", "bob")
        await db.write(take_handle, HandleRow(alice, "alice", "alice"))
        for n in range(1, 8):
            await db.write(append_post, post_row(alice if n % 2 else bob, f"{n}"))
        assert [p.number for p in await db.read(lambda c: queries.recent_posts(c, 3))] == [5, 6, 7]
        assert [p.number for p in await db.read(lambda c: queries.posts(c, [6, 2, 99, 2]))] == [
            2,
            6,
        ]
        assert await db.read(lambda c: queries.post_by_number(c, 99)) is None
        listed = await db.read(lambda c: queries.list_posts(c, limit=2, before=7))
        assert [(each.post.number, each.jid, each.handle) for each in listed] == [
            (6, "bob@example.org", None),
            (5, "alice@example.org", "alice"),
        ]

    async def test_a_trace_tells_where_a_post_is(self, db: Database, clock: Clock) -> None:
        [alice, bob, carol, dave, erin] = await people(db, "alice", "bob", "carol", "dave", "erin")
        for follower in (bob, carol, dave):
            await db.write(add_follow, FollowRow(follower, alice))
        await db.write(append_post, post_row(alice, lanes=["", "example.net"]))
        await db.write(add_follow, FollowRow(erin, alice))  # too late for it
        standings = (
            Standing(bob, 2, clock.now(), missed=(1,)),
            Standing(carol, 2, clock.now()),
            Standing(dave, 1, clock.now()),
            Standing(erin, 1, clock.now()),
        )
        await db.write(store_delivery, DeliveryRows((Cursor(1, "", 3),), standings))
        trace = await db.read(lambda c: queries.trace(c, 1))
        assert trace.author.jid == "alice@example.org"
        assert trace.cursors == (Cursor(1, "", 3), Cursor(1, "example.net", 0))
        assert trace.waiting == 2, "bob and dave"
        assert await db.read(lambda c: queries.trace(c, 2)) is None

    async def test_everything_is_loaded_in_order(self, db: Database) -> None:
        many = queries.PORTION + 3
        chunk = [ImportedPerson(f"p{n}@example.org") for n in range(many)]
        everybody = await db.write(import_people, chunk)
        loaded = await db.read(lambda c: list(queries.load_people(c)))
        assert loaded == list(everybody)
        assert [each.id for each in loaded] == list(range(1, many + 1))


def _standings(conn: Connection) -> list[Standing]:
    return list(queries.load_standings(conn))
