"""The driver `sql` on an SQLite file and on a private PostgreSQL."""

import asyncio
import sqlite3
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.contract.primary_suite import Break, PrimarySuite, Seen
from tests.servers.federation import Gate
from tests.servers.postgresql import Postgresql
from xmpprelay.core.primary import (
    EVERYBODY,
    Absent,
    Account,
    Attempt,
    Candidate,
    Caps,
    Dedupe,
    Found,
    LookFailed,
    Outcome,
    Reach,
    Scope,
    Status,
    Visibility,
)
from xmpprelay.errors import ConfigError
from xmpprelay.primary.sql import SqlPrimary

OPERATOR = Account(EVERYBODY)
NOON = datetime(2024, 5, 17, 12, tzinfo=UTC)
TEA = Status(
    *("k3f.ab12cd", "xmpp:relay.test?;node=k3f.ab12cd", "alice@example.test", "alice", "Tea?"),
    NOON,
    language="en",
    in_reply_to="k3e.ab12cd",
    visibility=Visibility.UNLISTED,
)
COLUMNS = (
    "id TEXT{}, author TEXT, handle TEXT, text TEXT, language TEXT, in_reply_to TEXT,"
    " visibility TEXT, published TEXT, updated TEXT, deleted TEXT"
)


@dataclass(frozen=True)
class Operators:
    """A database of the operator, and his own way into it."""

    url: str
    execute: Callable[[str], Awaitable[Sequence[Any]]]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def postgresql() -> AsyncIterator[Postgresql]:
    async with Postgresql() as server:
        yield server


@pytest.fixture(autouse=True)
async def _threads_end_before_the_loop() -> AsyncIterator[None]:
    """What aiosqlite could not open, it closes behind our back, and tells the loop when it has."""
    yield
    for thread in threading.enumerate():
        if "_connection_worker_thread" in thread.name:
            await asyncio.to_thread(thread.join)


@pytest.fixture
def on_sqlite(tmp_path: Path) -> Operators:
    file = tmp_path / "posts.db"

    async def execute(statement: str) -> Sequence[Any]:
        connection = sqlite3.connect(file, isolation_level=None)
        try:
            return connection.execute(statement).fetchall()
        finally:
            connection.close()

    return Operators(f"sqlite:///{file}", execute)


@pytest.fixture
async def on_postgresql(postgresql: Postgresql) -> Operators:
    url = await postgresql.new_database()

    async def execute(statement: str) -> Sequence[Any]:
        return [tuple(row) for row in await postgresql.execute(statement, url)]

    return Operators(url, execute)


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> Operators:
    operators: Operators = request.getfixturevalue(f"on_{request.param}")
    return operators


@pytest.fixture
async def primary(database: Operators) -> AsyncIterator[SqlPrimary]:
    async with aclosing(SqlPrimary(database.url, now=lambda: NOON + timedelta(days=1))) as driver:
        yield driver


def attempt(status: Status) -> Attempt:
    return Attempt(status, NOON, NOON)


class SqlBench:
    """A table of its own, and a way to it that can be shut."""

    account = OPERATOR

    def __init__(
        self,
        operators: Operators,
        driver: SqlPrimary,
        secret: str,
        shuts: Callable[[], Awaitable[None]],
        opens: Callable[[], Awaitable[None]],
    ) -> None:
        software = operators.url.partition(":")[0]
        self.caps = Caps(software, dedupe=Dedupe.NATURAL, backdate=True)
        self.primary = driver
        self.secret = secret
        self.mend = opens
        self._operators = operators
        self._shuts = shuts
        self._time = NOON

    def utc(self) -> datetime:
        self._time += timedelta(milliseconds=1)
        return self._time

    async def stored(self) -> list[Seen]:
        await self.primary.delete(OPERATOR, "none of them")  # makes the table
        rows = await self._operators.execute(
            "SELECT text, visibility, in_reply_to, language, author, published FROM post"
            " WHERE deleted IS NULL ORDER BY published"
        )
        return [
            Seen(text, visibility, parent or "", language or "", author, datetime.fromisoformat(at))
            for text, visibility, parent, language, author, at in rows
        ]

    async def break_way(self, how: Break) -> None:
        assert how is Break.REFUSED
        await self._shuts()


