"""What is to be done about one post at the primary: the states of an insertion, and their changes.

    QUEUED ──► SENDING ──► INSERTED
      ▲  │        ├──────► REFUSED     the primary will not have it
      │  │        └──────► UNKNOWN     it may have worked: it is looked, after the settle time
      │  │                    │
      └──┼──── absent ────────┼─► INSERTED
         │                    └─► HELD        looking cannot decide: its author is asked
         ├──► CANCELLED   taken back, or not for the primary
         └──► PARKED      too old, or it fails each time: its author is told

What makes it exactly once, if the primary does within the settle time what it does at all:

1. SENDING is on the disk before the first byte leaves. After a restart every SENDING is UNKNOWN.
2. What is UNKNOWN is never sent again before it was looked for: an Idempotency-Key protects on some
   servers only, and only for a while.
3. Looking begins when the settle time after the last sending is over, and counts equal texts: what
   another row has claimed is not this one.
4. A refusal after an unclear sending proves nothing (the first may have worked, and the second be
   refused because of that): it is looked first.
5. One row of an account at a time. So nothing overtakes, and what is found is what was sent.

An edit and a deletion can be done twice without harm, so they are done again and not looked for.

A remote id means something at the service that gave it, and at no other; so do a high-water mark
and what was uploaded. So a row knows where it was sent (`Where`), and what is elsewhere is neither
answered, nor changed, nor looked for.

Pure functions of (row, what is known, now). Times are aware datetimes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, TypeAlias

from xmpprelay.core.model import Post
from xmpprelay.core.primary import (
    MENTIONS_OTHERS,
    CannotTell,
    Caps,
    Dedupe,
    Found,
    Look,
    LookFailed,
    Outcome,
    Result,
    Scope,
    Status,
    Visibility,
)


class Act(StrEnum):
    """What is to be done at the primary."""

    INSERT = "insert"
    EDIT = "edit"
    DELETE = "delete"


class State(StrEnum):
    """Where an insertion stands."""

    QUEUED = "queued"
    SENDING = "sending"
    UNKNOWN = "unknown"
    HELD = "held"
    INSERTED = "inserted"  # of an edit or a deletion: done
    REFUSED = "refused"
    PARKED = "parked"
    CANCELLED = "cancelled"


OPEN: Final = frozenset({State.QUEUED, State.SENDING, State.UNKNOWN, State.HELD})
"""What is still to come; each of these has a time at which it is looked at again."""

RESENDABLE: Final = frozenset({State.HELD, State.PARKED, State.REFUSED})
"""What its author, or the operator, may have sent again."""

HELD_FOR: Final = timedelta(days=1)
"""After that it is looked once more for what is held: a primary may be mended."""

ALIKE: Final = 5
"""The same failure so often in a row, while others come through: the post itself is at fault."""

ALIKE_ALONE: Final = 20
"""And where there are no others to compare with."""

RETRY_FIRST_S: Final = 5.0
RETRY_LONGEST_S: Final = 300.0
"""What is put off without a time comes again after five seconds, then twice as long each time."""

CANNOT_TELL: Final = "cannot_tell"
ELSEWHERE: Final = "elsewhere"
RESENT: Final = "resent"
DROPPED: Final = "dropped"
EXPIRED: Final = "expired"
TOO_OLD: Final = "too_old"
PARENT: Final = "parent"  # of what waits: for what it answers, and its author was told
PARENT_GONE: Final = "parent_gone"  # what it answers was taken out
PARENT_NOT_THERE: Final = "parent_not_there"  # what it answers was never for the primary

PATIENCE: Final = timedelta(minutes=1)
"""A reply may wait so long, besides the settle time that its parent may need, untold."""

_NEVER: Final = frozenset({"protected", PARENT_NOT_THERE})

OWN_FAULTS: Final = frozenset({"restart", "crash"})
"""Failures of the relay's own: what brings it down each time is parked without comparing."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What the operator has decided (docs/operations.md)."""

    settle: timedelta = timedelta(seconds=60)
    max_age: timedelta = timedelta(days=7)
    reply_wait: timedelta = timedelta(hours=1)
    visibility: Visibility = Visibility.PUBLIC
    long: str = "link"  # refuse | link | split
    unsure: str = "hold"  # hold | resend
    refused_parent: str = "detach"  # detach | hold
    time: str = "none"  # none | suffix | backdate


@dataclass(frozen=True, slots=True)
class Where:
    """Where something is sent: a service, and in whose name there."""

    service: str = ""  # its driver and address, such as `mastodon https://social.example`
    account: str = ""  # the account's id there; empty: the service does not tell accounts apart


