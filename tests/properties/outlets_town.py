"""A town of six with clients, on a real relay with a real database, for the machine of the outlets.

The test is the server (`tests/integration/wire.py`). People type lines and read what they are told;
nothing here looks into the relay but to see whether it is through with what it does. What leaves
for anybody is checked against the oracle in the order in which it left: what came before the answer
to a line may be right by the world before it, what came behind it must be right by the world after.
"""

import asyncio
import re
import tempfile
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import cache
from itertools import permutations
from pathlib import Path
from typing import Final
from xml.sax.saxutils import escape, quoteattr

from tests.integration.clients import RECEIPTS, Stanza, new_id
from tests.integration.pubsub import EVENT, PUBSUB, items, subscribe
from tests.integration.web_world import Site, wired_pages
from tests.integration.wire import HOME, RELAY, Wire, wired
from tests.integration.world import Clock
from tests.properties.audience_model import Entry, Plain, gets, reads, sees
from tests.properties.claims import Claims
from xmpprelay.config import Limits
from xmpprelay.core.recipients import State
from xmpprelay.core.text import parse_message_id, parse_short_id, short_id
from xmpprelay.quickstart.private_server import free_port
from xmpprelay.web.feeds import LATE_S

NAMES: Final = ("ann", "bob", "cat", "dan", "eve", "fay")
PEOPLE: Final = tuple(range(1, len(NAMES) + 1))

SETTLES_WITHIN_S: Final = 10.0

_LINE: Final = re.compile(r"(\w+)(?: boosts (\w+)| to @\w+ alone)?: .*?(zq1_\d+q).*  #(\w+)")
"""A post as an answer or a digest has it: its text has a word of its own."""

_TOKEN: Final = re.compile(r"zq1_\d+q")
"""What is in each text; a secret, which is in addresses, cannot look like it."""

_DIGEST_LEFT: Final = re.compile(r"^and \d+ more: ", re.MULTILINE)


def name(who: int) -> str:
    return NAMES[who - 1]


def jid(who: int) -> str:
    """Every other one is on another server."""
    return f"{name(who)}@{'example' if who % 2 else 'far'}.test"


