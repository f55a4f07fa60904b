"""Everything that passes between the rooms, declared in one place.

Reading this file shows the whole system: what a post is, who a person is, what is remembered about
his deliveries. All classes are frozen; a change is a new object.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

OWN_LANE: Final = ""
"""The lane of all of the server's own domains together; a remote lane is named by its domain."""


class Kind(StrEnum):
    """What an entry of the journal is. Each has a number of its own and goes the same way."""

    POST = "post"  # a post, a reply, a mention: told apart by whom it is addressed to
    DIRECT = "direct"  # for its one target alone (S4)
    BOOST = "boost"  # somebody else's post, shown to the booster's followers (S8.1)
    EDIT = "edit"  # the new text of a post, for those who were sent it (S9.1)
    DELETE = "delete"  # a post is taken back, from those who were sent it (S9.2)


CHANGES: Final = frozenset({Kind.EDIT, Kind.DELETE})


class Mode(StrEnum):
    """How a follower gets the posts of one author (S1.2)."""

    AUTHOR = "author"  # from alice@relay: he added her to his contact list
    HOME = "home"  # from home@relay as "alice: text  #k3f": he typed `follow alice`
    PUBSUB = "pubsub"  # as events of her node, to which he has subscribed (XEP-0060)
    PUBSUB_BODY = "pubsub-body"  # the same, with a body that any client shows (include_body)

    @property
    def is_pubsub(self) -> bool:
        """Whether posts come as events of the author's node."""
        return self in _PUBSUB


_PUBSUB: Final = frozenset({Mode.PUBSUB, Mode.PUBSUB_BODY})


class Grant(StrEnum):
    """Whether a follower lets home@relay see his presence (S5.5, S11.1)."""

    NEVER = "never"  # not asked yet
    ASKED = "asked"
    GRANTED = "granted"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Person:
    """Any bare JID that the relay knows."""

    id: int  # ascending in the order in which people became known; the order of every fan-out
    jid: str  # the bare JID, prepared (RFC 7622)
    handle: str | None  # None: follows, but cannot post


@dataclass(frozen=True, slots=True)
class Draft:
    """What somebody wants to post, read once from the stanza; nobody behind the door sees XML."""

    author: str  # bare JID of the stanza's `from`: the only identity there is
    text: str  # cleaned; may have several lines
    lang: str | None  # xml:lang of the stanza, if it is a language tag
    origin: str | None  # the sender's <origin-id/> (XEP-0359): dedupe for as long as the post lives
    stanza_id: str | None  # the stanza's own id: dedupe for ten minutes, together with the text
    relay_only: bool = False  # typed with `~`: never inserted into the primary
    forced: bool = False  # typed with a mark in front: never a reply, whatever it looks like
    replies_to: str | None = None  # the message that it answers (XEP-0461), by the id it has there
    attachments: tuple[str, ...] = ()  # addresses of what comes with it (XEP-0066), all in the text
    item: str | None = None  # the id that he gives it as an item of his node (XEP-0060)


@dataclass(frozen=True, slots=True)
class Post:
    """An entry of the journal: a post, a message to one person, a boost, a change of a post.

    `original` is the post that a boost shows or that a change changes, as it is now. What depends
    on the time at which an entry was accepted is written down in it, so that who gets it can be
    said at any later time without a clock.
    """

    number: int  # the public order, given in commit order; in base32 the short id (core/text.py)
    author: int  # person id
    text: str  # as it is now; a deleted post has none
    lang: str | None
    created: datetime  # aware, UTC: when the relay accepted it
    kind: Kind = Kind.POST
    targets: tuple[int, ...] = ()
    # person ids: of a direct message the one it is for; of a reply first the one it answers (S2.2),
    # then everybody else in its leading run
    mentions: tuple[int, ...] = ()  # person ids named elsewhere in the text, ascending
    parent: int | None = None  # the number of the post that it replies to
    original: "Post | None" = None
    boosted_before: tuple[int, ...] = ()  # who boosted `original` in the 24 h before (S8.1)
    edits: int = 0  # how often it was edited; of an edit: which one it is, from 1
    deleted: bool = False
    relay_only: bool = False
    new_author: bool = False  # its author had his handle for less than a day (S2.3)
    nth_hour: int = 0  # how many of its author's posts the same clock hour had before it (S10.3)
    nth_day: int = 0  # and the same day (UTC)
    surplus: bool = False  # for a digest, unless a follower chooses otherwise (S10.3, S10.4)
    root: int | None = None  # of a reply: the number of the post with which its thread began
    attachments: tuple[str, ...] = ()  # addresses in the text of what comes with it
    atom_id: str | None = None  # of a post taken over from another relay: its id there
    item: str | None = None  # the id that its author gave it as an item of his node; else our own

    @property
    def addressed(self) -> tuple[int, ...]:
        """Everybody whom it names: who gets it without following."""
        return self.targets + self.mentions

    @property
    def concerns(self) -> tuple[int, ...]:
        """Whom it may concern without their following: of a change also whom the post named."""
        if self.kind in CHANGES and self.original is not None:
            return self.addressed + self.original.addressed
        return self.addressed

    @property
    def content(self) -> "Post":
        """The post whose text it shows: a boost's original, else itself."""
        return self.original if self.kind is Kind.BOOST and self.original is not None else self