@dataclass(frozen=True, slots=True)
class Insertion:
    """One row: one thing to be done at the primary for one post, or for a part of it."""

    id: int
    account: int  # person id, or EVERYBODY
    post: int  # the post's number; an account's rows are done in the order (post, part, id)
    act: Act
    created: datetime
    state: State = State.QUEUED
    part: int = 0  # 0: the whole post
    due: datetime | None = None  # when something is to be done; None: never, the state is final
    key: str | None = None
    tries: int = 0  # sendings that were begun
    alike: int = 0  # how often in a row it failed for the same reason
    unclear: bool = False  # one of the sendings may have worked
    refused: bool = False  # and the last one was refused
    first_sent: datetime | None = None
    last_sent: datetime | None = None
    high_water: str | None = None
    remote_id: str | None = None
    remote_url: str | None = None
    visibility: Visibility | None = None  # as it was sent; before that, who may see it at most
    status: Status | None = None  # as it was sent; None: it was not, or that is settled
    media: Mapping[str, str] = field(default_factory=dict)  # address -> remote id
    reason: str = ""
    detail: str = ""
    where: Where | None = None  # where it was sent last, or something of it; None: it never was


@dataclass(frozen=True, slots=True)
class Head:
    """An account's oldest open row, with all that decides what is done about it."""

    row: Insertion
    post: Post
    parent: Post | None = None  # of a reply: what it answers
    parent_row: Insertion | None = None  # and how that was inserted
    own_row: Insertion | None = None  # of an edit or a deletion: how the post was inserted
    before: Insertion | None = None  # of a second part: the first one
    protected: bool = False  # its author's posts are for approved followers
    private: bool = False  # and he wants them there all the same
    newest: str | None = None  # remote id of what was inserted last, where it was never sent here
    parent_since: datetime | None = None  # since when it has waited for its parent
    expire: timedelta | None = None  # its author wants what has waited for longer to be dropped
    here: Where = Where()  # where it would be sent now
    rest: int = 0  # of a first part that was sent elsewhere: how many further parts wait for it


@dataclass(frozen=True, slots=True)
class Send:
    """It is sent now."""

    in_reply_to: str | None = None
    detached: bool = False  # what it answers is not there
    most: Visibility = Visibility.PUBLIC  # no more visible than this


@dataclass(frozen=True, slots=True)
class LookNow:
    """It is looked for now."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing is done before that time."""

    until: datetime
    reason: str
    on: int | None = None  # the number of the post that it waits for
    tell: bool = False  # so long already that its author is to be told


@dataclass(frozen=True, slots=True)
class End:
    """It ends, or stops, without being sent."""

    state: State
    reason: str


Step: TypeAlias = Send | LookNow | Wait | End


def next_step(head: Head, caps: Caps, rules: Rules, now: datetime) -> Step:
    """What is to be done about an account's oldest open row (docs/flow.md, "Into the primary")."""
    row = head.row
    if row.due is not None and row.due > now:
        return Wait(row.due, row.reason)
    if row.act is Act.INSERT and row.state is State.SENDING:  # what came of it was never stored
        due = _settled(row, rules, now)
        return Wait(due, row.reason) if due > now else _look(head)
    held = row.state is State.HELD and row.reason in (CANNOT_TELL, ELSEWHERE)
    if row.act is Act.INSERT and (held or row.state is State.UNKNOWN):
        return _look(head)
    if row.act is Act.INSERT:
        return _insert(head, rules, now)
    return _change(head, caps)


def is_elsewhere(row: Insertion, here: Where) -> bool:
    """Whether what is known of a row from its sendings means nothing here."""
    return row.where is not None and row.where != here


def _look(head: Head) -> Step:
    return End(State.HELD, ELSEWHERE) if is_elsewhere(head.row, head.here) else LookNow()


def _insert(head: Head, rules: Rules, now: datetime) -> Step:
    post, row = head.post, head.row
    if post.deleted:
        return End(State.CANCELLED, "deleted")
    if _confined(head) and not head.private:
        return End(State.CANCELLED, "protected")
    if head.expire is not None and now - row.created > head.expire and row.part < 2:
        return End(State.CANCELLED, EXPIRED)
    if _is_too_old(row, rules, now):
        return End(State.PARKED, TOO_OLD)
    if head.before is not None:  # a second part hangs on the first
        if head.before.state is State.INSERTED and is_elsewhere(head.before, head.here):
            return End(State.PARKED, ELSEWHERE)
        if head.before.state is State.INSERTED:
            most = head.before.visibility or Visibility.PUBLIC
            return Send(head.before.remote_id, most=most)
        reason = head.before.reason
        return End(head.before.state, reason if reason == ELSEWHERE else "part_before")
    if post.parent is not None:
        return _reply(head, rules, now)
    return Send(most=Visibility.PRIVATE if _confined(head) else Visibility.PUBLIC)


