"""`journal export` and `journal import`: posts go from one relay to another, run or not."""

import asyncio
import json
import os
import sqlite3
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest

from tests.integration.operators import Operator, on_a_terminal, operator
from tests.integration.wire import HOME, RELAY, Wire, wired
from tests.integration.world import Clock
from xmpprelay import log
from xmpprelay.config import Primary

__all__ = ["operator"]

ALICE, BOB, CAROL = "alice@example.test", "bob@example.test", "carol@example.test"


@pytest.fixture
def shell(operator: Operator) -> Operator:
    """An operator with two relays: the one that is configured, and `other.toml`."""
    folder = operator.folder
    (folder / "other").mkdir()
    primary = f'[primary]\ndriver = "sql"\nurl = "sqlite:///{folder}/primary.db"\n'
    operator.config.write_text(f'[store]\nurl = "{operator.url}"\n[xmpp]\ndomain = "{RELAY}"\n')
    operator.file(
        "other.toml",
        f'[store]\nurl = "sqlite:///{folder}/other/relay.db"\n'
        f'[xmpp]\ndomain = "other.test"\n{primary}',
    )
    return operator


@asynccontextmanager
async def running(folder: Path, **tables: Any) -> AsyncIterator[Wire]:
    log.configure("error")  # what it logs would be among what the command line prints
    async with wired(folder, Clock(), **tables) as wire:
        await wire.service.control.start()
        yield wire


async def says(wire: Wire, who: str, *texts: str) -> str:
    for text in texts:
        wire.says(who, text)
        await wire.quiet()
    return "\n".join(each.body for each in wire.taken() if each.to == who and each.body)


async def have_talked(shell: Operator) -> None:
    """Alice and bob, who is protected, have talked to each other."""
    async with running(shell.folder) as wire:
        await says(wire, ALICE, "join alice", "Tea? ☕\nAt five")
        await says(wire, BOB, "join bob", "protect on", "follow alice", "re #1 Yes, please")
        await says(wire, ALICE, "follow bob")
        await says(wire, BOB, "approve alice", "d alice psst")
        await says(wire, ALICE, "re #2 Fine", "a slip", "del #5", "~ in the relay only")


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


async def exported(shell: Operator, name: str = "posts.ndjson", *more: str) -> Path:
    path = shell.folder / name
    ended = await shell.run_beside("journal", "export", path, *more)
    assert (ended.code, ended.out) == (0, ""), ended
    return path


