"""The operator names another primary and starts the relay again: nobody's post there is touched."""

import shutil
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path

from structlog.testing import capture_logs

from tests.integration.test_inserting import (
    ALICE,
    BOB,
    inserted,
    posts,
    rows,
    says,
    site,
    standby,
    until,
)  # fmt: skip
from tests.integration.wire import RELAY, Wire, wired
from tests.integration.world import Clock
from xmpprelay.config import Primary, Secret, Xmpp
from xmpprelay.core.health import Flag
from xmpprelay.core.insertion import State, Where, sending
from xmpprelay.core.primary import Visibility
from xmpprelay.store.insertion import ChooseRow, choose, head_of

CAROL = "carol@example.test"


@asynccontextmanager
async def relay(folder: Path, table: Path, clock: Clock) -> AsyncIterator[Wire]:
    """A relay on what the last one has left, with that table as its primary."""
    primary = Primary(driver="sql", url=f"sqlite:///{table}")
    xmpp = Xmpp(domain=RELAY, secret=Secret("secret"))
    async with wired(folder, clock, primary=primary, xmpp=xmpp) as wire:
        await wire.service.inserting.open()
        await wire.service.inserting.standby.flag("", Flag.AUTO)
        wire.service.inserting.start()
        await until(lambda: not site(wire).health.away)
        await wire.quiet()
        yield wire


def rows_in(table: Path) -> list[tuple[str, str | None]]:
    with closing(sqlite3.connect(table)) as db:
        return db.execute("SELECT text, in_reply_to FROM post ORDER BY published, id").fetchall()


def strangers(old: Path, new: Path) -> None:
    """Another service, in which posts of somebody else have the ids of ours."""
    shutil.copy(old, new)
    with closing(sqlite3.connect(new)) as db, db:
        db.execute("UPDATE post SET author = 'mallory@example.org', text = 'not yours'")


async def hears(wire: Wire, who: str) -> str:
    """What somebody is told by itself."""
    await until(lambda: any(each.to == who and each.body for each in wire.sent))
    [told] = [each.body for each in wire.taken() if each.to == who and each.body]
    return told


async def is_under_way(wire: Wire, name: str, table: Path) -> str:
    """A relay that dies leaves it so: it was being sent to that table; its id there."""
    [row] = await rows(wire, int(name[1:]))
    head = await wire.service.db.read(lambda conn: head_of(conn, row.account, Where()))
    assert head is not None
    status = replace(wire.service.inserting.accounts.draft(head.post), text="perhaps")
    here = replace(head, here=Where(f"sql sqlite:///{table} post"))
    sent = sending(here, "k", Visibility.PUBLIC, status, row.created)
    await wire.service.db.write(choose, ChooseRow(lambda _row, _now: sent, number=row.post))
    return status.id


async def test_another_primary_gets_what_waits_and_nothing_that_is_about_the_old_one(
    tmp_path: Path,
) -> None:
    old, new, clock = tmp_path / "old.db", tmp_path / "new.db", Clock()
    async with relay(tmp_path, old, clock) as wire:
        for who, handle in ((ALICE, "alice"), (BOB, "bob"), (CAROL, "carol")):
            await says(wire, who, f"join {handle}")
        one, two = [await posts(wire, ALICE, text) for text in ("one", "two")]
        await inserted(wire, old)
        await standby(wire)
        perhaps = await posts(wire, BOB, "perhaps")
        await posts(wire, ALICE, "waits")
        await is_under_way(wire, perhaps, old)
    before = rows_in(old)
    strangers(old, new)
    clock.passes(minutes=2)

    with capture_logs() as logs:
        async with relay(tmp_path, new, clock) as wire:
            assert (await hears(wire, BOB)).startswith(
                f"{perhaps} may have been inserted where your posts went before"
            )
            await until(lambda: site(wire).total == 1)
            assert await says(wire, BOB, "pending") == (
                "One of yours is not inserted, 0 of others before:\n"
                f"{perhaps} is held (it went where your posts do not go any more): perhaps"
            )
            await says(wire, CAROL, f"re {one} an answer")
            answer = await says(wire, ALICE, f"edit {one} uno")
            kept = f"{one} is where your posts went before, and keeps its old text there."
            assert kept in answer or await hears(wire, ALICE) == kept
            await says(wire, ALICE, f"del {two}")
            await says(wire, BOB, f"resend {perhaps}")
            await until(lambda: site(wire).total == 0)
            pending = (await says(wire, ALICE, "pending")).splitlines()
            assert pending[2].startswith(f"{two} (its deletion) was refused (it went where ")
    [changed] = [each for each in logs if each["event"] == "primary.changed"]
    assert {key: changed[key] for key in ("before", "to", "inserted", "unclear", "waiting")} == {
        "before": f"sql sqlite:///{old} post", "to": f"sql sqlite:///{new} post",
        "inserted": 2, "unclear": 1, "waiting": 1,
    }  # fmt: skip
    assert rows_in(old) == before
    mine = [each for each in rows_in(new) if each[0] != "not yours"]
    firsts = {text.partition("\n")[0] for text, _ in mine}
    assert firsts == {"@alice an answer", "perhaps", "waits"}
    assert [parent for _, parent in mine] == [None] * 3
    assert len(rows_in(new)) == 5

    with capture_logs() as logs:
        async with relay(tmp_path, new, clock):
            pass
    assert "primary.changed" not in [each["event"] for each in logs]


async def test_what_was_held_is_looked_for_when_the_old_primary_is_back(tmp_path: Path) -> None:
    old, new, clock = tmp_path / "old.db", tmp_path / "new.db", Clock()
    async with relay(tmp_path, old, clock) as wire:
        await says(wire, BOB, "join bob")
        await posts(wire, BOB, "certainly")
        await inserted(wire, old)
        await standby(wire)
        name = await posts(wire, BOB, "perhaps")
        remote_id = await is_under_way(wire, name, old)
    with closing(sqlite3.connect(old)) as db, db:  # it has worked
        db.execute("UPDATE post SET id = ?, text = 'perhaps'", (remote_id,))
    clock.passes(minutes=2)
    async with relay(tmp_path, new, clock) as wire:
        await hears(wire, BOB)
        [row] = await rows(wire, int(name[1:]))
        assert row.state is State.HELD
    async with relay(tmp_path, old, clock) as wire:
        await until(lambda: site(wire).total == 0)
        [row] = await rows(wire, int(name[1:]))
        assert (row.state, row.where) == (State.INSERTED, Where(f"sql sqlite:///{old} post"))
        assert row.tries == 1, "it was not sent again"
    assert rows_in(old) == [("perhaps", None)]
