"""What each command does, and who may know what: the dispatch.

Each verb has a function in one of the files beside this one, by what it is about. Each of them ends
with its table; together they say which verbs work. Every other verb of the grammar is answered with
"not there yet", and is never posted. The answer is text for a person.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from xmpprelay.commands import (
    account,
    feed,
    follows,
    keeping_out,
    less,
    linking,
    profile,
    reading,
    service,
    settings,
    writing,
)
from xmpprelay.commands.calls import Call, Function, Rooms, find_person
from xmpprelay.commands.grammar import Command, Line, parse
from xmpprelay.commands.verbs import help_text, help_verb
from xmpprelay.core.graph import Graph
from xmpprelay.core.model import Draft, Person
from xmpprelay.people import People


@dataclass(frozen=True, slots=True)
class SenderNames:
    """What the grammar may know of one sender's world (see `commands/arguments.py`)."""

    graph: Graph
    people: People
    sender: str  # bare JID
    but: int | None = None  # the id of somebody who does not exist for him

    @property
    def registered(self) -> bool:
        """Whether the sender has a handle."""
        person = self.graph.by_jid(self.sender)
        return person is not None and person.handle is not None

    def has_handle(self, handle: str) -> bool:
        """Whether somebody here has the handle."""
        person = self.graph.by_handle(handle) or self.people.renamed(handle)
        return person is not None and person.id != self.but

    def has_group(self, name: str) -> bool:
        """Whether the sender has a group of that name."""
        person = self.graph.by_jid(self.sender)
        return person is not None and name in self.graph.wishes(person.id).groups

    def knows_jid(self, jid: str) -> bool:
        """Whether the relay knows the bare JID."""
        person = self.graph.by_jid(jid)
        return person is not None and person.id != self.but


class Commands:
    """The commands of one relay."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms

    async def run(self, draft: Draft, command: Command, here: Person | None = None) -> str:
        """Do what a person typed; the answer to him. Raises RelayError with what to do instead.

        `draft` is the message as it came; `here` the author in whose window it was typed.
        """
        call = Call(draft, command.arguments, command.text, here)
        return await VERBS[command.verb](self._rooms, call)

    def read(self, text: str, sender: str, here: Person | None = None) -> Line:
        """What somebody has written, maybe in the window of an author (S15).

        A line that wants to read an author from whom he is cut off is read as if nobody had that
        name (S6.1).
        """
        window = None if here is None else here.handle
        line = linking.without_code(self._rooms, sender, parse(text, self.names(sender), window))
        if isinstance(line, Command) and line.verb in _SHOW_AN_AUTHOR and "who" in line.arguments:
            rooms = self._rooms
            who = find_person(rooms.graph, rooms.people, rooms.domain, line.arguments["who"])
            if who is not None and rooms.graph.hides(sender, who.id):
                return parse(text, replace(self.names(sender), but=who.id), window)
        return line

    def names(self, sender: str) -> SenderNames:
        """What the grammar is to read a sender's lines with."""
        return SenderNames(self._rooms.graph, self._rooms.people, sender)


async def _help(rooms: Rooms, call: Call) -> str:
    """`help`, `help VERB`."""
    del rooms
    verb = call.arguments.get("verb")
    return help_text() if verb is None else help_verb(str(verb))


async def _ping(rooms: Rooms, call: Call) -> str:
    """`ping`."""
    del rooms, call
    return "pong"


VERBS: Final[Mapping[str, Function]] = {
    "help": _help,
    "ping": _ping,
    **follows.VERBS,
    **reading.VERBS,
    **settings.VERBS,
    **account.VERBS,
    **feed.VERBS,
    **keeping_out.VERBS,
    **less.VERBS,
    **linking.VERBS,
    **profile.VERBS,
    **service.VERBS,
    **writing.VERBS,
}
"""What each verb of the grammar does, by its name."""

_SHOW_AN_AUTHOR: Final = frozenset({"last", "whois"})
