"""Posts reach the primary, and everybody sees and holds what waits for it (S14): a table."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from tests.integration.clients import Stanza
from tests.integration.wire import HOME, RELAY, Wire, wired
from tests.integration.world import Clock
from xmpprelay.config import Primary, Secret, Xmpp
from xmpprelay.core.health import Flag
from xmpprelay.core.insertion import CANNOT_TELL, Insertion, State
from xmpprelay.core.site import Site
from xmpprelay.store.insertion import SettleRow, rows_of_post, settle

ALICE, BOB, ADMIN = "alice@example.test", "bob@example.test", "root@example.test"
STATUS = f"status@{RELAY}"
HINTS = "urn:xmpp:hints"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return tmp_path / "primary.db"


@pytest.fixture
async def wire(tmp_path: Path, table: Path, clock: Clock) -> AsyncIterator[Wire]:
    """Alice posts; bob follows her, and is there. The primary is a table, and is up."""
    primary = Primary(driver="sql", url=f"sqlite:///{table}")
    xmpp = Xmpp(domain=RELAY, secret=Secret("secret"), admins=(ADMIN,))
    async with wired(tmp_path, clock, primary=primary, xmpp=xmpp) as wire:
        await says(wire, ALICE, "join alice")
        await says(wire, BOB, "follow alice")
        for xml in (
            f"<presence from='{BOB}' to='{HOME}' type='subscribed'/>",
            f"<presence from='{BOB}/x' to='{HOME}'/>",
        ):
            wire.feeds(xml)
        await wire.service.inserting.open()
        wire.service.inserting.start()
        await until(lambda: not site(wire).health.away)
        await wire.quiet()
        wire.taken()
        yield wire


def site(wire: Wire) -> Site:
    return wire.service.inserting.places[""].site


async def until(so: Callable[[], bool]) -> None:
    """Return when something inside of the relay is so, of which it tells nobody."""
    async with asyncio.timeout(30):
        while not so():  # noqa: ASYNC110 - looked at in each turn of the loop
            await asyncio.sleep(0)


async def says(wire: Wire, who: str, text: str) -> str:
    """What the relay answers, line by line."""
    wire.says(who, text)
    await wire.quiet()
    return "\n".join(
        each.body for each in wire.taken() if each.to == who and each.sender == HOME and each.body
    )


async def posts(wire: Wire, who: str, text: str) -> str:
    """What the post is called, such as #k3f."""
    answer = await says(wire, who, text)
    assert answer.startswith("ok #"), answer
    return answer.removeprefix("ok ").partition(":")[0]


async def inserted(wire: Wire, table: Path) -> list[tuple[str, bool]]:
    """What is in the table when nothing waits any more: each text, and whether it is deleted."""
    await until(lambda: site(wire).total == 0)
    with closing(sqlite3.connect(table)) as db:
        found = db.execute("SELECT text, deleted FROM post ORDER BY published, id").fetchall()
    return [(text, deleted is not None and deleted != 0) for text, deleted in found]


async def standby(wire: Wire, flag: Flag = Flag.ON) -> None:
    await wire.service.inserting.standby.flag("", flag)
    await wire.quiet()


async def rows(wire: Wire, number: int) -> list[Insertion]:
    return await wire.service.db.read(lambda conn: rows_of_post(conn, number))


async def becomes(wire: Wire, row: Insertion, was: State) -> None:
    """What only a primary that behaves badly makes of a row."""
    changes = [await wire.service.db.write(settle, SettleRow(row, was))]
    wire.service.inserting.engine.chosen(changes)


# --- what is inserted ----------------------------------------------------------------------------


async def test_a_post_reaches_the_table(wire: Wire, table: Path) -> None:
    answer = await says(wire, ALICE, "the kettle is on")
    assert answer == "ok #1: 1 person"
    assert await inserted(wire, table) == [("the kettle is on", False)]
    with closing(sqlite3.connect(table)) as db:
        found = db.execute("SELECT handle, author, visibility FROM post").fetchall()
    assert found == [("alice", ALICE, "public")]
    assert await says(wire, ALICE, "pending") == "None of your posts waits."
    assert await says(wire, ALICE, "queue") == "The primary is online, nothing waits."


async def test_what_is_not_for_the_primary_never_gets_there(wire: Wire, table: Path) -> None:
    for text in ("~a paper that can be discarded", "d bob psst", "following", "boost #1"):
        await says(wire, ALICE, text)
    for hint in ("no-store", "no-permanent-store"):
        wire.feeds(
            f"<message from='{ALICE}' to='{HOME}' type='chat' id='{hint}'><body>{hint}</body>"
            f"<{hint} xmlns='{HINTS}'/></message>"
        )
    wire.feeds(
        f"<message from='{ALICE}' to='{HOME}' type='groupchat' id='g'><body>group</body></message>"
    )
    wire.feeds(f"<message from='{ALICE}' to='{HOME}' type='error' id='e'><body>e</body></message>")
    await wire.quiet()
    wire.taken()
    assert await says(wire, ALICE, "pending") == "None of your posts waits."
    await says(wire, ALICE, "the fence")
    assert await inserted(wire, table) == [("the fence", False)]


