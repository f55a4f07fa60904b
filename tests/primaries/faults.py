"""What can go wrong between a driver and a primary, and when: `Fault` and `Script`.

A fault is what becomes of one request: whether the primary does what it is asked (never, before
the answer, or long after it), and what the driver sees of it.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from random import Random
from typing import Final


class Op(StrEnum):
    """What is asked of a primary."""

    INSERT = "insert"
    EDIT = "edit"
    DELETE = "delete"
    UPLOAD = "upload"
    LIST = "list"  # the account's own statuses
    SHOW = "show"  # one status
    SOURCE = "source"  # its text as it was typed
    VERIFY = "verify"  # whose token it is
    INSTANCE = "instance"  # what the server is and can do


WRITES: Final = frozenset({Op.INSERT, Op.EDIT, Op.DELETE, Op.UPLOAD})


class How(StrEnum):
    """What the driver sees."""

    ANSWER = "answer"
    REFUSE = "refuse"  # nobody listens: no byte is sent
    HANG = "hang"  # nothing, until the driver gives up
    SLOW = "slow"  # an answer that begins and does not end
    RESET = "reset"  # the connection is reset
    CLOSE = "close"  # the connection is closed without an answer


class Body(StrEnum):
    """What an answer has in it."""

    OWN = "own"  # what belongs to its status
    HTML = "html"  # a page of a proxy
    NO_ID = "no id"
    INVENTED = "invented"  # looks right, and is nowhere


@dataclass(frozen=True, slots=True)
class Fault:
    """What becomes of one request."""

    name: str
    how: How = How.ANSWER
    done: bool = False  # before the answer
    late_s: float | None = None  # done so long after the answer
    status: int | None = None  # None: what the primary itself answers
    body: Body = Body.OWN
    reset: str = ""  # form of X-RateLimit-Reset: iso, unix, delta
    retry_after: str = ""  # form of Retry-After: seconds, date
    wait_s: float = 30.0  # what these two say
    forgets_keys: bool = False  # all keys are forgotten before it
    kept: bool = False  # the error is the primary's own, and it may be kept for the key


FINE: Final = Fault("fine", done=True)

REFUSE: Final = Fault("refuse", How.REFUSE)
HANG: Final = Fault("hang", How.HANG)
HANG_DONE: Final = Fault("done, then hang", How.HANG, done=True)
SLOW_BODY: Final = Fault("slow body", How.SLOW, done=True)
RESET: Final = Fault("reset", How.RESET)
RESET_DONE: Final = Fault("done, then reset", How.RESET, done=True)
CLOSE: Final = Fault("close", How.CLOSE)
CLOSE_DONE: Final = Fault("done, then close", How.CLOSE, done=True)
ERROR_500: Final = Fault("500", status=500, kept=True)
ERROR_500_DONE: Final = Fault("done, then 500", done=True, status=500)
ERROR_502: Final = Fault("502", status=502, body=Body.HTML)
ERROR_503: Final = Fault("503", status=503)
ERROR_503_WAIT: Final = Fault("503, Retry-After", status=503, retry_after="seconds")
ERROR_503_WAIT_DATE: Final = Fault("503, Retry-After as a date", status=503, retry_after="date")
ERROR_504: Final = Fault("504", status=504, body=Body.HTML)
ERROR_504_DONE: Final = Fault("done, then 504", done=True, status=504, body=Body.HTML)
LATE: Final = Fault("504, then done", late_s=2.0, status=504, body=Body.HTML)
LATE_HANG: Final = Fault("hang, and done meanwhile", How.HANG, late_s=2.0)
NO_ID: Final = Fault("200 without id", status=200, body=Body.NO_ID)
NO_ID_DONE: Final = Fault("done, then 200 without id", done=True, status=200, body=Body.NO_ID)
PAGE: Final = Fault("200 with a page", status=200, body=Body.HTML)
PAGE_DONE: Final = Fault("done, then a page", done=True, status=200, body=Body.HTML)
MOVED: Final = Fault("302", status=302, body=Body.HTML)
CONFLICT: Final = Fault("409", status=409)
ANTISPAM: Final = Fault("200 with an invented id", status=200, body=Body.INVENTED)
KEYS_FORGOTTEN: Final = Fault("keys forgotten", done=True, forgets_keys=True)
REVOKED: Final = Fault("401", status=401)
BAD_REQUEST: Final = Fault("400", status=400)
FORBIDDEN: Final = Fault("403", status=403)
NOT_FOUND: Final = Fault("404", status=404)
TOO_LARGE: Final = Fault("413", status=413, body=Body.HTML)
UNPROCESSABLE: Final = Fault("422", status=422)
LIMITED: Final = Fault("429", status=429)
LIMITED_ISO: Final = Fault("429, Reset as a time", status=429, reset="iso")
LIMITED_UNIX: Final = Fault("429, Reset as Unix seconds", status=429, reset="unix")
LIMITED_DELTA: Final = Fault("429, Reset as seconds from now", status=429, reset="delta")
LIMITED_WAIT: Final = Fault("429, Retry-After", status=429, retry_after="seconds")
LIMITED_WAIT_DATE: Final = Fault("429, Retry-After as a date", status=429, retry_after="date")

UNCLEAR: Final = (
    HANG, HANG_DONE, SLOW_BODY, RESET, RESET_DONE, CLOSE, CLOSE_DONE, ERROR_500, ERROR_500_DONE,
    ERROR_502, ERROR_503, ERROR_504, ERROR_504_DONE, LATE, LATE_HANG, NO_ID, NO_ID_DONE, PAGE,
    PAGE_DONE, MOVED, CONFLICT,
)  # fmt: skip
"""It may have been done: only a look tells."""

LATER: Final = (
    REFUSE, ERROR_503_WAIT, ERROR_503_WAIT_DATE, LIMITED, LIMITED_ISO, LIMITED_UNIX, LIMITED_DELTA,
    LIMITED_WAIT, LIMITED_WAIT_DATE,
)  # fmt: skip
"""Certainly not done, and the next try may succeed."""

REFUSALS: Final = (BAD_REQUEST, FORBIDDEN, NOT_FOUND, TOO_LARGE, UNPROCESSABLE)
"""Certainly not done, and never will be."""

CHAOS: Final = (*UNCLEAR, *LATER, KEYS_FORGOTTEN)
"""What loses nothing and doubles nothing. REVOKED stops an account, ANTISPAM does lose."""


def late(fault: Fault, late_s: float) -> Fault:
    """A fault with another delay of what is done after the answer."""
    return replace(fault, late_s=late_s)


class Script:
    """Which fault each request meets: what was set for the next ones, outages, then chance."""

    def __init__(self) -> None:
        self._next: dict[Op, deque[Fault]] = {op: deque() for op in Op}
        self._outages: list[tuple[float, float, Fault, frozenset[Op]]] = []
        self._chance: Callable[[Op], Fault] | None = None

    def then(self, *faults: Fault, op: Op = Op.INSERT) -> None:
        """The next requests of a kind meet these, one each."""
        self._next[op].extend(faults)

    def outage(
        self, fault: Fault, *, start: float, end: float, ops: frozenset[Op] = frozenset(Op)
    ) -> None:
        """Every request between two times of the world's clock meets this."""
        self._outages.append((start, end, fault, ops))

    def at_random(
        self,
        rng: Random,
        share: float,
        faults: Sequence[Fault] = CHAOS,
        ops: frozenset[Op] = frozenset(Op),
    ) -> None:
        """So many of all other requests meet one of these."""
        self._chance = lambda op: rng.choice(faults) if op in ops and rng.random() < share else FINE

    def mend(self) -> None:
        """From now on nothing fails."""
        for waiting in self._next.values():
            waiting.clear()
        self._outages.clear()
        self._chance = None

    def draw(self, op: Op, now: float) -> Fault:
        """What the request that is made now meets."""
        if self._next[op]:
            return self._next[op].popleft()
        for start, end, fault, ops in self._outages:
            if start <= now < end and op in ops:
                return fault
        return FINE if self._chance is None else self._chance(op)
