"""What belongs to SQLite's files: lock, permissions, damage, a disk without room."""

# ruff: noqa: ASYNC240 - files are what these tests are about, and nobody else uses the loop

import asyncio
import os
import re
import shutil
import sqlite3
import stat
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pytest
from sqlalchemy import Connection, create_engine, event
from structlog.testing import capture_logs

from tests.contract.store_world import (
    Clock,
    Opened,
    count_posts,
    damage,
    fill,
    on,
    people,
    post_row,
    settings,
    tables,
    texts,
)
from xmpprelay.core.model import Appended
from xmpprelay.errors import JournalFull, StoreCorrupt, StoreError, StoreLocked
from xmpprelay.store import queries
from xmpprelay.store.database import Database
from xmpprelay.store.dedupe import SAME_POSTS
from xmpprelay.store.dialect import Question
from xmpprelay.store.engine import store_error
from xmpprelay.store.files import RESERVE_BYTES
from xmpprelay.store.insertion import NEWEST_REMOTE
from xmpprelay.store.operations import SettingRow, set_setting
from xmpprelay.store.posts import LAST_OF, append_post
from xmpprelay.store.schema import metadata
from xmpprelay.store.upkeep import backup, restore
from xmpprelay.store.writer import Transaction, operation

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)

# --- opening -------------------------------------------------------------------------------------


async def test_a_new_database_has_an_epoch_and_private_files(opened: Opened, path: Path) -> None:
    async with opened() as db:
        await fill(db, 1)
        assert re.fullmatch("[0-9a-hjkmnp-tv-z]{6}", db.epoch)
        files = {each.name: stat.S_IMODE(each.stat().st_mode) for each in path.parent.iterdir()}
        assert files == dict.fromkeys(
            [f"relay.db{end}" for end in ("", "-shm", "-wal", ".lock", ".number", ".reserve")],
            0o600,
        )
    assert {each.name for each in path.parent.iterdir()} == {
        "relay.db",
        "relay.db.lock",
        "relay.db.number",
    }


async def test_two_databases_have_two_epochs(opened: Opened, tmp_path: Path) -> None:
    async with opened() as one, opened(on(tmp_path / "other.db")) as other:
        assert one.epoch != other.epoch


async def test_a_commit_is_on_the_disk(opened: Opened) -> None:
    @operation(grows=False)
    def pragmas(tx: Transaction, rows: list[str]) -> list[object]:
        return [tx.conn.exec_driver_sql(f"PRAGMA {row}").scalar_one() for row in rows]

    async with opened() as db:
        names = ("journal_mode", "synchronous", "foreign_keys")
        found = await asyncio.gather(*(db.submit(pragmas, name) for name in names))
    assert found == ["wal", 2, 1], "2 is FULL"


async def test_the_tables_are_what_the_code_says(opened: Opened, path: Path) -> None:
    async with opened():
        pass
    declared = path.with_name("declared.db")
    engine = create_engine(on(declared))
    metadata.create_all(engine)
    engine.dispose()
    migrated = tables(path)
    assert migrated.pop("alembic_version")
    assert migrated == tables(declared)