class Town:
    """The relay, the people and the plain world that they have made."""

    def __init__(self, folder: Path) -> None:
        self.world = Plain()
        self.entries: dict[int, Entry] = {}  # by number
        self.claims = Claims(self.world, PEOPLE, self.entries)
        self.texts: dict[str, Entry] = {}  # by the word in it
        self.had: set[tuple[int, int]] = set()  # (person, number)
        self.left: dict[int, set[int]] = {}  # person -> what a return left to `more`, or a digest
        self.private: set[int] = set()  # who has taken himself off the web
        self.there: set[int] = set()
        self.clock = Clock()
        self.clock.passes(days=2)  # nobody's handle is new any more
        self._folder = folder
        self._ending = AsyncExitStack()
        self._wire: Wire | None = None
        self._site: Site | None = None
        self._port = free_port()
        self._came: list[Stanza] = []

    # The relay

    @property
    def wire(self) -> Wire:
        assert self._wire is not None, "the relay does not run"
        return self._wire

    @property
    def site(self) -> Site:
        assert self._site is not None, "the relay does not run"
        return self._site

    async def starts(self) -> None:
        running = wired_pages(self._folder, self.clock, port=self._port)
        self._wire, self._site = await self._ending.enter_async_context(running)
        outbox = self.wire.service.outbox
        outbox.collect_s, outbox.remote_probes_per_s = 0.0, 1e6  # there is no time here
        # far.test is asked what it is before somebody there may post (S12.3), and now it answers
        self.wire.says(jid(2), "x" * (Limits().max_chars + 1))
        await self.settles()

    async def stops(self) -> None:
        """The stream breaks, with all that is not confirmed, and the relay ends."""
        self.wire.abort()
        await self.wire.lost()
        service = self.wire.service
        await self._ending.aclose()
        assert not any(service.failures().values()), service.failures()
        self.check_all()

    async def restarts(self) -> None:
        await self.stops()
        await self.starts()

    async def turn(self) -> None:
        """Return when nothing more follows from what has happened."""
        async with asyncio.timeout(SETTLES_WITHIN_S):
            while True:
                await self.wire.quiet()
                new = self.wire.taken()
                self._came += new
                for stanza in new:
                    self._as_a_client(stanza)
                if not new and self._settled():
                    return

    def _settled(self) -> bool:
        """Whether everybody who is there has had all that waited for him."""
        if not self.wire.answers:
            return True
        service = self.wire.service
        return all(service.delivery.state_of(self._id(who)) is State.LIVE for who in self.there)

    def _id(self, who: int) -> int:
        person = self.wire.service.graph.by_jid(jid(who))
        assert person is not None
        return person.id

    def _as_a_client(self, stanza: Stanza) -> None:
        """Probes and the request to be seen are answered, by who is there."""
        if stanza.kind != "presence":
            return
        who = PEOPLE[NAMES.index(stanza.to.partition("@")[0])]
        if stanza.type == "subscribe":
            self.wire.feeds(f"<presence from='{jid(who)}' to='{HOME}' type='subscribed'/>")
        if stanza.type in ("subscribe", "probe") and who in self.there:
            self._shows(who, stanza.sender)

    def _shows(self, who: int, to: str = HOME) -> None:
        self.wire.feeds(f"<presence from='{jid(who)}/phone' to='{to}'/>")

    async def come(self, *people: int) -> None:
        for who in people:
            self.there.add(who)
            self._shows(who)
        await self.settles()

    async def go(self, who: int) -> None:
        self.there.discard(who)
        self.wire.feeds(f"<presence from='{jid(who)}/phone' to='{HOME}' type='unavailable'/>")
        await self.settles()

    async def answer(self, on: bool) -> None:
        """Whether the servers say that they have processed what was written to them."""
        self.wire.answers = on
        if on:
            self.wire.answers_now()
        await self.settles()

    # What people type

    async def says(self, who: int, line: str, changes: Callable[[str], None] | None = None) -> str:
        """The relay's answer; `changes` is what it means for the plain world."""
        [answer] = await self.say((who, line, changes))
        return answer

    async def say(self, *lines: tuple[int, str, Callable[[str], None] | None]) -> list[str]:
        """Different people type at the same time; the answers."""
        asked = {}
        for who, line, changes in lines:
            asked[self._types(who, line)] = who, changes
        await self.turn()
        answers: dict[str, str] = {}
        came, self._came = self._came, []
        before: list[Stanza] = []  # not right by the world before the next answer
        for at, stanza in enumerate(came):
            typed = self._answered(stanza)
            if typed is None:
                if not self._is_right(stanza):
                    before.append(stanza)
                continue
            who, changes = asked[typed]
            answers[typed] = _answer_in(stanza, came[at + 1 : at + 2])
            if changes is not None:
                changes(answers[typed])
                self.claims.changed()
            for each in before:
                assert self._is_right(each), f"X: {each} left before {answers}"
            before = []
        assert not before, f"X: {before} left after {answers}"
        assert len(answers) == len(lines), f"an answer is missing: {came}"
        self._learn_rests()
        return [answers[typed] for typed in asked]

    def _types(self, who: int, line: str) -> str:
        typed = new_id()
        if line.startswith(SUBSCRIBE):
            to = f"{line.removeprefix(SUBSCRIBE)}@{RELAY}"
            self.wire.feeds(_question(who, to, typed, subscribe(jid(who)), "set"))
            return typed
        self.wire.feeds(
            f"<message from={quoteattr(jid(who) + '/phone')} to='{HOME}' type='chat' id='{typed}'>"
            f"<body>{escape(line)}</body><request xmlns='{RECEIPTS}'/></message>"
        )
        return typed

    @staticmethod
    def _answered(stanza: Stanza) -> str | None:
        """The id of the line that this says is dealt with."""
        if stanza.kind == "iq" or (stanza.kind == "message" and stanza.type == "error"):
            return stanza.id
        received = stanza.child("received", RECEIPTS)
        return None if received is None else received.get("id")

    async def settles(self) -> None:
        await self.turn()
        self.check_all()
        self._learn_rests()

    def check_all(self) -> None:
        """What has left since the last look is right by the world as it is."""
        self._came += [] if self._wire is None else self.wire.taken()
        came, self._came = self._came, []
        for stanza in came:
            assert self._is_right(stanza), f"X: {stanza}"

    # What comes

    def _is_right(self, stanza: Stanza) -> bool:
        """X = 0: whether somebody may have what is in a stanza; he has had it, then."""
        if stanza.kind != "message":
            return True
        who = PEOPLE[NAMES.index(stanza.to.partition("@")[0])]
        if stanza.post_id is not None:
            return self._is_right_post(stanza, who)
        if stanza.has("event", EVENT):
            return self._is_right_event(stanza, who)
        told = [(self.entry_of(line), line) for line in (stanza.body or "").split("\n")]
        shown = [entry for entry, _ in told if entry is not None]
        if not all(reads(self.world, entry, who) for entry in shown):
            return False
        assert not any(_TOKEN.search(line) for entry, line in told if entry is None), stanza
        if " · " not in (stanza.body or ""):  # a digest: what is asked for has an age
            if not all(gets(self.world, entry, who) for entry in shown):
                return False
            self.had.update((who, entry.number) for entry in shown)
            if _DIGEST_LEFT.search(stanza.body or ""):
                authors = {entry.author for entry in shown}
                self.left.setdefault(who, set()).update(
                    number for number, entry in self.entries.items() if entry.author in authors
                )
        return True

    def _is_right_post(self, stanza: Stanza, who: int) -> bool:
        token = _TOKEN.search(stanza.body or "")
        if token is None:  # a deletion
            return True
        made = parse_message_id(stanza.post_id or "")
        entry = self.texts[token[0]] if made is None else self.entries.get(made[0])
        if entry is None or not gets(self.world, entry, who):
            return False
        assert (entry.shown or entry) is self.texts[token[0]], stanza
        self.had.add((who, entry.number))
        return True

    def _is_right_event(self, stanza: Stanza, who: int) -> bool:
        """Of a deletion, and of the end of a subscription, anybody may hear."""
        for item in stanza.xml.iter(f"{{{EVENT}}}item"):
            made = parse_message_id(item.get("id", ""))
            entry = None if made is None else self.entries.get(made[0])
            if entry is None or not gets(self.world, entry, who):
                return False
            text = "".join(item.itertext())
            assert self.texts[_TOKEN.findall(text)[0]] is (entry.shown or entry), text
            self.had.add((who, entry.number))
        return True

    def entry_of(self, line: str) -> Entry | None:
        """The entry that a line of an answer shows."""
        found = _LINE.search(line)
        if found is None:
            return None
        author, boosted, token, number = found.groups()
        entry = self.texts[token]
        assert short_id(entry.number) == number, line
        if boosted is None:
            return entry
        return next(
            e for e in self.entries.values() if e.shown is entry and name(e.author) == author
        )

    def numbers_in(self, answer: str) -> Counter[int]:
        """Which entries an answer shows."""
        found = (self.entry_of(line) for line in answer.split("\n"))
        return Counter(entry.number for entry in found if entry is not None)

    def _learn_rests(self) -> None:
        for who in PEOPLE:
            rest = self.wire.service.delivery.rest_of(self._id(who))
            if rest is not None:  # the next return replaces it
                self.left.setdefault(who, set()).update(range(rest.first, rest.last + 1))

    # What people write

    @property
    def next_number(self) -> int:
        return self.wire.service.db.next_number

    def adds(self, entry: Entry, token: str | None) -> None:
        """An entry is in the journal; `token` is the word in its text, if it has one."""
        self.clock.passes(seconds=LATE_S)  # until then it may be lacking in a feed
        entry.mutes = dict(self.world.mutes)
        self.entries[entry.number] = entry
        if token is not None:
            self.texts[token] = entry
        self.claims.made(entry)

    # The outlets, asked one after the other

    async def reads_all(self, who: int) -> None:
        """X = 0 and missing = 0 in everything that somebody can ask for."""
        for author in PEOPLE:
            await self.reads_last(who, author)
            await self.reads_node(who, author)
        await self.reads_timeline(who)
        await self.finds(who)
        for entry in list(self.entries.values()):
            await self.shows(who, entry)

    async def reads_last(self, who: int, author: int) -> None:
        answer = await self.says(who, f"last @{name(author)} 50")
        hidden = {(who, author), (author, who)} & self.world.blocks
        mine = [e for e in self.entries.values() if e.author == author and e.kind != "direct"]
        expected = [] if hidden else [e.number for e in mine if reads(self.world, e, who)]
        assert self.numbers_in(answer) == Counter(expected), f"{name(who)} {expected}: {answer}"
        assert bool(hidden) == answer.startswith(f"There is no @{name(author)} here"), answer

    async def reads_node(self, who: int, author: int) -> None:
        asked = new_id()
        question = items(max_items="50")
        self.wire.feeds(_question(who, f"{name(author)}@{RELAY}", asked, question, "get"))
        await self.turn()
        came, self._came = self._came, []
        [answer] = [each for each in came if each.kind == "iq" and each.id == asked]
        assert all(self._is_right(each) for each in came), came
        cut = {(who, author), (author, who)} & self.world.blocks
        open_to = author not in self.world.protected or who == author
        hidden = cut or not (open_to or (who, author) in self.world.follows)
        mine = [e for e in self.entries.values() if e.author == author and e.kind != "direct"]
        expected = [] if hidden else [e.number for e in mine if reads(self.world, e, who)]
        made = [parse_message_id(i.get("id", "")) for i in answer.xml.iter(f"{{{PUBSUB}}}item")]
        assert [found and found[0] for found in made] == expected, f"{name(who)}: {answer}"
        condition = "item-not-found" if cut else "not-authorized" if hidden else None
        assert answer.condition == condition, f"{name(who)}: {answer}"

    async def reads_timeline(self, who: int) -> None:
        answer = await self.says(who, "timeline 50")
        mine = [e for e in self.entries.values() if e.kind != "direct"]
        expected = [e.number for e in mine if gets(self.world, e, who)]
        shown = self.numbers_in(answer)
        for each in mine:
            if each.author == who:  # his own is there where it names himself
                shown.pop(each.number, None)
        assert shown == Counter(expected[-50:]), f"{name(who)} {expected}: {answer}"

    async def finds(self, who: int) -> None:
        answer = await self.says(who, 'find "zq1_"')
        mine = [e for e in self.entries.values() if e.kind == "post"]
        expected = [e.number for e in mine if reads(self.world, e, who)]
        assert self.numbers_in(answer) == Counter(expected[-10:]), (
            f"{name(who)} {expected}: {answer}"
        )

    async def shows(self, who: int, entry: Entry) -> None:
        missing = f"There is no post #{short_id(entry.number)}."
        shown = await self.says(who, f"show #{short_id(entry.number)}")
        expected = [entry.number] if reads(self.world, entry, who) else []
        assert self.numbers_in(shown) == Counter(expected), f"{entry}: {shown}"
        assert (shown == missing) is not bool(expected), shown
        why = await self.says(who, f"why #{short_id(entry.number)}")
        assert (why == missing) is not sees(self.world, entry, who), why
        if " was sent to you: " in why or " waits for your " in why:
            assert gets(self.world, entry, who), why


