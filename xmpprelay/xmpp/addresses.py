"""The relay's own addresses: the speaking one, the authors', the bare domain."""

from collections.abc import Callable
from dataclasses import dataclass

from xmpprelay.core.graph import Graph
from xmpprelay.core.model import Person
from xmpprelay.errors import Moved, RelayError, UnknownHandle


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
        self.renamed: Callable[[str], Person | None] = _nobody  # by the handle of before (S12.2)
        self._graph = graph

    def of(self, bare: str) -> Address | None:
        """What a bare JID of ours stands for; None: nobody."""
        if bare in (self.home, self.domain):
            return Home(bare)
        local, _, domain = bare.rpartition("@")
        person = self._graph.by_handle(local) if domain == self.domain else None
        return None if person is None else Author(bare, person)

    def seen_by(self, jid: str, bare: str) -> Address | None:
        """What an address of ours stands for to who asks; None: nobody, as far as he can see."""
        found = self.of(bare)
        hidden = isinstance(found, Author) and self._graph.hides(jid, found.person.id)
        return None if hidden else found

    def asked_by(self, jid: str, bare: str) -> Address | None:
        """What an address of ours stands for to who asks for something there (S6.1).

        Only whom the operator has blocked is not there.
        """
        found = self.of(bare)
        barred = isinstance(found, Author) and self._graph.barred(found.person.jid)
        return None if barred or self._graph.barred(jid) else found

    def former(self, bare: str) -> Person | None:
        """Who had an address of ours until lately and has another one now (S12.2)."""
        local, _, domain = bare.rpartition("@")
        return self.renamed(local) if domain == self.domain else None

    def missing(self, jid: str, bare: str) -> RelayError:
        """What is answered, to who asks, at an address that stands for nobody."""
        now = self.former(bare)
        if now is not None and not self._graph.hides(jid, now.id):
            return Moved(f"{bare} is now {self.author(now)}.")
        return UnknownHandle(f"Nobody here has the address {bare}.")

    def author(self, person: Person) -> str:
        """The address of a person with a handle."""
        return f"{person.handle}@{self.domain}"


def _nobody(_: str) -> Person | None:
    return None
