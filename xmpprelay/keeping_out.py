"""Keeping out: blocks, the operator's blocks, mutes, and what is learned from refusals (S6, S7).

Whether a block holds is asked of the graph, by the audience function and by whoever answers
questions (`Graph.hides`); here blocks are made and ended. Each is written first and counts from the
commit on, in commit order; what it ends, ends in its own transaction.

Nothing is said over XMPP to whoever is kept out (S6.1). A follower who is cut off keeps the entry
on his contact list until his server probes for the author the next time: then it gets the answer of
an author who does not exist, and the entry ends without anybody having been told when or why.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime, timedelta
from typing import Final, TypeVar

from xmpprelay.choices import Choices
from xmpprelay.config.addresses import bare_jid, domain_name
from xmpprelay.core.blocks import OPERATOR, covers
from xmpprelay.core.graph import Graph
from xmpprelay.core.model import Follow, Mode, Person
from xmpprelay.core.wishes import Mute
from xmpprelay.errors import BadCommand, Refused, StoreError, TryLater, UnknownHandle
from xmpprelay.log import get_logger
from xmpprelay.people import People
from xmpprelay.store.database import Database
from xmpprelay.store.keeping_out import (
    GONE,
    MUTES_KEPT,
    AuditRow,
    Blocked,
    BlockRow,
    Muted,
    MuteRow,
    add_audit,
    add_block,
    add_mute,
    end_block,
    end_follows_of,
    end_mute,
    forget_old,
)
from xmpprelay.store.operations import SettingRow, set_setting
from xmpprelay.store.writer import Operation

Row = TypeVar("Row")
Result = TypeVar("Result")

log = get_logger("keeping_out")

REFUSED_FOR: Final = timedelta(days=1)
"""So long nothing is sent to who refuses it; then it is tried again (S6.6)."""

GONE_ERRORS: Final = 3
GONE_AFTER: Final = timedelta(days=7)
"""An account is gone when its server says so on so many days, that long from first to last."""

GONE_PAUSE: Final = timedelta(days=30)
"""After that long without such an error, it is counted anew."""

TIDY_EVERY: Final = timedelta(hours=1)

_LATER: Final = "The relay cannot store this at the moment; nothing was changed. Try later."


class KeepingOut:
    """The blocks and mutes of one relay. `domain` is the relay's own."""

    def __init__(
        self,
        db: Database,
        graph: Graph,
        people: People,
        choices: Choices,
        *,
        domain: str,
        now: Callable[[], datetime],
    ) -> None:
        self._db = db
        self._graph = graph
        self._people = people
        self._choices = choices
        self._domain = domain
        self._now = now
        self._refused_at: dict[tuple[int, int], datetime] = {}  # (person, author)
        self._gone: dict[int, list[date]] = {}  # person -> days on which he was not there
        self._gone_stored: set[int] = set()  # of whom something of that is in the database
        self._gone_unstored: set[int] = set()  # of whom something is not there yet
        self._tidied = now()
        self.hidden: Callable[[], None] = lambda: None  # other people are hidden from everybody

    def load(
        self,
        blocks: Iterable[tuple[int, str]],
        mutes: Mapping[int, tuple[Mute, ...]],
        settings: Iterable[tuple[int, str, str]],
    ) -> None:
        """Take up what is stored: (owner, target), mutes by person, (person, name, value)."""
        for owner, target in blocks:
            self._graph.block(owner, target)
        for who, theirs in mutes.items():
            self._choices.change(who, mutes=theirs)
        for person, name, value in settings:
            if name == GONE:
                self._gone[person] = [date.fromisoformat(day) for day in value.split()]
                self._gone_stored.add(person)

    # Blocks of people

    async def block(self, jid: str, typed: str) -> tuple[str, bool]:
        """Keep somebody, or a domain, out in both directions; the target, and whether it is new.

        Raises BadCommand or UnknownHandle (no target), Refused (himself, or the relay), TooMany,
        TryLater. When it returns nothing passes any more.
        """
        target = self._target(typed)
        if covers(target, jid):
            raise Refused(f"{target} is you, or you are in it: name somebody else.")
        spare_relay(target, self._domain)
        owner = await self._people.known(jid)
        blocked = await self._write(add_block, BlockRow(owner.id, target), self._blocked)
        for follow in blocked.ended:
            if follow.follower == owner.id:  # his own doing: his contact list may say so at once
                self._people.follow_ended(owner, self._graph.person(follow.author))
        return target, blocked.new

    def _blocked(self, blocked: Blocked) -> None:
        self._graph.block(blocked.owner, blocked.target)
        self._shown_otherwise(blocked.owner)
        for follow in blocked.ended:
            self._graph.end_follow(follow.follower, follow.author)

    async def unblock(self, jid: str, typed: str) -> tuple[str, bool]:
        """End a block; the target, and whether there was one. It brings nothing back (S6.4)."""
        target = self._target(typed)
        owner = await self._people.known(jid)
        return target, await self._unblock(BlockRow(owner.id, target))

    async def _unblock(self, row: BlockRow) -> bool:
        def ended(there: bool) -> None:
            if there:
                self._graph.unblock(row.owner, row.target)
                self._shown_otherwise(row.owner)

        return await self._write(end_block, row, ended)

    def _shown_otherwise(self, owner: int) -> None:
        if owner == OPERATOR:
            self.hidden()

    def blocks(self, owner: int) -> list[str]:
        """What a person, or the operator, blocks, in the order in which he did."""
        return list(self._graph.blocks.of(owner))

    # The operator's blocks

    async def operator_block(self, typed: str, by: str) -> tuple[str, bool]:
        """Let nothing pass to or from a target; the target, and whether it is new (S6.4).

        `by` is who did it, for the audit. Follows are kept: nothing passes while it holds, and who
        follows whom is for the two people to end (S5.7). Raises as `block` does.
        """
        target = self._target(typed)
        spare_relay(target, self._domain)
        row = BlockRow(OPERATOR, target, by)
        blocked = await self._write(add_block, row, self._blocked)
        return target, blocked.new

    async def operator_unblock(self, typed: str, by: str) -> tuple[str, bool]:
        """End an operator's block; the target, and whether there was one."""
        target = self._target(typed)
        return target, await self._unblock(BlockRow(OPERATOR, target, by))

    def admit(self, jid: str) -> None:
        """Somebody writes or asks for something. Raises Refused if the operator has blocked him."""
        if self._graph.barred(jid):
            raise Refused("The operator of this relay has blocked you, so nothing was done.")
        self.is_there(jid)

    def _target(self, typed: str) -> str:
        return read_target(typed, self._domain, self._jid_of)

    def _jid_of(self, handle: str) -> str | None:
        person = self._graph.by_handle(handle)
        return None if person is None else person.jid

    # Mutes

    async def mute(self, jid: str, row: Callable[[int], MuteRow]) -> bool:
        """Do not show something to a person from now on; whether it was so before (S7).

        `row` makes the mute for his id. Muting again begins anew, with the new span and scope.
        Raises TooMany, TryLater.
        """
        person = await self._people.known(jid)
        return (await self._write(add_mute, row(person.id), self._muted)).before

    async def unmute(self, jid: str, row: Callable[[int], MuteRow]) -> bool:
        """Show it again; whether it was muted. What was posted in between does not come."""
        person = await self._people.known(jid)
        return (await self._write(end_mute, row(person.id), self._muted)).before

    def _muted(self, muted: Muted) -> None:
        self._choices.change(muted.person, mutes=muted.mutes)

    def mutes(self, person: int) -> list[Mute]:
        """What a person mutes now."""
        now = self._now()
        return [mute for mute in self._graph.wishes(person).mutes if mute.span.covers(now)]

    # What is learned from refusals (S6.6)

    def refused(self, person: int, author: int) -> None:
        """All devices of a person have sent back what came from an author's address.

        Kept in memory only: after a restart one more post is refused, and it is known again.
        """
        follow = self._graph.follow(person, author)
        if follow is not None and follow.mode is not Mode.HOME:  # else it came from home@relay
            self._refused_at[person, author] = self._now()
            self._graph.refuse(person, author)
            log.info("author.refused", person=person, author=author)

    def asks_again(self, jid: str, author: Person) -> None:
        """A person's server asks for an author's presence: what it refused, it takes again."""
        person = self._graph.by_jid(jid)
        if person is not None and self._refused_at.pop((person.id, author.id), None) is not None:
            self._graph.accept_again(person.id, author.id)

    # Accounts that are gone (S5.7)

    def no_such_account(self, person: int) -> None:
        """A person's server says that he has no account. Said long enough, his follows end.

        Days are stored once a minute: a client that says this of itself and comes back, time and
        again, must not fill the writer's queue. A day that a crash takes is one error less.
        """
        today = self._now().date()
        days = self._gone.setdefault(person, [])
        if days and days[-1] == today:
            return
        if days and today - days[-1] > GONE_PAUSE:
            days.clear()
        days.append(today)
        if len(days) >= GONE_ERRORS and today - days[0] >= GONE_AFTER:
            del self._gone[person]
            self._gone_unstored.discard(person)
            self._gone_stored.discard(person)
            log.info("account.gone", person=person, days=len(days))
            self._submit(end_follows_of, person, self._ended)
        else:
            self._gone_unstored.add(person)

    def _ended(self, follows: tuple[Follow, ...]) -> None:
        for follow in follows:
            self._graph.end_follow(follow.follower, follow.author)

    def is_there(self, jid: str) -> None:
        """A sign of a person: there is such an account."""
        person = self._graph.by_jid(jid) if self._gone else None
        if person is None or self._gone.pop(person.id, None) is None:
            return
        self._gone_unstored.discard(person.id)
        if person.id in self._gone_stored:
            self._gone_stored.discard(person.id)
            self._submit(set_setting, SettingRow(person.id, GONE, None))

    def flush(self) -> None:
        """Hand the days that are not stored yet to the writer."""
        for person in self._gone_unstored:
            self._submit(
                set_setting, SettingRow(person, GONE, " ".join(map(str, self._gone[person])))
            )
        self._gone_stored |= self._gone_unstored
        self._gone_unstored.clear()

    # The audit

    async def note(self, who: str, action: str, subject: str) -> None:
        """Keep what an operator or an admin has done. Raises TryLater."""
        await self._write(add_audit, AuditRow(who, action, subject))

    # Time

    def tick(self) -> None:
        """A minute has passed: refusals of yesterday end, and old rows are deleted."""
        self.flush()
        now = self._now()
        for (person, author), at in list(self._refused_at.items()):
            if now - at >= REFUSED_FOR:
                del self._refused_at[person, author]
                self._graph.accept_again(person, author)
        if now - self._tidied >= TIDY_EVERY:
            self._tidied = now
            self._submit(forget_old, None, self._forgotten)

    def _forgotten(self, whose: frozenset[int]) -> None:
        before = self._now() - MUTES_KEPT
        for person in whose:
            kept = self._graph.wishes(person).mutes
            still = (m for m in kept if m.span.until is None or m.span.until > before)
            self._choices.change(person, mutes=tuple(still))

    # Rows

    async def _write(
        self,
        op: Operation[Row, Result],
        row: Row,
        committed: Callable[[Result], None] | None = None,
    ) -> Result:
        try:
            return await self._db.write(op, row, committed=committed)
        except StoreError as error:
            raise TryLater(_LATER) from error

    def _submit(
        self,
        op: Operation[Row, Result],
        row: Row,
        committed: Callable[[Result], None] | None = None,
    ) -> None:
        """Write what nobody waits for; if it cannot be stored, it is done another time."""
        try:
            stored = self._db.submit(op, row, committed=committed)
        except StoreError as error:
            log.warning("keeping_out.not_stored", why=error.sentence)
            return
        stored.add_done_callback(lambda done: done.cancelled() or done.exception())


