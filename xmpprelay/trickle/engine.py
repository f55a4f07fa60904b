"""The turns: what is due of the next account, sent or looked for, and what became of it stored."""

import asyncio
import contextlib
import math
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final, Protocol, TypeVar

from sqlalchemy import Connection

from xmpprelay.core.insertion import (
    ALIKE,
    Act,
    End,
    Head,
    Insertion,
    LookNow,
    Rules,
    Send,
    State,
    Wait,
    Where,
    ended,
    looked,
    outdated,
    restarted,
    sent,
)
from xmpprelay.core.model import Queued
from xmpprelay.core.primary import (
    EVERYBODY,
    MENTIONS_OTHERS,
    Account,
    Attempt,
    Caps,
    File,
    Found,
    LookFailed,
    Outcome,
    Result,
    Scope,
)
from xmpprelay.core.site import Site
from xmpprelay.core.text import short_id
from xmpprelay.errors import StoreError
from xmpprelay.log import get_logger
from xmpprelay.primary.base import Primary
from xmpprelay.store.insertion import (
    ChooseRow,
    ClaimRow,
    SettleRow,
    choose,
    claim,
    claimed,
    load_waiting,
    oldest_open,
    restart,
    settle,
)
from xmpprelay.trickle.preparing import Decided, Preparing, Writing

log = get_logger("trickle")

T = TypeVar("T")

STORE_AGAIN_S: Final = 1.0
"""What became of a request is stored again after that, until the disk takes it."""

SHORTEST_REST_S: Final = 0.01
"""The two clocks, of rows and of spans, need not agree to the last bit."""

CLOSES_WITHIN_S: Final = 0.5
"""A stop waits so long for answers: what is cut off has to be looked for after the settle time."""

LONGEST_REST_S: Final = 60.0
"""Nothing is due for so long at most; then it is looked again, whatever the clocks say."""


class Store(Protocol):
    """What the trickle needs of a database; see `store/database.py`."""

    async def write(self, op: Any, row: Any) -> Any:
        """Write a row; what the operation gives, once it is safe."""

    async def read(self, fn: Callable[[Connection], T]) -> T:
        """Ask something."""


class Accounts(Writing, Protocol):
    """In whose name posts are inserted."""

    def there(self, account: int) -> bool:
        """Whether there is such an account, even if its credentials do not hold."""

    def of(self, account: int) -> Account | None:
        """What an account's requests need; None: its credentials do not hold."""

    def site_of(self, account: int) -> str:
        """At which primary it is."""

    async def refused(self, account: Account) -> None:
        """Its credentials do not hold."""


News = Callable[[Head, Insertion, Insertion], None]
"""Is told of a row: all that was known of it when its turn began, how it was, and how it is."""

Fetch = Callable[[str], Awaitable[File | None]]
"""Fetches an attachment; None: it is not to be had, or not to be trusted."""


@dataclass(slots=True)
class Place:
    """One primary: what speaks to it, and what is known of it."""

    site: Site
    driver: Primary
    account: Account | None = None  # whose credentials a probe tries, besides
    service: str = ""  # its name in the rows of what was sent there (primary/names.py)
    back: datetime | None = None  # when its last standby ended; None: there was none
    wake: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(slots=True)
class _Turn:
    """What one turn is about."""

    place: Place
    account: Account
    began_s: float
    head: Head | None = None  # the oldest open row and what decides about it; None: there is none
    row: Insertion | None = None  # the row as it is on the disk
    decided: Decided | None = None  # what is done about it; None: there was nothing to decide

    @property
    def here(self) -> Where:
        """Where something is sent in this turn."""
        return Where(self.place.service, self.account.remote_id)


