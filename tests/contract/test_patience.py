"""Rows that may wait a moment for others: what is written in which transaction."""

import asyncio
from collections.abc import Sequence

from tests.contract.store_world import Clock, Opened
from xmpprelay.store.writer import COMPANY_S, Operation, Transaction


class Notes:
    """An operation that waits for others, and one that does not; both note their rows."""

    def __init__(self) -> None:
        self.written: list[str] = []
        self.patient = Operation(self._write, grows=False, patient=True)
        self.pressing = Operation(self._write, grows=False)

    def _write(self, _tx: Transaction, rows: Sequence[str]) -> list[str]:
        self.written += rows
        return list(rows)


async def _turns() -> None:
    """So many that what begins at once has begun."""
    for _ in range(9):
        await asyncio.sleep(0)


async def test_it_comes_along_with_the_next_row_in_order(opened: Opened) -> None:
    notes = Notes()
    async with opened() as db:
        await db.write(notes.pressing, "before")
        commits = db.commits
        waiting = [db.submit(notes.patient, "one"), db.submit(notes.patient, "two")]
        await _turns()
        assert notes.written == ["before"]
        waiting.append(db.submit(notes.pressing, "three"))
        await _turns()
        assert db.waiting == 0, "what does not wait ends the waiting"
        assert await asyncio.gather(*waiting) == ["one", "two", "three"]
        assert db.commits == commits + 1
    assert notes.written == ["before", "one", "two", "three"]


async def test_it_does_not_wait_long(opened: Opened) -> None:
    notes = Notes()
    async with opened() as db:
        await db.write(notes.pressing, "before")
        assert await db.write(notes.patient, "one") == "one"


async def test_where_nothing_came_lately_nothing_is_waited_for(
    opened: Opened, clock: Clock
) -> None:
    notes = Notes()
    async with opened() as db:
        await db.write(notes.pressing, "before")
        clock.pass_s(2 * COMPANY_S)
        commits = db.commits
        waiting = [db.submit(notes.patient, "one")]
        await _turns()
        waiting.append(db.submit(notes.pressing, "two"))
        await asyncio.gather(*waiting)
        assert db.commits == commits + 2


async def test_one_that_comes_behind_another_does_not_hold_it_up(opened: Opened) -> None:
    notes = Notes()
    async with opened() as db:
        commits = db.commits
        waiting = [db.submit(notes.pressing, "one"), db.submit(notes.patient, "two")]
        await _turns()
        assert db.waiting == 0
        await asyncio.gather(*waiting)
        assert db.commits == commits + 1


async def test_what_waits_is_written_when_the_database_is_closed(opened: Opened) -> None:
    notes = Notes()
    async with opened() as db:
        await db.write(notes.pressing, "before")
        waiting = db.submit(notes.patient, "one")
        await _turns()
        assert not waiting.done()
    assert waiting.done()
    assert notes.written == ["before", "one"]