async def test_a_relative_url_and_a_link_are_the_same_database(
    opened: Opened, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(path.parent)
    path.with_name("link.db").symlink_to(path)
    async with opened() as db:
        await fill(db, 3)
        with pytest.raises(StoreLocked):
            await Database.open("sqlite:///link.db", now=Clock().now)
    async with opened("sqlite:///relay.db") as db:
        assert await count_posts(db) == 3
    async with opened("sqlite:///link.db", readonly=True) as db:
        assert await count_posts(db) == 3


@pytest.mark.parametrize(
    "url", ["postgresql://localhost/relay", "sqlite://", "sqlite:///:memory:", "relay.db"]
)
async def test_a_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(StoreError, match="sqlite:////var/lib/xmpprelay/relay"):
        await Database.open(url, now=Clock().now)


async def test_a_folder_may_have_an_odd_name(opened: Opened, tmp_path: Path) -> None:
    odd = tmp_path / "köln? %20 & #1"
    odd.mkdir()
    url = on(odd / "relay.db")
    async with opened(url) as db:
        await fill(db, 1)
    await backup(url, odd / "copy.db")
    assert (await restore(url, odd / "copy.db", NOW)).posts == 1
    async with opened(url, readonly=True) as db:
        assert await count_posts(db) == 1
    assert [each.name for each in tmp_path.iterdir()] == [odd.name]


async def test_a_second_instance_is_refused_until_the_first_has_ended(opened: Opened) -> None:
    async with opened():
        with pytest.raises(StoreLocked, match=rf"process {os.getpid()}\b.*stop it"):
            async with opened():
                pass
        with pytest.raises(StoreLocked):
            async with opened():
                pytest.fail("the refused one has taken the lock away")
    async with opened():
        pass


async def test_a_reader_looks_beside_a_writer_and_changes_nothing(opened: Opened) -> None:
    async with opened() as db:
        await fill(db, 2)
        async with opened(readonly=True) as reader:
            assert (reader.epoch, reader.next_number) == (db.epoch, 3)
            await fill(db, 1, "later")
            assert await count_posts(reader) == 3
            with pytest.raises(StoreError, match="reading only"):
                await reader.write(append_post, post_row(1))


async def test_a_reader_needs_a_database(opened: Opened, path: Path) -> None:
    with pytest.raises(StoreError, match=f"no database at {path}"):
        async with opened(readonly=True):
            pass
    assert list(path.parent.iterdir()) == []


# --- folders that cannot be used -----------------------------------------------------------------


async def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=f"no folder {tmp_path}/gone: make it"):
        await Database.open(on(tmp_path / "gone" / "relay.db"), now=Clock().now)


async def test_a_file_in_the_place_of_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=f"no folder {tmp_path}/file"):
        await Database.open(on(tmp_path / "file" / "relay.db"), now=Clock().now)


async def test_a_folder_that_takes_no_files_is_named() -> None:
    with pytest.raises(StoreError, match="/proc"):  # not even from root
        await Database.open("sqlite:////proc/relay.db", now=Clock().now)


@pytest.mark.parametrize(("parent", "child"), [(0o755, 0o555), (0o755, 0o000), (0o000, 0o755)])
async def test_a_closed_folder_is_named(tmp_path: Path, parent: int, child: int) -> None:
    folder = tmp_path / "parent" / "child"
    folder.mkdir(parents=True)
    folder.chmod(child)
    folder.parent.chmod(parent)
    with as_nobody(tmp_path), pytest.raises(StoreError, match=str(folder)):
        await Database.open(on(folder / "relay.db"), now=Clock().now)
    folder.parent.chmod(0o755)
    folder.chmod(0o755)
    assert list(folder.iterdir()) == []


@contextmanager
def as_nobody(way: Path) -> Iterator[None]:
    """Lets root, to whom no folder is closed, be nobody for a moment; `way` stays open to him."""
    if os.geteuid() != 0:
        yield
        return
    modes = {each: stat.S_IMODE(each.stat().st_mode) for each in (way, *way.parents)}
    closed = {each: mode for each, mode in modes.items() if mode & 0o011 != 0o011}
    for each, mode in closed.items():
        each.chmod(mode | 0o011)  # his group is still root's
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)
        for each, mode in closed.items():
            each.chmod(mode)


# --- files that cannot be used -------------------------------------------------------------------


async def test_a_damaged_file_is_refused_with_the_way_out(opened: Opened, path: Path) -> None:
    async with opened() as db:
        await fill(db, 500, "x" * 500)
    damage(path)
    with pytest.raises(StoreCorrupt, match="xmpprelay restore FILE"):
        async with opened():
            pass


async def test_what_is_no_database_is_refused(opened: Opened, path: Path) -> None:
    path.write_bytes(b"no database" * 1000)
    with pytest.raises(StoreCorrupt, match="xmpprelay restore FILE"):
        async with opened():
            pass
    assert path.read_bytes() == b"no database" * 1000


