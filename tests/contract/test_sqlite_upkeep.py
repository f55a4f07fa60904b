"""What an operator does to SQLite's files: migrate, copy them back, back up, restore."""

# ruff: noqa: ASYNC240 - files are what these tests are about, and nobody else uses the loop

import asyncio
import shutil
import sqlite3
import stat
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from tests.contract.store_world import (
    Opened,
    count_posts,
    damage,
    fill,
    on,
    post_row,
    settings,
    tables,
    texts,
)
from xmpprelay.core.health import Flag
from xmpprelay.core.model import Post
from xmpprelay.errors import CopiedBack, SchemaTooNew, StoreCorrupt, StoreError, StoreLocked
from xmpprelay.store import migrations, queries
from xmpprelay.store.operations import SettingRow, set_setting
from xmpprelay.store.outages import remembered
from xmpprelay.store.posts import append_post
from xmpprelay.store.upkeep import Migrated, backup, migrate, restore

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)

# --- revisions -----------------------------------------------------------------------------------


def set_revision(path: Path, revision: str) -> None:
    with closing(sqlite3.connect(path)) as conn, conn:
        conn.execute("UPDATE alembic_version SET version_num = ?", (revision,))


@pytest.mark.parametrize("readonly", [False, True])
async def test_a_later_versions_database_is_refused(
    opened: Opened, path: Path, readonly: bool
) -> None:
    async with opened():
        pass
    set_revision(path, "9999")
    with pytest.raises(SchemaTooNew, match="later version"):
        async with opened(readonly=readonly):
            pass
    with pytest.raises(SchemaTooNew):
        await migrate(on(path))


NEWEST, NEXT = "0008", "0009"
"""The newest revision of the package, and the one that the tests add."""


