"""The one writer: everything that changes in the database comes through here, in order.

A post is accepted when it is on the disk, and a disk takes about as long to make one row safe as
five hundred. So the writer takes *all* that has arrived while the last commit ran, writes it in one
transaction, and then answers each waiter (group commit). A single post waits for nobody; a hundred
at once share one commit.

The order is first in, first out, and it is kept everywhere: rows are written in the order of
`submit`, post numbers are given in that order, and so are the callbacks called. Neighbours that
want the same operation are handed to it together, so that it can use one statement for all.

Rows that nobody looks at a clock for (`patient`: the notes of what is inserted into the primary)
have no transactions of their own while others come: they wait a moment for one to come along with.
Else each of these would be a sync that a post may have to wait for.

After the commit, and before the next transaction begins: the highest number is noted, then each
row's `committed` is called, then the waiters are woken. A waiter that has gone changes nothing.

What can go wrong belongs to somebody:

- **to a row** (a handle that is taken, a person who does not exist): that row's waiter alone gets
  the error. A transaction is first tried as a whole; if a row spoils it, it is rolled back and done
  again with a savepoint around each group, and around each row of a group that fails.
- **to the disk that is full**: the transaction is rolled back, the reserve file is given back, and
  the rows that do not make the database grow are tried again at once. Until there is room for the
  reserve again, growing operations are refused when they are submitted. No restart is needed.
- **to the disk or the file**: every waiter gets the error, `failed` is set, and nothing is written
  any more. Going on would mean answering for what may not be there.

The writer does not know what the operations do.
"""

import asyncio
import sqlite3
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from xmpprelay.errors import StoreError
from xmpprelay.log import get_logger
from xmpprelay.store.connection import WritingConnection
from xmpprelay.store.engine import Fault, fault_of, journal_full, row_error, store_error
from xmpprelay.store.files import HighWater, Reserve

log = get_logger("store")

BATCH: Final = 512  # rows a transaction: measured, more gains nothing and makes the first one wait

PATIENCE_S: Final = 0.01
"""So long patient rows wait for others: short beside a request to the primary."""

COMPANY_S: Final = 0.1
"""If there was none for so long, none is expected, and they do not wait."""

Row = TypeVar("Row")
Result = TypeVar("Result")


class Numbers:
    """Gives out post numbers inside a transaction; they go back if it is rolled back."""

    def __init__(self, following: int) -> None:
        """Begin at the number `following`."""
        self.next = following

    def take(self, count: int) -> int:
        """Take so many numbers in a row and give the first."""
        first = self.next
        self.next += count
        return first


@dataclass(slots=True)
class Transaction:
    """What an operation works with."""

    conn: Connection
    now: datetime  # aware, UTC: the same for all rows of the transaction
    numbers: Numbers


@dataclass(frozen=True, slots=True, eq=False)
class Operation(Generic[Row, Result]):
    """A named change of the database.

    Called with the rows that neighbours in the queue have submitted, at least one; gives their
    results in the same order. It may be called again for the same rows after a rollback. An error
    that it raises spoils all rows of the call; they are then tried one by one.
    """

    write: Callable[[Transaction, Sequence[Row]], Sequence[Result]]
    grows: bool  # True: refused while the disk is full
    patient: bool = False  # True: its rows may wait a moment for others

    def __call__(self, tx: Transaction, rows: Sequence[Row]) -> Sequence[Result]:
        """Do it inside the transaction, which the caller commits."""
        return self.write(tx, rows)

    @property
    def name(self) -> str:
        """The operation's name, for logs."""
        return self.write.__name__


def operation(
    *, grows: bool, patient: bool = False
) -> Callable[[Callable[[Transaction, Sequence[Row]], Sequence[Result]]], Operation[Row, Result]]:
    """Make an operation of a function; see `Operation`."""

    def made(
        write: Callable[[Transaction, Sequence[Row]], Sequence[Result]],
    ) -> Operation[Row, Result]:
        return Operation(write, grows, patient)

    return made


