"""Dialogues as data: each file beside this one is a story, played on a real server.

The first paragraph says what it shows. Then one line is one step:

    alice: hello                    alice writes to home@relay …
      -> ok #1: 2 people            … and this is the answer; `…` stands for any ending
      -x feature-not-implemented    … or it is refused with this condition
    alice to bob: hello             the same, in the window of bob@relay
    bob adds alice                  to his contact list; `removes` is the opposite
    bob gets from alice: hello      a post comes, from alice@relay …
    bob gets from home: alice: hello  #1    … or from home@relay, as it stands there
    bob is told: @carol …           home@relay says something that he has not asked for
    bob leaves, bob comes           logs out, logs in
    6 minutes pass
    the relay restarts

Whoever is named is logged in from the start. At the end each has got the posts that are written
here, in that order, and no other.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest

from tests.integration.clients import Person
from tests.integration.world import World

FILES: Final = sorted(Path(__file__).parent.glob("*.txt"))

_NAMES: Final = r"(?P<who>[a-z]+)"
_STEPS: Final = {
    "says": re.compile(rf"{_NAMES}(?: to (?P<whom>[a-z]+))?: (?P<text>.*)"),
    "answer": re.compile(r"  -> (?P<text>.*)"),
    "refusal": re.compile(r"  -x (?P<text>[a-z-]+)"),
    "contact": re.compile(rf"{_NAMES} (?P<what>adds|removes) (?P<whom>[a-z]+)"),
    "gets": re.compile(rf"{_NAMES} gets from (?P<whom>[a-z]+): (?P<text>.*)"),
    "told": re.compile(rf"{_NAMES} is told: (?P<text>.*)"),
    "presence": re.compile(rf"{_NAMES} (?P<what>leaves|comes)"),
    "time": re.compile(r"(?P<minutes>\d+) minutes? pass(?:es)?"),
    "restart": re.compile(r"the relay restarts"),
}


@dataclass(slots=True)
class Stage:
    """A story being played."""

    world: World
    people: dict[str, Person] = field(default_factory=dict)
    expected: dict[str, list[str]] = field(default_factory=dict)
    answer: Callable[[str], bool] | None = None
    told: str = ""

    async def enters(self, names: list[str]) -> None:
        self.people = dict(zip(names, await self.world.people(*names), strict=True))
        self.expected = {name: [] for name in names}

    async def plays(self, line: str) -> None:
        for name, pattern in _STEPS.items():
            found = pattern.fullmatch(line)
            if found is not None:
                await getattr(self, f"_{name}")(**found.groupdict())
                return
        raise AssertionError("no such step")

    async def _says(self, who: str, whom: str | None, text: str) -> None:
        person = self.people[who]
        to = None if whom is None else person.author(whom)
        refusal = await person.tries(text, to)
        self.told = await person.hears() if refusal is None else f"-x {refusal.condition}"

    async def _answer(self, text: str) -> None:
        assert fits(text, self.told), self.told

    async def _refusal(self, text: str) -> None:
        assert self.told == f"-x {text}", self.told

    async def _contact(self, who: str, what: str, whom: str) -> None:
        person = self.people[who]
        if what == "adds":
            await person.adds(whom)
        else:
            person.sends_raw(f"<presence to='{person.author(whom)}' type='unsubscribe'/>")
            await person.gets(kind="presence", type="unavailable", sender=person.author(whom))

    async def _gets(self, who: str, whom: str, text: str) -> None:
        person = self.people[who]
        got = await person.gets(lambda stanza: stanza.post_id is not None)
        assert (got.sender, got.body) == (person.author(whom), text)
        self.expected[who].append(text)

    async def _told(self, who: str, text: str) -> None:
        said = await self.people[who].hears()
        assert fits(text, said), said

    async def _presence(self, who: str, what: str) -> None:
        await getattr(self.people[who], what)()

    async def _time(self, minutes: str) -> None:
        self.world.clock.passes(minutes=int(minutes))
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
    if written.endswith("…"):
        return said.startswith(written[:-1])
    return said == written


def names_in(lines: list[str]) -> list[str]:
    """Everybody who does something."""
    first = (
        re.match(rf"{_NAMES}(?::| (?:to|adds|gets|is|comes|leaves)\b)", each) for each in lines
    )
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