async def test_a_reply_goes_there_as_an_answer(wire: Wire, table: Path) -> None:
    await says(wire, BOB, "join bob")
    await says(wire, ALICE, "who wants tea?")
    await says(wire, BOB, "@alice me")
    await inserted(wire, table)
    with closing(sqlite3.connect(table)) as db:
        ids = dict(db.execute("SELECT text, id FROM post"))
        parents = dict(db.execute("SELECT text, in_reply_to FROM post"))
    assert parents == {"who wants tea?": None, "@alice me": ids["who wants tea?"]}


async def test_edits_and_deletions_before_and_after(wire: Wire, table: Path) -> None:
    there = [await posts(wire, ALICE, f"there: {which}") for which in ("one", "two")]
    await inserted(wire, table)
    await standby(wire)
    waits = [await posts(wire, ALICE, f"waits: {which}") for which in ("one", "two")]
    await says(wire, ALICE, f"edit {there[0]} there: one, edited")
    await says(wire, ALICE, f"edit {waits[0]} waits: one, edited")
    for name in (there[1], waits[1]):
        await says(wire, ALICE, f"del {name}")
    assert site(wire).total == 3, "an edit, a deletion, and one that still waits"
    await standby(wire, Flag.AUTO)
    assert await inserted(wire, table) == [
        ("there: one, edited", False), ("", True), ("waits: one, edited", False),
    ]  # fmt: skip


async def test_a_protected_author_is_not_inserted(wire: Wire, table: Path) -> None:
    await standby(wire)
    await says(wire, ALICE, "before")
    await says(wire, ALICE, "protect on")
    await says(wire, ALICE, "for approved followers")
    await standby(wire, Flag.AUTO)
    await until(lambda: site(wire).total == 0)
    await says(wire, ALICE, "protect off")
    await says(wire, ALICE, "the fence")
    assert await inserted(wire, table) == [("the fence", False)]


# --- what everybody sees -------------------------------------------------------------------------


async def test_a_standby_is_visible(wire: Wire, table: Path) -> None:
    await says(wire, BOB, "follow status")
    wire.taken()
    await standby(wire)
    await until(lambda: any(each.sender == STATUS for each in wire.sent) or _told(wire, BOB))
    sent = wire.taken()
    [admin] = [each.body for each in sent if each.to == ADMIN]
    assert admin.startswith("The primary is on standby by the operator since ")
    [presence] = [each for each in sent if each.kind == "presence" and each.to == BOB]
    assert (presence.sender, shown(presence)[0]) == (HOME, "away")
    assert shown(presence)[1].endswith("0 waiting")
    assert any("on standby" in each.body for each in sent if each.to == BOB and each.body)

    wire.says(ALICE, "one for later")
    await wire.quiet()
    sent = wire.taken()
    [answer] = [each.body for each in sent if each.to == ALICE and each.body]
    assert answer.endswith(": 1 person; primary on standby, 0 before you")
    [heard] = [each.body for each in sent if each.to == BOB and each.body]
    assert "one for later" in heard, "followers have it at once"
    answer = await says(wire, ALICE, "another")
    assert answer.endswith("; primary on standby, 1 before you")

    wire.feeds(f"<presence from='{BOB}/x' to='{HOME}' type='probe'/>")
    await wire.quiet()
    [presence] = [each for each in wire.taken() if each.kind == "presence" and each.to == BOB]
    assert shown(presence)[1].endswith("2 waiting")
    wire.feeds(
        f"<iq type='get' id='d1' from='{BOB}/x' to='{HOME}'>"
        "<query xmlns='http://jabber.org/protocol/disco#info'/></iq>"
    )
    await wire.quiet()
    [info] = [each for each in wire.taken() if each.id == "d1"]
    values = {
        field.get("var"): "".join(value.text or "" for value in field)
        for field in info.xml.iter("{jabber:x:data}field")
    }
    assert (values["primary"], values["waiting"]) == ("standby", "2")
    assert "since" in values
    for verb in ("queue", "status"):
        line = (await says(wire, BOB, verb)).splitlines()[-1]
        assert line.startswith("The primary is on standby since ")
        assert ", 2 waiting, the oldest for " in line

    await standby(wire, Flag.AUTO)
    assert [text for text, _ in await inserted(wire, table)] == ["one for later", "another"]
    [presence] = [each for each in wire.taken() if each.kind == "presence" and each.to == BOB]
    assert shown(presence) == ("", "")


