"""The scripted primary without sockets: an object that is a `Primary`, for seeded runs.

    world = World(MASTODON, now=clock.now, site="https://one.example")  # now(): Unix seconds
    world.script.at_random(rng, share=0.38)         # or .then(LATE, REFUSE), .outage(HANG, …)
    alice = world.join("alice", person=1)           # a core.primary.Account with its token
    twin = Twin(world, sleep=clock.sleep, rtt_s=lambda: 0.2)    # several worlds: Twin(a, b, …)
    result = await twin.insert(alice, status, key)
    world.texts(alice), world.ledger, world.capacity.over, twin.asked   # what became of it

Time passes in `await sleep(seconds)` alone, which the test gives: half an rtt before the world does
what it is asked and half after, `timeout_s` for what hangs. A test decides when an answer comes by
deciding when its sleep ends; a task that is cancelled in the first half has done nothing, in the
second it has. `moment(where, op)` is called, where given, with "leaves" just before the first byte
of a request, and with "arrived" when the world has done it: raise there to kill the relay.
A `Reply` becomes a `Result` as the Mastodon driver would have it: tests/contract/ holds both to it.
A status without `high_water` is looked for among all of the account's.
"""

import unicodedata
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from tests.primaries.faults import Fault, How, Op
from tests.primaries.profiles import MAX_MEDIA_BYTES, MEDIA_TYPES, Profile
from tests.primaries.world import Call, Met, Reply, Stored, World
from xmpprelay.core.pacing import Rate
from xmpprelay.core.primary import (
    Absent,
    Account,
    Attempt,
    Candidate,
    CannotTell,
    Caps,
    Dedupe,
    File,
    Found,
    Look,
    LookFailed,
    Outcome,
    Probe,
    Reach,
    Result,
    Scope,
    Status,
)

TIMEOUT_S: Final = 30.0
PAGE: Final = 40

Answer = Reply | Result
"""What the server has said, or what it means that it has said nothing."""