SUBSCRIBE: Final = "subscribe to "
"""Begins a line that is no line, but a question of XEP-0060."""


def _question(who: int, to: str, name: str, payload: str, kind: str) -> str:
    return f"<iq from='{jid(who)}/phone' to='{to}' id='{name}' type='{kind}'>{payload}</iq>"


def _answer_in(stanza: Stanza, behind: list[Stanza]) -> str:
    """What somebody is told: by an error, by the answer to a question, or behind a receipt."""
    if stanza.type == "error":
        return stanza.text
    subscription = stanza.xml.find(f".//{{{PUBSUB}}}subscription")
    if subscription is not None:
        return subscription.get("subscription", "")
    return behind[0].body or ""


def number_of(answer: str) -> int:
    """The number in `ok #k3f: …`."""
    found = re.match(r"ok #(\w+): ", answer)
    number = None if found is None else parse_short_id(found[1])
    assert number is not None, answer
    return number


@cache
def _settled_town() -> dict[str, bytes]:
    """The database, by file, of a town in which everybody has joined and follows everybody."""

    async def settle(folder: Path) -> None:
        async with wired(folder) as wire:
            wire.service.outbox.collect_s = 0.0
            for who in PEOPLE:
                wire.says(jid(who), f"join {name(who)}")
            await wire.quiet()
            for who, whom in permutations(PEOPLE, 2):
                wire.says(jid(who), f"follow @{name(whom)}")
            await wire.quiet()
            for who in PEOPLE:
                wire.feeds(f"<presence from='{jid(who)}' to='{HOME}' type='subscribed'/>")
            await wire.quiet()

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(settle(Path(folder)))
        return {file.name: file.read_bytes() for file in Path(folder).iterdir() if file.is_file()}


def new_town(folder: Path) -> Town:
    """A town in which everybody follows everybody; the relay does not run yet."""
    for file, content in _settled_town().items():
        (folder / file).write_bytes(content)
    town = Town(folder)
    town.world.follows.update(dict.fromkeys(permutations(PEOPLE, 2), 1))
    return town