def shown(presence: Stanza) -> tuple[str, str]:
    """Its <show/> and <status/>."""
    found = [presence.child(name) for name in ("show", "status")]
    show, status = ["" if each is None else each.text or "" for each in found]
    return show, status


def _told(wire: Wire, who: str) -> bool:
    return any(each.to == who and each.body and "on standby" in each.body for each in wire.sent)


async def test_one_that_comes_and_goes_is_told_once(wire: Wire) -> None:
    for _ in range(3):
        await standby(wire)
        await standby(wire, Flag.AUTO)
    told = [each.body for each in wire.taken() if each.to == ADMIN]
    assert len(told) == 1


# --- what people do with what waits --------------------------------------------------------------


async def test_what_waits_is_listed_and_dropped(wire: Wire, table: Path) -> None:
    await says(wire, BOB, "join bob")
    await standby(wire)
    await says(wire, BOB, "first")
    names = [await posts(wire, ALICE, f"post {n} " + "long " * 30) for n in range(3)]
    lines = (await says(wire, ALICE, "pending")).splitlines()
    assert lines[0] == "3 of yours are not inserted, 1 of others before:"
    assert lines[1].startswith(f"{names[0]} waits: post 0 long long ")
    assert lines[1].endswith("…")
    assert await says(wire, ALICE, f"drop {names[0]}") == (
        f"{names[0]} will not be inserted; your followers keep it."
    )
    assert site(wire).total == 3
    assert (await says(wire, ALICE, "drop all")).startswith("2 posts of yours will not be ")
    assert await says(wire, ALICE, "pending") == "None of your posts waits."
    assert (await says(wire, ALICE, "drop all")).startswith("0 posts of yours will not be ")
    assert (await says(wire, BOB, "pending")).splitlines()[0] == (
        "One of yours is not inserted, 0 of others before:"
    )
    await standby(wire, Flag.AUTO)
    assert await inserted(wire, table) == [("first", False)]


async def test_long_lists_are_cut(wire: Wire) -> None:
    await standby(wire)
    for number in range(23):
        await says(wire, ALICE, f"post {number}")
    lines = (await says(wire, ALICE, "pending")).splitlines()
    assert lines[0] == "23 of yours are not inserted, 0 of others before:"
    assert lines[-1] == "and 3 more"
    assert len(lines) == 22


async def refusal(wire: Wire, who: str, text: str) -> str:
    """What the relay refuses, and why."""
    wire.says(who, text)
    await wire.quiet()
    [error] = [each for each in wire.taken() if each.to == who and each.type == "error"]
    return "".join(error.xml.itertext())


@pytest.mark.parametrize("verb", ["drop", "resend"])
async def test_what_cannot_be_done_is_told_with_the_reason(wire: Wire, verb: str) -> None:
    await says(wire, BOB, "join bob")
    there = await posts(wire, ALICE, "there")
    await until(lambda: site(wire).total == 0)
    await standby(wire)
    waits = await posts(wire, ALICE, "waits")
    absent = await refusal(wire, ALICE, f"{verb} #zzz")
    assert "No post of yours called #zzz waits" in absent
    assert "is inserted already" in await refusal(wire, ALICE, f"{verb} {there}")
    for name in (there, waits):
        of_another = await refusal(wire, BOB, f"{verb} {name}")
        assert f"No post of yours called {name} waits" in of_another
    if verb == "resend":
        assert "waits for its turn" in await refusal(wire, ALICE, f"resend {waits}")
    assert site(wire).total == 1


@pytest.mark.parametrize("line", ["pending", "drop all", "drop #2", "resend #2", "expire 2h"])
async def test_who_has_no_handle_has_nothing_there(wire: Wire, line: str) -> None:
    assert "handle" in await refusal(wire, BOB, line)


@pytest.mark.parametrize("line", ["queue", "pending", "drop all", "resend #2", "expire 2h"])
async def test_without_a_primary_there_is_nothing_to_wait_for(tmp_path: Path, line: str) -> None:
    async with wired(tmp_path) as wire:
        await says(wire, ALICE, "join alice")
        assert "has no service behind it" in await refusal(wire, ALICE, line)
        assert "Primary service: none configured." in await says(wire, ALICE, "status")


