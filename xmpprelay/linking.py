"""Linking: an author shows that an account at an instance is his, and his posts go there.

By chat (RFC 6749 §4.1, with the code shown to the author and typed by him): `link` gives an address
to open, where he lets the relay write in his name, and gets a code; `link CODE` exchanges it for a
token. A login that was begun is kept in memory, since nothing is lost with it but a minute's work;
a code is of no use to anybody but the relay that has begun the login (RFC 7636).

The token is encrypted before it is stored, and decrypted for each use. Where that cannot be done,
since the key is another one, the account counts as one whose login does not hold: its posts wait,
and nobody else's do.

Only instances that the operator has named are ever spoken to.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final, TypeVar

from xmpprelay.config import host_of
from xmpprelay.core.graph import Graph
from xmpprelay.core.model import Person
from xmpprelay.core.primary import Account
from xmpprelay.errors import (
    NotRegistered,
    Refused,
    RelayError,
    StoreError,
    TooFast,
    TryLater,
    UnknownHandle,
    WrongKey,
)
from xmpprelay.log import get_logger
from xmpprelay.people import Wire
from xmpprelay.primary.http import Http
from xmpprelay.primary.mastodon import login
from xmpprelay.secretbox import SecretBox
from xmpprelay.store.database import Database
from xmpprelay.store.links import (
    ClientRow,
    LinkRow,
    MarkRow,
    PrivateRow,
    SealRow,
    StoredLink,
    add_link,
    mark_link,
    remove_link,
    seal_link,
    set_client,
    set_private,
)
from xmpprelay.store.writer import Operation

Row = TypeVar("Row")
Result = TypeVar("Result")

log = get_logger("linking")

BEGUN_FOR_S: Final = 900.0
"""So long a login that was begun can be ended: enough to find one's password."""

BEGUN: Final = 1000
"""Logins that may be begun at once; each is some hundred bytes."""

WRONG_CODES: Final = 5
"""After so many nothing is tried any more until the time is over."""

OFFERED: Final = 10
"""People who are named after linking: a line of a chat, not a list."""

_LATER: Final = "The relay cannot store this at the moment; nothing was changed. Try later."


@dataclass(frozen=True, slots=True)
class Begun:
    """A login that waits for its code."""

    site: str
    address: str  # what the author has to open
    verifier: str  # what shows that the one who ends it has begun it (RFC 7636 §4.1)
    at: float  # monotonic
    wrong: int = 0  # codes that were none


class Broken(StrEnum):
    """Why somebody's posts wait, although he has done nothing, and his instance neither."""

    REMOVED = "link removed"  # the operator has taken the instance out
    UNREADABLE = "link unreadable"  # none of the keys is the one of his token


@dataclass(frozen=True, slots=True)
class Unlinked:
    """What became of an `unlink`."""

    name: str
    host: str
    revoked: bool  # False: the instance could not be told


