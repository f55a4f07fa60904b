"""The relay's side: a database that a kill leaves as it is, and the trickle on it.

The operations are the store's own, on a database in memory; a commit is whole or not there at all.
What is in the process, the engine above all, is gone with a kill.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, StaticPool, create_engine, insert, select

from xmpprelay.core.insertion import Insertion, Rules
from xmpprelay.core.model import Appended, Post
from xmpprelay.core.primary import Account, Status
from xmpprelay.core.site import Site
from xmpprelay.core.status import Naming
from xmpprelay.primary.base import Primary
from xmpprelay.store.insertion import insertion_of
from xmpprelay.store.posts import ChangeRow, PostRow, append_post, change_post
from xmpprelay.store.schema import insertion, metadata, person
from xmpprelay.store.writer import Numbers, Operation, Transaction
from xmpprelay.trickle.engine import Engine, Place
from xmpprelay.trickle.standby import Standby

T = TypeVar("T")

START: Final = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Killed(BaseException):
    """The relay has died at this moment; nothing of it goes on."""


class Disk:
    """The database. `moment` is called with "before" and "after" each commit."""

    def __init__(self, now: Callable[[], datetime], people: int) -> None:
        self._now = now
        self.people = people
        self._numbers = Numbers(1)
        engine = create_engine("sqlite://", poolclass=StaticPool)
        metadata.create_all(engine)
        self.conn = engine.connect()
        with self.conn.begin():
            self.conn.execute(
                insert(person),
                [
                    {"id": each, "jid": f"p{each}@example.test", "created": START}
                    for each in range(1, people + 1)
                ],
            )
        self.moment: Callable[[str], None] = lambda _: None
        self.commits = 0

    async def write(self, op: Operation[Any, Any], row: Any) -> Any:
        self.moment("before")
        before = self._numbers.next
        try:
            with self.conn.begin():
                [done] = op(Transaction(self.conn, self._now(), self._numbers), [row])
        except BaseException:
            self._numbers.next = before
            raise
        self.commits += 1
        self.moment("after")
        return done

    async def read(self, fn: Callable[[Connection], T]) -> T:
        self.moment("reads")
        with self.conn.begin():
            return fn(self.conn)

    async def write_all(self, op: Operation[Any, Any], rows: Sequence[Any]) -> list[Any]:
        """Write many rows in one transaction, as the writer does when many have come."""
        with self.conn.begin():
            return list(op(Transaction(self.conn, self._now(), self._numbers), rows))

    def any_open(self, accounts_upto: int = 1 << 30) -> bool:
        """Whether anything is still to come."""
        with self.conn.begin():
            asked = select(insertion.c.id).where(
                insertion.c.due.is_not(None), insertion.c.account <= accounts_upto
            )
            return self.conn.scalar(asked.limit(1)) is not None

    def rows(self) -> list[Insertion]:
        """The whole queue, what is done included."""
        with self.conn.begin():
            return [
                insertion_of(row)
                for row in self.conn.execute(select(*_COLUMNS).order_by(insertion.c.id))
            ]


_COLUMNS: Final = tuple(insertion.c[name] for name in (
    "id", "account", "post", "act", "created", "state", "part", "due", "key", "tries", "alike",
    "unclear", "refused", "first_sent", "last_sent", "high_water", "remote_id", "remote_url",
    "visibility", "status", "media", "reason", "detail", "service", "service_account",
))  # fmt: skip


class People:
    """Authors who have linked an account each."""

    def __init__(self, accounts: dict[int, Account]) -> None:
        self.accounts = accounts
        self.refused_accounts: list[int] = []

    def there(self, account: int) -> bool:
        return account in self.accounts

    def of(self, account: int) -> Account | None:
        return self.accounts.get(account)

    def site_of(self, account: int) -> str:
        found = self.accounts.get(account)
        return "" if found is None else found.site

    def draft(self, post: Post) -> Status:
        name = f"{post.number}.epoch1"
        return Status(name, f"xmpp:{name}", f"p{post.author}@example.test", "", "", post.created)

    def naming(self, post: Post) -> Naming:
        del post
        return Naming(lambda _name, _domain: None)

    def link(self, post: Post) -> str:
        return f"https://relay.test/{post.number}"

    async def refused(self, account: Account) -> None:
        self.refused_accounts.append(account.id)


class Relay:
    """One process of the relay: `runs` until it is killed."""

    def __init__(
        self, disk: Disk, primary: Primary, people: People, rules: Rules, rng: Random, site: str,
        ceiling: float | None = None,
    ) -> None:  # fmt: skip
        loop = asyncio.get_running_loop()
        self.disk = disk
        self.place = Place(Site(site, ceiling, rng.random, loop.time()), primary)
        places = {site: self.place}
        self._keys = (f"key-{rng.getrandbits(64):x}" for _ in iter(int, 1))
        self.engine = Engine(
            disk, places, people, rules,
            now=now, monotonic=loop.time, new_key=lambda: next(self._keys),
        )  # fmt: skip
        self.standby = Standby(disk, places, now=now, monotonic=loop.time)
        self.engine.probe, self.engine.changed = self.standby.probe, self.standby.changed
        self._running: asyncio.Task[None] | None = None

    async def starts(self) -> None:
        await self.standby.load()
        await self.engine.load()
        self._running = asyncio.create_task(self.engine.run(self.place))

    async def dies(self) -> None:
        """A kill: what runs is not there any more."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
        await self.engine.close(within_s=0.0)

    async def posts(self, row: PostRow) -> Post:
        appended: Appended = await self.disk.write(append_post, row)
        self.engine.queued(appended.queued)
        return appended.post

    async def changes(self, row: ChangeRow) -> None:
        appended: Appended = await self.disk.write(change_post, row)
        self.engine.queued(appended.queued)


def now() -> datetime:
    """The wall clock, of the relay and of the primary."""
    return START + timedelta(seconds=asyncio.get_running_loop().time())
