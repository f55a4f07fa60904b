"""In whose name posts are inserted, and what people are called at the primary.

Four kinds: nobody's (there is no primary); each author's own, by his address, where the primary
knows no accounts; one of the operator's for all; or the one that each author has linked.
"""

from collections.abc import Awaitable, Callable
from enum import Enum
from typing import Final, Protocol

from xmpprelay.core.graph import Graph
from xmpprelay.core.model import Kind, Person, Post
from xmpprelay.core.primary import EVERYBODY, Account, Status
from xmpprelay.core.status import Naming
from xmpprelay.core.text import message_id

MICROBLOG: Final = "urn:xmpp:microblog:0"


class Sort(Enum):
    """Whose accounts there are."""

    AUTHORS = "authors"  # each author is one, by his address
    ONE = "one"  # the operator's
    LINKED = "linked"  # what each author has linked


class Links(Protocol):
    """The accounts that people have linked."""

    def account(self, person: int) -> Account | None:
        """The account that somebody has linked; None: none."""

    async def refused(self, person: int, detail: str) -> None:
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
        base_url: str = "",
        refused: Callable[[str], Awaitable[None]],
    ) -> None:
        """`token` is of the operator's one account, and `refused` told when it does not hold."""
        self._graph = graph
        self._sort = sort
        self._epoch = epoch
        self._domain = domain
        self._links = links
        self._token = token
        self._base_url = base_url.rstrip("/")
        self._refused = refused

    def for_author(self, author: int) -> int | None:
        """The account in whose name an author's posts are inserted; None: in nobody's."""
        if self._sort is Sort.ONE:
            return EVERYBODY
        if self._sort is Sort.AUTHORS:
            return author
        return None if self._links is None or self._links.account(author) is None else author

    def of(self, account: int) -> Account | None:
        """What an account's requests need; None: there is no such account any more."""
        if self._sort is Sort.ONE:
            return Account(EVERYBODY, token=self._token)
        if self._sort is Sort.LINKED:
            return None if self._links is None else self._links.account(account)
        person = self._graph.person(account)
        return Account(account, name=person.jid)

    def site_of(self, account: int) -> str:
        """At which primary it is."""
        if self._sort is not Sort.LINKED or self._links is None:
            return ""
        found = self._links.account(account)
        return "" if found is None else found.site

    def draft(self, post: Post) -> Status:
        """A post as a status, but for its text and what the primary decides."""
        author = self._graph.person(post.author)
        name = message_id(post.number, self._epoch)
        return Status(
            id=name,
            atom_id=post.atom_id or f"xmpp:{self._address(author)}?;node={MICROBLOG};item={name}",
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
        if self._links is None:
            return []
        found = (self._links.account(each) for each in post.addressed)
        return [account.name for account in found if account is not None]

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
        account = None if self._links is None else self._links.account(person.id)
        return "" if account is None else account.name

    def link(self, post: Post) -> str:
        """Where the whole of a post can be read."""
        author = self._graph.person(post.author)
        name = message_id(post.number, self._epoch)
        return f"xmpp:{self._address(author)}?;node={MICROBLOG};item={name}"

    async def refused(self, account: int, detail: str) -> None:
        """Its credentials do not hold: its owner is told, once."""
        if account == EVERYBODY or self._links is None:
            await self._refused(detail)
        else:
            await self._links.refused(account, detail)


def goes_there(post_kind: Kind, *, relay_only: bool, has_text: bool) -> bool:
    """Whether an entry of the journal is ever inserted: posts are, and nothing else."""
    return post_kind is Kind.POST and not relay_only and has_text