class Engine:
    """Gives turns. `news` is told of every row whose state or reason has changed (`News`).

    `probe` is awaited when a primary that is away is to be probed, `changed` after anything that
    may have changed how it is; both are set by whoever does it.
    """

    def __init__(
        self,
        db: Store,
        places: Mapping[str, Place],
        accounts: Accounts,
        rules: Rules,
        *,
        now: Callable[[], datetime],
        monotonic: Callable[[], float],
        fetch: Fetch | None = None,
        new_key: Callable[[], str] = lambda: secrets.token_urlsafe(18),
    ) -> None:
        self._db = db
        self.places = places
        self._accounts = accounts
        self.rules = rules
        self._now = now
        self._monotonic = monotonic
        self._fetch = fetch
        self._preparing = Preparing(accounts, rules, new_key, uploads=fetch is not None)
        self._waits_for: dict[int, set[int]] = {}  # post -> accounts whose oldest row answers it
        self._waits_since: dict[int, datetime] = {}  # row -> since when it waits for that
        self._nowhere: Counter[int] = Counter()  # open rows of accounts at no primary of these
        self._barred: set[int] = set()  # accounts whose credentials do not hold
        self._busy: set[int] = set()
        self._anew: set[int] = set()  # accounts that were to be looked at anew while they were busy
        self._turns: set[asyncio.Task[None]] = set()
        self.failures = 0  # what was not foreseen
        self.news: News = lambda _head, _before, _row: None
        self.probe: Callable[[Place], Awaitable[None]] = _nobody
        self.changed: Callable[[Place], Awaitable[None]] = _nobody

    # What comes into the queue

    async def load(self) -> None:
        """Take up what is in the database; what was under way when the relay ended is unclear."""
        await self._db.write(restart, lambda row, now: restarted(row, self.rules, now))
        # A clock that was set back must not put anything off.
        latest = self._now() + max(self.rules.settle, self.rules.reply_wait)
        for each in await self._db.read(lambda conn: list(load_waiting(conn))):
            place = self._place_of(each.account)
            if not self._accounts.there(each.account):  # ended, and the relay with it
                await self._db.write(choose, ChooseRow(_unlinked, account=each.account))
            elif place is None:
                self._nowhere[each.account] = each.rows
            else:
                place.site.waiting[each.account] = each.rows
                place.site.turns.put(each.account, each.born, min(each.due, latest))

    def queued(self, rows: Sequence[Queued]) -> None:
        """Take up, after the commit of an entry, what it has changed in the queue."""
        for row in rows:
            self._counts(row.account, row.opened - row.closed)
            self.look_at(row.account, anew=row.closed > 0)
            if row.closed and row.post is not None:
                self._wakes(row.post)

    def chosen(self, changes: Sequence[tuple[Insertion, Insertion]]) -> None:
        """Take up what somebody has changed in the queue, each row as (before, after)."""
        for before, after in changes:
            self._counts(after.account, (after.due is not None) - (before.due is not None))
            if after.due is None:
                self._wakes(after.post)
        for account in {after.account for _, after in changes}:
            self.look_at(account, anew=True)

    def look_at(self, account: int, *, anew: bool = False) -> None:
        """Let an account have its turn; `anew`: whatever it waits for, and was refused for."""
        if anew:
            self._barred.discard(account)
        if account in self._busy:
            self._anew |= {account} if anew else set()
            return
        place = self._place_of(account)
        if place is None or account in self._barred:
            return
        if anew or account not in place.site.turns:
            now = self._now()
            self._put(place, account, now, now)

    @staticmethod
    def _put(place: Place, account: int, born: datetime, due: datetime) -> None:
        place.site.turns.put(account, born, due)
        place.wake.set()

    async def relinked(self, account: int) -> None:
        """An account was linked, linked elsewhere, or is not there any more. Raises StoreError.

        What waits of one that is gone is not inserted (S14).
        """
        rows = self._nowhere.pop(account, 0)
        for place in self.places.values():
            rows += place.site.waiting.pop(account, 0)
            place.site.turns.drop(account)
        if self._accounts.there(account):
            self._counts(account, rows)
            self.look_at(account, anew=True)
        elif rows:
            self.chosen(await self._db.write(choose, ChooseRow(_unlinked, account=account)))

    def look_at_barred(self) -> None:
        """Try those accounts again whose credentials did not hold."""
        for account in list(self._barred):
            self.look_at(account, anew=True)

    async def park_old(self) -> Sequence[Insertion]:
        """Park what is too old of those who get no turn, and give it. Raises StoreError.

        That is of accounts whose credentials do not hold, or which are at no primary of these.
        """
        parked: list[Insertion] = []
        for account in self._barred | set(self._nowhere):
            oldest = await self._db.read(partial(oldest_open, account=account))
            if oldest is None or self._now() - oldest.born <= self.rules.max_age:
                continue
            row = ChooseRow(partial(outdated, rules=self.rules), account=account)
            changes = await self._db.write(choose, row)
            self.chosen(changes)
            parked += [after for _, after in changes]
        return parked

    def _counts(self, account: int, more: int) -> None:
        place = self._place_of(account)
        waiting = self._nowhere if place is None else place.site.waiting
        waiting[account] += more
        if waiting[account] <= 0:
            del waiting[account]

    def _place_of(self, account: int) -> Place | None:
        return self.places.get(self._accounts.site_of(account))

    # The loop of one primary

    async def run(self, place: Place) -> None:
        """Give turns for ever; cancel it to end. What is under way goes on until `close`."""
        while True:
            place.wake.clear()
            try:
                rest_s = await self._give_turns(place)
            except StoreError as error:
                log.warning("trickle.store", site=place.site.name, error=error.sentence)
                rest_s = STORE_AGAIN_S
            except Exception:  # the top of the loop
                self.failures += 1
                log.exception("trickle.failed", site=place.site.name)
                rest_s = STORE_AGAIN_S
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(rest_s, LONGEST_REST_S)):
                    await place.wake.wait()

    async def _give_turns(self, place: Place) -> float:
        """Begin what may begin; the seconds until more may, if nothing happens before."""
        site = place.site
        while True:
            now_s = self._monotonic()
            probe_s = math.inf if site.health.probe_at is None else site.health.probe_at - now_s
            if probe_s <= 0:
                await self.probe(place)
                await self.changed(place)
                continue
            room_s = site.wait_s(now_s)
            if room_s > 0:
                return max(min(probe_s, room_s), SHORTEST_REST_S)
            account = site.turns.take(self._now())
            if account is None:
                rest_s = site.turns.wait_s(self._now())
                return min(probe_s, math.inf if rest_s is None else max(rest_s, SHORTEST_REST_S))
            if self._accounts.of(account) is None:
                self._barred.add(account)
                continue
            pace_s = site.account_wait_s(account, now_s)
            if pace_s > 0:
                self._put_off(site, account, pace_s)
            else:
                self._begin(place, account)

    def _put_off(self, site: Site, account: int, wait_s: float) -> None:
        now = self._now()
        site.turns.put(account, now, now + timedelta(seconds=max(wait_s, SHORTEST_REST_S)))

    def _begin(self, place: Place, account: int) -> None:
        place.site.begins(self._monotonic())
        self._busy.add(account)
        task = asyncio.create_task(self._turn(place, account))
        self._turns.add(task)
        task.add_done_callback(self._turns.discard)

    async def close(self, within_s: float = CLOSES_WITHIN_S) -> None:
        """End, with what is under way if it is quick; else the next start finds out.

        Nothing new may be begun any more.
        """
        if self._turns:
            await asyncio.wait(self._turns, timeout=within_s)
        for task in self._turns:
            task.cancel()
        await asyncio.gather(*self._turns, return_exceptions=True)

    # One turn

    async def _turn(self, place: Place, account: int) -> None:
        turn = _Turn(place, self._accounts.of(account) or Account(account), self._monotonic())
        try:
            claimed_row = ClaimRow(account, partial(self._decide, turn), turn.here)
            stored = await self._db.write(claim, claimed_row)
            turn.row = stored or turn.row
            await self._carry_out(turn)
        except StoreError as error:  # of the claim: nothing has changed
            log.warning("trickle.store", site=place.site.name, error=error.sentence)
            later = Wait(self._now() + timedelta(seconds=STORE_AGAIN_S), "store")
            turn.decided = Decided(later)
        except Exception:
            self.failures += 1
            log.exception("trickle.turn_failed", account=account)
            await self._failed(turn)
        finally:
            place.site.ends()
            self._busy.discard(account)
        await self._next(turn, account)
        place.wake.set()
        await self.changed(place)

    def _decide(self, turn: _Turn, head: Head) -> tuple[Insertion, Sequence[Insertion]] | None:
        """What becomes of the oldest row now; runs inside the transaction that stores it."""
        turn.head, turn.row = head, head.row
        now, caps = self._now(), turn.place.site.caps
        since = self._waits_since.get(head.row.id)
        if since is not None and turn.place.back is not None and since < turn.place.back:
            # What it answers could not come meanwhile.
            since = self._waits_since[head.row.id] = turn.place.back
        try:
            if caps is None:
                raise ValueError("nothing is sent before it is known what the primary can do")
            turn.decided = self._preparing.decide(replace(head, parent_since=since), caps, now)
        except Exception:  # a post that cannot be made a status would be tried for ever
            self.failures += 1
            log.exception("trickle.post_unfit", post=head.row.post)
            unfit = ended(head.row, State.PARKED, "crash", now)
            turn.decided = Decided(End(State.PARKED, "crash"), unfit)
        decided = turn.decided
        return None if decided.row is None else (decided.row, decided.further)

    async def _carry_out(self, turn: _Turn) -> None:
        head, row, decided = turn.head, turn.row, turn.decided
        if head is None or row is None or decided is None:
            return
        since = self._waits_since.pop(row.id, None)
        self._counts(row.account, len(decided.further) - decided.gone)
        match decided.step:
            case Wait(_, _, on) if on is not None:
                self._waits_since[row.id] = since or self._now()
                self._waits_for.setdefault(on, set()).add(row.account)
                self._note(turn, head.row, row)
            case End():
                self._note(turn, head.row, row)
            case LookNow():
                await self._look(turn, row)
            case Send() if decided.upload is not None:
                await self._upload(turn, row, decided.upload)
            case Send():
                await self._send(turn, head, row)

    async def _send(self, turn: _Turn, head: Head, row: Insertion) -> None:
        driver, key, began_s = turn.place.driver, row.key or "", self._monotonic()
        own = "" if head.own_row is None else head.own_row.remote_id or ""
        match row.act:
            case Act.INSERT if row.status is not None:
                result = await driver.insert(turn.account, row.status, key)
            case Act.EDIT if row.status is not None:
                result = await driver.edit(turn.account, own, row.status, key)
            case _:
                result = await driver.delete(turn.account, own)
        await self._answered(turn, row, result, began_s)

    async def _answered(self, turn: _Turn, row: Insertion, result: Result, began_s: float) -> None:
        site, now, now_s = turn.place.site, self._now(), self._monotonic()
        if result.outcome is Outcome.AUTH and row.account == EVERYBODY:
            result = replace(result, scope=Scope.DRIVER)  # the only account: nothing else goes on
        others_fine = site.fine_since(turn.began_s)
        site.answered(row.account, result, now_s, now_s - began_s)
        if result.reason == MENTIONS_OTHERS:  # `journal trace` names them
            log.warning("trickle.mentions_others", site=site.name, post=short_id(row.post))
        await self._settle(turn, sent(row, result, self.rules, now, others_fine=others_fine))
        if result.outcome is Outcome.AUTH and result.scope is not Scope.DRIVER:
            self._barred.add(row.account)
            await self._accounts.refused(turn.account)

    async def _look(self, turn: _Turn, row: Insertion) -> None:
        if row.status is None or row.first_sent is None or row.last_sent is None:
            raise ValueError("what was never sent cannot be looked for")
        attempt = Attempt(row.status, row.first_sent, row.last_sent, row.high_water)
        look = await turn.place.driver.reconcile(turn.account, attempt)
        site = turn.place.site
        site.looked(look.result if isinstance(look, LookFailed) else None, self._monotonic())
        taken: frozenset[str] = frozenset()
        if isinstance(look, Found):
            taken = await self._until_stored(
                lambda: self._db.read(
                    lambda conn: claimed(conn, row.account, turn.place.service, look.candidates)
                )
            )
        others_fine = site.fine_since(turn.began_s - self.rules.settle.total_seconds())
        caps = site.caps or Caps("")
        after = looked(row, look, taken, caps, self.rules, self._now(), others_fine=others_fine)
        await self._settle(turn, after)

    async def _upload(self, turn: _Turn, row: Insertion, address: str) -> None:
        """One attachment; what cannot be had stays an address in the text."""
        assert self._fetch is not None  # noqa: S101 - `_to_upload` has asked
        file = await self._fetch(address)
        result = None if file is None else await turn.place.driver.upload(turn.account, file)
        if result is not None and result.outcome not in _UPLOADED | {Outcome.REJECTED}:
            await self._answered(turn, row, _harmless(result), turn.began_s)
            return
        there = result is not None and result.outcome in _UPLOADED
        name = (result.remote_id or "") if there and result is not None else ""
        await self._settle(turn, replace(row, media={**row.media, address: name}))

    async def _failed(self, turn: _Turn) -> None:
        """Something that nobody has foreseen: if it was being sent, nobody knows what became."""
        row = turn.row
        if row is None or row.due is None:  # nothing was begun, or it has come to its end
            return
        now, crash = self._now(), Result(Outcome.UNKNOWN, reason="crash")
        if row.state is State.SENDING:
            after = sent(row, crash, self.rules, now, others_fine=True)
        else:
            alike = row.alike + 1 if row.reason == "crash" else 1
            after = replace(row, reason="crash", alike=alike, due=now + self.rules.settle)
            if alike >= ALIKE:
                after = ended(after, State.PARKED, "crash", now)
        await self._settle(turn, after)

    # What has become of it

    async def _settle(self, turn: _Turn, row: Insertion) -> None:
        settled = SettleRow(row, row.state if turn.row is None else turn.row.state)
        before, turn.row = await self._until_stored(lambda: self._db.write(settle, settled))
        self._note(turn, before, turn.row)

    def _note(self, turn: _Turn, before: Insertion, row: Insertion) -> None:
        """What follows from a row that was stored."""
        if before.due is not None and row.due is None:
            self._counts(row.account, -1)
        if row.due is None:
            self._wakes(row.post)
        news = row.state is not before.state or row.reason != before.reason
        if turn.head is not None and news:
            self.news(turn.head, before, row)

    def _wakes(self, number: int) -> None:
        """Those whose oldest post answers this one need not wait any more."""
        for account in self._waits_for.pop(number, ()):
            self.look_at(account, anew=True)

    async def _until_stored(self, step: Callable[[], Awaitable[T]]) -> T:
        """What a step of the store gives; it is tried until the store can do it."""
        while True:
            try:
                return await step()
            except StoreError as error:
                log.warning("trickle.store", error=error.sentence)
                await asyncio.sleep(STORE_AGAIN_S)

    async def _next(self, turn: _Turn, account: int) -> None:
        """When it is this account's turn again: as it is now, which may be at another primary."""
        if account in self._anew:
            self._anew.discard(account)
            self.look_at(account, anew=True)
            return
        if account in self._barred:
            return
        step = None if turn.decided is None else turn.decided.step
        if isinstance(step, Wait):
            born = self._now() if turn.row is None else turn.row.created
            due = step.until
        else:
            oldest = await self._until_stored(
                lambda: self._db.read(lambda conn: oldest_open(conn, account))
            )
            if oldest is None:
                return
            born, due = oldest.born, oldest.due
        place = self._place_of(account)
        # If it has been looked at meanwhile, that is newer than what was read.
        if place is not None and account not in self._busy and account not in place.site.turns:
            self._put(place, account, born, due)


def _unlinked(row: Insertion, now: datetime) -> Insertion | None:
    return ended(row, State.CANCELLED, "unlinked", now)


_UPLOADED: Final = frozenset({Outcome.INSERTED, Outcome.DUPLICATE})


def _harmless(result: Result) -> Result:
    """An upload may be done again: that it is unclear is a reason to wait, and no more."""
    if result.outcome is Outcome.UNKNOWN:
        return replace(result, outcome=Outcome.RETRY, scope=Scope.DRIVER)
    return result


async def _nobody(_place: Place) -> None:
    """Until it is set."""
