"""`xmpprelay status`, with a running relay and without one."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.integration.operators import SECRET, Operator, on_a_terminal, operator
from tests.integration.test_cli_primary import running, shell
from tests.integration.test_inserting import says
from tests.integration.wire import Wire
from xmpprelay.core.activity import MINUTE, Tally, floor
from xmpprelay.core.health import Flag
from xmpprelay.store.activity import count
from xmpprelay.store.database import Database
from xmpprelay.store.outages import EndRow, Outage, begin_outage, end_outage

__all__ = ["operator", "shell"]

ALICE = "alice@example.test"


def of_json(text: str) -> dict[str, Any]:
    [line] = text.splitlines()
    found: dict[str, Any] = json.loads(line)
    return found


async def remember(db: Database) -> None:
    """Two hours ago the primary was away for an hour; posts came, and went."""
    now = floor(datetime.now(UTC), 1)
    await db.write(begin_outage, Outage("", now - 120 * MINUTE, None, "timeout", 0))
    await db.write(end_outage, EndRow("", now - 60 * MINUTE, 17))
    for minute in range(180):
        backlog = 40 if 60 <= minute < 120 else 0
        row = Tally(now - minute * MINUTE, posts=2, deliveries=50, backlog=backlog)
        await db.write(count, row)


def rows(out: str) -> dict[str, str]:
    """The rows of the plot, by their names."""
    names = ("posts", "deliveries", "new people", "waiting", "standby", "UTC")
    lines = out.partition("The last 24 hours")[2].splitlines()
    return {name: line[12:] for name in names for line in lines if line.startswith(f"{name:<12}")}


async def test_a_running_relay_is_asked(shell: Operator) -> None:
    async with running(shell) as wire:
        await remember(wire.service.db)
        await primary_is_up(wire)
        await says(wire, ALICE, "join alice")
        await says(wire, ALICE, "one")
        out = (await shell.run_beside("status")).worked()
        lines = out.splitlines()
        assert lines[0] == "All is well: posts go out at once and are inserted into the primary."
        assert "server connected; journal writable; load normal" in out
        assert out.splitlines()[-1].endswith(
            ", for 1 h: the primary, it did not answer in time; 17 posts carried over"
        )
        found = of_json((await shell.run_beside("status", "--json")).worked())
        assert found["relay"]["runs"] is True
        assert found["summary"] == lines[0]
        assert sum(point["posts"] for point in found["activity"]) == 361
        assert "beginning" not in found
        await wire.service.inserting.standby.flag("", Flag.ON)
        assert "on standby" in (await shell.run_beside("status")).worked()
        assert of_json((await shell.run_beside("status", "--json")).worked())["planned"] is True


async def primary_is_up(wire: Wire) -> None:
    await wire.service.inserting.open()
    place = wire.service.inserting.places[""]
    await wire.service.inserting.engine.probe(place)
    await wire.service.inserting.standby.changed(place)


async def test_the_plot_marks_the_outage(shell: Operator) -> None:
    db = await Database.open(shell.url, now=lambda: datetime.now(UTC))
    await remember(db)
    await db.close()
    found = rows((await shell.run_beside("status")).worked())
    assert set(found) == {"posts", "deliveries", "new people", "waiting", "standby", "UTC"}
    assert 2 <= found["standby"].count("▒") <= 3
    begins = found["standby"].index("▒")
    assert 43 <= begins <= 46, "of 49 columns of half an hour"
    assert found["waiting"][begins + 1] == "█"
    assert found["posts"].startswith("??")
    assert "at most 60" in found["posts"], "two a minute, in half an hour"
    assert found["UTC"].split()[0].endswith(("00", "10", "20"))


async def test_without_a_relay_it_is_said_what_it_has_left(shell: Operator) -> None:
    db = await Database.open(shell.url, now=lambda: datetime.now(UTC))
    await remember(db)
    began = datetime.now(UTC) - timedelta(hours=5)
    await db.write(begin_outage, Outage("", began, None, "http_502", 0))
    await db.close()
    out = (await shell.run_beside("status")).worked()
    assert out.startswith("The relay does not run. This is what it has left.")
    assert "on standby since" in out
    assert "it said that it does not work (HTTP 502)" in out
    found = of_json((await shell.run_beside("status", "--json")).worked())
    assert found["relay"] == {"runs": False, "version": found["relay"]["version"]}
    assert found["primaries"][0]["state"] == "standby"
    assert found["activity"][-1]["watched"] <= 10


async def test_a_primary_of_which_nothing_is_known_is_not_said_to_be_away(shell: Operator) -> None:
    await (await Database.open(shell.url, now=lambda: datetime.now(UTC))).close()
    assert "the primary: not known" in (await shell.run_beside("status")).worked()
    shell.configure()
    out = (await shell.run_beside("status")).worked()
    assert "primary " not in out


def test_without_a_database_it_says_what_to_do(shell: Operator) -> None:
    sentence = shell.run("status").failed(1)
    assert str(shell.database) in sentence
    assert shell.run("status", "--json").failed(1) == sentence


async def test_on_a_terminal_it_fits_and_on_an_old_one_it_is_ascii(shell: Operator) -> None:
    db = await Database.open(shell.url, now=lambda: datetime.now(UTC))
    await remember(db)
    await db.close()
    shell.environ |= {"COLUMNS": "80", "PYTHONIOENCODING": "utf-8"}
    shown = await asyncio.to_thread(on_a_terminal, shell, "status")
    assert "\x1b[" in shown, "with colours"
    plain = (await asyncio.to_thread(shell.run_process, "status")).worked()
    assert "▒" in plain
    plot = plain.partition("The last 24 hours")[2].partition("outage")[0]
    assert all(len(line) <= 80 for line in plot.splitlines())
    shell.environ |= {"PYTHONIOENCODING": "ascii"}
    old = (await asyncio.to_thread(shell.run_process, "status")).worked()
    assert old.isascii()
    assert "\\u" not in old
    assert "xx" in rows(old)["standby"]


@pytest.mark.parametrize("arguments", [("status",), ("status", "--json")])
async def test_no_secret_and_nobodys_name_is_in_it(
    shell: Operator, arguments: tuple[str, ...]
) -> None:
    async with running(shell) as wire:
        await says(wire, ALICE, "join alice")
        await says(wire, ALICE, "a word that is nobody's business")
        out = (await shell.run_beside(*arguments)).worked()
    assert not any(word in out for word in ("alice", "business", SECRET, "primary.db"))
