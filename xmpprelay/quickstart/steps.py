"""The tour's steps: what alice, bob and carol do, and what each of them is to see.

A step awaits what is to come by name, with a deadline (`Person.sees`), and shows it as it comes. It
asserts nothing that is not seen by one of their clients or printed by a command of `xmpprelay`, and
the times are those of the clients. Where a kept folder has a tour behind it, they go on from there:
alice has her handle, bob has her among his contacts, and carol is told that she follows already.
"""

import asyncio
import contextlib
import re
import time
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

from xmpprelay.quickstart.people import NotSeen, Person, Seen
from xmpprelay.quickstart.place import DEMO, Place
from xmpprelay.quickstart.relay_process import RelayProcess
from xmpprelay.quickstart.screen import Screen

_LISTED: Final = 8
"""Posts of the journal that are shown: the tour's, and some from before."""

BURST: Final = 20
"""Posts that somebody may send at once: a tour has no time to wait for the next second."""

Step: TypeAlias = tuple[str, Callable[[], Awaitable[None]]]
"""Title, and what happens."""


class Steps:
    """The tour's people, relay and server, and what happens to them, in order.

    What is begun is ended by `stack`.
    """

    def __init__(self, place: Place, screen: Screen, stack: contextlib.AsyncExitStack) -> None:
        self.primary = place.primary
        options = {} if place.primary is None else place.primary.options
        self.relay = RelayProcess(place.folder, place.server, {"burst": BURST}, options, place.web)
        self.people: dict[str, Person] = {}
        self.home = f"home@{place.server.component_domain}"
        self.took: list[float] = []  # seconds from alice's sending to a follower who was there
        self._author = f"alice@{place.server.component_domain}"  # alice, as an address of the relay
        self._posts: list[str] = []  # short ids
        self._place = place
        self._server = place.server
        self._screen = screen
        self._stack = stack

    def in_order(self) -> list[Step]:
        """Title, and what happens. Each raises XmppRelayError when it does not come about."""
        known = self._place.known
        return [
            ("A private server, and the relay on it", self._begin),
            ("alice is back, and posts" if known else "alice joins, and posts", self._join),
            ("bob follows her from his contact list", self._follow_by_presence),
            ("carol follows her by typing a line", self._follow_by_text),
            ("alice posts, and both have it at once", self._post_to_both),
            ("bob goes away, and gets what he missed when he is back", self._away_and_back),
            ("The relay is restarted, and nobody is unfollowed", self._restart),
            ("The journal has every post", self._show_journal),
        ]

    def short(self, jid: str) -> str:
        """An address as it is shown: `home@relay` for home@relay.example.test, bob for his JID."""
        local, _, domain = jid.partition("@")
        return f"{local}@relay" if domain == self._server.component_domain else local

    # The steps

    async def _begin(self) -> None:
        server, screen = self._server, self._screen
        began = time.perf_counter()
        await self._stack.enter_async_context(server)
        took = time.perf_counter() - began
        screen.does("Prosody", f"serves {server.domain} on {server.host}", took)
        await self._begin_primary()
        took = await self.relay.start()
        self._stack.push_async_callback(self.relay.stop)
        screen.does("relay", f"serves {server.component_domain}, as a component of it", took)
        self._stack.push_async_callback(self._log_all_out)
        for name, password in self._place.passwords.items():
            jid = await server.add_user(name, password)
            if name in DEMO:
                person = Person(name, jid, password, server.host, server.c2s_port)
                self.people[name] = person
                await person.log_in()
                screen.does(name, f"logs in as {jid}")

    async def _begin_primary(self) -> None:
        """Whatever there has to be before the relay starts."""

    async def _log_all_out(self) -> None:
        await asyncio.gather(*(person.log_out() for person in self.people.values()))

    async def _join(self) -> None:
        # Somebody who has a handle is only asked what "join alice" means; a colon makes it plain.
        await self._ask("alice", ":join alice" if self._place.known else "join alice", "Welcome")
        await self._post("Good morning! Is anybody here?")

    async def _follow_by_presence(self) -> None:
        bob, author = self.people["bob"], self._author
        if bob.follows(author):
            self._screen.does("bob", f"has {self.short(author)} among his contacts already")
            return
        self._screen.sends("bob", self.short(author), "(may I see your presence?)")
        sent = bob.presence(author, "subscribe")
        yes = await bob.sees(
            "alice's consent", lambda seen: seen.kind == "subscribed" and seen.sender == author
        )
        self._got("bob", yes, "(yes)", since=sent.at)
        self._let_be_seen("bob")
        news = await self.people["alice"].sees(
            "the news of a follower", lambda seen: seen.text.startswith("bob@")
        )
        self._got("alice", news)

    async def _follow_by_text(self) -> None:
        await self._ask("carol", "follow alice", "You follow @alice")
        self._let_be_seen("carol")

    def _let_be_seen(self, who: str) -> None:
        asked = self._allows_presence(who)
        if asked is not None:
            self._got(who, asked, "(may I see when you are online?)")
            self._screen.sends(who, self.short(self.home), "(yes)")

    def _allows_presence(self, who: str) -> Seen | None:
        """Once, at his first follow, a person is asked for his presence, and allows it.

        The question is sent before the follow is confirmed, hence it has come by then.
        """
        asked = self.people[who].saw(
            lambda seen: seen.kind == "subscribe" and seen.sender == self.home
        )
        if asked is not None:
            self.people[who].presence(self.home, "subscribed")
        elif not self._place.known:
            raise NotSeen(f"{who} was not asked for his presence.")
        return asked

    async def _post_to_both(self) -> None:
        number, sent = await self._post("The kettle is on. Who wants tea?")
        await self._both_receive(number, sent)

    async def _away_and_back(self) -> None:
        bob = self.people["bob"]
        await bob.log_out()
        self._screen.does("bob", "logs out")
        number, sent = await self._post("bob, yours is getting cold.")
        self._got("carol", await self._receives("carol", number), since=sent)
        returned = await bob.log_in()
        self._screen.does("bob", "logs in again")
        missed = await self._receives("bob", number)
        if not missed.held:
            raise NotSeen("bob was not told that the post is an old one.")
        self._got("bob", missed, since=returned)

    async def _restart(self) -> None:
        bob = self.people["bob"]
        self._screen.does("relay", "ends, on SIGTERM", await self.relay.stop())
        self._screen.does("relay", "is started again", await self.relay.start())
        await bob.log_out()
        bob.forgets()
        # At his login bob's server asks the relay whether he may still see alice. A relay that
        # knew his follow from memory only would say no, and that would end it.
        await bob.log_in()
        self._screen.does("bob", "logs in anew: is alice still there for him?")
        there = await bob.sees(
            "alice's presence",
            lambda seen: seen.kind == "available" and seen.sender == self._author,
        )
        self._got("bob", there, "(I am here)")
        listed = await self._ask("alice", "followers", "follow you")
        for who in ("bob", "carol"):
            if self.people[who].jid not in listed.text:
                raise NotSeen(f"{who} does not follow alice any more.")
        number, sent = await self._post("I was gone for a moment. More tea?")
        await self._both_receive(number, sent)

    async def _show_journal(self) -> None:
        command = ("journal", "list", "--limit", str(_LISTED))
        self._screen.note(f"$ xmpprelay {' '.join(command)}")
        printed = await self.relay.command(*command)
        header, *rows = (line.split("\t") for line in printed.splitlines())
        self._screen.table(header, rows)
        listed = {row[0] for row in rows}
        missing = [number for number in self._posts if f"#{number}" not in listed]
        if missing:
            raise NotSeen(f"The journal lacks post #{missing[0]}.")

    # What they are made of

    async def _ask(self, who: str, line: str, expected: str) -> Seen:
        """Type a line to home; the answer, in which the pattern is found."""
        self._screen.sends(who, self.short(self.home), shortened(line))
        began = time.perf_counter()
        answer = await self._silently(who, line, expected)
        self._got(who, answer, shortened(answer.text), since=began)
        return answer

    async def _silently(self, who: str, line: str, expected: str) -> Seen:
        """The same, and nothing is shown of it."""
        person = self.people[who]
        sent = person.says(self.home, line)
        return await person.sees(
            f"the answer to `{shortened(line)}`",
            lambda seen: (
                seen.kind == "message"
                and seen.sender == self.home
                and re.search(expected, seen.text) is not None
            ),
            answers=sent,
        )

    async def _post(self, text: str, who: str = "alice") -> tuple[str, float]:
        """Somebody posts; the post's short id, and when it was sent."""
        self._screen.sends(who, self.short(self.home), text)
        number, answer, sent = await self._says(who, text)
        self._got(who, answer, since=sent)
        return number, sent

    async def _says(self, who: str, text: str) -> tuple[str, Seen, float]:
        """Somebody posts, and nothing is shown of it; short id, answer, when it was sent."""
        person = self.people[who]
        sent = person.says(self.home, text)
        answer = await person.sees(
            f'the answer to "{text}"',
            lambda seen: seen.sender == self.home and seen.text.startswith("ok #"),
            answers=sent,
        )
        number = re.split(r"\W+", answer.text)[1]
        self._posts.append(number)
        return number, answer, sent.at

    async def _receives(self, who: str, number: str) -> Seen:
        return await self.people[who].sees(
            f"alice's post #{number}",
            lambda seen: seen.kind == "message" and seen.id.startswith(f"{number}."),
        )

    async def _both_receive(self, number: str, sent: float) -> None:
        bob, carol = await asyncio.gather(
            self._receives("bob", number), self._receives("carol", number)
        )
        for who, seen in (("bob", bob), ("carol", carol)):
            self._got(who, seen, since=sent)
            self.took.append(seen.at - sent)

    def _got(self, who: str, seen: Seen, text: str = "", *, since: float | None = None) -> None:
        """Show what somebody got; presence has no text, so that one is given for it."""
        took = None if since is None else seen.at - since
        self._screen.gets(who, self.short(seen.sender), text or seen.text, took)


def shortened(text: str) -> str:
    """A text without what makes it too long to be read: the rest of an address, or of a code."""
    text = re.sub(r"(https?://\S+?)\?\S+", r"\1?…", text)
    return re.sub(r"\b(link [\w-]{6})[\w-]{20,}", r"\1…", text)
