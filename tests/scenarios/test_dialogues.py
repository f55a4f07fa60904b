"""Dialogues as data: each file beside this one is a story, played on a real server.

The first paragraph says what it shows. Then one line is one step:

    alice: hello                    alice writes to home@relay …
      -> ok #1: 2 people            … and this is the answer; `…` stands for any ending
                                  (and `\\n` for the end of a line)
      -x feature-not-implemented    … or it is refused with this condition
    alice to bob: hello             the same, in the window of bob@relay
    bob adds alice                  to his contact list; `removes` is the opposite
    bob gets from alice: hello      a post comes, from alice@relay …
    bob gets from home: alice: hello  #1    … or from home@relay, as it stands there
    bob is told: @carol …           home@relay says something that he has not asked for
    bob answers #1: hello           by his client's own means (XEP-0461), at home@relay …
    bob answers #1 to alice: hello  … or in the window of alice@relay
    alice corrects: hallo           her last message (XEP-0308), where she wrote it
    alice takes it back             her last message (XEP-0424)
    bob reacts to #1 with +         XEP-0444; `with nothing` takes it back
    bob gets instead of #1 from alice: hallo    a correction comes; then it reads so
    bob loses #1 from alice: (this post …       a retraction, with its text for older clients
    bob was told: @carol …          … before the last answer to him, or at any time
    bob leaves, bob comes           logs out, logs in
    bob asks to add alice           the same, and nothing is known of an answer
    6 minutes pass, 3 hours pass, 31 days pass
    the operator blocks @alice      or unblocks
    the relay restarts

`{bob}` in a line is bob's bare JID, `{relay}` the relay's domain. Whoever is named is logged in
from the start. At the end each has got the posts that are written here, in that order, and no
other.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest

from tests.integration.clients import Person, Stanza, new_id
from tests.integration.world import World

FILES: Final = sorted(Path(__file__).parent.glob("*.txt"))

_NAMES: Final = r"(?P<who>[a-z]+)"
_STEPS: Final = {
    "says": re.compile(rf"{_NAMES}(?: to (?P<whom>[a-z]+))?: (?P<text>.*)"),
    "answer": re.compile(r"  -> (?P<text>.*)"),
    "refusal": re.compile(r"  -x (?P<text>[a-z-]+)"),
    "answers": re.compile(rf"{_NAMES} answers #(?P<id>\w+)(?: to (?P<whom>[a-z]+))?: (?P<text>.*)"),
    "corrects": re.compile(rf"{_NAMES} corrects: (?P<text>.*)"),
    "takes_back": re.compile(rf"{_NAMES} takes it back"),
    "reacts": re.compile(rf"{_NAMES} reacts to #(?P<id>\w+) with (?P<what>.+)"),
    "changed": re.compile(
        rf"{_NAMES} gets instead of #(?P<id>\w+) from (?P<whom>[a-z]+): (?P<text>.*)"
    ),
    "loses": re.compile(rf"{_NAMES} loses #(?P<id>\w+) from (?P<whom>[a-z]+): (?P<text>.*)"),
    "contact": re.compile(rf"{_NAMES} (?P<what>adds|removes) (?P<whom>[a-z]+)"),
    "gets": re.compile(rf"{_NAMES} gets from (?P<whom>[a-z]+): (?P<text>.*)"),
    "told": re.compile(rf"{_NAMES} is told: (?P<text>.*)"),
    "was_told": re.compile(rf"{_NAMES} was told: (?P<text>.*)"),
    "presence": re.compile(rf"{_NAMES} (?P<what>leaves|comes)"),
    "asks": re.compile(rf"{_NAMES} asks to add (?P<whom>[a-z]+)"),
    "operator": re.compile(r"the operator (?P<what>blocks|unblocks) (?P<text>.*)"),
    "time": re.compile(r"(?P<count>\d+) (?P<unit>minute|hour|day)s? pass(?:es)?"),
    "restart": re.compile(r"the relay restarts"),
}


@dataclass(slots=True)
class Stage:
    """A story being played."""

    world: World
    people: dict[str, Person] = field(default_factory=dict)
    expected: dict[str, list[str]] = field(default_factory=dict)
    answer: Callable[[str], bool] | None = None
    sent: dict[str, tuple[str, str | None]] = field(default_factory=dict)  # last id, and where to
    told: str = ""
    asked: str = ""

    async def enters(self, names: list[str]) -> None:
        self.people = dict(zip(names, await self.world.people(*names), strict=True))
        self.expected = {name: [] for name in names}

    async def plays(self, line: str) -> None:
        line = line.replace("{relay}", self.world.config.xmpp.domain)
        for name, person in self.people.items():
            line = line.replace(f"{{{name}}}", person.jid)
        for name, pattern in _STEPS.items():
            found = pattern.fullmatch(line)
            if found is not None:
                await getattr(self, f"_{name}")(**found.groupdict())
                return
        raise AssertionError("no such step")

    async def _says(self, who: str, whom: str | None, text: str, inside: str = "") -> None:
        person = self.people[who]
        to = None if whom is None else person.author(whom)
        name = new_id()
        self.sent[who] = (name, to)
        await self._sends(who, text, inside, name)

    async def _sends(self, who: str, text: str, inside: str, name: str = "") -> None:
        person, (_, to) = self.people[who], self.sent[who]
        refusal = await person.tries(text, to, inside=inside, id=name or new_id())
        self.told = await person.hears() if refusal is None else f"-x {refusal.condition}"
        # What the relay asks back is an error if it has said something unasked a moment ago.
        asked = refusal is not None and refusal.condition == "bad-request"
        self.asked = refusal.text if refusal is not None and asked else ""

    def _id(self, short: str) -> str:
        return f"{short}.{self.world.service.db.epoch}"

    async def _answers(self, who: str, id: str, whom: str | None, text: str) -> None:
        await self._says(who, whom, text, f"<reply xmlns='urn:xmpp:reply:0' id='{self._id(id)}'/>")

    async def _corrects(self, who: str, text: str) -> None:
        name = self.sent[who][0]
        await self._sends(who, text, f"<replace xmlns='urn:xmpp:message-correct:0' id='{name}'/>")

    async def _takes_back(self, who: str) -> None:
        name = self.sent[who][0]
        await self._sends(who, "old", f"<retract xmlns='urn:xmpp:message-retract:1' id='{name}'/>")

    async def _reacts(self, who: str, id: str, what: str) -> None:
        reaction = "" if what == "nothing" else f"<reaction>{what}</reaction>"
        refusal = await self.people[who].tries(
            None,
            inside=f"<reactions xmlns='urn:xmpp:reactions:0' id='{self._id(id)}'>{reaction}"
            "</reactions>",
        )
        self.told = "" if refusal is None else f"-x {refusal.condition}"

    async def _changed(self, who: str, id: str, whom: str, text: str) -> None:
        await self._refers(who, id, whom, text, "replace", "urn:xmpp:message-correct:0")

    async def _loses(self, who: str, id: str, whom: str, text: str) -> None:
        await self._refers(who, id, whom, text, "retract", "urn:xmpp:message-retract:1")

    async def _refers(
        self, who: str, id: str, whom: str, text: str, name: str, namespace: str
    ) -> None:
        got = await self._gets(who, whom, text)
        element = got.child(name, namespace)
        assert element is not None, got
        assert element.get("id") == self._id(id), got

    async def _answer(self, text: str) -> None:
        assert fits(text, self.told) or fits(text, self.asked), self.told

    async def _refusal(self, text: str) -> None:
        assert self.told == f"-x {text}", self.told

    async def _contact(self, who: str, what: str, whom: str) -> None:
        person = self.people[who]
        if what == "adds":
            await person.adds(whom)
        else:
            person.sends_raw(f"<presence to='{person.author(whom)}' type='unsubscribe'/>")
            await person.gets(kind="presence", type="unavailable", sender=person.author(whom))

    async def _gets(self, who: str, whom: str, text: str) -> Stanza:
        person = self.people[who]
        got = await person.gets(lambda stanza: stanza.post_id is not None)
        assert (got.sender, got.body) == (person.author(whom), text)
        self.expected[who].append(text)
        return got

    async def _told(self, who: str, text: str) -> None:
        said = await self.people[who].hears()
        assert fits(text, said), said

    async def _was_told(self, who: str, text: str) -> None:
        said = [each.body or "" for each in self.people[who].mail.ledger if each.post_id is None]
        assert any(fits(text, each) for each in said), said

    async def _presence(self, who: str, what: str) -> None:
        await getattr(self.people[who], what)()

    async def _asks(self, who: str, whom: str) -> None:
        person = self.people[who]
        person.sends_raw(f"<presence to='{person.author(whom)}' type='subscribe'/>")

    async def _operator(self, what: str, text: str) -> None:
        keeping_out = self.world.service.keeping_out
        do = keeping_out.operator_block if what == "blocks" else keeping_out.operator_unblock
        await do(text, "a test")

    async def _time(self, count: str, unit: str) -> None:
        await self.world.settled()
        self.world.clock.passes(**{f"{unit}s": int(count)})
        self.world.service.tick()

    async def _restart(self) -> None:
        await self.world.restarts()

    async def ends(self) -> None:
        for name, person in self.people.items():
            if person.connected:
                await person.fence()
            bodies = [each.body for each in person.mail.ledger if each.post_id is not None]
            assert bodies == self.expected[name], f"what {name} got in all"


def fits(written: str, said: str) -> bool:
    written = written.replace(r"\n", "\n")
    if written.endswith("…"):
        return said.startswith(written[:-1])
    return said == written


def names_in(lines: list[str]) -> list[str]:
    """Everybody who does something."""
    verbs = "to|adds|asks|gets|is|comes|leaves|answers|corrects|takes|reacts|loses"
    first = (re.match(rf"{_NAMES}(?::| (?:{verbs})\b)", each) for each in lines)
    return list(dict.fromkeys(found["who"] for found in first if found is not None))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
async def test_a_story_goes_as_it_is_written(world: World, file: Path) -> None:
    text = file.read_text(encoding="utf-8")  # noqa: ASYNC240 - nobody waits
    head, _, story = text.partition("\n\n")
    first = head.count("\n") + 3
    lines = story.split("\n")
    stage = Stage(world)
    await stage.enters(names_in(lines))
    for number, line in enumerate(lines, first):
        if line.strip():
            try:
                await stage.plays(line)
            except AssertionError as error:
                raise AssertionError(f"{file.name}:{number}: {line}\n{error}") from error
    await stage.ends()


def test_there_are_stories() -> None:
    assert len(FILES) >= 7