@dataclass(slots=True, eq=False)
class _Item:
    """One submitted row, and who wants to know."""

    op: Operation[Any, Any]
    row: Any
    committed: Callable[[Any], None] | None
    done: asyncio.Future[Any]
    result: Any = None
    error: Exception | None = None  # the row's own failure


class _Spoilt(Exception):
    """Rows have failed through their own fault: roll back what they did."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error


class Writer:
    """The queue and the task that empties it. Made by `Database.open`, on a connection of its own.

    `failed` is set when nothing can be written any more; `failure` then says why.
    """

    def __init__(
        self,
        conn: WritingConnection,
        path: Path,
        *,
        next_number: int,
        now: Callable[[], datetime],
        monotonic: Callable[[], float] = time.monotonic,
        retry_s: float = 1.0,
    ) -> None:
        """Take over the connection; `start` begins to work.

        `retry_s` is how often it is looked, while the disk is full, whether it still is.
        """
        self.next_number = next_number
        self.commits = 0
        self.full = False
        self.failed = asyncio.Event()
        self.failure: StoreError | None = None
        self.took: Callable[[float], None] = lambda _: None  # told the seconds of each transaction
        self._conn = conn
        self._path = path
        self._now = now
        self._monotonic = monotonic
        self._retry_s = retry_s
        self._retry_at = 0.0
        self._high_water = HighWater(path)
        self._noting = True  # False: the high-water mark could not be written the last time
        self._reserve = Reserve(path)
        self._queue: deque[_Item] = deque()
        self._wake = asyncio.Event()
        self._company = asyncio.Event()
        self._company_at = -COMPANY_S  # when a row came last that is not patient
        self._closing = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Set the reserve aside and begin to write."""
        self._note_room(self._reserve.make())
        self._task = asyncio.create_task(self._run(), name="store writer")

    def submit(
        self,
        op: Operation[Row, Result],
        row: Row,
        committed: Callable[[Result], None] | None,
    ) -> asyncio.Future[Result]:
        """Queue a row and give the future of its result; see `Database.submit`."""
        if self.failure is not None:
            raise _again(self.failure)
        if self._closing:
            raise StoreError(f"The database {self._path} is being closed: try again later.")
        if self.full and not self._room_again() and op.grows:
            raise journal_full(self._path)
        done: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._queue.append(_Item(op, row, committed, done))
        self._wake.set()
        if not op.patient:
            self._company_at = self._monotonic()
            self._company.set()
        return done

    @property
    def waiting(self) -> int:
        """How many rows wait for the next transaction."""
        return len(self._queue)

    async def close(self) -> None:
        """Write what is queued, then stop. The lock, `.number` and the connection stay."""
        self._closing = True
        self._wake.set()
        self._company.set()
        if self._task is not None:
            await asyncio.shield(self._task)  # who waits here may go; what is queued is written
        self._high_water.close()
        self._reserve.release()

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            # Waiters of the last commit get their turn first: what they submit now comes along.
            await asyncio.sleep(0)
            if self._queue and all(item.op.patient for item in self._queue):
                await self._wait_for_company()
            batch = [self._queue.popleft() for _ in range(min(BATCH, len(self._queue)))]
            if not batch:
                self._wake.clear()
                if self._closing:
                    return
                continue
            try:
                await self._write(batch)
            except Exception as error:  # noqa: BLE001 - the loop's top: waiters must not hang
                self.stop(error)
                _fail(batch, store_error(error, self._path))

    async def _wait_for_company(self) -> None:
        """Return when a row is there that is not patient, or none is to be expected."""
        if self._closing or self._monotonic() - self._company_at > COMPANY_S:
            return
        self._company.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_S):
                await self._company.wait()

    async def _write(self, batch: list[_Item]) -> None:
        """Write the rows, on a full disk only those that may be, and answer all of them."""
        while batch:
            began_s = self._monotonic()
            try:
                self.next_number = await self._conn.run(partial(self._transact, batch))
            except (DBAPIError, sqlite3.Error) as error:
                fault = fault_of(error)
                if fault is Fault.BROKEN:
                    raise
                failure = store_error(error, self._path)
                if fault is not Fault.FULL:
                    _fail(batch, failure)
                    return
                self._note_room(False)
                freed = self._reserve.release()
                _fail([item for item in batch if item.op.grows or not freed], failure)
                batch = [item for item in batch if not item.op.grows and freed]
            else:
                self.commits += 1
                self.took(self._monotonic() - began_s)
                self._answer(batch)
                return

    def _transact(self, batch: list[_Item], conn: Connection) -> int:
        """Write the rows in one transaction, in its thread, and give the next number."""
        try:
            return self._attempt(conn, batch, careful=False)
        except _Spoilt:
            return self._attempt(conn, batch, careful=True)

    def _attempt(self, conn: Connection, batch: list[_Item], *, careful: bool) -> int:
        for item in batch:
            item.error = None  # of an attempt that was rolled back
        tx = Transaction(conn, self._now(), Numbers(self.next_number))
        with conn.begin():
            for op, group in groupby(batch, key=lambda item: item.op):
                items = list(group)
                if not careful:
                    _perform(tx, op, items)
                    continue
                try:
                    _perform_in_savepoint(tx, op, items)
                except _Spoilt:
                    for item in items:
                        _perform_alone(tx, item)
        return tx.numbers.next

    def _answer(self, batch: list[_Item]) -> None:
        self._note_number()
        for item in batch:
            if item.error is None and item.committed is not None:
                try:
                    item.committed(item.result)
                except Exception:
                    log.exception("store.callback_failed", operation=item.op.name)
        for item in batch:
            if item.done.done():
                continue  # the waiter has gone
            if item.error is None:
                item.done.set_result(item.result)
            else:
                item.done.set_exception(item.error)

    def _note_number(self) -> None:
        try:
            self._high_water.write(self.next_number - 1)
        except (OSError, StoreError) as error:  # to be behind is allowed
            if self._noting:
                log.warning("store.number_not_noted", path=str(self._path), exc_info=error)
            self._noting = False
        else:
            self._noting = True

    def stop(self, error: Exception) -> None:
        """Give up: fail everybody who waits, and everybody who comes."""
        if self.failure is None:
            self.failure = store_error(error, self._path)
            log.error("store.failed", path=str(self._path), exc_info=error)
        _fail(self._queue, self.failure)
        self._queue.clear()
        self.failed.set()

    def _note_room(self, room: bool) -> None:
        if self.full == room:
            log.warning("store.room_again" if room else "store.full", path=str(self._path))
        self.full = not room
        self._retry_at = self._monotonic() + self._retry_s

    def _room_again(self) -> bool:
        """Try whether the disk is still full, unless that was tried a moment ago."""
        if self._monotonic() >= self._retry_at:
            self._note_room(self._reserve.make())
        return not self.full


