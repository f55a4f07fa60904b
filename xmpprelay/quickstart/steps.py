"""The tour's steps: what alice, bob and carol do, and what each of them is to see.

A step awaits what is to come by name, with a deadline (`Person.sees`), and shows it as it comes. It
asserts nothing that is not seen by one of their clients or printed by a command of `xmpprelay`, and
the times are those of the clients. Where a kept folder has a tour behind it, they go on from there:
alice has her handle, bob has her among his contacts, and carol is told that she follows already.
"""

import asyncio
import contextlib
import json
import re
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeAlias

from xmpprelay.quickstart.demo_primary.app import HOST
from xmpprelay.quickstart.people import PATIENCE_S, NotSeen, Person, Seen
from xmpprelay.quickstart.place import DEMO, VISITOR, Place
from xmpprelay.quickstart.primaries import DemoPrimary, Shown, Table
from xmpprelay.quickstart.private_server import POLL_S
from xmpprelay.quickstart.relay_process import RelayProcess
from xmpprelay.quickstart.screen import Screen

_LISTED: Final = 8
"""Posts of the journal that are shown: the tour's, and some from before."""

BURST: Final = 20
"""Posts that somebody may send at once: a tour has no time to wait for the next second."""

MORE: Final = 4
"""Posts of each while the primary is away, besides those that are shown."""

DRAINED_WITHIN_S: Final = 30.0
"""So long at most the queue may stay as it is."""

AuthorText: TypeAlias = tuple[str, str]

Ask: TypeAlias = Callable[[str, str, str], Awaitable[Seen]]
"""Who types what, and what the answer has in it."""


