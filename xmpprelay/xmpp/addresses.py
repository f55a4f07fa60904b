"""The relay's own addresses: the speaking one, the authors', the bare domain."""

from dataclasses import dataclass

from xmpprelay.core.graph import Graph
from xmpprelay.core.model import Person


@dataclass(frozen=True, slots=True)
class Home:
    """`home@relay`, or the bare domain, which is taken for it (S1.1)."""

    jid: str  # as it was written to


@dataclass(frozen=True, slots=True)
class Author:
    """The address of somebody with a handle, such as `alice@relay`."""

    jid: str
    person: Person


Address = Home | Author


class Addresses:
    """What an address below the component's domain stands for."""

    def __init__(self, domain: str, home: str, graph: Graph) -> None:
        self.domain = domain
        self.home = f"{home}@{domain}"
        self._graph = graph

    def of(self, bare: str) -> Address | None:
        """What a bare JID of ours stands for; None: nobody."""
        if bare in (self.home, self.domain):
            return Home(bare)
        local, _, domain = bare.rpartition("@")
        person = self._graph.by_handle(local) if domain == self.domain else None
        return None if person is None else Author(bare, person)

    def author(self, person: Person) -> str:
        """The address of a person with a handle."""
        return f"{person.handle}@{self.domain}"