def read_target(typed: str, own_domain: str, jid_of: Callable[[str], str | None]) -> str:
    """The bare JID, domain or `*.domain` that is meant: `@bob`, `bob@example.org`, `spam.org`.

    `jid_of` gives the JID of who has a handle; an address of the relay's own stands for the handle
    in it. A word without a dot is a handle. Raises BadCommand, or UnknownHandle.
    """
    text = typed.strip()
    stars = text.startswith("*.")
    local, at, host = text.removeprefix("*.").rpartition("@")
    handle = host.lower()
    try:
        if local and not stars:
            jid = bare_jid(text)
            if not jid.endswith(f"@{own_domain}"):
                return jid
            handle = local.lower()
        elif "." in host and not at:
            return f"*.{domain_name(host)}" if stars else domain_name(host)
    except ValueError as error:
        raise BadCommand(f"{text} {error}: name a person or a domain.") from None
    if stars or not handle:
        raise BadCommand("Name a person, such as @bob, or a domain, such as spam.org.")
    found = jid_of(handle)
    if found is None:
        raise UnknownHandle(f"Nobody here has the handle @{handle}; a JID or a domain will do.")
    return found


def spare_relay(target: str, own_domain: str) -> None:
    """Refuse a target that is the relay itself (S6.4)."""
    if covers(target, f"-@{own_domain}"):
        raise Refused(f"{target} is this relay itself: name somebody, or another domain.")