def _is_too_old(row: Insertion, rules: Rules, now: datetime) -> bool:
    return now - row.created > rules.max_age and row.part < 2  # of what has begun, the rest comes


def _confined(head: Head) -> bool:
    """Whether it is for approved followers: by what its author is now, or was when he posted it."""
    row = head.row
    return head.protected or (row.first_sent is None and row.visibility is Visibility.PRIVATE)


def _reply(head: Head, rules: Rules, now: datetime) -> Step:
    """A reply waits for what it answers; to what never comes there, it does not go either."""
    parent, there = head.parent, head.parent_row
    if there is None or (there.state is State.CANCELLED and there.reason in _NEVER):
        return End(State.CANCELLED, PARENT_NOT_THERE)
    if parent is None or parent.deleted or there.state is State.CANCELLED:
        return End(State.CANCELLED, PARENT_GONE)
    most = Visibility.PRIVATE if _confined(head) else there.visibility or Visibility.PUBLIC
    if there.state is State.INSERTED:
        same = there.where is None or there.where.service == head.here.service
        return Send(there.remote_id, most=most) if same else Send(detached=True, most=most)
    since = head.parent_since or now
    if there.state in OPEN and now < since + rules.reply_wait:
        return _wait(head, parent, since, rules, now)
    if rules.refused_parent == "hold" and head.row.reason != RESENT:
        return End(State.HELD, "parent_refused")
    return Send(detached=True, most=most)


def _wait(head: Head, parent: Post, since: datetime, rules: Rules, now: datetime) -> Wait:
    """Wait for what is answered; when that takes long, its author is told, once."""
    ends, tells = since + rules.reply_wait, since + rules.settle + PATIENCE
    if head.row.state is not State.QUEUED or head.row.reason in (PARENT, RESENT):
        return Wait(ends, PARENT, on=parent.number)  # he was told, or has asked for it
    if tells <= now:
        return Wait(ends, PARENT, on=parent.number, tell=True)
    return Wait(min(ends, tells), PARENT, on=parent.number)


def _change(head: Head, caps: Caps) -> Step:
    """An edit or a deletion: only of what is there."""
    own = head.own_row
    if own is None or own.state is not State.INSERTED or own.remote_id is None:
        return End(State.CANCELLED, "not_there")
    if head.row.act is Act.EDIT and head.post.deleted:
        return End(State.CANCELLED, "deleted")
    if is_elsewhere(own, head.here):
        return End(State.REFUSED, ELSEWHERE)
    if head.row.act is Act.DELETE:
        return Send() if caps.deletes else End(State.REFUSED, "cannot_delete")
    visibility = own.visibility or Visibility.PUBLIC
    if own.part or visibility not in caps.edits:
        return End(State.REFUSED, "cannot_edit")
    if head.protected and visibility is not Visibility.PRIVATE:
        return End(State.REFUSED, "protected")  # what he writes now is not for everybody
    return Send(most=visibility)


# --- what becomes of it --------------------------------------------------------------------------


def afresh(row: Insertion, here: Where) -> Insertion:
    """A row that is to be sent here: as if it had never been sent, if that was elsewhere.

    A first part becomes the whole post again: here the parts may be others.
    """
    if not is_elsewhere(row, here):
        return row
    fresh = replace(row, where=None, part=0 if row.part == 1 else row.part)
    fresh = replace(fresh, key=None, alike=0, unclear=False, refused=False, media={}, status=None)
    return replace(fresh, first_sent=None, last_sent=None, high_water=None)


def sending(
    head: Head, key: str, visibility: Visibility, status: Status | None, now: datetime
) -> Insertion:
    """The row as it is stored before the first byte leaves; a deletion has no status."""
    row = head.row
    return replace(
        row,
        high_water=row.high_water if row.first_sent else head.newest,
        state=State.SENDING,
        due=now,
        key=row.key or key,
        tries=row.tries + 1,
        first_sent=row.first_sent or now,
        last_sent=now,
        visibility=visibility,
        status=status,
        where=head.here,
    )