class TestSqlite(PrimarySuite):
    @pytest.fixture
    async def bench(self, on_sqlite: Operators) -> AsyncIterator[SqlBench]:
        """Shut is the file while somebody else keeps it for himself."""
        file = on_sqlite.url.removeprefix("sqlite:///")
        other = sqlite3.connect(file, isolation_level=None)

        async def shuts() -> None:
            other.execute("BEGIN EXCLUSIVE")

        async def opens() -> None:
            other.execute("ROLLBACK")

        async with aclosing(SqlPrimary(on_sqlite.url, within_s=0.1)) as driver:
            yield SqlBench(on_sqlite, driver, file, shuts, opens)
        other.close()


class TestPostgresql(PrimarySuite):
    @pytest.fixture
    async def bench(
        self, postgresql: Postgresql, on_postgresql: Operators
    ) -> AsyncIterator[SqlBench]:
        async with Gate(postgresql.port) as gate:
            url = on_postgresql.url.replace(f":{postgresql.port}/", f":{gate.port}/")
            async with aclosing(SqlPrimary(url)) as driver:
                yield SqlBench(on_postgresql, driver, postgresql.password, gate.shuts, gate.opens)


async def test_a_post_is_a_row(database: Operators, primary: SqlPrimary) -> None:
    done = await primary.insert(OPERATOR, TEA, "any")
    assert (done.outcome, done.remote_id) == (Outcome.INSERTED, TEA.id)
    (row,) = await database.execute("SELECT * FROM post")
    assert row[:5] == ("k3f.ab12cd", "alice@example.test", "alice", "Tea?", "en")
    assert row[5:] == ("k3e.ab12cd", "unlisted", "2024-05-17T12:00:00.000Z", None, None)


async def test_sent_again_by_whomever_it_stays_one_row(
    database: Operators, primary: SqlPrimary
) -> None:
    async with aclosing(SqlPrimary(database.url)) as other:
        done = await asyncio.gather(
            *(driver.insert(OPERATOR, TEA, "any") for driver in (primary, other) * 5)
        )
    outcomes = sorted(each.outcome for each in done)
    assert outcomes == [Outcome.DUPLICATE] * 9 + [Outcome.INSERTED]
    assert {each.remote_id for each in done} == {TEA.id}
    assert await database.execute("SELECT count(*) FROM post") == [(1,)]


async def test_an_edit_changes_the_text_and_says_when(
    database: Operators, primary: SqlPrimary
) -> None:
    await primary.insert(OPERATOR, TEA, "any")
    later = replace(TEA, text="Coffee?", language=None, updated=NOON + timedelta(hours=1))
    for _ in range(2):
        assert (await primary.edit(OPERATOR, TEA.id, later, "any")).outcome is Outcome.INSERTED
    assert await database.execute("SELECT text, language, published, updated FROM post") == [
        ("Coffee?", None, "2024-05-17T12:00:00.000Z", "2024-05-17T13:00:00.000Z")
    ]


async def test_what_is_deleted_leaves_a_row_and_never_returns(
    database: Operators, primary: SqlPrimary
) -> None:
    await primary.insert(OPERATOR, TEA, "any")
    for _ in range(2):
        assert (await primary.delete(OPERATOR, TEA.id)).outcome is Outcome.INSERTED
    edited = await primary.edit(OPERATOR, TEA.id, TEA, "any")
    assert (edited.outcome, edited.reason) == (Outcome.REJECTED, "not_found")
    assert (await primary.insert(OPERATOR, TEA, "any")).outcome is Outcome.DUPLICATE
    assert await database.execute("SELECT text, deleted FROM post") == [
        ("", "2024-05-18T12:00:00.000Z")
    ]


async def test_what_is_not_there_can_be_deleted_but_not_edited(primary: SqlPrimary) -> None:
    assert (await primary.delete(OPERATOR, "k3z.ab12cd")).outcome is Outcome.INSERTED
    edited = await primary.edit(OPERATOR, "k3z.ab12cd", TEA, "any")
    assert (edited.outcome, edited.scope) == (Outcome.REJECTED, Scope.POST)


async def test_a_look_finds_what_is_there_and_nothing_else(primary: SqlPrimary) -> None:
    other = replace(TEA, id="k3g.ab12cd")
    assert await primary.reconcile(OPERATOR, attempt(TEA)) == Absent()
    await primary.insert(OPERATOR, TEA, "any")
    found = Found((Candidate(TEA.id, remote_time=NOON),))
    assert await primary.reconcile(OPERATOR, attempt(TEA)) == found
    assert await primary.reconcile(OPERATOR, attempt(other)) == Absent()
    await primary.delete(OPERATOR, TEA.id)
    assert await primary.reconcile(OPERATOR, attempt(TEA)) == found


