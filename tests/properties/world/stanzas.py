"""What goes over the simulated wires."""

from dataclasses import dataclass
from datetime import datetime

# From the relay


@dataclass(frozen=True, slots=True)
class Message:
    """One copy of a post to one person."""

    person: int
    number: int
    author: int
    writing: int  # each writing has a number of its own, so that a repeat is seen
    no_store: bool  # the server need not keep it for somebody who is offline


@dataclass(frozen=True, slots=True)
class PresenceProbe:
    person: int


@dataclass(frozen=True, slots=True)
class PresenceRequest:
    """`subscribe`: the relay asks to see a person's presence."""

    person: int


@dataclass(frozen=True, slots=True)
class Ping:
    lane: str
    question: int


# To the relay


@dataclass(frozen=True, slots=True)
class Available:
    person: int
    resource: str
    priority: int
    stamp: datetime | None


@dataclass(frozen=True, slots=True)
class Unavailable:
    person: int
    resource: str | None


@dataclass(frozen=True, slots=True)
class Sign:
    """A probe by a person's server: he has just logged in."""

    person: int


@dataclass(frozen=True, slots=True)
class Granted:
    """`subscribed` or `unsubscribed`."""

    person: int
    shows: bool


@dataclass(frozen=True, slots=True)
class Bounce:
    message: Message
    condition: str


@dataclass(frozen=True, slots=True)
class Pong:
    question: int
    condition: str | None  # None: a result; else the error's


FromRelay = Message | PresenceProbe | PresenceRequest | Ping
ToRelay = Available | Unavailable | Sign | Granted | Bounce | Pong

UNREACHABLE = ("remote-server-timeout", "remote-server-not-found")