def told(posts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What must be the same in every relay."""
    same = ("atom_id", "author", "text", "lang", "created", "in_reply_to", "to", "mentions")
    return [{name: post[name] for name in (*same, "protected", "deleted")} for post in posts]


# ---- export ----


async def test_posts_are_written_one_a_line(shell: Operator) -> None:
    await have_talked(shell)
    path = await exported(shell)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    header, *posts = lines(path)
    assert header["format"] == "xmpprelay posts"
    assert (header["version"], header["domain"], header["count"]) == (1, RELAY, len(posts))
    assert [(each["handle"], each["text"], each["deleted"]) for each in posts] == [
        ("alice", "Tea? ☕\nAt five", False),
        ("bob", "@alice Yes, please", False),
        ("alice", "@bob Fine", False),
        ("alice", "", True),
        ("alice", "in the relay only", False),
    ]
    first, second, third, *_ = posts
    assert first["atom_id"] == f"xmpp:{RELAY}?;node=1.{header['epoch']}"
    assert [each["in_reply_to"] for each in (first, second, third)] == [
        None, first["atom_id"], second["atom_id"],
    ]  # fmt: skip
    assert [each["protected"] for each in posts] == [False, True, False, False, False]
    assert "psst" not in path.read_text()
    letter = lines(await exported(shell, "letters.ndjson", "--with-letters"))[3]
    assert (letter["kind"], letter["text"], letter["to"]) == ("direct", "psst", [ALICE])


async def test_a_file_may_be_of_one_author_or_since_a_time(shell: Operator) -> None:
    await have_talked(shell)
    for who in ("bob", "@bob", BOB):
        out = (await shell.run_beside("journal", "export", "-", "--author", who)).worked()
        header, *posts = map(json.loads, out.splitlines())
        assert (header["count"], [each["author"] for each in posts]) == (1, [BOB])
    for since, count in (("1h", 5), ("2020-01-01", 5), ("2999-01-01T00:00:00Z", 0)):
        out = (await shell.run_beside("journal", "export", "-", "--since", since)).worked()
        assert len(out.splitlines()) == 1 + count
    for more, code, sentence in (
        (["--author", "zoe"], 1, "zoe is not known: `xmpprelay people list` shows who is."),
        (["--since", "lately"], 2, '"lately" is no time: give a date such as 2026-01-31'),
    ):
        ended = await shell.run_beside("journal", "export", "-", *more)
        assert ended.failed(code).startswith(sentence)
    path = await exported(shell)
    sentence = (await shell.run_beside("journal", "export", path)).failed()
    assert sentence == f"{path} is there already: name another file."


# ---- import ----


async def test_posts_go_from_one_relay_to_another(shell: Operator) -> None:
    await have_talked(shell)
    before = lines(await exported(shell, "a.ndjson", "--with-letters"))[1:]
    other = ("--config", "other.toml")
    out = (
        await shell.run_beside("journal", "import", "a.ndjson", "--make-people", *other)
    ).worked()
    assert out == "6 posts imported.\n"
    after = lines(await exported(shell, "b.ndjson", "--with-letters", *other))[1:]
    assert told(after) == told(before)
    assert [each["handle"] for each in after] == [each["handle"] for each in before]
    sentence = (await shell.run_beside("journal", "import", "a.ndjson", *other)).failed()
    assert sentence.startswith("This file was imported on 20")
    sentence = (await shell.run_beside("journal", "import", "b.ndjson", *other)).worked()
    assert sentence == "0 posts imported, 6 were here already.\n"
    out = (await shell.run_beside("journal", "import", "b.ndjson")).worked()
    assert out == "0 posts imported, 6 were here already.\n", "they come from here"
    entries = (await shell.run_beside("audit", "--json", *other)).worked().splitlines()
    assert [json.loads(each)["subject"] for each in entries] == ["0 posts", "6 posts"]


async def test_a_running_relay_takes_posts_over_and_sends_them_to_nobody(shell: Operator) -> None:
    await have_talked(shell)
    path = await exported(shell)
    posts = lines(path)[1:]
    primary = Primary(driver="sql", url=f"sqlite:///{shell.folder}/primary.db")
    domain = f'[xmpp]\ndomain = "{RELAY}"'
    config = shell.folder / "other.toml"
    config.write_text(config.read_text().replace('[xmpp]\ndomain = "other.test"', domain))
    path.write_text(path.read_text().replace(f"xmpp:{RELAY}?", "xmpp:first.test?"))
    async with running(shell.folder / "other", primary=primary) as wire:
        await says(wire, CAROL, "follow @alice")
        await says(wire, ALICE, "join alice", "I am here now")
        await says(wire, CAROL, "follow alice")
        for xml in (
            f"<presence from='{CAROL}' to='{HOME}' type='subscribed'/>",
            f"<presence from='{CAROL}/x' to='{HOME}'/>",
        ):
            wire.feeds(xml)
        await wire.quiet()
        wire.taken()
        out = (
            await shell.run_beside(
                *("journal", "import", path, "--make-people", "--insert", "--config", config)
            )
        ).worked()
        assert out == "5 posts imported, 3 will be inserted into the primary.\n"
        await wire.quiet()
        assert wire.taken() == []
        site = wire.service.inserting.places[""].site
        wire.service.inserting.start()
        async with asyncio.timeout(30):
            while site.total:  # noqa: ASYNC110 - looked at in each turn of the loop
                await asyncio.sleep(0)
        answer = await says(wire, CAROL, "last alice")
        assert "Tea? ☕" in answer
        assert "At five" in answer
        assert "in the relay only" in answer
        assert "Tea" in await says(wire, CAROL, "show #2")
        assert not await says(wire, CAROL, "show #3"), "bob is protected here as well"
        wire.feeds(f"<presence from='{CAROL}/x' to='{HOME}' type='unavailable'/>")
        wire.feeds(f"<presence from='{CAROL}/x' to='{HOME}'/>")
        await wire.quiet()
        wire.says(ALICE, "and this is new")
        await wire.quiet()
        bodies = [each.body for each in wire.taken() if each.to.startswith(CAROL) and each.body]
        assert bodies == ["alice: and this is new  #7"], "nor do they come when she returns"
    with closing(sqlite3.connect(shell.folder / "primary.db")) as db:
        rows = db.execute("SELECT text FROM post").fetchall()
    assert {text for (text,) in rows} - {"and this is new"} == {
        "I am here now", posts[0]["text"],
    }, "bob's are not for everybody"  # fmt: skip


async def test_all_that_is_wrong_is_told_before_anything_is_done(shell: Operator) -> None:
    await have_talked(shell)
    path = await exported(shell)
    header, first, second, *rest = path.read_text().splitlines()
    wrong = shell.file(
        "wrong.ndjson",
        "\n".join([header, first, second.replace('"lang": null', '"lang": "?"'), "{}", *rest]),
    )
    ended = await shell.run_beside("journal", "import", wrong, "--config", "other.toml")
    assert (ended.code, ended.out) == (1, "")
    headline, *problems = ended.err.splitlines()
    assert headline.startswith("xmpprelay: Nothing was imported, since the file has ")
    numbers = [problem.split(":")[0].strip() for problem in problems]
    assert numbers == sorted(numbers)
    assert {"line 2", "line 3", "line 4", "line 7"} <= set(numbers)
    assert not (shell.folder / "other" / "relay.db").exists()


async def test_without_a_primary_nothing_can_be_inserted(shell: Operator) -> None:
    shell.file("x.ndjson", "")
    sentence = (await shell.run_beside("journal", "import", "x.ndjson", "--insert")).failed()
    assert sentence == "There is no primary service to insert into: leave out --insert."
    assert (
        "none.ndjson: No such file"
        in (await shell.run_beside("journal", "import", "none.ndjson")).failed()
    )


async def test_from_and_to_a_pipe_as_a_process(shell: Operator) -> None:
    await have_talked(shell)
    reading, writing = os.pipe()
    first = await asyncio.to_thread(shell.run_process, "journal", "export", "-", stdout=writing)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        second = await asyncio.to_thread(
            shell.run_process,
            *("journal", "import", "-", "--make-people", "--config", "other.toml"),
            stdin=pipe,
        )
    assert (first.code, first.err) == (0, "")
    assert second.worked() == "5 posts imported.\n"


async def test_much_to_do_shows_how_far_it_is_on_a_terminal(shell: Operator) -> None:
    await have_talked(shell)
    await exported(shell, "a.ndjson")
    shown = await asyncio.to_thread(
        on_a_terminal, shell, "journal", "import", "a.ndjson", "--make-people", "--config",
        "other.toml",
    )  # fmt: skip
    assert "Importing" in shown
    assert shown.endswith("5 posts imported.\r\n")