@pytest.fixture
def with_next_revision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets the package have one more migration, which adds a table, from now on."""
    folder = tmp_path / "migrations"
    (folder / "versions").mkdir(parents=True)
    shutil.copy(migrations.FOLDER / "env.py", folder)
    for old in (migrations.FOLDER / "versions").glob("rev_*.py"):
        shutil.copy(old, folder / "versions")
    (folder / "versions" / f"rev_{NEXT}.py").write_text(
        "from alembic import op\nimport sqlalchemy as sa\n"
        f"revision, down_revision = '{NEXT}', '{NEWEST}'\n"
        "branch_labels = depends_on = None\n"
        "def upgrade():\n"
        "    op.create_table('later', sa.Column('id', sa.Integer, primary_key=True))\n"
        "    op.execute('INSERT INTO later SELECT number FROM post')\n"
    )
    monkeypatch.setattr(migrations, "FOLDER", folder)


async def test_an_earlier_versions_database_is_migrated(
    opened: Opened, path: Path, request: pytest.FixtureRequest
) -> None:
    async with opened() as db:
        await fill(db, 3)
        epoch = db.epoch
    request.getfixturevalue("with_next_revision")
    for how in ({"readonly": True}, {"upgrade": False}):
        with pytest.raises(StoreError, match="run `xmpprelay migrate`"):
            async with opened(**how):
                pass
    assert "later" not in tables(path)
    assert await migrate(on(path)) == Migrated(NEWEST, NEXT)
    assert await migrate(on(path)) == Migrated(NEXT, NEXT)
    async with opened(readonly=True) as db:
        assert (db.epoch, await count_posts(db)) == (epoch, 3)


async def test_the_first_versions_database_is_migrated_with_all_that_is_in_it(
    opened: Opened, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "migrations"
    (folder / "versions").mkdir(parents=True)
    for name in ("env.py", "versions/rev_0001.py"):
        shutil.copy(migrations.FOLDER / name, folder / name)
    with monkeypatch.context() as patch:
        patch.setattr(migrations, "FOLDER", folder)
        async with opened():
            pass
        with closing(sqlite3.connect(path)) as old, old:
            old.execute("INSERT INTO person VALUES (1, 'alice@example.org', 0)")
            old.execute("INSERT INTO post VALUES (1, 1, 'hello', 'en', 0, NULL, NULL)")
    async with opened() as db:
        [post] = await db.read(lambda conn: queries.recent_posts(conn, 9))
    assert post == Post(1, 1, "hello", "en", datetime(1970, 1, 1, tzinfo=UTC))


async def test_opening_migrates_and_a_failed_migration_leaves_all_as_it_was(
    opened: Opened, path: Path, request: pytest.FixtureRequest
) -> None:
    async with opened() as db:
        await fill(db, 3)
    request.getfixturevalue("with_next_revision")
    revision = migrations.FOLDER / "versions" / f"rev_{NEXT}.py"
    sound = revision.read_text()
    revision.write_text(sound + "    op.execute('SELECT nonsense')\n")
    with pytest.raises(StoreError, match="nonsense"):
        async with opened():
            pass
    assert "later" not in tables(path)
    revision.write_text(sound)
    async with opened():
        assert "later" in tables(path)


async def test_migrate_wants_a_database_that_nobody_uses(opened: Opened, path: Path) -> None:
    with pytest.raises(StoreError, match="no database"):
        await migrate(on(path))
    async with opened():
        with pytest.raises(StoreLocked):
            await migrate(on(path))


# --- the high-water mark -------------------------------------------------------------------------


async def test_a_database_copied_back_is_refused(opened: Opened, path: Path) -> None:
    old = path.with_name("old.db")
    async with opened() as db:
        await fill(db, 3)
    old.write_bytes(path.read_bytes())
    async with opened() as db:
        await fill(db, 2, "later")
    path.write_bytes(old.read_bytes())
    with pytest.raises(CopiedBack, match="xmpprelay restore FILE"):
        async with opened():
            pass
    async with opened(readonly=True) as db:
        assert await count_posts(db) == 3, "looking is allowed"
    await restore(on(path), old, NOW)
    async with opened() as db:
        assert db.next_number == 1006


async def test_a_database_that_has_gone_is_not_replaced_by_an_empty_one(
    opened: Opened, path: Path
) -> None:
    async with opened() as db:
        await fill(db, 3)
    path.unlink()
    with pytest.raises(CopiedBack, match=r"had 3 posts.*restore.*relay\.db\.number to begin anew"):
        async with opened():
            pass
    path.with_name("relay.db.number").unlink()
    async with opened() as db:
        assert db.next_number == 1


@pytest.mark.parametrize("mark", [None, b"", b"2\n", b"\0\0\0", b"00000000000000000003\n"])
async def test_a_mark_that_is_behind_or_absent_is_normal(
    opened: Opened, path: Path, mark: bytes | None
) -> None:
    async with opened() as db:
        await fill(db, 3)
    number = path.with_name("relay.db.number")
    assert number.read_bytes() == b"00000000000000000003\n"
    number.unlink()
    if mark is not None:
        number.write_bytes(mark)
    async with opened() as db:
        assert db.next_number == 4
        await fill(db, 1)
    assert int(number.read_bytes()) == 4


async def test_a_mark_that_cannot_be_written_is_told_once(opened: Opened, path: Path) -> None:
    path.with_name("relay.db.number").mkdir()
    async with opened() as db:
        with capture_logs() as logs:
            await fill(db, 1)
            await fill(db, 1)
        assert await count_posts(db) == 2
    assert [each["event"] for each in logs] == ["store.number_not_noted"]


# --- backup and restore --------------------------------------------------------------------------


async def test_a_backup_is_one_state_of_a_database_in_use(opened: Opened, path: Path) -> None:
    async with opened() as db:
        await fill(db, 2000, "before")
        stop = asyncio.Event()
        written = asyncio.Event()

        async def write_on() -> int:
            count = 0
            while not stop.is_set():
                made = await db.write(append_post, post_row(1, "during"))
                count += 1
                assert made.post.number == 2000 + count
                written.set()
            return count

        writing = asyncio.create_task(write_on())
        await written.wait()
        copies = [path.with_name(f"copy{n}.db") for n in range(3)]
        for copy in copies:
            await backup(on(path), copy)
            written.clear()
            await written.wait()
        stop.set()
        count = await writing
        assert await count_posts(db) == 2000 + count
    sizes = []
    for copy in copies:
        assert stat.S_IMODE(copy.stat().st_mode) == 0o600
        async with opened(on(copy), readonly=True) as db:
            numbers = [each.number for each in await db.read(lambda c: queries.recent_posts(c, -1))]
            assert numbers == list(range(1, len(numbers) + 1))
            sizes.append(len(numbers))
    assert 2000 < sizes[0] < sizes[1] < sizes[2] <= 2000 + count
    assert not list(path.parent.glob("*.partial*"))


async def test_a_backup_replaces_nothing(opened: Opened, path: Path) -> None:
    target = path.with_name("copy.db")
    with pytest.raises(StoreError, match="no database"):
        await backup(on(path), target)
    async with opened():
        target.write_text("precious")
        with pytest.raises(StoreError, match=r"copy\.db exists: choose another name"):
            await backup(on(path), target)
        with pytest.raises(StoreError, match="no folder"):
            await backup(on(path), path.with_name("gone") / "copy.db")
    assert target.read_text() == "precious"


async def test_a_damaged_database_gives_no_backup(opened: Opened, path: Path) -> None:
    async with opened() as db:
        await fill(db, 500, "x" * 500)
    damage(path)
    with pytest.raises(StoreCorrupt):
        await backup(on(path), path.with_name("copy.db"))
    assert not list(path.parent.glob("copy*"))


async def test_a_restore_makes_a_new_epoch_and_jumps_the_number(opened: Opened, path: Path) -> None:
    copy = path.with_name("copy.db")
    async with opened() as db:
        await fill(db, 3)
        await backup(on(path), copy)
        await fill(db, 4, "later")
        epoch = db.epoch
        with pytest.raises(StoreLocked):
            await restore(on(path), copy, NOW)
    restored = await restore(on(path), copy, NOW)
    assert restored.epoch != epoch
    assert (restored.posts, restored.people, restored.next_number) == (3, 1, 1008)
    assert restored.kept == path.with_name("relay.db.replaced-20260301T120000Z")
    async with opened() as db:
        assert (db.epoch, db.next_number) == (restored.epoch, 1008)
        assert (await db.write(append_post, post_row(1, "new"))).post.number == 1008
        assert len(await texts(db)) == 4
    async with opened(on(restored.kept), readonly=True) as old:
        assert (old.epoch, await count_posts(old)) == (epoch, 7)
    async with opened(on(copy), readonly=True) as source:
        assert (source.epoch, await count_posts(source)) == (epoch, 3), "the backup is as it was"
    again = await restore(on(path), copy, NOW)
    assert again.next_number == 2009
    assert again.kept == path.with_name("relay.db.replaced-20260301T120000Z-2")
    assert not list(path.parent.glob("*.incoming*"))


@pytest.mark.parametrize("waits", [False, True])
async def test_a_restore_leaves_the_primary_on_standby_if_anything_waits(
    opened: Opened, path: Path, waits: bool
) -> None:
    copy = path.with_name("copy.db")
    async with opened() as db:
        await fill(db, 1)
        if waits:
            await db.write(append_post, replace(post_row(1, "waits"), account=1))
        await backup(on(path), copy)
    restored = await restore(on(path), copy, NOW)
    assert restored.waiting == int(waits)
    async with opened(readonly=True) as db:
        known = await db.read(lambda conn: remembered(conn, ""))
        assert known.flag is (Flag.ON if waits else Flag.AUTO)


async def test_a_restore_without_a_database_goes_by_the_mark(opened: Opened, path: Path) -> None:
    copy = path.with_name("copy.db")
    async with opened() as db:
        await fill(db, 3)
        await backup(on(path), copy)
        await fill(db, 4, "later")
    path.unlink()
    restored = await restore(on(path), copy, NOW)
    assert (restored.next_number, restored.kept) == (1008, None)
    path.unlink()
    path.with_name("relay.db.number").unlink()
    assert (await restore(on(path), copy, NOW)).next_number == 1004


async def test_a_restore_after_a_crash_keeps_the_last_commits_with_the_old_file(
    opened: Opened, path: Path
) -> None:
    """After a crash the last commits are in SQLite's log, which must not reach the new file."""
    copy, log = path.with_name("copy.db"), path.with_name("relay.db-wal")
    async with opened() as db:
        await fill(db, 3)
        await backup(on(path), copy)
        await fill(db, 40, "later")
        left = path.read_bytes(), log.read_bytes()
    path.write_bytes(left[0])
    log.write_bytes(left[1])
    path.with_name("relay.db.number").unlink()
    restored = await restore(on(path), copy, NOW)
    assert restored.next_number == 1044, "the log was read"
    async with opened() as db:
        assert await texts(db) == ["hello 0", "hello 1", "hello 2"]
    async with opened(on(restored.kept), readonly=True) as old:
        assert await count_posts(old) == 43


