"""In whose name posts are inserted, and what people are called at the primary.

Four kinds: nobody's (there is no primary); each author's own, by his address, where the primary
knows no accounts; one of the operator's for all; or the one that each author has linked.
"""

from enum import Enum
from typing import Protocol

from xmpprelay.core.atom import atom_id
from xmpprelay.core.graph import Graph
from xmpprelay.core.mentions import rename
from xmpprelay.core.model import Person, Post
from xmpprelay.core.nodes import MICROBLOG
from xmpprelay.core.primary import EVERYBODY, Account, Status
from xmpprelay.core.status import Naming
from xmpprelay.core.text import message_id


class Sort(Enum):
    """Whose accounts there are."""

    AUTHORS = "authors"  # each author is one, by his address
    ONE = "one"  # the operator's
    LINKED = "linked"  # what each author has linked


class Linked(Protocol):
    """What is known of a linked account, whether its login holds or not."""

    @property
    def site(self) -> str:
        """At which instance it is."""

    @property
    def name(self) -> str:
        """What it is called there."""


class Links(Protocol):
    """The accounts that people have linked."""

    def account(self, person: int) -> Account | None:
        """The account that somebody has linked; None: none, or its login does not hold."""

    def linked(self, person: int) -> Linked | None:
        """What somebody has linked; None: nothing."""

    async def refused(self, account: Account) -> None:
        """Its credentials do not hold: note it, and tell its owner once."""


class Everybodys:
    """The accounts of one relay."""

    def __init__(
        self,
        graph: Graph,
        sort: Sort,
        *,
        epoch: str,
        domain: str,
        links: Links | None = None,
        token: str = "",
    ) -> None:
        """`token` is of the operator's one account."""
        self._graph = graph
        self._sort = sort
        self._epoch = epoch
        self._domain = domain
        self._links = links
        self._token = token

    def for_author(self, author: int) -> int | None:
        """The account in whose name an author's posts are inserted; None: in nobody's."""
        if self._sort is Sort.ONE:
            return EVERYBODY
        return author if self.there(author) else None

    def there(self, account: int) -> bool:
        """Whether there is such an account, even if its credentials do not hold."""
        return self._sort is not Sort.LINKED or self._link(account) is not None

    def of(self, account: int) -> Account | None:
        """What an account's requests need; None: its credentials do not hold."""
        if self._sort is Sort.ONE:
            return Account(EVERYBODY, token=self._token)
        if self._sort is Sort.LINKED:
            return None if self._links is None else self._links.account(account)
        return Account(account, name=self._graph.person(account).jid)

    def site_of(self, account: int) -> str:
        """At which primary it is; empty: at the only one, or at none."""
        found = self._link(account)
        return "" if found is None else found.site

    def _link(self, person: int) -> Linked | None:
        return None if self._links is None else self._links.linked(person)

    def draft(self, post: Post) -> Status:
        """A post as a status, but for its text and what the primary decides."""
        author = self._graph.person(post.author)
        name = message_id(post.number, self._epoch)
        return Status(
            id=name,
            atom_id=post.atom_id or atom_id(self._domain, name),
            author=author.jid,
            handle=author.handle or "",
            text="",
            published=post.created,
            language=post.lang,
            mentions=tuple(self._accounts_of(post)),
        )

    def _address(self, person: Person) -> str:
        return f"{person.handle}@{self._domain}" if person.handle else person.jid

    def _accounts_of(self, post: Post) -> list[str]:
        """Whom it means to name there: whom it was addressed to, and whom an edit has named since.

        In that order, each once.
        """
        links = (self._link(each) for each in post.addressed)
        found = [link.name for link in links if link is not None]

        def note(name: str, domain: str | None) -> None:
            found.append(self._there(name, domain) or "")

        rename(post.text, note)
        return list(dict.fromkeys(filter(None, found)))

    def naming(self, post: Post) -> Naming:
        """What people are called there, for the text of a post."""
        author = self._graph.person(post.author)
        signature = f"{author.handle or author.jid}: " if self._sort is Sort.ONE else ""
        return Naming(self._there, signature)

    def _there(self, name: str, domain: str | None) -> str | None:
        person = self._graph.by_handle(name) if domain in (None, self._domain) else None
        if person is None and domain is not None:
            person = self._graph.by_jid(f"{name}@{domain}")
        if person is None:
            return None if domain is not None else ""
        link = self._link(person.id)
        return "" if link is None else link.name

    def link(self, post: Post) -> str:
        """Where the whole of a post can be read."""
        author = self._graph.person(post.author)
        name = message_id(post.number, self._epoch)
        return f"xmpp:{self._address(author)}?;node={MICROBLOG};item={name}"

    async def refused(self, account: Account) -> None:
        """Its credentials do not hold: its owner is told, once."""
        if self._links is not None:
            await self._links.refused(account)