async def test_a_probe_tells_what_a_table_can_do_and_makes_none(
    database: Operators, primary: SqlPrimary
) -> None:
    probe = await primary.probe()
    assert probe.reach is Reach.UP
    assert probe.caps is not None
    assert probe.caps.software == database.url.partition(":")[0]
    assert (probe.caps.dedupe, probe.caps.backdate) == (Dedupe.NATURAL, True)
    await database.execute("CREATE TABLE post (id TEXT)")  # would fail if there were one
    await database.execute("DROP TABLE post")
    await primary.insert(OPERATOR, TEA, "any")
    assert (await primary.probe()).reach is Reach.UP


@pytest.mark.parametrize("how", ["(id TEXT PRIMARY KEY", "(id TEXT NOT NULL UNIQUE", "index"])
async def test_a_table_of_the_operator_may_have_more_columns(
    database: Operators, primary: SqlPrimary, how: str
) -> None:
    columns = COLUMNS.format("" if how == "index" else how.removeprefix("(id TEXT"))
    await database.execute(f"CREATE TABLE post ({columns}, stars INTEGER NOT NULL DEFAULT 5)")
    if how == "index":
        await database.execute("CREATE UNIQUE INDEX one_of_each ON post (id)")
    assert (await primary.probe()).reach is Reach.UP
    assert (await primary.insert(OPERATOR, TEA, "any")).outcome is Outcome.INSERTED
    assert (await primary.insert(OPERATOR, TEA, "any")).outcome is Outcome.DUPLICATE
    assert await database.execute("SELECT stars FROM post") == [(5,)]


@pytest.mark.parametrize(
    "index",
    ["", "UNIQUE INDEX i ON post (id, handle)", "UNIQUE INDEX i ON post (id) WHERE id > ''"],
)
async def test_a_table_that_could_hold_a_post_twice_is_not_used(
    database: Operators, primary: SqlPrimary, index: str
) -> None:
    await database.execute(f"CREATE TABLE post ({COLUMNS.format('')})")
    if index:
        await database.execute(f"CREATE {index}")
    probe = await primary.probe()
    assert (probe.reach, probe.reason) == (Reach.DOWN, "not_unique")
    assert "CREATE UNIQUE INDEX" in probe.detail
    done = await primary.insert(OPERATOR, TEA, "any")
    assert (done.outcome, done.scope) == (Outcome.RETRY, Scope.DRIVER)
    assert done.reason == "not_unique"
    assert await database.execute("SELECT count(*) FROM post") == [(0,)]


async def test_a_table_without_our_columns_is_told(
    database: Operators, primary: SqlPrimary
) -> None:
    await database.execute("CREATE TABLE post (id TEXT PRIMARY KEY, text INTEGER, author TEXT)")
    probe = await primary.probe()
    assert (probe.reach, probe.reason) == (Reach.DOWN, "schema")
    assert "handle, text, language" in probe.detail
    done = await primary.insert(OPERATOR, TEA, "any")
    assert (done.outcome, done.scope, done.reason) == (Outcome.RETRY, Scope.DRIVER, "schema")


async def test_a_row_that_the_table_does_not_allow_is_rejected(
    database: Operators, primary: SqlPrimary
) -> None:
    columns = COLUMNS.format(" PRIMARY KEY")
    await database.execute(f"CREATE TABLE post ({columns}, CHECK (length(text) < 10))")
    done = await primary.insert(OPERATOR, replace(TEA, text="A secret text"), "any")
    assert (done.outcome, done.scope) == (Outcome.REJECTED, Scope.POST)
    assert "A secret" not in done.detail
    assert (await primary.insert(OPERATOR, TEA, "any")).outcome is Outcome.INSERTED


async def test_what_is_no_text_is_rejected(primary: SqlPrimary) -> None:
    done = await primary.insert(OPERATOR, replace(TEA, text="\ud800"), "any")
    assert (done.outcome, done.scope) == (Outcome.REJECTED, Scope.POST)


async def test_a_table_that_was_taken_away_is_made_again(
    database: Operators, primary: SqlPrimary
) -> None:
    await primary.insert(OPERATOR, TEA, "any")
    await database.execute("DROP TABLE post")
    done = await primary.insert(OPERATOR, TEA, "any")
    assert (done.outcome, done.scope) == (Outcome.RETRY, Scope.DRIVER)
    assert (await primary.insert(OPERATOR, TEA, "any")).outcome is Outcome.INSERTED


