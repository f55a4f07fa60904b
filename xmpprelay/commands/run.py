"""What each command does. One method a verb; the answer is text for a person.

The table `_VERBS` says which verbs work; every other verb of the grammar is answered with "not
there yet", and is never posted.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from xmpprelay.commands.grammar import Command
from xmpprelay.commands.values import Handle, Jid, Value
from xmpprelay.commands.verbs import help_text, help_verb
from xmpprelay.core.graph import Graph
from xmpprelay.core.model import Mode, Person
from xmpprelay.errors import BadCommand, NotThere, Refused, UnknownHandle
from xmpprelay.people import People, name_of

_NAMES_AT_MOST: Final = 50


@dataclass(frozen=True, slots=True)
class SenderNames:
    """What the grammar may know of one sender's world (see `commands/arguments.py`)."""

    graph: Graph
    sender: str  # bare JID

    @property
    def registered(self) -> bool:
        """Whether the sender has a handle."""
        person = self.graph.by_jid(self.sender)
        return person is not None and person.handle is not None

    def has_handle(self, handle: str) -> bool:
        """Whether somebody here has the handle."""
        return self.graph.by_handle(handle) is not None

    def has_group(self, name: str) -> bool:
        """Whether the sender has a group of that name; there are none in this version."""
        del name
        return False

    def knows_jid(self, jid: str) -> bool:
        """Whether the relay knows the bare JID."""
        return self.graph.by_jid(jid) is not None


class Commands:
    """The commands of one relay; `domain` is its own."""

    def __init__(self, people: People, graph: Graph, domain: str) -> None:
        self._people = people
        self._graph = graph
        self._domain = domain

    async def run(self, sender: str, command: Command) -> str:
        """Do what a person typed; the answer to him. Raises RelayError with what to do instead."""
        verb = _VERBS.get(command.verb)
        if verb is None:
            raise NotThere(f"`{command.verb}` is not there yet. `help` lists what is.")
        return await verb(self, sender, command.arguments)

    def names(self, sender: str) -> SenderNames:
        """What the grammar is to read a sender's lines with."""
        return SenderNames(self._graph, sender)

    async def help(self, sender: str, arguments: Mapping[str, Value]) -> str:
        """`help`, `help VERB`."""
        del sender
        verb = arguments.get("verb")
        return help_text(WORKING) if verb is None else help_verb(str(verb), WORKING)

    async def join(self, sender: str, arguments: Mapping[str, Value]) -> str:
        """`join HANDLE`."""
        person = await self._people.join(sender, str(arguments["handle"]))
        return f"Welcome, @{person.handle}. What you write here is posted now; `help` lists more."

    async def follow(self, sender: str, arguments: Mapping[str, Value]) -> str:
        """`follow WHO`."""
        author = self._who(arguments["who"])
        new = await self._people.follow(sender, author, None)
        if not new:
            return f"You follow @{author.handle} already."
        return f"You follow @{author.handle} now. `unfollow {author.handle}` ends it."

    async def unfollow(self, sender: str, arguments: Mapping[str, Value]) -> str:
        """`unfollow WHO`."""
        author = self._who(arguments["who"])
        if await self._people.unfollow(sender, author):
            return f"You do not follow @{author.handle} any more."
        return f"You do not follow @{author.handle}; `following` lists whom you do."

    async def following(self, sender: str, arguments: Mapping[str, Value]) -> str:
        """`following`."""
        del arguments
        person = self._graph.by_jid(sender)
        authors = [] if person is None else list(self._graph.following(person.id))
        if not authors:
            return "You follow nobody here. `follow NAME` changes that."
        return f"You follow {len(authors)}: {_list(f'@{a.handle}' for a in authors)}"

    async def followers(self, sender: str, arguments: Mapping[str, Value]) -> str:
        """`followers`."""
        del arguments
        person = self._graph.by_jid(sender)
        people = [] if person is None else list(self._graph.followers(person.id))
        if not people:
            return "Nobody follows you yet."
        return f"{len(people)} follow you: {_list(name_of(p) for p in people)}"

    async def mode(self, sender: str, arguments: Mapping[str, Value]) -> str:
        """`mode WHO author|home`, `mode all author|home`."""
        mode = Mode(str(arguments["mode"]))
        who = arguments["who"]
        author = None if who == "all" else self._who(who)
        changed = await self._people.set_mode(sender, author, mode)
        whose = "All posts come" if author is None else f"Posts of @{author.handle} come"
        if not changed:
            raise Refused("You do not follow them; `follow NAME` first.")
        if mode is Mode.HOME:
            return f"{whose} from this address now."
        return f"{whose} from the authors' own addresses now."

    async def more(self, sender: str, arguments: Mapping[str, Value]) -> str:
        """`more`, `more WHO`."""
        who = arguments.get("who")
        come, remain = await self._people.more(sender, None if who is None else self._who(who))
        if not come:
            return "There is nothing more from your last absence."
        return f"{come} are on their way; {remain} more." if remain else f"The last {come}."

    async def skip(self, sender: str, arguments: Mapping[str, Value]) -> str:
        """`skip`."""
        del arguments
        there = self._people.skip(sender)
        return "Skipped." if there else "There is nothing to skip."

    async def catchup(self, sender: str, arguments: Mapping[str, Value]) -> str:
        """`catchup N`."""
        newest = arguments["n"]
        if not isinstance(newest, int):
            raise NotThere("`catchup digest` is not there yet; `catchup 20` is.")
        await self._people.set_catchup(sender, newest)
        if newest == 0:
            return "After an absence you get one line that says how much there is."
        return f"After an absence you get the newest {newest}, and a line about the rest."

    async def ping(self, sender: str, arguments: Mapping[str, Value]) -> str:
        """`ping`."""
        del sender, arguments
        return "pong"

    def _who(self, value: Value) -> Person:
        if isinstance(value, Handle):
            return self._people.named(value.name)
        if isinstance(value, Jid):
            local, _, domain = value.jid.rpartition("@")
            if domain == self._domain:  # an address of ours stands for the handle in it
                return self._people.named(local)
            person = self._graph.by_jid(value.jid)
            if person is None or person.handle is None:
                raise UnknownHandle(f"Nobody with the address {value.jid} posts here.")
            return person
        raise BadCommand("Name a person, such as @alice.")


def _list(names: Iterable[str]) -> str:
    every = list(names)
    shown = ", ".join(every[:_NAMES_AT_MOST])
    left = len(every) - _NAMES_AT_MOST
    return f"{shown}, and {left} more" if left > 0 else shown


_VERBS: Final[Mapping[str, Callable[[Commands, str, Mapping[str, Value]], Awaitable[str]]]] = {
    "help": Commands.help,
    "join": Commands.join,
    "follow": Commands.follow,
    "unfollow": Commands.unfollow,
    "following": Commands.following,
    "followers": Commands.followers,
    "mode": Commands.mode,
    "more": Commands.more,
    "skip": Commands.skip,
    "catchup": Commands.catchup,
    "ping": Commands.ping,
}

WORKING: Final = frozenset(_VERBS)
"""The verbs that this version can do."""