async def test_another_programs_database_is_left_alone(opened: Opened, path: Path) -> None:
    with closing(sqlite3.connect(path)) as conn:
        conn.execute("CREATE TABLE recipe (name TEXT)")
    for readonly in (False, True):
        with pytest.raises(StoreError, match="another program's"):
            async with opened(readonly=readonly):
                pass
    assert set(tables(path)) == {"recipe"}


async def test_damage_met_by_a_read_ends_the_writing(opened: Opened, path: Path) -> None:
    async with opened() as db:
        await fill(db, 500, "x" * 500)
    async with opened() as db:
        damage(path)
        with (
            capture_logs() as logs,
            pytest.raises(StoreCorrupt, match="xmpprelay restore FILE"),
        ):
            await db.read(lambda c: queries.recent_posts(c, 500))
        await db.failed.wait()
        assert [each["event"] for each in logs] == ["store.failed"]
        with pytest.raises(StoreCorrupt):
            await db.write(append_post, post_row(1))
        assert isinstance(db.failure, StoreCorrupt)


async def test_damage_met_by_a_write_fails_all_who_wait(opened: Opened, path: Path) -> None:
    @operation(grows=False)
    def read_all(tx: Transaction, rows: list[str]) -> list[None]:
        tx.conn.exec_driver_sql("PRAGMA shrink_memory")  # what the check at the start has read
        queries.recent_posts(tx.conn, 500)
        return [None] * len(rows)

    async with opened() as db:
        await fill(db, 500, "x" * 500)
    async with opened() as db:
        damage(path)
        waiting = [
            db.submit(append_post, post_row(1, "before")),
            db.submit(read_all, ""),
            db.submit(append_post, post_row(1, "after")),
        ]
        with capture_logs() as logs:
            outcome = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(each) for each in outcome] == [StoreCorrupt] * 3
        assert [each["event"] for each in logs] == ["store.failed"]
        await db.failed.wait()
        assert db.next_number == 501


def test_an_error_quotes_no_post(path: Path) -> None:
    told = store_error(KeyError("a post's text"), path)
    assert "KeyError" in told.sentence
    assert "text" not in told.sentence


async def test_a_locked_file_is_no_damage(opened: Opened, path: Path) -> None:
    """Somebody has the file open in the sqlite3 shell, in a transaction."""
    async with opened() as db:
        await fill(db, 1)

        @operation(grows=False)
        def impatient(tx: Transaction, rows: list[str]) -> list[None]:
            tx.conn.exec_driver_sql("PRAGMA busy_timeout=1")
            return [None] * len(rows)

        await db.write(impatient, "")
        with closing(sqlite3.connect(path, isolation_level=None)) as shell:
            shell.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreError, match=r"locked.*close what else uses it"):
                await db.write(append_post, post_row(1, "meanwhile"))
            assert not db.failed.is_set()
        await db.write(append_post, post_row(1, "afterwards"))
        assert await texts(db) == ["hello 0", "afterwards"]


# --- a full disk ---------------------------------------------------------------------------------


@operation(grows=False)
def limit_pages(tx: Transaction, rows: Sequence[int]) -> list[None]:
    """Lets the file hold so many pages more; without root, the way to a full disk."""
    for more in rows:
        now = tx.conn.exec_driver_sql("PRAGMA page_count").scalar_one()
        tx.conn.exec_driver_sql(f"PRAGMA max_page_count={now + more}")
    return [None] * len(rows)


async def post_until_full(db: Database) -> list[int]:
    """Posts until there is no room; gives the numbers with a receipt."""
    numbers: list[int] = []
    while not db.full:
        with suppress(JournalFull):
            made = await db.write(append_post, post_row(1, "x" * 2000))
            numbers.append(made.post.number)
    return numbers