class Twin:
    """A driver and its servers in one."""

    def __init__(
        self,
        *worlds: World,
        sleep: Callable[[float], Awaitable[None]],
        rtt_s: Callable[[], float] = lambda: 0.0,
        timeout_s: float = TIMEOUT_S,
        moment: Callable[[str, Op], None] = lambda _where, _op: None,
    ) -> None:
        self.asked: Counter[Op] = Counter()  # requests that have left
        self.most_at_once: Counter[str] = Counter()  # per token
        self._worlds = {world.site: world for world in worlds}
        self._first = worlds[0]
        self._sleep = sleep
        self._rtt_s = rtt_s
        self._timeout_s = timeout_s
        self._moment = moment
        self._under_way: Counter[str] = Counter()

    # The Protocol

    async def probe(self, account: Account | None = None) -> Probe:
        world = self._first if account is None else self._worlds[account.site]
        answer = await self._ask(world, Call(Op.INSTANCE, ""))
        if isinstance(answer, Reply) and answer.good and not answer.html and account is not None:
            answer = await self._ask(world, Call(Op.VERIFY, account.token))
        if isinstance(answer, Result):
            return Probe(Reach.DOWN, reason=answer.reason, detail=answer.detail)
        caps = caps_of(world.profile)
        if answer.good and not answer.html:
            return Probe(Reach.UP, caps)
        result = self._read(world, answer)
        if account is not None and answer.status in (400, 401, 403):
            return Probe(Reach.AUTH, caps, reason=result.reason, detail=result.detail)
        return Probe(Reach.DOWN, None, result.retry_after_s, result.reason, result.detail)

    async def insert(self, account: Account, status: Status, key: str) -> Result:
        call = Call(
            Op.INSERT,
            account.token,
            key=key,
            text=status.text,
            visibility=status.visibility,
            parent=status.in_reply_to or "",
            language=status.language or "",
            media=status.media,
            backdated=status.published.timestamp() if status.backdate else None,
        )
        return await self._write(account, call)

    async def edit(self, account: Account, remote_id: str, status: Status, key: str) -> Result:
        call = Call(
            Op.EDIT,
            account.token,
            key=key,
            text=status.text,
            language=status.language or "",
            media=status.media,
            remote_id=remote_id,
        )
        return await self._write(account, call)

    async def delete(self, account: Account, remote_id: str) -> Result:
        result = await self._write(account, Call(Op.DELETE, account.token, remote_id=remote_id))
        if result.reason == "http_404":
            return Result(Outcome.INSERTED, remote_id)
        return result

    async def upload(self, account: Account, file: File) -> Result:
        return await self._write(account, Call(Op.UPLOAD, account.token))

    async def reconcile(self, account: Account, attempt: Attempt) -> Look:
        world, status = self._worlds[account.site], attempt.status
        if status.visibility not in world.profile.lists:
            return CannotTell(f"{world.profile.software} does not list {status.visibility} posts.")
        made_at = status.published if status.backdate else attempt.first_sent_at
        earliest = made_at.timestamp() + world.skew_s - 1.0
        found: list[Candidate] = []
        min_id = (not status.backdate and attempt.high_water) or "0"
        while True:
            call = Call(
                Op.LIST, account.token, remote_id=account.remote_id, min_id=min_id, limit=PAGE
            )
            answer = await self._ask(world, call)
            if isinstance(answer, Result):
                return LookFailed(answer)
            if not answer.good or answer.html or answer.body is not None:
                return LookFailed(await self._meant(world, account, answer))
            found += [
                Candidate(stored.id, _url(world, stored), _time(stored.at))
                for stored in reversed(answer.page)
                if stored.at >= earliest and _alike(stored, status, world.profile)
            ]
            if len(answer.page) < PAGE:
                return Found(tuple(found)) if found else Absent()
            min_id = answer.page[0].id

    async def aclose(self) -> None:
        self._worlds.clear()

    # Requests

    async def _write(self, account: Account, call: Call) -> Result:
        world = self._worlds[account.site]
        answer = await self._ask(world, call)
        return answer if isinstance(answer, Result) else await self._meant(world, account, answer)

    async def _meant(self, world: World, account: Account, answer: Reply) -> Result:
        result = self._read(world, answer)
        if answer.status in (400, 403):
            verified = await self._ask(world, Call(Op.VERIFY, account.token))
            if isinstance(verified, Reply) and verified.status in (400, 401, 403):
                return replace(result, outcome=Outcome.AUTH, scope=Scope.ACCOUNT)
        return result

    async def _ask(self, world: World, call: Call) -> Answer:
        fault = world.script.draw(call.op, world.now() - world.skew_s)
        half_s = self._rtt_s() / 2.0
        if fault.how is How.REFUSE:
            world.faults[fault.name] += 1
            await self._sleep(half_s)
            return _silence(fault)
        self._moment("leaves", call.op)
        self.asked[call.op] += 1
        self._under_way[call.token] += 1
        self.most_at_once[call.token] = max(
            self.most_at_once[call.token], self._under_way[call.token]
        )
        try:
            await self._sleep(half_s)
            met = world.meet(call, fault)
            self._moment("arrived", call.op)
            return await self._hear(met, half_s)
        finally:
            self._under_way[call.token] -= 1

    async def _hear(self, met: Met, half_s: float) -> Answer:
        how = met.fault.how
        if how in (How.HANG, How.SLOW):
            await self._sleep(max(0.0, self._timeout_s - half_s))
        else:
            await self._sleep(half_s + met.slow_s)
        return met.reply if how is How.ANSWER else _silence(met.fault)

    # What answers mean

    def _read(self, world: World, reply: Reply) -> Result:
        status, reason = reply.status, f"http_{reply.status}"
        wait_s = _wait_s(reply, world.now())
        by_address = any(limit.by == "address" for limit in world.profile.limits)
        whose = Scope.DRIVER if by_address else Scope.ACCOUNT
        if reply.good:
            return self._done(world, reply)
        if status == 429:
            return Result(
                Outcome.RETRY, retry_after_s=wait_s, scope=whose, reason="rate_limited",
                detail=_detail(reply),
            )  # fmt: skip
        if status == 503 and wait_s is not None:
            return Result(
                Outcome.RETRY, retry_after_s=wait_s, scope=Scope.DRIVER, reason=reason,
                detail=_detail(reply),
            )  # fmt: skip
        if status == 401:
            return Result(
                Outcome.AUTH, scope=Scope.ACCOUNT, reason=reason, detail=_detail(reply)
            )  # fmt: skip
        if status in (400, 403, 404, 413, 422):
            return Result(Outcome.REJECTED, reason=reason, detail=_detail(reply))
        scope = Scope.DRIVER if status >= 500 else Scope.POST
        return Result(Outcome.UNKNOWN, scope=scope, reason=reason, detail=_detail(reply))

    def _done(self, world: World, reply: Reply) -> Result:
        remote_id = reply.stored.id if reply.stored else reply.remote_id
        if not remote_id:
            return Result(Outcome.UNKNOWN, reason="no_id", detail="The answer has no id.")
        headers = dict(reply.headers)
        left = headers.get("X-RateLimit-Remaining")
        return Result(
            Outcome.INSERTED,
            remote_id,
            _url(world, reply.stored) if reply.stored else None,
            _time(reply.stored.at) if reply.stored else None,
            left=None if left is None else int(left),
            left_for_s=None if left is None else _wait_s(reply, world.now()),
        )


