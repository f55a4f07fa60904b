"""What the function of a verb is given, and how it finds whom it is about."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, TypeAlias

from xmpprelay.account import Account
from xmpprelay.approval import Approval
from xmpprelay.choices import Choices
from xmpprelay.commands.values import Handle, Jid, Value
from xmpprelay.core.graph import Graph
from xmpprelay.core.model import Draft, Person
from xmpprelay.directory import Directory
from xmpprelay.errors import BadCommand, UnknownHandle
from xmpprelay.feeds import Feeds
from xmpprelay.inserting import Inserting
from xmpprelay.keeping_out import KeepingOut
from xmpprelay.less import Less
from xmpprelay.linking import Linking
from xmpprelay.people import People
from xmpprelay.profiles import Profiles
from xmpprelay.reading import Reading
from xmpprelay.relay import Relay
from xmpprelay.reporting import Reporting
from xmpprelay.sources import Sources
from xmpprelay.volume import Volume

_NAMES_AT_MOST: Final = 50


@dataclass(frozen=True, slots=True)
class Rooms:
    """The rooms that commands work on."""

    graph: Graph
    people: People
    choices: Choices
    reading: Reading
    account: Account
    keeping_out: KeepingOut
    approval: Approval
    relay: Relay
    reporting: Reporting
    less: Less
    volume: Volume
    profiles: Profiles
    directory: Directory
    feeds: Feeds
    domain: str  # the relay's own
    now: Callable[[], datetime]
    linking: Linking | None = None  # None: nobody can link an account here
    inserting: Inserting | None = None  # None: nothing is inserted anywhere
    sources: Sources | None = None  # None: posts come by no other way

    def who(self, value: Value) -> Person:
        """The author that an argument names; UnknownHandle if nobody of that name posts here."""
        if isinstance(value, Handle):
            return self.people.named(value.name)
        if isinstance(value, Jid):
            local, _, domain = value.jid.rpartition("@")
            if domain == self.domain:  # an address of ours stands for the handle in it
                return self.people.named(local)
            person = self.graph.by_jid(value.jid)
            if person is None or person.handle is None:
                raise UnknownHandle(f"Nobody with the address {value.jid} posts here.")
            return person
        raise BadCommand("Name a person, such as @alice.")

    def author(self, call: "Call", value: Value) -> Person:
        """The author whom somebody wants to read; to whom he is cut off from, nobody (S6.1)."""
        person = find_person(self.graph, self.people, self.domain, value)
        if person is None or not self.graph.hides(call.sender, person.id):
            return self.who(value)
        if isinstance(value, Jid) and value.jid.rpartition("@")[2] != self.domain:
            raise UnknownHandle(f"Nobody with the address {value.jid} posts here.")
        raise self.people.nobody(value.name if isinstance(value, Handle) else value_local(value))


@dataclass(frozen=True, slots=True)
class Call:
    """One command, typed by somebody."""

    draft: Draft  # the message as it came: who sent it, its ids, its language
    arguments: Mapping[str, Value] = field(default_factory=dict)
    text: str = ""  # the rest of the message, for verbs that take one
    here: Person | None = None  # the author in whose window it was typed

    @property
    def sender(self) -> str:
        """The bare JID of who typed it."""
        return self.draft.author


Function: TypeAlias = Callable[[Rooms, Call], Awaitable[str]]
"""Does a command; gives the answer. Raises RelayError with what to do instead."""


def find_person(graph: Graph, people: People, domain: str, value: Value) -> Person | None:
    """Whom a name stands for, or stood for until lately; None: nobody."""
    if isinstance(value, Jid) and value.jid.rpartition("@")[2] != domain:
        return graph.by_jid(value.jid)
    if not isinstance(value, Handle | Jid):
        return None
    name = value.name if isinstance(value, Handle) else value_local(value)
    return graph.by_handle(name) or people.renamed(name)


def value_local(value: Value) -> str:
    """The part of an address before its `@`."""
    return value.jid.rpartition("@")[0] if isinstance(value, Jid) else ""


def listed(names: Iterable[str]) -> str:
    """Names in one line, the first fifty of them."""
    every = list(names)
    shown = ", ".join(every[:_NAMES_AT_MOST])
    left = len(every) - _NAMES_AT_MOST
    return f"{shown}, and {left} more" if left > 0 else shown