@dataclass(frozen=True, slots=True)
class Queued:
    """What an entry of the journal has changed in an account's queue for the primary."""

    account: int
    opened: int  # rows that are open now and were not
    closed: int = 0  # rows that were open and are not now …
    post: int | None = None  # … all of this post


@dataclass(frozen=True, slots=True)
class Appended:
    """What became of a draft: the post, and whether it had been there before."""

    post: Post
    duplicate: bool  # True: a resend; `post` is the one made the first time
    standings: tuple["Standing", ...] = ()  # of the people whom it is addressed to
    further: tuple[Post, ...] = ()  # with a deletion: those of the post's boosts, ascending
    queued: tuple[Queued, ...] = ()  # what it has changed in the queue for the primary
    lanes: tuple[Sequence[str], ...] = ()  # in which it, and then each of `further`, has rows


@dataclass(frozen=True, slots=True)
class Follow:
    """One follower of one author."""

    follower: int  # person id
    author: int  # person id
    mode: Mode
    since: int  # the first post number that counts


@dataclass(frozen=True, slots=True)
class Rest:
    """What the last return left to `more`: timeline posts from `first` to `last`, both included."""

    first: int
    last: int
    taken: tuple[tuple[int, int], ...] = ()
    # (author, number): of this author everything from `number` up was fetched by `more AUTHOR`
    whole_from: int = 0  # below this number, where his absence began, only what is `listed`:
    listed: tuple[int, ...] = ()  # what else lies there he has had; ascending
    to_come: tuple[int, ...] = ()  # not these: their fan-out had yet to pass him; ascending

    def holds(self, number: int) -> bool:
        """Whether a number lies in it."""
        whole = number >= self.whole_from or number in self.listed
        return whole and self.first <= number <= self.last and number not in self.to_come


@dataclass(frozen=True, slots=True)
class Standing:
    """What is remembered of one person's deliveries (docs/flow.md, "Who has had what").

    Nothing is stored per delivery: a person who is live has had everything that passed him, one who
    is away has had nothing from `away_from` on, but for `missed`, which he lacks below it.
    """

    person: int
    away_from: int | None  # None: live; else the first number from which he has had nothing
    away_at: datetime | None  # aware, UTC: since when he is away; None: live
    missed: tuple[
        int, ...
    ] = ()  # numbers below away_from that he lacks, ascending; nearly always ()
    rest: Rest | None = None
    grant: Grant = Grant.NEVER
    day: int = 0  # the day (of his own day's count) that `used` belongs to
    used: int = 0  # posts sent on that day without seeing his presence (S11.4)


@dataclass(frozen=True, slots=True)
class Cursor:
    """Up to where the fan-out of one post in one lane is confirmed."""

    number: int
    lane: str
    position: int | None  # person id; None: the lane is done with the post, the row goes


@dataclass(frozen=True, slots=True)
class DeliveryRows:
    """One step of the fan-out to be stored, in one transaction."""

    cursors: tuple[Cursor, ...] = ()
    standings: tuple[Standing, ...] = ()