class Steps:
    """The tour's people, relay and server, and what happens to them, in order.

    What is begun is ended by `stack`.
    """

    def __init__(self, place: Place, screen: Screen, stack: contextlib.AsyncExitStack) -> None:
        self.primary = place.primary
        options = {} if place.primary is None else place.primary.options
        self.relay = RelayProcess(place.folder, place.server, {"burst": BURST}, options)
        self.people: dict[str, Person] = {}
        self.home = f"home@{place.server.component_domain}"
        self.took: list[float] = []  # seconds from alice's sending to a follower who was there
        self._author = f"alice@{place.server.component_domain}"  # alice, as an address of the relay
        self._posts: list[str] = []  # short ids
        self._mark = ""  # what was the newest at the primary when posts began to go there
        self._inserted: list[str] = []  # short ids of what was posted since
        self._place = place
        self._server = place.server
        self._screen = screen
        self._stack = stack

    def in_order(self) -> list[tuple[str, Callable[[], Awaitable[None]]]]:
        """Title, and what happens. Each raises XmppRelayError when it does not come about."""
        known = self._place.known
        steps: list[tuple[str, Callable[[], Awaitable[None]]]] = [
            ("A private server, and the relay on it", self._begin),
            ("alice is back, and posts" if known else "alice joins, and posts", self._join),
            ("bob follows her from his contact list", self._follow_by_presence),
            ("carol follows her by typing a line", self._follow_by_text),
            ("alice posts, and both have it at once", self._post_to_both),
            ("bob goes away, and gets what he missed when he is back", self._away_and_back),
            ("The relay is restarted, and nobody is unfollowed", self._restart),
            ("The journal has every post", self._show_journal),
        ]
        if isinstance(self.primary, Table):
            return [*steps, ("The primary service, a table, has every post too", self._show_table)]
        if self.primary is None:
            return steps
        return [
            *steps,
            ("They link their accounts at the primary service", self._link),
            ("What alice posts is inserted there", self._insert),
            ("The primary dies, and nobody has to wait for it", self._go_on_without),
            ("It is back: what has waited trickles in, once and in order", self._trickle),
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
        if isinstance(self.primary, Table):
            await self._take_mark()

    async def _begin_primary(self) -> None:
        match self.primary:
            case DemoPrimary() as demo:
                for name, password in self._place.passwords.items():
                    demo.join(name, password, DEMO if name == VISITOR else ())
                self._stack.push_async_callback(demo.close)
                self._screen.does("primary", f"a demo of one, at {demo.site}", await demo.start())
            case Table() as table:
                self._screen.does("primary", f"will be a table in {table.file.name}")

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

    # The primary service

    async def _link(self) -> None:
        await self._link_account("alice", self._ask)
        for who in ("bob", "carol"):
            await self._silently(who, f":join {who}", "Welcome")
            await self._link_account(who, self._silently)
            await self._silently("alice", f"follow {who}", f"You follow @{who}")
        self._allows_presence("alice")
        self._screen.does("bob, carol", "join and link theirs too; alice follows them")
        await self._take_mark()

    async def _link_account(self, who: str, ask: Ask) -> None:
        """By chat, with the one step in a browser that it takes; nothing if he has done it."""
        demo = self._demo
        answer = await ask(who, "link", "Open this address|You are linked")
        if "renews it" in answer.text:
            answer = await ask(who, f"link {HOST}", "Open this address")
        address = re.search(r"https?://\S+", answer.text)
        if address is None:
            return
        code = await demo.lets_in(address[0], who, self._place.passwords[who])
        if ask == self._ask:
            self._screen.does(who, "logs in there, lets it in, and gets a code")
        await ask(who, f"link {code}", "You are linked")

    async def _insert(self) -> None:
        number, sent = await self._post("I am off to get milk.")
        await self._both_receive(number, sent)
        (there,) = await self._come_to_primary(1)
        took = time.perf_counter() - sent
        self._screen.does("primary", f'has it: "{there.text}"', took)
        self._screen.note(there.address)

    async def _go_on_without(self) -> None:
        alice, bob = self.people["alice"], self.people["bob"]
        bob.forgets()
        await self._demo.kill()
        self._screen.does("primary", "is killed, by SIGKILL")
        number, sent = await self._post("Sold out. Who has milk?")
        await self._both_receive(number, sent)
        for who, text in (("bob", "I have two bottles."), ("carol", "And I bring biscuits.")):
            number, sent = await self._post(text, who)
            self._got("alice", await self._receives("alice", number), since=sent)
        away = await bob.sees(
            "the relay's word that the primary is away",
            lambda seen: seen.kind == "away" and seen.sender == self.home,
        )
        self._got("bob", away, f"({away.text})")
        number, sent = await self._post("You are the best.")
        await self._both_receive(number, sent)
        await asyncio.gather(*(self._goes_on(who) for who in DEMO))
        self._screen.does("all three", f"go on; {MORE * len(DEMO)} more posts are with the others")
        alice.forgets()
        await self._ask("alice", "queue", "waiting")

    async def _goes_on(self, who: str) -> None:
        """Somebody posts some more, each of which those have at once who follow him."""
        for count in range(1, MORE + 1):
            number, *_ = await self._says(who, f"{who} goes on talking, {count} of {MORE}")
            for other in ("bob", "carol") if who == "alice" else ("alice",):
                await self._receives(other, number)

    async def _trickle(self) -> None:
        bob = self.people["bob"]
        bob.forgets()
        await self.bring_back(within_s=DRAINED_WITHIN_S)
        back = await bob.sees(
            "the relay's word that the primary is back",
            lambda seen: seen.kind == "available" and seen.sender == self.home,
        )
        self._got("bob", back, "(online)")
        await self._compare()

    async def bring_back(self, within_s: float) -> None:
        """Start the demo primary again, and show how the queue gets shorter.

        Raises NotSeen when for so long it gets no shorter.
        """
        screen, demo = self._screen, self._demo
        waited = await self.relay.waiting()
        screen.does("primary", "is started again, on the same data", await demo.start())
        screen.note("$ xmpprelay primary probe")
        screen.does("", (await self.relay.command("primary", "probe")).strip())
        began = time.perf_counter()
        with screen.progress("queue", "inserted", waited) as tell:
            await self._drained(within_s, lambda left: tell(max(0, waited - left)))
        took = time.perf_counter() - began
        posts = "1 post" if waited == 1 else f"{waited} posts"
        screen.does("primary", f"has taken {posts} from the queue" if waited else "is there", took)

    async def take_away(self) -> None:
        """Let the demo primary die."""
        await self._demo.kill()
        self._screen.does("primary", "is killed, by SIGKILL")

    async def _drained(self, within_s: float, tell: Callable[[int], None]) -> None:
        """Return when nothing waits for the primary any more."""
        least, since = await self.relay.waiting(), time.perf_counter()
        while least:
            tell(least)
            await asyncio.sleep(POLL_S)
            left, now = await self.relay.waiting(), time.perf_counter()
            if left < least:
                least, since = left, now
            elif now - since > within_s:
                raise NotSeen(f"{left} still wait for the primary: `queue` tells how it is.")
        tell(0)

    async def _show_table(self) -> None:
        await self._drained(DRAINED_WITHIN_S, lambda left: None)
        self._screen.table(
            ("id", "handle", "text"),
            [(each.id, each.author, each.text) for each in await self._there()][-_LISTED:],
        )
        await self._compare()

    async def _compare(self) -> None:
        """Compare what the journal has with what is at the primary, author by author."""
        command = ("journal", "list", "--json", "--limit", "1000000")
        printed = [json.loads(line) for line in (await self.relay.command(*command)).splitlines()]
        wanted = set(self._inserted)
        journal = [
            (each["author"]["handle"], each["text"])
            for each in printed[::-1]
            if each["id"] in wanted
        ]
        there = [(each.author, each.text) for each in await self._there()]
        if len(journal) != len(wanted):
            raise NotSeen(f"The journal has {len(journal)} of the {len(wanted)} posts.")
        wrong = compared(journal, there)
        if wrong:
            raise NotSeen(wrong)
        self._screen.does("journal", f"has {len(journal)} posts for the primary")
        self._screen.does("primary", f"has {len(there)}: no loss, no double, each author in order")

    async def _take_mark(self) -> None:
        """What is posted from now on is to be at the primary."""
        await self._drained(DRAINED_WITHIN_S, lambda left: None)
        match self.primary:
            case DemoPrimary() as demo:
                self._mark = await demo.newest()
            case Table() as table:
                self._mark = f"{len(table.posts())}"

    async def _there(self) -> list[Shown]:
        """What is at the primary of the posts since then."""
        match self.primary:
            case DemoPrimary() as demo:
                return await demo.posts(self._mark)
            case Table() as table:
                return table.posts()[int(self._mark) :]
        return []

    async def _come_to_primary(self, count: int) -> list[Shown]:
        """What is there, when it is so much."""
        ends_at = time.perf_counter() + PATIENCE_S
        while len(found := await self._there()) < count:
            if time.perf_counter() > ends_at:
                raise NotSeen(f"What alice posted is not at the primary after {PATIENCE_S:.0f} s.")
            await asyncio.sleep(POLL_S)
        return found

    @property
    def _demo(self) -> DemoPrimary:
        assert isinstance(self.primary, DemoPrimary)  # noqa: S101 - only its steps come here
        return self.primary

    # What they are made of

    async def _ask(self, who: str, line: str, expected: str) -> Seen:
        """Type a line to home; the answer, in which the pattern is found."""
        self._screen.sends(who, self.short(self.home), _shortened(line))
        began = time.perf_counter()
        answer = await self._silently(who, line, expected)
        self._got(who, answer, _shortened(answer.text), since=began)
        return answer

    async def _silently(self, who: str, line: str, expected: str) -> Seen:
        """The same, and nothing is shown of it."""
        person = self.people[who]
        sent = person.says(self.home, line)
        return await person.sees(
            f"the answer to `{_shortened(line)}`",
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
        if self._mark:
            self._inserted.append(number)
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


def compared(journal: Sequence[AuthorText], there: Sequence[AuthorText]) -> str:
    """What is wrong with what is at the primary, going by the journal; empty: nothing.

    Both have each author's posts in their order. Among authors there is none: who was away for
    longer, or has more, comes later.
    """
    for who, text in (Counter(journal) - Counter(there)).elements():
        return f'The primary lacks "{text}" of {who}.'
    for who, text in (Counter(there) - Counter(journal)).elements():
        return f'The primary has "{text}" of {who} too often.'
    for who in dict(journal):
        if [post for post in journal if post[0] == who] != [p for p in there if p[0] == who]:
            return f"The primary has what {who} posted in another order."
    return ""


def _shortened(text: str) -> str:
    """A text without what makes it too long to be read: the rest of an address, or of a code."""
    text = re.sub(r"(https?://\S+?)\?\S+", r"\1?…", text)
    return re.sub(r"\b(link [\w-]{6})[\w-]{20,}", r"\1…", text)
