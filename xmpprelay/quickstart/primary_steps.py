"""The steps about the primary service: what is inserted there, and what happens while it is away.

They follow those of `steps.py`. With the demo primary the three people link their accounts, it is
killed and comes back; with a table, what it has is compared with the journal; with none, nothing.
"""

import asyncio
import contextlib
import json
import re
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeAlias

import aiohttp

from xmpprelay.quickstart.demo_primary.app import HOST
from xmpprelay.quickstart.people import PATIENCE_S, NotSeen, Seen
from xmpprelay.quickstart.place import DEMO, VISITOR, Place
from xmpprelay.quickstart.primaries import DemoPrimary, Shown, Table
from xmpprelay.quickstart.private_server import POLL_S
from xmpprelay.quickstart.screen import Screen
from xmpprelay.quickstart.steps import Step, Steps

MORE: Final = 4
"""Posts of each while the primary is away, besides those that are shown."""

DRAINED_WITHIN_S: Final = 30.0
"""So long at most the queue may stay as it is."""

_FETCHED_WITHIN: Final = aiohttp.ClientTimeout(total=PATIENCE_S)

_LISTED: Final = 8
"""Rows of a table that are shown."""

AuthorText: TypeAlias = tuple[str, str]

Ask: TypeAlias = Callable[[str, str, str], Awaitable[Seen]]
"""Who types what, and what the answer has in it."""


class PrimarySteps(Steps):
    """All steps of a tour."""

    def __init__(self, place: Place, screen: Screen, stack: contextlib.AsyncExitStack) -> None:
        super().__init__(place, screen, stack)
        self._mark = ""  # what was the newest at the primary when posts began to go there
        self._before = 0  # so many posts were made by then

    def in_order(self) -> list[Step]:
        """The same, and what there is to be seen of the primary."""
        match self.primary:
            case None:
                more: list[Step] = []
            case Table():
                more = [("The primary service, a table, has every post too", self._show_table)]
            case DemoPrimary():
                more = [
                    ("They link their accounts at the primary service", self._link),
                    ("What alice posts is inserted there", self._insert),
                    ("The primary dies, and nobody has to wait for it", self._go_on_without),
                    ("It is back: what has waited trickles in, once and in order", self._trickle),
                ]
        return [*super().in_order(), *more]

    async def _begin(self) -> None:
        await super()._begin()
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
        await self._read_feed("You are the best.")
        alice.forgets()
        await self._ask("alice", "queue", "waiting")

    async def _read_feed(self, text: str) -> None:
        """Read a post of alice's in her feed, as somebody without any account does."""
        address = self._place.pages.feed("alice")
        began = time.perf_counter()
        try:
            async with aiohttp.request("GET", address, timeout=_FETCHED_WITHIN) as answer:
                feed = await answer.text()
        except (aiohttp.ClientError, OSError) as error:  # TimeoutError is an OSError
            raise NotSeen(f"alice's feed cannot be read: {error or 'no answer'}.") from error
        if text not in feed:
            raise NotSeen(f'alice\'s feed lacks "{text}".')
        took = time.perf_counter() - began
        self._screen.does("anybody", f'reads "{text}" in her feed', took)
        self._screen.note(address)

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
        wanted = set(self._posts[self._before :])
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
        self._before = len(self._posts)
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
