"""`primary`, and what `journal` does with the queue, with a running relay and without one.

The primary is a table. The relay is the real one, on a wire of the test; it answers the command
line by its control socket.
"""

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from tests.integration.operators import Operator, on_a_terminal, operator
from tests.integration.wire import RELAY, Wire, wired
from tests.integration.world import Clock
from xmpprelay import log
from xmpprelay.config import Primary
from xmpprelay.core.health import Flag
from xmpprelay.core.insertion import Insertion, State
from xmpprelay.store.database import Database
from xmpprelay.store.insertion import ChooseRow, choose
from xmpprelay.store.operations import add_person
from xmpprelay.store.outages import EndRow, Outage, begin_outage, end_outage
from xmpprelay.store.posts import PostRow, append_post

__all__ = ["operator"]

NOW = datetime.now(UTC)  # as each test begins


@pytest.fixture(autouse=True)
def _now() -> None:
    global NOW
    NOW = datetime.now(UTC)


ALICE = "alice@example.test"
STANDBY = "The primary is on standby. Posts reach followers at once, and are inserted there later."


@pytest.fixture
def shell(operator: Operator) -> Operator:
    """An operator whose relay inserts into a table."""
    operator.config.write_text(
        f'[store]\nurl = "{operator.url}"\n[xmpp]\ndomain = "{RELAY}"\n'
        f'[primary]\ndriver = "sql"\nurl = "sqlite:///{operator.folder}/primary.db"\n'
    )
    return operator


@asynccontextmanager
async def running(shell: Operator) -> AsyncIterator[Wire]:
    """The relay runs, and nothing is inserted but when a test says so."""
    log.configure("error")  # what it logs would be among what the command line prints
    primary = Primary(driver="sql", url=f"sqlite:///{shell.folder}/primary.db")
    async with wired(shell.folder, Clock(), primary=primary) as wire:
        await wire.service.control.start()
        yield wire


async def queue(
    shell: Operator, *ages: timedelta, becomes: Callable[[Insertion], Insertion] | None = None
) -> None:
    """Alice has posted so long ago, a post each time; what was queued became something else."""
    for age in ages:
        db = await Database.open(shell.url, now=lambda age=age: NOW - age)
        alice = await db.write(add_person, ALICE)
        made = await db.write(append_post, PostRow(alice.id, f"{age} ago", account=alice.id))
        if becomes is not None:
            row = ChooseRow(lambda row, _: becomes(row), number=made.post.number)
            await db.write(choose, row)
        await db.close()


def is_now(state: State, reason: str, **more: object) -> Callable[[Insertion], Insertion]:
    due = NOW + timedelta(days=1) if state is State.HELD else None
    return lambda row: replace(row, state=state, due=due, reason=reason, **more)


def states(shell: Operator) -> list[tuple[int, str, str]]:
    with closing(sqlite3.connect(shell.database)) as db:
        return db.execute("SELECT post, state, reason FROM insertion ORDER BY id").fetchall()


def audit(shell: Operator) -> list[tuple[str, str]]:
    with closing(sqlite3.connect(shell.database)) as db:
        return db.execute("SELECT action, subject FROM audit ORDER BY id").fetchall()