async def test_what_is_held_is_told_and_sent_again_by_wish(wire: Wire, table: Path) -> None:
    await standby(wire)
    name = await posts(wire, ALICE, "nobody knows")
    [row] = await rows(wire, int(name[1:]))
    held = replace(row, state=State.HELD, reason=CANNOT_TELL, unclear=True)
    await becomes(wire, held, row.state)
    lines = (await says(wire, ALICE, "pending")).splitlines()
    assert lines[1] == f"{name} is held (nobody can see whether it is there): nobody knows"
    assert await says(wire, ALICE, f"resend {name}") == (
        f"{name} is tried again; `pending` shows how it stands."
    )
    await standby(wire, Flag.AUTO)
    assert await inserted(wire, table) == [("nobody knows", False)]


async def test_what_waits_for_longer_is_dropped(wire: Wire, table: Path, clock: Clock) -> None:
    await standby(wire)
    await says(wire, ALICE, "stale")
    clock.passes(hours=3)
    await says(wire, ALICE, "fresh")
    assert (await says(wire, ALICE, "expire 2h")).endswith("your followers keep it. 1 post had.")
    await says(wire, ALICE, "stale again")
    clock.passes(hours=3)
    await says(wire, ALICE, "news")
    await standby(wire, Flag.AUTO)
    assert await inserted(wire, table) == [("news", False)], "also by itself"
    assert await says(wire, ALICE, "expire off") == "Your posts wait for as long as it takes."


async def test_who_leaves_takes_along_what_waits(wire: Wire, table: Path) -> None:
    await says(wire, BOB, "join bob")
    await standby(wire)
    await says(wire, ALICE, "a secret")
    await says(wire, BOB, "stays")
    await says(wire, ALICE, "another secret")
    assert site(wire).total == 3
    await says(wire, ALICE, "leave-relay yes")
    assert site(wire).total == 1
    await standby(wire, Flag.AUTO)
    assert await inserted(wire, table) == [("stays", False)]


# --- what depends on when it was posted -----------------------------------------------------------


async def test_what_was_posted_under_protection_stays_so(wire: Wire, table: Path) -> None:
    await wire.service.inserting.standby.flag("", Flag.ON)
    await says(wire, ALICE, "protect on")
    await says(wire, ALICE, "for my followers")
    await says(wire, ALICE, "protect off")
    await says(wire, ALICE, "for all")
    await wire.service.inserting.standby.flag("", Flag.AUTO)
    assert await inserted(wire, table) == [("for all", False)]


async def test_an_unknown_name_is_told_of_during_a_standby_too(wire: Wire) -> None:
    await wire.service.inserting.standby.flag("", Flag.ON)
    said = await says(wire, ALICE, "@nobody hello")
    assert "primary on standby" in said
    assert "no @nobody here" in said


async def test_expire_can_be_ended(wire: Wire, clock: Clock, table: Path) -> None:
    await wire.service.inserting.standby.flag("", Flag.ON)
    await says(wire, ALICE, "expire 1h")
    assert await says(wire, ALICE, "expire off") == "Your posts wait for as long as it takes."
    await says(wire, ALICE, "waits")
    clock.passes(hours=2)
    await wire.service.inserting.standby.flag("", Flag.AUTO)
    assert await inserted(wire, table) == [("waits", False)]


# --- what is told by itself -----------------------------------------------------------------------


async def test_a_reply_that_waits_long_is_told_once_and_then_that_it_goes_alone(
    wire: Wire, table: Path, clock: Clock
) -> None:
    await says(wire, BOB, "join bob")
    await standby(wire)
    name = await posts(wire, ALICE, "nobody knows")
    [row] = await rows(wire, int(name[1:]))
    held = replace(row, state=State.HELD, reason=CANNOT_TELL, unclear=True)
    held = replace(held, due=clock.now() + timedelta(days=1))
    await becomes(wire, held, row.state)
    answer = await posts(wire, BOB, "@alice I do")
    await standby(wire, Flag.AUTO)
    account = (await rows(wire, int(answer[1:])))[0].account
    engine = wire.service.inserting.engine

    async def waits(**span: float) -> list[str]:
        """What bob is told when the account has its turn after some time."""
        clock.passes(**span)
        engine.look_at(account, anew=True)
        await until(lambda: account not in site(wire).turns)
        await until(lambda: account in site(wire).turns or site(wire).total == 1)
        return [each.body for each in wire.taken() if each.to == BOB and each.body]

    assert await waits(seconds=1) == []
    [told] = await waits(minutes=3)
    assert told == (
        f"{answer} waits until {name}, which it answers, is inserted: for 1 h at most, then it "
        f"goes alone. What you post later waits behind it; `drop {answer}` takes it out."
    )
    lines = (await says(wire, BOB, "pending")).splitlines()
    assert lines[1] == f"{answer} waits (for what it answers): @alice I do"
    assert await waits(minutes=3) == []
    [told] = await waits(hours=1)
    assert told.startswith(f"{answer} was inserted alone, with the address of {name}, ")