def caps_of(profile: Profile) -> Caps:
    """What the driver is to find out about a server of this kind."""
    dedupe = Dedupe.WINDOW if profile.key_window_s else Dedupe.NONE
    rate = {
        limit.by: Rate(0.8 * limit.most / limit.period_s, 0.8 * limit.most)
        for limit in reversed(profile.limits)
    }
    return Caps(
        software=profile.software,
        max_chars=profile.max_chars,
        url_weight=profile.url_weight,
        max_media=profile.max_media,
        dedupe=dedupe,
        window_s=profile.key_window_s,
        max_media_bytes=MAX_MEDIA_BYTES,
        media_types=MEDIA_TYPES,
        backdate=profile.backdates,
        edits=profile.edits,
        shows=profile.lists,
        names=True,
        account_rate=rate.get("account"),
        site_rate=rate.get("address"),
    )


def _silence(fault: Fault) -> Result:
    if fault.how is How.REFUSE:
        return Result(
            Outcome.RETRY, scope=Scope.DRIVER, reason="refused", detail="Nothing listens there."
        )
    reason = "timeout" if fault.how in (How.HANG, How.SLOW) else "reset"
    return Result(Outcome.UNKNOWN, scope=Scope.DRIVER, reason=reason, detail="No answer has come.")


def _alike(stored: Stored, status: Status, profile: Profile) -> bool:
    return (
        _folded(stored.sent) == _folded(status.text)
        and stored.visibility == status.visibility
        and (
            stored.parent == (status.in_reply_to or "") or not (stored.parent or profile.no_parent)
        )
    )


def _folded(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).split())


def _url(world: World, stored: Stored) -> str:
    return f"{world.site}/@{stored.account}/{stored.id}"


def _time(at: float) -> datetime:
    return datetime.fromtimestamp(int(at * 1000) / 1000, UTC)


def _detail(reply: Reply) -> str:
    return f"HTTP status {reply.status}"


def _wait_s(reply: Reply, now: float) -> float | None:
    headers = dict(reply.headers)
    value = headers.get("Retry-After") or headers.get("X-RateLimit-Reset")
    if value is None:
        return None
    if not value.isdecimal():
        at = (
            datetime.fromisoformat(value)
            if value[0].isdecimal()
            else datetime.strptime(value, "%a, %d %b %Y %H:%M:%S GMT").replace(tzinfo=UTC)
        ).timestamp()
    else:
        at = float(value) if float(value) > 1e9 else now + float(value)
    return min(max(1.0, at - now), 6 * 3600.0)
