"""A scripted primary: a server with Mastodon's API as a state machine, without sockets.

`World.meet(call)` says what becomes of one request: what the server answers (`Reply`), and how
much of it the driver sees (the fault). `server.py` shows it on a socket, `twin.py` to the engine
directly. Nothing happens by itself: what is to be done late is done when somebody looks after its
time has come, as of that time.

The ledger has every status that was ever stored, in the order in which it was. A test reads there
what was lost, doubled or out of order, and nobody else does.
"""

from bisect import bisect_right, insort
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from heapq import heappop, heappush
from random import Random
from typing import Final

from tests.primaries.faults import FINE, Body, Fault, Op, Script
from tests.primaries.ids import make_id, sort_key
from tests.primaries.profiles import Limit, Profile
from xmpprelay.core.primary import Account, Visibility

LANGUAGES: Final = frozenset({"de", "en", "eo", "fr", "ja", "pt-BR"})


@dataclass(frozen=True, slots=True)
class Call:
    """One request, as far as it matters."""

    op: Op
    token: str
    key: str = ""  # Idempotency-Key; empty: none
    text: str = ""
    visibility: str = ""  # empty: the account's default
    parent: str = ""
    language: str = ""
    media: tuple[str, ...] = ()
    backdated: float | None = None  # `scheduled_at` in the past: its original time
    remote_id: str = ""  # which status, or whose for LIST
    min_id: str = ""
    max_id: str = ""
    limit: int = 20
    address: str = "127.0.0.1"


@dataclass(slots=True, eq=False)
class Stored:
    """A status that was stored."""

    id: str
    account: str
    text: str  # as it is now, mangled or not
    sent: str  # as it was sent
    visibility: Visibility
    parent: str
    language: str
    media: tuple[str, ...]
    key: str
    at: float  # when it was made, says the server; Unix seconds
    edits: int = 0
    deleted: bool = False


@dataclass(frozen=True, slots=True)
class Reply:
    """What the server answers."""

    status: int
    stored: Stored | None = None  # the status that it tells of
    page: tuple[Stored, ...] = ()  # the answer to LIST, newest first
    remote_id: str = ""  # of media, of an account, or invented
    body: str | None = None  # a text of its own; None: what belongs to all this
    html: bool = False
    headers: tuple[tuple[str, str], ...] = ()

    @property
    def good(self) -> bool:
        """Whether it says that it was done."""
        return 200 <= self.status < 300


@dataclass(frozen=True, slots=True)
class Met:
    """What became of one request."""

    fault: Fault
    reply: Reply
    slow_s: float = 0.0  # how long the server takes, being busy with others


@dataclass(slots=True)
class Member:
    """An account of the server."""

    id: str
    name: str
    token: str
    statuses: list[Stored] = field(default_factory=list)
    keys: dict[str, tuple[float, Reply]] = field(default_factory=dict)


@dataclass(slots=True)
class Capacity:
    """How many requests a second the server bears, and what it does above that."""

    per_second: float
    slows_down: bool = False  # else it answers 429
    over: int = 0  # requests that were too many
    peak: int = 0  # most requests within one second
    recent: deque[float] = field(default_factory=deque)
    free_at: float = 0.0

    def take(self, now: float) -> tuple[bool, float]:
        """Whether one more is too many, and for how long it waits."""
        self.recent.append(now)
        while self.recent[0] <= now - 1.0:
            self.recent.popleft()
        self.peak = max(self.peak, len(self.recent))
        too_many = len(self.recent) > self.per_second
        self.over += too_many
        if not self.slows_down:
            return too_many, 0.0
        self.free_at = max(self.free_at, now) + 1.0 / self.per_second
        return False, self.free_at - now