async def test_a_full_disk_refuses_posts_and_recovers(
    opened: Opened, path: Path, clock: Clock
) -> None:
    reserve = path.with_name("relay.db.reserve")
    async with opened() as db:
        await fill(db, 1)
        assert reserve.stat().st_blocks * 512 >= RESERVE_BYTES, "really allocated"
        await db.write(limit_pages, 20)
        with capture_logs() as logs:
            numbers = await post_until_full(db)
            assert numbers == list(range(2, numbers[-1] + 1))
            assert db.full
            assert not reserve.exists()
            commits = db.commits
            for _ in range(3):  # at once, without asking the disk
                with pytest.raises(JournalFull, match="make room"):
                    await db.write(append_post, post_row(1, "small"))
            assert db.commits == commits
            await db.write(set_setting, SettingRow(1, "ids", "on"))
            assert await count_posts(db) == numbers[-1]
            await db.write(limit_pages, 1000)
            with pytest.raises(JournalFull):
                await db.write(append_post, post_row(1, "too soon"))
            clock.pass_s(1)
            made = await db.write(append_post, post_row(1, "room again"))
        assert made.post.number == numbers[-1] + 1, "no number was lost"
        assert not db.full
        assert not db.failed.is_set()
        assert reserve.exists()
        events = [each["event"] for each in logs]
        assert events == ["store.full", "store.room_again"]


async def test_on_a_full_disk_the_others_of_a_batch_go_on(opened: Opened) -> None:
    async with opened() as db:

        @operation(grows=False)
        def only_when_full(_tx: Transaction, rows: Sequence[str]) -> Sequence[str]:
            if not db.full:
                raise ValueError("not yet")
            return rows

        await fill(db, 1)
        await db.write(limit_pages, 2)
        before = db.commits
        outcome = await asyncio.gather(
            db.submit(set_setting, SettingRow(1, "ids", "on")),
            db.submit(only_when_full, "done"),  # fails, and then does not, in the second attempt
            db.submit(append_post, post_row(1, "x" * 50_000)),
            db.submit(set_setting, SettingRow(1, "catchup", "5")),
            return_exceptions=True,
        )
        assert [each if each is None else str(each)[:4] for each in outcome] == [
            None,
            "done",
            "The ",
            None,
        ]
        assert isinstance(outcome[2], JournalFull)
        assert await settings(db) == {(1, "ids"): "on", (1, "catchup"): "5"}
        assert db.commits == before + 1


_SMALL_BYTES: Final = 24 << 20


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    if os.geteuid() != 0 or mount is None:
        pytest.skip("only root can mount a file system")
    mounted = subprocess.run(
        [mount, "-t", "tmpfs", "-o", f"size={_SMALL_BYTES}", "tmpfs", folder],
        capture_output=True,
        check=False,
    )
    if mounted.returncode != 0:
        pytest.skip(f"root may not mount here: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize("together", [1, 50])
async def test_a_disk_that_is_really_full(
    opened: Opened, small_disk: Path, clock: Clock, together: int
) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(9 << 20))
    url = on(small_disk / "relay.db")
    receipted: set[str] = set()
    async with opened(url) as db:
        [alice] = await people(db, "alice")

        async def post_some(text: str) -> bool:
            rows = [post_row(alice, f"{text} {n} " + "x" * 1000) for n in range(together)]
            waiting = [asyncio.ensure_future(db.write(append_post, row)) for row in rows]
            made = await asyncio.gather(*waiting, return_exceptions=True)
            posted = [each.post.text for each in made if not isinstance(each, Exception)]
            receipted.update(posted)
            assert all(isinstance(each, Appended | JournalFull) for each in made)
            return len(posted) == together

        for filling in range(2):
            count = 0
            while await post_some(f"{filling} {count}"):
                count += 1
                assert count < 8192, "the disk never fills"
            assert db.full
            for n in range(50):  # these need no new room, and the reserve gives them some
                await db.write(set_setting, SettingRow(alice, "catchup", f"{filling} {n}"))
            clock.pass_s(1)
            assert not await post_some("still no room")
            assert await count_posts(db) == len(receipted)
            if filling == 0:
                ballast.unlink()
                clock.pass_s(1)
                assert await post_some(f"room again {filling}")
                assert not db.full
        assert not db.failed.is_set()
    async with opened(url) as db:
        assert set(await texts(db)) == receipted
        assert await settings(db) == {(alice, "catchup"): "1 49"}