def of_json(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


# ---- status ----


async def test_without_a_relay_it_is_said_what_it_has_left(shell: Operator) -> None:
    await queue(shell, timedelta(hours=3), timedelta(minutes=2))
    await queue(shell, timedelta(days=9), becomes=is_now(State.PARKED, "too_old"))
    db = await Database.open(shell.url, now=lambda: NOW)
    day = timedelta(days=1)
    await db.write(begin_outage, Outage("", NOW - day, None, "http_502", 0))
    await db.write(end_outage, EndRow("", NOW - day / 2, 17))
    await db.write(begin_outage, Outage("", NOW - timedelta(hours=2), None, "timeout", 0))
    await db.close()
    out = (await shell.run_beside("primary", "status")).worked().splitlines()
    assert out[:2] == ["The relay does not run; this is what it has left.", "primary   sql"]
    assert out[2].startswith("state     on standby since 20")
    assert out[2].endswith("(2 h)")
    assert out[3:6] == [
        "because   timeout",
        "waiting   2 posts, the oldest for 3 h",
        "kept      0 held, 1 parked, 0 refused",
    ]
    assert out[6].endswith(", lasts: timeout")
    assert out[7].endswith(", for 12 h: http_502; 17 waited at its end")
    (told,) = of_json((await shell.run_beside("primary", "status", "--json")).worked())
    assert (told["relay_runs"], told["state"], told["waiting"]) == (False, "standby", 2)
    assert told["urn:xmpp:sos:0"] == {
        "planned": False,
        "beginning": f"{NOW - timedelta(hours=2):%Y-%m-%dT%H:%M:%SZ}",
        "message": {"default": STANDBY, "en": STANDBY},
    }


async def test_a_running_relay_says_how_its_primary_is(shell: Operator) -> None:
    async with running(shell) as wire:
        (told,) = of_json((await shell.run_beside("primary", "status", "--json")).worked())
        assert (told["relay_runs"], told["flag"], told["urn:xmpp:sos:0"]) == (True, "auto", None)
        await wire.service.inserting.standby.flag("", Flag.ON)
        out = (await shell.run_beside("primary", "status")).worked().splitlines()
        assert out[0] == "primary   sql"
        assert out[1].startswith("state     on standby since ")
        assert out[2:4] == ["because   operator", "operator  has set standby on"]
        (told,) = of_json((await shell.run_beside("primary", "status", "--json")).worked())
        planned = told["urn:xmpp:sos:0"]
        assert isinstance(planned, dict)
        assert planned["planned"] is True


def test_without_a_primary_there_is_nothing_to_ask(operator: Operator) -> None:
    for command in (["status"], ["probe"], ["standby", "on"]):
        assert "There is no primary service" in operator.run("primary", *command).failed()


async def test_of_several_instances_one_is_meant_by_its_host(shell: Operator) -> None:
    shell.config.write_text(
        shell.config.read_text().partition("[primary]")[0]
        + '[primary]\ndriver = "mastodon"\n'
        + 'instances = ["https://a.example", "https://b.example"]\n'
    )
    out = (await shell.run_beside("primary", "standby", "on", "B.example")).worked()
    assert out == ("The primary b.example is on standby until `xmpprelay primary standby auto`.\n")
    found = of_json((await shell.run_beside("primary", "status", "--json")).worked())
    assert [(each["site"], each["flag"], each["state"]) for each in found] == [
        ("https://a.example", "auto", "unknown"),
        ("https://b.example", "on", "standby"),
    ]
    sentence = (await shell.run_beside("primary", "probe", "c.example")).failed()
    assert sentence.startswith("c.example is no primary of this relay: name one of a.example, b.")


# ---- standby, probe ----


async def test_a_standby_is_set_with_a_relay_and_without(shell: Operator) -> None:
    async with running(shell) as wire:
        health = wire.service.inserting.places[""].site
        out = (await shell.run_beside("primary", "standby", "on")).worked()
        assert out == "The primary is on standby until `xmpprelay primary standby auto`.\n"
        assert health.health.flag is Flag.ON
        (await shell.run_beside("primary", "standby", "auto")).worked()
        assert health.health.flag is Flag.AUTO
    out = (await shell.run_beside("primary", "standby", "off")).worked()
    assert out == "The primary is never on standby until `xmpprelay primary standby auto`.\n"
    assert audit(shell) == [
        ("standby on", "primary"),
        ("standby auto", "primary"),
        ("standby off", "primary"),
    ]
    async with running(shell) as wire:
        assert wire.service.inserting.places[""].site.health.flag is Flag.OFF
    assert "'maybe'" in (await shell.run_beside("primary", "standby", "maybe")).failed(2)


async def test_a_primary_is_asked_with_a_relay_and_without(shell: Operator) -> None:
    async with running(shell):
        out = (await shell.run_beside("primary", "probe")).worked()
    assert out == "The primary is there: sqlite.\n"
    assert (await shell.run_beside("primary", "probe")).worked() == out
    shell.config.write_text(shell.config.read_text().replace("/primary.db", "/nowhere/primary.db"))
    ended = await shell.run_beside("primary", "probe")
    assert (ended.code, ended.err) == (1, "")
    assert ended.out.startswith("The primary is not there (")


# ---- journal list, trace ----


async def test_what_waits_is_listed_by_its_age(shell: Operator) -> None:
    minute = timedelta(minutes=1)
    await queue(shell, timedelta(0), 3 * minute, 4 * minute, timedelta(hours=2), timedelta(days=30))
    await queue(shell, timedelta(hours=2), becomes=is_now(State.INSERTED, ""))
    rows = "\n".join(
        f"{name}\t5\t1\t2\t0\t0\t1\t0\t0\t1" for name in ("TOTAL", "alice@example.test")
    )
    header = "account\ttotal\t1m\t5m\t20m\t1h\t6h\t1d\t7d\tolder\n"
    out = (await shell.run_beside("journal", "list", "--by-age")).worked()
    assert out == f"{header}{rows}\n"
    total, site = of_json(
        (await shell.run_beside("journal", "list", "--by-age", "site", "--json")).worked()
    )
    assert (total["site"], site["site"], site["total"]) == ("TOTAL", "primary", 5)
    assert site["by_age"] == total["by_age"]
    sentence = (await shell.run_beside("journal", "list", "--by-age", "--state", "held")).failed(2)
    assert sentence.startswith("Give --by-age or --state, not both.")


async def test_posts_are_listed_and_traced_by_their_state(shell: Operator) -> None:
    await queue(shell, timedelta(minutes=2))
    sent = {"tries": 2, "last_sent": NOW, "detail": "Looking\ncannot tell"}
    await queue(shell, timedelta(hours=1), becomes=is_now(State.HELD, "cannot_tell", **sent))
    there = {"remote_id": "99", "remote_url": "https://social.example/99"}
    await queue(shell, timedelta(hours=1), becomes=is_now(State.INSERTED, "", **there))
    out = (await shell.run_beside("journal", "list", "--state", "held")).worked()
    assert out.splitlines() == [
        "id\tsince\tauthor\twhat\tstate\ttries\twhy\ttext",
        f"#2\t{NOW - timedelta(hours=1):%Y-%m-%d %H:%M:%SZ}\talice@example.test\tinsert\theld\t2\t"
        "cannot_tell (Looking\\ncannot tell)\t1:00:00 ago",
    ]
    both = of_json(
        (
            await shell.run_beside(
                "journal", "list", "--state", "held", "--state", "inserted", "--json"
            )
        ).worked()
    )
    assert [(each["id"], each["state"]) for each in both] == [("2", "held"), ("3", "inserted")]
    lines = (await shell.run_beside("journal", "trace", "2")).worked().splitlines()
    assert lines[-1] == (
        "primary   insert: held, cannot_tell (Looking\\ncannot tell); sent 2 times, last "
        f"{NOW:%Y-%m-%d %H:%M:%SZ}; next {NOW + timedelta(days=1):%Y-%m-%d %H:%M:%SZ}"
    )
    lines = (await shell.run_beside("journal", "trace", "3")).worked().splitlines()
    assert lines[-1] == "primary   insert: inserted; there 99, https://social.example/99"
    (traced,) = of_json((await shell.run_beside("journal", "trace", "3", "--json")).worked())
    (row,) = traced["insertions"]
    assert (row["state"], row["remote_id"]) == ("inserted", "99")


# ---- journal retry, hold, drop ----


async def in_all_states(shell: Operator) -> None:
    """1 waits, 2 is held, 3 parked, 4 refused, 5 inserted."""
    await queue(shell, timedelta(hours=1))
    await queue(shell, timedelta(hours=1), becomes=is_now(State.HELD, "cannot_tell"))
    await queue(shell, timedelta(hours=1), becomes=is_now(State.PARKED, "too_old"))
    await queue(shell, timedelta(hours=1), becomes=is_now(State.REFUSED, "http_422"))
    await queue(shell, timedelta(hours=1), becomes=is_now(State.INSERTED, ""))


async def test_what_is_sent_again(shell: Operator) -> None:
    for which, posts in (
        (["--held"], [2]),
        (["--parked"], [3]),
        (["--held", "--parked"], [2, 3]),
        (["--all"], [2, 3, 4]),
        (["4"], [4]),
    ):
        shell.database.unlink(missing_ok=True)
        for more in (".number", "-wal", "-shm"):
            shell.database.with_name(f"relay.db{more}").unlink(missing_ok=True)
        await in_all_states(shell)
        out = (await shell.run_beside("journal", "retry", *which)).worked()
        count = "1 post" if len(posts) == 1 else f"{len(posts)} posts"
        assert out == f"{count} will be sent to the primary again.\n"
        assert [number for number, _, reason in states(shell) if reason == "resent"] == posts
        assert states(shell)[0] == (1, "queued", "")
        (entry,) = audit(shell)
        assert entry[0] == "journal retry"
        assert entry[1].startswith("#4" if which == ["4"] else f"{len(posts)} posts (")


async def test_the_running_relay_does_it_itself_and_goes_on(shell: Operator) -> None:
    await in_all_states(shell)
    async with running(shell) as wire:
        site = wire.service.inserting.places[""].site
        assert site.total == 2
        (await shell.run_beside("journal", "drop", "1")).worked()
        assert site.total == 1
        out = (await shell.run_beside("journal", "retry", "--all")).worked()
        assert out == "3 posts will be sent to the primary again.\n"
        assert site.total == 3
        (await shell.run_beside("journal", "hold", "#2")).worked()
        assert site.total == 2
        wire.service.inserting.start()
        async with asyncio.timeout(20):
            while site.total:  # noqa: ASYNC110 - looked at in each turn of the loop
                await asyncio.sleep(0)
    assert [state for _, state, _ in states(shell)] == [
        "cancelled", "parked", "inserted", "inserted", "inserted",
    ]  # fmt: skip
    assert [action for action, _ in audit(shell)] == [
        "journal drop",
        "journal retry",
        "journal hold",
    ]


async def test_what_is_held_back_waits_for_the_operator(shell: Operator) -> None:
    await in_all_states(shell)
    out = (await shell.run_beside("journal", "hold", "1")).worked()
    assert out == "The post is held back until `xmpprelay journal retry 1`.\n"
    assert states(shell)[0] == (1, "parked", "operator")
    (await shell.run_beside("journal", "retry", "1")).worked()
    assert states(shell)[0] == (1, "queued", "resent")


async def test_what_has_waited_for_long_is_dropped(shell: Operator) -> None:
    await queue(shell, timedelta(days=31), timedelta(days=29))
    await queue(shell, timedelta(days=31), becomes=is_now(State.PARKED, "too_old"))
    await queue(
        shell, timedelta(days=31), becomes=lambda row: replace(row, unclear=True, reason="timeout")
    )
    out = (await shell.run_beside("journal", "drop", "--older", "30d")).worked()
    assert out == "2 posts will not be inserted.\n"
    assert [state for _, state, _ in states(shell)] == [
        "cancelled", "queued", "cancelled", "queued",
    ], "what may be there has to be looked for"  # fmt: skip
    assert audit(shell) == [("journal drop", "2 posts (held, parked, queued)")]


async def test_what_cannot_be_done_is_told(shell: Operator) -> None:
    await in_all_states(shell)
    before = states(shell)
    for command, code, sentence in (
        (["retry", "1"], 1, "#1 waits for its turn, or was dropped: `xmpprelay journal trace 1`"),
        (["hold", "2"], 1, "#2 does not wait"),
        (["drop", "5"], 1, "#5 is inserted already"),
        (["retry", "k3f"], 1, "#k3f is not for the primary, or there is no such post"),
        (["retry", "u u"], 1, 'There is no post "u u"'),
        (["retry"], 2, "Give an ID, or --held, --parked or --all."),
        (["retry", "1", "--held"], 2, "Give an ID, or --held"),
        (["drop"], 2, "Give an ID, or --older SPAN."),
        (["drop", "--older", "soon"], 2, '"soon" is no span of time'),
        (["drop", "--older", "-1d"], 2, '"-1d" is no span of time'),
    ):
        assert (await shell.run_beside("journal", *command)).failed(code).startswith(sentence)
    assert states(shell) == before
    assert audit(shell) == []


async def test_what_is_on_its_way_stays(shell: Operator) -> None:
    await queue(shell, timedelta(0), becomes=lambda row: replace(row, state=State.SENDING))
    for verb in ("retry", "hold", "drop"):
        sentence = (await shell.run_beside("journal", verb, "1")).failed()
        assert sentence.startswith("#1 is on its way, or it is being looked for")


async def test_much_to_do_shows_how_far_it_is_on_a_terminal(shell: Operator) -> None:
    await in_all_states(shell)
    shown = await asyncio.to_thread(on_a_terminal, shell, "journal", "retry", "--all")
    assert "Sending again" in shown
    assert shown.endswith("3 posts will be sent to the primary again.\r\n")
