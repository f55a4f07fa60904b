"""What the relay and a primary service say to each other: plain values, no I/O.

The primary is where posts are inserted later. A driver (`primary/`) turns these values into
requests and what comes back into these values; what is done about it, `core/insertion.py` decides.
"""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final, TypeAlias

from xmpprelay.core.pacing import Rate

EVERYBODY: Final = 0
"""The id of the one account that the operator has for all authors."""

MENTIONS_OTHERS: Final = "mentions_others"
"""The reason of a result: it is done, but names others there than were meant, by its detail."""


class Outcome(StrEnum):
    """What became of a request."""

    INSERTED = "inserted"  # done
    DUPLICATE = "duplicate"  # it was done before: as good as done
    RETRY = "retry"  # certainly not done; it may be done later
    REJECTED = "rejected"  # certainly not done, and it would not be the next time
    UNKNOWN = "unknown"  # it may have been done: look before it is sent again
    AUTH = "auth"  # certainly not done: the account's credentials do not hold any more


class Scope(StrEnum):
    """Of what an outcome tells something."""

    POST = "post"
    ACCOUNT = "account"
    DRIVER = "driver"  # the whole service: its health


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one request."""

    outcome: Outcome
    remote_id: str | None = None  # opaque, the primary's own
    remote_url: str | None = None  # where people see it
    remote_time: datetime | None = None  # aware, UTC: when the primary says it was made
    retry_after_s: float | None = None  # how long the primary asks to be left alone
    scope: Scope = Scope.POST
    reason: str = ""  # short stable code, such as `timeout`, `http_502`, `rate_limited`
    detail: str = ""  # at most 200 characters for people; no token, no HTML
    left: int | None = None  # requests that the account may still make …
    left_for_s: float | None = None  # … until so many seconds have passed


class Visibility(StrEnum):
    """Who sees a status at the primary; Mastodon's words."""

    PUBLIC = "public"
    UNLISTED = "unlisted"
    PRIVATE = "private"  # the account's followers there
    DIRECT = "direct"


class Dedupe(StrEnum):
    """What the primary does with the same thing sent twice."""

    NATURAL = "natural"  # the id is its own: there is only ever one
    WINDOW = "window"  # the same key within `window_s` gives the same thing
    NONE = "none"


ALL_VISIBILITIES: Final = frozenset(Visibility)


@dataclass(frozen=True, slots=True)
class Caps:
    """What a primary can do. Known from a probe, and kept while it is down."""

    software: str  # as it calls itself, lower case
    max_chars: int | None = None  # of a status; None: no limit
    url_weight: int | None = None  # characters that any URL counts as; None: as long as it is
    max_media: int = 0  # attachments of a status; 0: links only
    max_media_bytes: int = 0  # of one of them
    media_types: frozenset[str] = frozenset()  # such as image/png
    dedupe: Dedupe = Dedupe.NONE
    window_s: float = 0.0  # how long a key is remembered
    backdate: bool = False  # takes the original time
    edits: frozenset[Visibility] = ALL_VISIBILITIES  # which statuses may be edited
    deletes: bool = True
    shows: frozenset[Visibility] = ALL_VISIBILITIES  # what the account's own list shows
    names: bool = False  # a bare `@bob` means somebody there, who need not be ours
    account_rate: Rate | None = None  # posts of one account, its own limit less a reserve
    site_rate: Rate | None = None  # requests of all accounts together


class Reach(StrEnum):
    """What a probe has found."""

    UP = "up"
    DOWN = "down"
    AUTH = "auth"  # there, but the operator's credentials do not hold


@dataclass(frozen=True, slots=True)
class Probe:
    """The answer to a probe, which never writes."""

    reach: Reach
    caps: Caps | None = None  # None: nothing new is known
    retry_after_s: float | None = None
    reason: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Account:
    """In whose name a status is inserted."""

    id: int  # person id of the author, or EVERYBODY
    site: str = ""  # base URL of the instance; empty: there is one service only
    token: str = field(default="", repr=False)
    name: str = ""  # what it is called there, such as alice@social.example
    remote_id: str = ""  # its id there


@dataclass(frozen=True, slots=True)
class Status:
    """A post as a primary gets it."""

    id: str  # the post's message id, `k3f.ab12cd`; of the second part of a post `k3f.ab12cd.2`
    atom_id: str  # the same for ever, wherever the post is (RFC 4287 §4.2.6)
    author: str  # bare JID
    handle: str
    text: str  # plain text
    published: datetime  # when it was posted, aware, UTC
    language: str | None = None
    visibility: Visibility = Visibility.PUBLIC
    updated: datetime | None = None  # when it was edited last
    in_reply_to: str | None = None  # the remote id of what it answers
    mentions: tuple[str, ...] = ()  # the accounts there that it means to name
    media: tuple[str, ...] = ()  # remote ids of what was uploaded
    backdate: bool = False  # it is to appear at its original time


@dataclass(frozen=True, slots=True)
class File:
    """An attachment, fetched and checked."""

    name: str
    media_type: str
    content: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Attempt:
    """A status that was sent, and nobody knows whether it is there."""

    status: Status
    first_sent_at: datetime
    last_sent_at: datetime
    high_water: str | None = None  # remote id of something that was there before the first sending


@dataclass(frozen=True, slots=True)
class Candidate:
    """Something at the primary that looks like what was sent."""

    remote_id: str
    remote_url: str | None = None
    remote_time: datetime | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """These look like it, oldest first; whoever asks knows which of them are other posts."""

    candidates: tuple[Candidate, ...]


@dataclass(frozen=True, slots=True)
class Absent:
    """It is certainly not there, if the primary does within the settle time what it does."""


@dataclass(frozen=True, slots=True)
class CannotTell:
    """This primary does not show such statuses to anybody who looks."""

    detail: str = ""


@dataclass(frozen=True, slots=True)
class LookFailed:
    """It could not be looked; what came of the request."""

    result: Result


Look: TypeAlias = Found | Absent | CannotTell | LookFailed
"""What a look for an attempt has found."""