class Linking:
    """The linked accounts of one relay. `changed` is told of everybody whose link has changed."""

    def __init__(
        self,
        db: Database,
        graph: Graph,
        wire: Wire,
        box: SecretBox,
        http: Http,
        *,
        sites: Iterable[str],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._db = db
        self._graph = graph
        self._wire = wire
        self._box = box
        self._http = http
        self._sites = {host_of(site): site for site in sites}
        self._monotonic = monotonic
        self._links: dict[int, StoredLink] = {}
        self._clients: dict[str, ClientRow] = {}
        self._registering = {site: asyncio.Lock() for site in self._sites.values()}
        self._begun: dict[int, Begun] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.changed: list[Callable[[int], None]] = []

    # Start and end

    def load(self, links: Iterable[StoredLink], clients: Iterable[ClientRow]) -> None:
        """Take up what is stored."""
        self._links = {link.person: link for link in links}
        self._clients = {client.site: client for client in clients}

    async def seal_anew(self) -> None:
        """Encrypt by the first key what is encrypted by another one, and say what by none.

        Raises StoreError.
        """
        lost = ""
        for link in list(self._links.values()):
            try:
                if self._box.is_current(link.token):
                    self._box.decrypt(link.token, _about_link(link))
                    continue
                token = self._box.rotate(link.token, _about_link(link))
            except WrongKey as error:
                lost = error.sentence
                log.error("link.unreadable", person=link.person)
                continue
            row = SealRow(link.person, link.token, token)
            await self._db.write(seal_link, row, committed=self._stored)
        if lost:
            log.error("links.unreadable", why=lost)
        for client in list(self._clients.values()):
            if not self._box.is_current(client.client_secret):
                await self._seal_client(client)

    async def _seal_client(self, client: ClientRow) -> None:
        with suppress(WrongKey):  # then it registers again when it is needed
            secret = self._box.rotate(client.client_secret, _about_client(client.site))
            row = replace(client, client_secret=secret)
            await self._db.write(set_client, row, committed=self._registered)

    async def settled(self) -> None:
        """Return when nothing is done in the background any more."""
        while self._tasks:
            await asyncio.wait(set(self._tasks))

    async def close(self) -> None:
        """End what is done in the background; nothing of it matters."""
        for task in self._tasks:
            task.cancel()
        await self.settled()

    def tick(self) -> None:
        """A minute has passed: logins that were not ended are forgotten."""
        oldest = self._monotonic() - BEGUN_FOR_S
        for person, begun in list(self._begun.items()):
            if begun.at <= oldest:
                del self._begun[person]

    # What the trickle asks

    def account(self, person: int) -> Account | None:
        """The account into which somebody's posts go; None: there is none whose login holds."""
        link = self._links.get(person)
        return None if link is None or link.refused is not None else self._readable(link)

    def refused_ones(self) -> list[int]:
        """Those whose logins did not hold when they were used last."""
        return [link.person for link in self._links.values() if link.refused is not None]

    def refused_account(self, person: int) -> Account | None:
        """The account of one of those; None: he is none, or cannot be one here."""
        link = self._links.get(person)
        return None if link is None or link.refused is None else self._readable(link)

    def _readable(self, link: StoredLink) -> Account | None:
        """The account with its token; None: this relay has not the instance, or not the key."""
        if link.site not in self._registering:
            return None
        try:
            token = self._box.decrypt(link.token, _about_link(link))
        except WrongKey:
            return None
        return Account(link.person, link.site, token, link.name, link.remote_id)

    def linked(self, person: int) -> StoredLink | None:
        """Somebody's link, whether its login holds or not; None: he has none."""
        return self._links.get(person)

    def broken(self) -> Iterator[tuple[int, Broken | None]]:
        """Everybody with a link, and what is wrong with it here; None: nothing is."""
        for person in list(self._links):
            link = self._links.get(person)
            if link is None:  # he has ended it since
                continue
            if link.site not in self._registering:
                yield person, Broken.REMOVED
            elif link.refused is None and self._token(link) is None:
                yield person, Broken.UNREADABLE
            else:
                yield person, None

    def tell_broken(self, person: int, why: Broken) -> None:
        """Tell somebody what is wrong with his link, and what he can do."""
        link = self._links[person]
        host = host_of(link.site)
        others = [f"link {each}" for each in self.hosts]
        if why is Broken.REMOVED:
            choices = ", ".join(f"`{line}`" for line in others[:OFFERED])
            text = (
                f"This relay does not serve {host} any more, so your posts wait before they go to "
                f"an account of yours: {choices} links one there instead, `unlink` ends it."
            )
        else:
            text = (
                f"This relay cannot read its login at {host} any more, so your posts wait before "
                f"they go there: `link {host}` makes it anew, `unlink` ends it."
            )
            others = [f"link {host}"]
        buttons = [(line, line.capitalize()) for line in others[:OFFERED]]
        self._wire.mention(self._graph.person(person).jid, text, buttons)

    async def refused(self, account: Account) -> None:
        """An instance does not accept a login any more: keep it, and tell the author once.

        What is told of an older login than the one he has now changes nothing. Raises StoreError.
        """
        link = self._links.get(account.id)
        now = self.account(account.id)
        if link is None or now is None or now.token != account.token:
            return
        row = MarkRow(link.person, link.token, refused=True)
        marked = await self._db.write(mark_link, row, committed=self._stored)
        if marked is not None:
            host = host_of(link.site)
            self._wire.mention(
                self._graph.person(link.person).jid,
                f"{host} does not accept your login any more, so your posts wait before they go "
                f"there: `link {host}` renews it, `unlink` ends it.",
                [(f"link {host}", "Link again")],
            )

    async def holds_again(self, account: Account) -> bool:
        """A login that was refused is accepted; whether it is the one that counts now.

        Raises StoreError.
        """
        link = self._links.get(account.id)
        if link is None or self.refused_account(account.id) != account:
            return False
        row = MarkRow(link.person, link.token, refused=False)
        return await self._db.write(mark_link, row, committed=self._stored) is not None

    # Commands

    @property
    def hosts(self) -> Sequence[str]:
        """The names of the instances to choose from, in the operator's order."""
        return tuple(self._sites)

    def link_of(self, jid: str) -> StoredLink | None:
        """The link of a person, by his JID."""
        person = self._graph.by_jid(jid)
        return None if person is None else self._links.get(person.id)

    def begun(self, jid: str) -> Begun | None:
        """The login that somebody has begun and may still end."""
        person = self._graph.by_jid(jid)
        begun = None if person is None else self._begun.get(person.id)
        if begun is None or self._monotonic() - begun.at >= BEGUN_FOR_S:
            return None
        return begun

    async def begin(self, jid: str, host: str) -> Begun:
        """Begin a login, in place of one that was begun; where to go is in its address.

        Raises NotRegistered, UnknownHandle (no such instance), TooFast, TryLater.
        """
        author = self._author(jid)
        site = self._sites.get(host)
        if site is None:
            raise UnknownHandle(
                f"Accounts at {host} cannot be linked here; choose one of these: "
                f"{', '.join(self._sites)}."
            )
        before = self.begun(jid)
        if before is not None and before.wrong >= WRONG_CODES:
            raise self._too_many(before)
        if before is None and len(self._begun) >= BEGUN:
            self.tick()
            if len(self._begun) >= BEGUN:
                raise TryLater("Too many people link an account just now. Try in some minutes.")
        client = await self._client(site)
        verifier = login.new_verifier()
        address = login.authorize_url(site, client, verifier)
        wrong = 0 if before is None else before.wrong
        begun = Begun(site, address, verifier, self._monotonic(), wrong)
        self._begun[author.id] = begun
        return begun

    async def finish(self, jid: str, code: str) -> StoredLink:
        """End a login with the code that the instance has shown.

        Raises NotRegistered, Refused (none was begun; the code is wrong; the account is somebody
        else's), TooFast (too many wrong codes), TryLater.
        """
        author = self._author(jid)
        begun = self.begun(jid)
        if begun is None:
            raise Refused(
                "No login waits for a code, or it has waited for longer than 15 minutes: `link` "
                "begins one."
            )
        if begun.wrong >= WRONG_CODES:
            raise self._too_many(begun)
        site, host = begun.site, host_of(begun.site)
        client = await self._client(site)
        token = await login.exchange(self._http, site, client, code, begun.verifier)
        if isinstance(token, login.Failed):
            raise self._not_exchanged(author, begun, token)
        del self._begun[author.id]  # a code is good for one token
        who = await login.whose(self._http, site, token)
        if isinstance(who, login.Failed):
            self._revoke(site, token)
            log.warning("link.not_verified", site=site, reason=who.reason)
            raise TryLater(f"{host} has not said whose account it is: `link {host}` begins anew.")
        before = self._links.get(author.id)
        old = None if before is None else self._token(before)
        row = LinkRow(author.id, site, f"{who.name}@{host}", who.remote_id, "")
        row = replace(row, token=self._box.encrypt(token, _about(author.id, site)))
        try:
            link = await self._write(add_link, row, self._stored)
        except RelayError:
            self._revoke(site, token)
            raise
        if before is not None and old is not None:
            self._revoke(before.site, old)
        log.info("link.made", person=author.id, site=site)
        self._in_background(self._offer(author, link, token))
        return link

    def _not_exchanged(self, author: Person, begun: Begun, failed: login.Failed) -> RelayError:
        host = host_of(begun.site)
        if failed.reason == "invalid_client":  # the instance has forgotten the relay
            self._clients.pop(begun.site, None)
            self._begun.pop(author.id, None)
        if not failed.certain or failed.reason == "invalid_client":
            log.warning("link.not_exchanged", site=begun.site, reason=failed.reason)
            return TryLater(
                f"{host} has not answered as it should, so nothing was linked. Try in some "
                f"minutes; `link {host}` begins anew."
            )
        begun = replace(begun, wrong=begun.wrong + 1)
        self._begun[author.id] = begun
        if begun.wrong >= WRONG_CODES:
            return self._too_many(begun)
        return Refused(
            f"{host} does not know that code, so nothing was linked. Copy it whole, or let "
            f"`link {host}` give a new one."
        )

    def _too_many(self, begun: Begun) -> TooFast:
        left_s = max(1.0, begun.at + BEGUN_FOR_S - self._monotonic())
        return TooFast(
            f"These were {WRONG_CODES} wrong codes: try again in {left_s / 60:.0f} minutes.", left_s
        )

    async def unlink(self, jid: str) -> Unlinked:
        """Forget somebody's account, and have its token revoked. Raises Refused, TryLater."""
        author = self._author(jid)
        self._begun.pop(author.id, None)
        link = self._links.get(author.id)
        if link is None:
            raise Refused("You have no linked account, so there is nothing to end.")
        token = self._token(link)
        await self._write(remove_link, author.id, lambda _: self._removed(author.id))
        log.info("link.ended", person=author.id, site=link.site)
        revoked = token is not None and await self._revoked(link.site, token)
        return Unlinked(link.name, host_of(link.site), revoked)

    async def set_private(self, jid: str, on: bool) -> StoredLink:
        """Let protected posts go to somebody's account, for his followers there, or no more."""
        author = self._author(jid)
        link = await self._write(set_private, PrivateRow(author.id, on), self._stored)
        if link is None:
            raise Refused("You have no linked account: `link` begins.")
        return link

    def forget(self, person: int) -> None:
        """Somebody has left, and his link with him."""
        self._begun.pop(person, None)
        link = self._links.get(person)
        if link is not None:
            token = self._token(link)
            self._removed(person)
            if token is not None:
                self._revoke(link.site, token)

    def _author(self, jid: str) -> Person:
        person = self._graph.by_jid(jid)
        if person is None or person.handle is None:
            raise NotRegistered("Who links an account needs a handle here: `join yourname` first.")
        return person

    # What is stored

    def _stored(self, link: StoredLink | None) -> None:
        if link is not None:
            self._links[link.person] = link
            self._tell_changed(link.person)

    def _removed(self, person: int) -> None:
        self._links.pop(person, None)
        self._tell_changed(person)

    def _tell_changed(self, person: int) -> None:
        for changed in self.changed:
            changed(person)

    def _registered(self, client: ClientRow) -> None:
        self._clients[client.site] = client

    def _token(self, link: StoredLink) -> str | None:
        try:
            return self._box.decrypt(link.token, _about_link(link))
        except WrongKey:
            return None

    async def _write(
        self, op: Operation[Row, Result], row: Row, committed: Callable[[Result], None]
    ) -> Result:
        try:
            return await self._db.write(op, row, committed=committed)
        except StoreError as error:
            raise TryLater(_LATER) from error

    # The instances

    async def _client(self, site: str) -> login.Client:
        """How an instance knows the relay, which registers there the first time (RFC 7591)."""
        async with self._registering[site]:
            known = self._clients.get(site)
            if known is not None:
                with suppress(WrongKey):  # else it registers again
                    secret = self._box.decrypt(known.client_secret, _about_client(site))
                    return login.Client(known.client_id, secret)
            client = await login.register(self._http, site)
            if isinstance(client, login.Failed):
                log.warning("client.not_registered", site=site, reason=client.reason)
                raise TryLater(
                    f"{host_of(site)} cannot be reached, or does not let the relay in: try in some "
                    "minutes, or tell the operator."
                )
            sealed = self._box.encrypt(client.client_secret, _about_client(site))
            await self._write(
                set_client, ClientRow(site, client.client_id, sealed), self._registered
            )
            return client

    async def _revoked(self, site: str, token: str) -> bool:
        try:
            client = await self._client(site)
        except RelayError:
            return False
        return await login.revoke(self._http, site, client, token)

    def _revoke(self, site: str, token: str) -> None:
        async def revoke() -> None:
            if not await self._revoked(site, token):
                log.warning("token.not_revoked", site=site)

        if site in self._registering:
            self._in_background(revoke())

    # Whom he follows there

    async def _offer(self, author: Person, link: StoredLink, token: str) -> None:
        """Tell an author once who of those whom he follows there is here too.

        He is asked; nobody is followed by it.
        """
        followed = await login.following(self._http, link.site, token, link.remote_id)
        found = [each for each in self._here(link, followed) if self._is_new(author, each)]
        handles = [each.handle for each in found if each.handle is not None]
        if not handles:
            return
        named = handles[:OFFERED]
        others = f" and {len(handles) - len(named)} more" if len(handles) > len(named) else ""
        verb = "is" if len(handles) == 1 else "are"
        self._wire.mention(
            author.jid,
            f"{', '.join(named)}{others}, whom you follow at {host_of(link.site)}, {verb} here "
            f"too: {', '.join(f'`follow {handle}`' for handle in named)}",
            [(f"follow {handle}", f"Follow {handle}") for handle in named],
        )

    def _here(self, link: StoredLink, followed: Iterable[login.Who]) -> Iterable[Person]:
        host = host_of(link.site)
        by_id = {
            each.remote_id: each.person for each in self._links.values() if each.site == link.site
        }
        by_name = {each.name: each.person for each in self._links.values()}
        for who in followed:
            name = who.name if "@" in who.name else f"{who.name}@{host}"
            person = by_id.get(who.remote_id) or by_name.get(name)
            if person is not None:
                yield self._graph.person(person)

    def _is_new(self, author: Person, other: Person) -> bool:
        return (
            other.id != author.id
            and not self._graph.hides(author.jid, other.id)
            and self._graph.follow(author.id, other.id) is None
        )

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        failure = None if task.cancelled() else task.exception()
        if failure is not None:
            log.error("linking.failed", exc_info=failure)


def _about_link(link: StoredLink) -> str:
    return _about(link.person, link.site)


def _about(person: int, site: str) -> str:
    """What a token is bound to."""
    return f"link {person} {site}"


def _about_client(site: str) -> str:
    return f"client {site}"