async def test_a_disk_that_is_full_at_the_start(
    opened: Opened, small_disk: Path, clock: Clock
) -> None:
    url = on(small_disk / "relay.db")
    async with opened(url) as db:
        await fill(db, 3)
    ballast = small_disk / "ballast"
    free = shutil.disk_usage(small_disk).free
    ballast.write_bytes(bytes(free - (512 << 10)))  # what is left is less than the reserve
    async with opened(url) as db:
        assert db.full
        assert await count_posts(db) == 3
        with pytest.raises(JournalFull):
            await db.write(append_post, post_row(1, "no"))
        ballast.unlink()
        clock.pass_s(1)
        assert (await db.write(append_post, post_row(1, "yes"))).post.number == 4


async def test_a_backup_that_finds_no_room_leaves_nothing(
    opened: Opened, path: Path, small_disk: Path
) -> None:
    (small_disk / "ballast").write_bytes(bytes(_SMALL_BYTES - (100 << 10)))
    async with opened() as db:
        await fill(db, 500, "x" * 500)
        with pytest.raises(JournalFull, match=f"{small_disk}/copy.db"):
            await backup(on(path), small_disk / "copy.db")
        assert not db.full
    assert [each.name for each in small_disk.iterdir()] == ["ballast"]


# --- questions of the hot path -------------------------------------------------------------------

_KEYS = {"origins": '[[1,"o"]]', "weak": '[[1,"1:…"]]', "earliest": NOW, "latest": NOW}


def _ask(conn: Connection, question: Question, values: dict[str, object]) -> object:
    """By SQLAlchemy, which tells who listens."""
    return conn.exec_driver_sql(question.sql, tuple(question.parameters(values)))


@pytest.mark.parametrize(
    "question",
    [
        lambda conn: _ask(conn, SAME_POSTS, _KEYS),
        lambda conn: _ask(conn, LAST_OF, {"authors": "[1,2]"}),
        lambda conn: queries.posts(conn, (1, 2)),
        lambda conn: queries.candidates_for(conn, 1, 3, 9, 9),
        lambda conn: queries.candidates_for(conn, 1, 3, 9, 9, newest=True),
        lambda conn: queries.list_posts(conn, limit=9, before=9),
        lambda conn: queries.find_person(conn, "alice@example.org"),
    ],
)
async def test_no_question_reads_a_whole_table(
    opened: Opened, question: Callable[[Connection], object]
) -> None:
    """SQLite would answer all the same, a hundred times slower: so did a list of pairs (`IN`)."""

    def plans(conn: Connection) -> list[str]:
        asked: list[tuple[str, object]] = []

        @event.listens_for(conn, "before_cursor_execute")
        def note(_c: object, _cursor: object, sql: str, values: object, *_: object) -> None:
            asked.append((sql, values))

        question(conn)
        plans = [
            str(step[3])
            for sql, values in asked
            if sql.startswith("SELECT")
            for step in conn.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", values)
        ]
        assert plans
        return plans

    async with opened() as db:
        steps = await db.read(plans)
        assert [step for step in steps if re.match("SCAN (post|follow|person|handle)", step)] == []


async def test_what_was_inserted_last_is_found_without_looking_at_all_of_it(opened: Opened) -> None:
    """It is asked for each post that goes to the primary, and there may be a hundred thousand."""
    async with opened() as db:
        values = {"account": 1, "service": "s", "of": ""}
        steps = await db.read(lambda conn: _plan(conn, NEWEST_REMOTE, values))
    assert len(steps) == 1
    assert "ix_insertion_sent" in steps[0]


def _plan(conn: Connection, question: Question, values: dict[str, object]) -> list[str]:
    asked = f"EXPLAIN QUERY PLAN {question.sql}"
    return [
        str(step[3]) for step in conn.exec_driver_sql(asked, tuple(question.parameters(values)))
    ]
