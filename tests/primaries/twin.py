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
It makes the same requests.
"""

import unicodedata
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

from tests.primaries.faults import Fault, How, Op
from tests.primaries.ids import sort_key
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
SLACK_S: Final = 5.0  # the driver's: the `Date` header has whole seconds

RESET: Final = "X-RateLimit-Reset"
REFUSED_CREDENTIALS: Final = (400, 401, 403)

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
        read_back: bool = False,
    ) -> None:
        self.asked: Counter[Op] = Counter()  # requests that have left
        self.most_at_once: Counter[str] = Counter()  # per token
        self._worlds = {world.site: world for world in worlds}
        self._first = worlds[0]
        self._sleep = sleep
        self._rtt_s = rtt_s
        self._timeout_s = timeout_s
        self._moment = moment
        self._read_back = read_back
        self._under_way: Counter[str] = Counter()
        self._known: set[str] = set()

    # The Protocol

    async def probe(self, account: Account | None = None) -> Probe:
        world = self._first if account is None else self._worlds[account.site]
        caps = caps_of(world.profile)
        if account is None or world.site not in self._known:
            for _ in range(3 if world.profile.instance_v2 else 4):
                answer = await self._ask(world, Call(Op.INSTANCE, account.token if account else ""))
                if isinstance(answer, Result) or not answer.good or answer.html:
                    return self._down(world, answer)
            self._known.add(world.site)
        if account is not None:
            answer = await self._ask(world, Call(Op.VERIFY, account.token))
            if isinstance(answer, Reply) and answer.status in REFUSED_CREDENTIALS:
                result = self._read(world, answer)
                return Probe(Reach.AUTH, caps, reason=result.reason, detail=result.detail)
            if isinstance(answer, Result) or not answer.good or answer.html:
                return self._down(world, answer)
        return Probe(Reach.UP, caps)

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
        result = await self._worded(account, call)
        readable = status.visibility in self._worlds[account.site].profile.lists
        if self._read_back and readable and result.outcome is Outcome.INSERTED:
            return await self._there(account, result)
        return result

    async def edit(self, account: Account, remote_id: str, status: Status, key: str) -> Result:
        if status.visibility not in self._worlds[account.site].profile.edits:
            return Result(Outcome.REJECTED, reason="edit_unsafe", detail="It would be shown.")
        call = Call(
            Op.EDIT,
            account.token,
            key=key,
            text=status.text,
            language=status.language or "",
            media=status.media,
            remote_id=remote_id,
        )
        return await self._worded(account, call)

    async def delete(self, account: Account, remote_id: str) -> Result:
        result = await self._write(account, Call(Op.DELETE, account.token, remote_id=remote_id))
        done = result.outcome is Outcome.INSERTED or result.reason == "http_404"
        return Result(Outcome.INSERTED, remote_id) if done else result

    async def upload(self, account: Account, file: File) -> Result:
        return await self._write(account, Call(Op.UPLOAD, account.token))

    async def reconcile(self, account: Account, attempt: Attempt) -> Look:
        world, status = self._worlds[account.site], attempt.status
        if status.visibility not in world.profile.lists:
            return CannotTell(f"{world.profile.software} does not list {status.visibility} posts.")
        if status.backdate and world.profile.backdates:
            earliest, high_water = status.published.timestamp(), None
        else:
            earliest = attempt.first_sent_at.timestamp() + world.skew_s
            high_water = attempt.high_water
        listed = await self._listed(world, account, high_water, earliest - SLACK_S)
        if isinstance(listed, Result):
            return LookFailed(listed)
        found = [
            Candidate(stored.id, _url(world, stored), _time(stored.at))
            for stored in sorted(listed, key=lambda stored: sort_key(stored.id))
            if stored.at >= earliest - SLACK_S and _alike(stored, status, world.profile)
        ]
        return Found(tuple(found)) if found else Absent()

    async def aclose(self) -> None:
        self._worlds.clear()

    # Requests

    async def _worded(self, account: Account, call: Call) -> Result:
        """What is refused with its language is tried once without it."""
        result = await self._write(account, call)
        if call.language and (result.outcome, result.reason) == (Outcome.REJECTED, "http_400"):
            return await self._write(account, replace(call, language="", key=f"{call.key}-"))
        return result

    async def _there(self, account: Account, result: Result) -> Result:
        shown = Call(Op.SHOW, account.token, remote_id=result.remote_id or "")
        answer = await self._ask(self._worlds[account.site], shown)
        if isinstance(answer, Reply) and answer.status == 404:
            return Result(Outcome.REJECTED, reason="accepted_but_dropped", detail="It is gone.")
        return result

    async def _write(self, account: Account, call: Call) -> Result:
        world = self._worlds[account.site]
        answer = await self._ask(world, call)
        return answer if isinstance(answer, Result) else await self._meant(world, account, answer)

    async def _meant(self, world: World, account: Account, answer: Reply) -> Result:
        """Of a 400 or 403 only the credentials tell whether the post is at fault."""
        result = self._read(world, answer)
        if answer.status not in (400, 403):
            return result
        verified = await self._ask(world, Call(Op.VERIFY, account.token))
        if isinstance(verified, Reply):
            if verified.good and not verified.html:
                return result
            if verified.status in REFUSED_CREDENTIALS:
                return replace(result, outcome=Outcome.AUTH, scope=Scope.ACCOUNT)
            verified = self._read(world, verified)
        put_off_s = verified.retry_after_s
        return replace(result, outcome=Outcome.RETRY, scope=Scope.ACCOUNT, retry_after_s=put_off_s)

    async def _listed(
        self, world: World, account: Account, high_water: str | None, earliest: float
    ) -> list[Stored] | Result:
        """Upward from the mark until a page is empty; without one, downward until it is older."""
        call = Call(
            Op.LIST, account.token, remote_id=account.remote_id, limit=PAGE,
            min_id=high_water or "",
        )  # fmt: skip
        listed: list[Stored] = []
        while True:
            answer = await self._ask(world, call)
            if isinstance(answer, Result):
                return answer
            if not answer.good or answer.html or answer.body is not None:
                result = await self._meant(world, account, answer)
                return replace(result, reason="not_json") if answer.good else result
            page = answer.page
            listed += page
            if not page or (high_water is None and page[-1].at < earliest):
                return listed
            call = (
                replace(call, max_id=page[-1].id)
                if high_water is None
                else replace(call, min_id=page[0].id)
            )

    def _down(self, world: World, answer: Answer) -> Probe:
        result = answer if isinstance(answer, Result) else self._read(world, answer)
        return Probe(Reach.DOWN, None, result.retry_after_s, result.reason, result.detail)

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
        if reply.good:
            return self._done(world, reply)
        status, reason, detail = reply.status, f"http_{reply.status}", f"Status {reply.status}"
        wait_s = _wait_s(reply, world.now(), "Retry-After")
        if status == 429:
            by_address = any(limit.by == "address" for limit in world.profile.limits)
            reset_s = _wait_s(reply, world.now(), RESET)
            left = _left(reply)
            return Result(
                Outcome.RETRY,
                retry_after_s=reset_s if wait_s is None else wait_s,
                scope=Scope.DRIVER if by_address else Scope.ACCOUNT,
                reason="rate_limited",
                detail=detail,
                left=left,
                left_for_s=None if left is None else reset_s,
            )
        if status == 503 and wait_s is not None:
            return Result(
                Outcome.RETRY, retry_after_s=wait_s, scope=Scope.DRIVER, reason=reason,
                detail=detail,
            )  # fmt: skip
        if status == 401:
            return Result(Outcome.AUTH, scope=Scope.ACCOUNT, reason=reason, detail=detail)
        if 400 <= status < 500 and status != 409:
            return Result(Outcome.REJECTED, reason=reason, detail=detail)
        scope = Scope.DRIVER if status >= 500 else Scope.POST
        return Result(Outcome.UNKNOWN, scope=scope, reason=reason, detail=detail)

    def _done(self, world: World, reply: Reply) -> Result:
        if reply.html:
            return Result(Outcome.UNKNOWN, reason="not_json", detail="The answer is a page.")
        stored = reply.stored
        remote_id = stored.id if stored else reply.remote_id
        if not remote_id:
            return Result(Outcome.UNKNOWN, reason="no_id", detail="The answer has no id.")
        left = _left(reply)
        return Result(
            Outcome.INSERTED,
            remote_id,
            _url(world, stored) if stored else None,
            _time(stored.at) if stored else None,
            left=left,
            left_for_s=None if left is None else _wait_s(reply, world.now(), RESET),
        )


def caps_of(profile: Profile) -> Caps:
    """What the driver is to find out about a server of this kind."""
    dedupe = Dedupe.WINDOW if profile.key_window_s else Dedupe.NONE
    rate = {limit.by: Rate.share(limit.most, limit.period_s) for limit in reversed(profile.limits)}
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


def _left(reply: Reply) -> int | None:
    left = dict(reply.headers).get("X-RateLimit-Remaining")
    return None if left is None else int(left)


def _wait_s(reply: Reply, now: float, name: str) -> float | None:
    value = dict(reply.headers).get(name)
    if value is None:
        return None
    if value.isdecimal():
        at = float(value) if float(value) > 1e9 else now + float(value)
    elif value[0].isdecimal():
        at = datetime.fromisoformat(value).timestamp()
    else:
        at = parsedate_to_datetime(value).timestamp()
    return min(max(1.0, at - now), 6 * 3600.0)