def _perform(tx: Transaction, op: Operation[Any, Any], items: Sequence[_Item]) -> None:
    """Call the operation and note the results; raises _Spoilt for what is a row's own failure."""
    try:
        results = op(tx, [item.row for item in items])
        for item, result in zip(items, results, strict=True):
            item.result = result
    except Exception as error:
        if fault_of(error) is not Fault.ROW:
            raise
        raise _Spoilt(error) from error


def _perform_in_savepoint(tx: Transaction, op: Operation[Any, Any], items: Sequence[_Item]) -> None:
    """Call the operation so that _Spoilt leaves the transaction as it was."""
    following = tx.numbers.next
    savepoint = tx.conn.begin_nested()
    try:
        _perform(tx, op, items)
    except _Spoilt:
        savepoint.rollback()
        tx.numbers.next = following
        raise
    savepoint.commit()


def _perform_alone(tx: Transaction, item: _Item) -> None:
    try:
        _perform_in_savepoint(tx, item.op, [item])
    except _Spoilt as spoilt:
        item.error = row_error(spoilt.error)


def _fail(items: Iterable[_Item], failure: StoreError) -> None:
    for item in items:
        if not item.done.done():
            item.done.set_exception(_again(failure))


def _again(failure: StoreError) -> StoreError:
    """Give each waiter an error of his own: raising one object in many tasks mixes their traces."""
    return type(failure)(failure.sentence)