async def test_another_name_is_another_table(database: Operators) -> None:
    async with aclosing(SqlPrimary(database.url, "Blog")) as driver:
        assert (await driver.insert(OPERATOR, TEA, "any")).outcome is Outcome.INSERTED
        assert (await driver.probe()).reach is Reach.UP
    assert await database.execute('SELECT id FROM "Blog"') == [(TEA.id,)]


# SQLite


async def test_a_file_that_somebody_else_writes_to_is_tried_later(on_sqlite: Operators) -> None:
    async with aclosing(SqlPrimary(on_sqlite.url, within_s=0.2)) as primary:
        await primary.insert(OPERATOR, TEA, "any")
        other = sqlite3.connect(on_sqlite.url.removeprefix("sqlite:///"), isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        more = replace(TEA, id="k3g.ab12cd")
        done = await primary.insert(OPERATOR, more, "any")
        assert (done.outcome, done.scope) == (Outcome.RETRY, Scope.DRIVER)
        assert (await primary.probe()).reach is Reach.DOWN
        other.execute("ROLLBACK")
        other.close()
        assert await primary.reconcile(OPERATOR, attempt(more)) == Absent()
        assert (await primary.insert(OPERATOR, more, "any")).outcome is Outcome.INSERTED


async def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    async with aclosing(SqlPrimary(f"sqlite:///{tmp_path}/nowhere/posts.db")) as primary:
        probe = await primary.probe()
        assert (probe.reach, probe.reason) == (Reach.DOWN, "no_file")
        assert f"{tmp_path}/nowhere" in probe.detail
        done = await primary.insert(OPERATOR, TEA, "any")
        assert (done.outcome, done.scope) == (Outcome.RETRY, Scope.DRIVER)


async def test_a_file_that_is_no_database_is_told(tmp_path: Path) -> None:
    (tmp_path / "posts.db").write_text("Dear diary, " * 100)
    async with aclosing(SqlPrimary(f"sqlite:///{tmp_path}/posts.db")) as primary:
        assert (await primary.probe()).reach is Reach.DOWN
        done = await primary.insert(OPERATOR, TEA, "any")
        assert (done.outcome, done.scope) == (Outcome.RETRY, Scope.DRIVER)


@pytest.mark.parametrize("url", ["sqlite:///posts.db", "mysql://host/posts", ""])
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(ConfigError, match=r"sqlite:////.*postgresql://"):
        SqlPrimary(url)


# PostgreSQL


async def test_a_wrong_password_is_a_matter_of_credentials(
    postgresql: Postgresql, on_postgresql: Operators
) -> None:
    wrong = on_postgresql.url.replace(postgresql.password, "guessed")
    async with aclosing(SqlPrimary(wrong)) as primary:
        assert (await primary.probe()).reach is Reach.AUTH
        done = await primary.insert(OPERATOR, TEA, "any")
        assert (done.outcome, done.scope) == (Outcome.AUTH, Scope.DRIVER)
        assert "guessed" not in repr(done)
        look = await primary.reconcile(OPERATOR, attempt(TEA))
        assert isinstance(look, LookFailed)
        assert look.result.outcome is Outcome.AUTH


async def test_a_user_needs_the_table_and_nothing_more(
    postgresql: Postgresql, on_postgresql: Operators
) -> None:
    execute = on_postgresql.execute
    user = on_postgresql.url.rpartition("/")[2].replace("test_", "user_")
    await execute(f"CREATE USER {user} PASSWORD 'short'")
    await execute(f"CREATE TABLE post ({COLUMNS.format(' PRIMARY KEY')})")
    url = postgresql.url(on_postgresql.url.rpartition("/")[2], user, "short")
    async with aclosing(SqlPrimary(url)) as primary:
        probe = await primary.probe()
        assert (probe.reach, probe.reason) == (Reach.AUTH, "no_privilege")
        done = await primary.insert(OPERATOR, TEA, "any")
        assert (done.outcome, done.scope) == (Outcome.AUTH, Scope.DRIVER)
        assert "GRANT SELECT, INSERT, UPDATE" in done.detail
        await execute(f"GRANT SELECT, INSERT, UPDATE ON post TO {user}")
        assert (await primary.probe()).reach is Reach.UP
        assert (await primary.insert(OPERATOR, TEA, "any")).outcome is Outcome.INSERTED
        assert (await primary.delete(OPERATOR, TEA.id)).outcome is Outcome.INSERTED


async def test_a_database_that_takes_no_writes_is_down(on_postgresql: Operators) -> None:
    execute = on_postgresql.execute
    await execute(f"CREATE TABLE post ({COLUMNS.format(' PRIMARY KEY')})")
    await execute(
        f"ALTER DATABASE {on_postgresql.url.rpartition('/')[2]}"
        " SET default_transaction_read_only = on"
    )
    async with aclosing(SqlPrimary(on_postgresql.url)) as primary:
        probe = await primary.probe()
        assert (probe.reach, probe.reason) == (Reach.DOWN, "read_only")
        done = await primary.insert(OPERATOR, TEA, "any")
        assert (done.outcome, done.scope, done.reason) == (
            Outcome.RETRY,
            Scope.DRIVER,
            "read_only",
        )


async def test_a_server_that_is_killed_is_down_until_it_is_back(
    postgresql: Postgresql, on_postgresql: Operators
) -> None:
    async with aclosing(SqlPrimary(on_postgresql.url)) as primary:
        assert (await primary.insert(OPERATOR, TEA, "any")).outcome is Outcome.INSERTED
        await postgresql.kill()
        probe = await primary.probe()
        assert (probe.reach, probe.reason) == (Reach.DOWN, "no_connection")
        done = await primary.insert(OPERATOR, replace(TEA, id="k3g.ab12cd"), "any")
        assert (done.outcome, done.scope) == (Outcome.RETRY, Scope.DRIVER)
        await postgresql.start()
        assert (await primary.insert(OPERATOR, TEA, "any")).outcome is Outcome.DUPLICATE


async def test_a_row_that_waits_too_long_was_not_written(on_postgresql: Operators) -> None:
    execute = on_postgresql.execute
    await execute(f"CREATE TABLE post ({COLUMNS.format(' PRIMARY KEY')})")
    await execute(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN PERFORM pg_sleep(60); RETURN NEW; END $$"
    )
    await execute("CREATE TRIGGER s BEFORE INSERT ON post FOR EACH ROW EXECUTE FUNCTION slow()")
    async with aclosing(SqlPrimary(on_postgresql.url, within_s=0.5)) as primary:
        done = await primary.insert(OPERATOR, TEA, "any")
        assert (done.outcome, done.scope, done.reason) == (Outcome.RETRY, Scope.DRIVER, "timeout")
        assert await primary.reconcile(OPERATOR, attempt(TEA)) == Absent()


@pytest.mark.parametrize("fault", ["timeout", "lost"])
async def test_what_fails_in_its_commit_is_looked_for(on_postgresql: Operators, fault: str) -> None:
    execute = on_postgresql.execute
    await execute(f"CREATE TABLE post ({COLUMNS.format(' PRIMARY KEY')})")
    deed = {
        "timeout": "PERFORM pg_sleep(60)",
        "lost": "PERFORM pg_terminate_backend(pg_backend_pid())",
    }
    await execute(
        "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS"
        f" $$ BEGIN {deed[fault]}; RETURN NEW; END $$"
    )
    await execute(
        "CREATE CONSTRAINT TRIGGER f AFTER INSERT ON post DEFERRABLE INITIALLY DEFERRED"
        " FOR EACH ROW EXECUTE FUNCTION fail()"
    )
    async with aclosing(SqlPrimary(on_postgresql.url, within_s=0.5)) as primary:
        done = await primary.insert(OPERATOR, TEA, "any")
        assert (done.outcome, done.scope) == (Outcome.UNKNOWN, Scope.DRIVER)
        assert await primary.reconcile(OPERATOR, attempt(TEA)) == Absent()
        await execute("DROP TRIGGER f ON post")
        assert (await primary.insert(OPERATOR, TEA, "any")).outcome is Outcome.INSERTED


async def test_a_constraint_checked_at_the_commit_rejects_for_certain(
    on_postgresql: Operators,
) -> None:
    execute = on_postgresql.execute
    columns = COLUMNS.format(" PRIMARY KEY")
    await execute(
        f"CREATE TABLE post ({columns}, FOREIGN KEY (in_reply_to) REFERENCES post"
        " DEFERRABLE INITIALLY DEFERRED)"
    )
    async with aclosing(SqlPrimary(on_postgresql.url)) as primary:
        done = await primary.insert(OPERATOR, TEA, "any")
        assert (done.outcome, done.scope) == (Outcome.REJECTED, Scope.POST)
        assert await execute("SELECT count(*) FROM post") == [(0,)]


def test_without_its_package_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    with pytest.raises(ConfigError, match=r"pip install 'xmpprelay\[postgresql\]'"):
        SqlPrimary("postgresql://relay@localhost/posts")