async def test_a_restore_over_a_damaged_database_with_a_log(opened: Opened, path: Path) -> None:
    copy, log = path.with_name("copy.db"), path.with_name("relay.db-wal")
    async with opened() as db:
        await fill(db, 3)
        await backup(on(path), copy)
    async with opened() as db:
        await db.write(set_setting, SettingRow(1, "ids", "on"))  # the log lacks the first page
        left = log.read_bytes()
    garbage = b"no database" * 1000
    path.write_bytes(garbage)
    log.write_bytes(left)
    restored = await restore(on(path), copy, NOW)
    assert restored.next_number == 1004, "by the mark"
    assert restored.kept.read_bytes() == garbage
    assert path.with_name(f"{restored.kept.name}-wal").read_bytes() == left
    async with opened() as db:
        assert len(await texts(db)) == 3
        assert await settings(db) == {}


@pytest.mark.parametrize("what", ["missing", "text", "damaged", "newer", "foreign", "itself"])
async def test_a_source_that_cannot_be_used_changes_nothing(
    opened: Opened, path: Path, what: str
) -> None:
    source = path.with_name("copy.db")
    async with opened() as db:
        await fill(db, 500, "x" * 500)
        epoch = db.epoch
        await backup(on(path), source)
    expected = StoreError
    if what == "missing":
        source.unlink()
    elif what == "text":
        source.write_text("no database")
        expected = StoreCorrupt
    elif what == "damaged":
        damage(source)
        expected = StoreCorrupt
    elif what == "newer":
        set_revision(source, "9999")
        expected = SchemaTooNew
    elif what == "foreign":
        source.unlink()
        with closing(sqlite3.connect(source)) as conn:
            conn.execute("CREATE TABLE recipe (name TEXT)")
    else:
        source = path
    with pytest.raises(expected) as refused:
        await restore(on(path), source, NOW)
    assert source.name in refused.value.sentence
    async with opened() as db:
        assert (db.epoch, db.next_number, await count_posts(db)) == (epoch, 501, 500)
    assert not list(path.parent.glob("*.incoming*"))
    assert not list(path.parent.glob("*.replaced*"))