def sent(
    row: Insertion, result: Result, rules: Rules, now: datetime, *, others_fine: bool
) -> Insertion:
    """The row after an answer, or after none. `others_fine`: the service does what others ask."""
    alike = row.alike + 1 if row.reason == result.reason else 1
    after = replace(row, reason=result.reason, detail=result.detail, alike=alike, refused=False)
    looks = row.act is Act.INSERT
    match result.outcome:
        case Outcome.INSERTED | Outcome.DUPLICATE:
            done = _inserted(after, result.remote_id or row.remote_id, result.remote_url)
            others = result.reason == MENTIONS_OTHERS
            return replace(done, reason=result.reason, detail=result.detail) if others else done
        case Outcome.UNKNOWN if looks:
            due = _settled(row, rules, now)
            return replace(after, state=State.UNKNOWN, unclear=True, due=due)
        case Outcome.UNKNOWN:
            return _again(after, now, others_fine=others_fine, after_s=_wait_s(alike))
        case Outcome.REJECTED if looks and row.unclear:
            due = _settled(row, rules, now)
            return replace(after, state=State.UNKNOWN, refused=True, due=due)
        case Outcome.REJECTED:
            return replace(after, state=State.REFUSED, due=None)
        case _:
            wait_s = result.retry_after_s
            if wait_s is None:
                wait_s = RETRY_FIRST_S if result.scope is Scope.DRIVER else _wait_s(alike)
            due = now + timedelta(seconds=wait_s)
            return replace(after, state=State.QUEUED, key=None, due=due)


def looked(
    row: Insertion,
    look: Look,
    claimed: frozenset[str],
    caps: Caps,
    rules: Rules,
    now: datetime,
    *,
    others_fine: bool,
) -> Insertion:
    """The row after a look. `claimed` are the remote ids that other rows of the account have.

    Where the primary knows a post by its id, sending it again does no harm, and it need not be
    seen whether it is there.
    """
    match look:
        case LookFailed(result):
            wait_s = result.retry_after_s or RETRY_FIRST_S
            return replace(row, detail=result.detail, due=now + timedelta(seconds=wait_s))
        case CannotTell(detail) if rules.unsure == "hold" and caps.dedupe is not Dedupe.NATURAL:
            held = replace(row, reason=CANNOT_TELL, detail=detail)
            return replace(held, state=State.HELD, due=now + HELD_FOR)
        case Found(candidates):
            for each in candidates:
                if each.remote_id not in claimed:
                    return _inserted(row, each.remote_id, each.remote_url)
    return _again(row, now, others_fine=others_fine)


def restarted(row: Insertion, rules: Rules, now: datetime) -> Insertion:
    """What was SENDING when the relay ended: nobody knows."""
    alike = row.alike + 1 if row.reason == "restart" else 1
    after = replace(row, reason="restart", detail="", alike=alike, unclear=True)
    if row.act is not Act.INSERT:
        return _again(after, now, others_fine=False)
    return replace(after, state=State.UNKNOWN, due=_settled(row, rules, now))


def resent(row: Insertion, now: datetime) -> Insertion:
    """Its author, or the operator, wants it sent again: as if it were new, but looked for first.

    What is held is sent without a look, which could not tell.
    """
    looks = row.unclear and row.act is Act.INSERT and row.state is not State.HELD
    state = State.UNKNOWN if looks else State.QUEUED
    fresh = replace(row, state=state, created=now, due=now, key=None)
    return replace(fresh, alike=0, refused=False, reason=RESENT, detail="")


def outdated(row: Insertion, now: datetime, *, rules: Rules) -> Insertion | None:
    """The row, parked because it is too old, as its turn would do it; None: it may wait on."""
    if row.act is Act.INSERT and row.state is State.QUEUED and _is_too_old(row, rules, now):
        return ended(row, State.PARKED, TOO_OLD, now)
    return None


def ended(row: Insertion, state: State, reason: str, now: datetime) -> Insertion:
    """A row that ends without being sent; what is held is looked at again some day."""
    due = now + HELD_FOR if state is State.HELD else None
    status = None if state is State.CANCELLED else row.status  # the text is not needed any more
    return replace(row, state=state, reason=reason, detail="", due=due, status=status)


def _inserted(row: Insertion, remote_id: str | None, remote_url: str | None) -> Insertion:
    done = replace(row, state=State.INSERTED, due=None, status=None, reason="", detail="")
    return replace(done, remote_id=remote_id, remote_url=remote_url)


def _again(row: Insertion, now: datetime, *, others_fine: bool, after_s: float = 0.0) -> Insertion:
    """It is certainly not there: once more, unless it fails in the same way each time."""
    if row.refused:
        return replace(row, state=State.REFUSED, due=None)
    if row.alike >= (ALIKE if others_fine or row.reason in OWN_FAULTS else ALIKE_ALONE):
        return replace(row, state=State.PARKED, due=None)
    # The same key as long as the first sending may be late; but some servers answer a key with the
    # failure that it had the first time.
    key = row.key if row.alike < 2 else None
    return replace(row, state=State.QUEUED, key=key, due=now + timedelta(seconds=after_s))


def _settled(row: Insertion, rules: Rules, now: datetime) -> datetime:
    """When the primary has done what it does; a clock that was set does not make it longer."""
    return min((row.last_sent or now) + rules.settle, now + rules.settle)


def _wait_s(failures: int) -> float:
    return min(RETRY_LONGEST_S, RETRY_FIRST_S * 2.0 ** min(failures - 1, 10))