class World:
    """One server. `now` gives Unix seconds; the server's own clock may be off by `skew_s`."""

    def __init__(
        self,
        profile: Profile,
        now: Callable[[], float],
        *,
        site: str = "https://primary.example",
        capacity: Capacity | None = None,
        limits: tuple[Limit, ...] | None = None,
        key_window_s: float | None = None,
        mangle: Callable[[str], str] | None = None,
        skew_s: float = 0.0,
    ) -> None:
        self.profile = profile
        self.site = site
        self.script = Script()
        self.capacity = capacity
        self.limits = profile.limits if limits is None else limits
        self.key_window_s = profile.key_window_s if key_window_s is None else key_window_s
        self.mangle = mangle or (lambda text: text)
        self.skew_s = skew_s
        self.ledger: list[Stored] = []
        self.requests: Counter[Op] = Counter()
        self.limited = 0  # requests that a limit of its own has refused
        self.faults: Counter[str] = Counter()
        self.media: dict[str, Stored | None] = {}  # who has it
        self.members: dict[str, Member] = {}  # by token
        self._now = now
        self._by_id: dict[str, Stored] = {}
        self._late: list[tuple[float, int, Call]] = []
        self._used: dict[tuple[Limit, str], tuple[float, int]] = {}
        self._serial = 0
        self._rng = Random(0)

    # What tests set and read

    def join(self, name: str, person: int) -> Account:
        """A new account, as the relay has it of a person."""
        member = Member(
            self._id(self.now()), name, f"token-{name}-{self._rng.getrandbits(64):016x}"
        )
        self.members[member.token] = member
        host = self.site.partition("://")[2]
        return Account(person, self.site, member.token, f"{name}@{host}", member.id)

    def revoke(self, account: Account) -> None:
        """The token of an account does not hold any more."""
        del self.members[account.token]

    def now(self) -> float:
        """The server's own clock."""
        return self._now() + self.skew_s

    def stored(self, account: Account | None = None) -> list[Stored]:
        """What is there now, oldest first."""
        self.settle()
        return [
            each
            for each in self.ledger
            if not each.deleted and (account is None or each.account == account.remote_id)
        ]

    def texts(self, account: Account | None = None) -> list[str]:
        """The texts that are there, oldest first."""
        return [each.text for each in self.stored(account)]

    def settle(self) -> None:
        """Do what was to be done late and whose time has come."""
        now = self.now()
        while self._late and self._late[0][0] <= now:
            at, _, call = heappop(self._late)
            self._do(call, at)

    def forget_keys(self) -> None:
        """Forget what was done for which key."""
        for member in self.members.values():
            member.keys.clear()

    # What fronts ask

    def meet(self, call: Call, fault: Fault | None = None) -> Met:
        """What becomes of a request that has arrived; without a fault, the script's."""
        self.settle()
        now = self.now()
        if fault is None:
            fault = self.script.draw(call.op, self._now())
        self.requests[call.op] += 1
        if fault is not FINE:
            self.faults[fault.name] += 1
        too_many, slow_s = (False, 0.0) if self.capacity is None else self.capacity.take(now)
        if too_many:
            return Met(FINE, Reply(429, headers=(("Retry-After", "1"),)))
        limit, headers = self._spend(call, now)
        if limit is not None:
            self.limited += 1
            return Met(FINE, Reply(429, headers=headers))
        return Met(fault, self._reply(call, fault, now, headers), slow_s)

    def _reply(
        self, call: Call, fault: Fault, now: float, headers: tuple[tuple[str, str], ...]
    ) -> Reply:
        if fault.forgets_keys:
            self.forget_keys()
        if fault.late_s is not None:
            self._serial += 1
            heappush(self._late, (now + fault.late_s, self._serial, call))
        own = self._do(call, now) if fault.done else None
        if fault.body is Body.HTML:
            return Reply(fault.status or 200, html=True)
        if fault.body is Body.NO_ID:
            return Reply(200, body="{}")
        if fault.body is Body.INVENTED:
            return Reply(200, remote_id=self._id(now))
        if fault.status is None:
            reply = own or Reply(500)
            return Reply(
                reply.status, reply.stored, reply.page, reply.remote_id, reply.body,
                headers=headers,
            )  # fmt: skip
        reply = Reply(fault.status, headers=self._waits(fault, now))
        if fault.kept and self.profile.replays_errors and self._kept(call, now) is None:
            self._keep(call, reply, now)
        return reply

    # Limits

    def _spend(self, call: Call, now: float) -> tuple[Limit | None, tuple[tuple[str, str], ...]]:
        headers: tuple[tuple[str, str], ...] = ()
        for limit in self.limits:
            if limit.writes_only and call.op not in (Op.INSERT, Op.EDIT):
                continue
            whose = limit, call.token if limit.by == "account" else call.address
            start = now - now % limit.period_s
            began, used = self._used.get(whose, (start, 0))
            if began != start:
                used = 0
            self._used[whose] = start, used + 1
            left = limit.most - used - 1
            if limit.reset and not headers:  # of several, Mastodon tells the narrowest
                headers = (
                    ("X-RateLimit-Limit", str(limit.most)),
                    ("X-RateLimit-Remaining", str(max(0, left))),
                    ("X-RateLimit-Reset", _reset(limit.reset, start + limit.period_s, now)),
                )
            if left < 0:
                return limit, headers
        return None, headers

    def _waits(self, fault: Fault, now: float) -> tuple[tuple[str, str], ...]:
        headers = []
        if fault.reset:
            headers.append(("X-RateLimit-Reset", _reset(fault.reset, now + fault.wait_s, now)))
        if fault.retry_after == "seconds":
            headers.append(("Retry-After", f"{fault.wait_s:.0f}"))
        elif fault.retry_after == "date":
            headers.append(("Retry-After", http_date(now + fault.wait_s)))
        return tuple(headers)

    # What the server does

    def _do(self, call: Call, now: float) -> Reply:
        member = self.members.get(call.token)
        if call.op is Op.INSTANCE:
            return Reply(200)
        if member is None:
            return Reply(self.profile.bad_token, body=self.profile.bad_token_body)
        if call.op is Op.VERIFY:
            return Reply(200, remote_id=member.id)
        if call.op is Op.LIST:
            return Reply(200, page=self._list(member, call))
        if call.op is Op.UPLOAD:
            media = self._id(now)
            self.media[media] = None
            return Reply(200, remote_id=media)
        if call.op is Op.INSERT:
            return self._insert(member, call, now)
        stored = self._by_id.get(call.remote_id)
        if stored is None or stored.deleted or stored.account != member.id:
            return Reply(404)
        if call.op is Op.EDIT:
            return self._edit(stored, call)
        if call.op is Op.DELETE:
            stored.deleted = True
        return Reply(200, stored)

    def _insert(self, member: Member, call: Call, now: float) -> Reply:
        kept = self._kept(call, now)
        if kept is not None:
            return kept
        reply = self._refusal(call) or self._store(member, call, now)
        if reply.good or self.profile.replays_errors:
            self._keep(call, reply, now)
        return reply

    def _refusal(self, call: Call) -> Reply | None:
        profile = self.profile
        if call.parent and profile.no_parent and self._parent(call) is None:
            return Reply(profile.no_parent)
        if call.language and profile.bad_language and call.language not in LANGUAGES:
            return Reply(profile.bad_language)
        if len(call.text) > profile.max_chars or not (call.text or call.media):
            return Reply(422)
        if any(each not in self.media for each in call.media):
            return Reply(422)
        if profile.used_media and any(self.media[each] is not None for each in call.media):
            return Reply(profile.used_media, body='{"error":"Bad Request: media already attached"}')
        return None

    def _parent(self, call: Call) -> Stored | None:
        parent = self._by_id.get(call.parent)
        return None if parent is None or parent.deleted else parent

    def _store(self, member: Member, call: Call, now: float) -> Reply:
        at = now
        if self.profile.backdates and call.backdated is not None:
            at = min(now, call.backdated)
        stored = Stored(
            id=self._id(at),
            account=member.id,
            text=self.mangle(call.text),
            sent=call.text,
            visibility=Visibility(call.visibility or "public"),
            parent=call.parent if self._parent(call) else "",
            language=call.language if call.language in LANGUAGES else "",
            media=call.media,
            key=call.key,
            at=at,
        )
        self.ledger.append(stored)
        insort(member.statuses, stored, key=_place)  # a backdated one has an id of its time
        self._by_id[stored.id] = stored
        self.media.update(dict.fromkeys(call.media, stored))
        return Reply(200, stored)

    def _edit(self, stored: Stored, call: Call) -> Reply:
        if len(call.text) > self.profile.max_chars or not call.text:
            return Reply(422)
        if call.language and self.profile.bad_language and call.language not in LANGUAGES:
            return Reply(self.profile.bad_language)
        stored.text, stored.sent = self.mangle(call.text), call.text
        stored.edits += 1
        if stored.visibility not in self.profile.edits:
            stored.visibility = Visibility.PUBLIC
        return Reply(200, stored)

    def _list(self, member: Member, call: Call) -> tuple[Stored, ...]:
        if call.remote_id != member.id:
            return ()
        statuses, limit = member.statuses, min(call.limit, 40)
        start = 0
        if call.min_id:
            start = bisect_right(statuses, sort_key(call.min_id), key=_place)
        page = []
        there = statuses[start:] if call.min_id else reversed(statuses)
        for each in there:
            if call.max_id and sort_key(each.id) >= sort_key(call.max_id):
                continue
            if not each.deleted and each.visibility in self.profile.lists:
                page.append(each)
                if len(page) == limit:
                    break
        return tuple(reversed(page) if call.min_id else page)

    def _kept(self, call: Call, now: float) -> Reply | None:
        member = self.members.get(call.token)
        at, reply = (0.0, None) if member is None else member.keys.get(call.key, (0.0, None))
        return reply if now < at + self.key_window_s else None

    def _keep(self, call: Call, reply: Reply, now: float) -> None:
        member = self.members.get(call.token)
        if member is not None and call.key and self.key_window_s:
            member.keys[call.key] = now, reply

    def _id(self, at: float) -> str:
        self._serial += 1
        return make_id(self.profile.ids, self._serial, at)


def _place(stored: Stored) -> tuple[int, str]:
    return sort_key(stored.id)


def iso(at: float) -> str:
    """A time as these servers write it."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def http_date(at: float) -> str:
    """A time as HTTP writes it (RFC 9110 §5.6.7)."""
    return datetime.fromtimestamp(at, UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")


def _reset(form: str, at: float, now: float) -> str:
    if form == "iso":
        return iso(at)
    return f"{at:.0f}" if form == "unix" else f"{at - now:.0f}"
