"""The audience through everything that leaves the relay, and whatever anybody asks for (S6.2).

People type what people type, in any order; the real relay, with a real database, answers them and
sends what it sends. Nobody is ever sent or shown what the oracle forbids him from the answer to a
`block` on (X = 0), everybody who asks is shown all that he may see, and who was entitled to a post
from its making to the end has had it in the end (missing = 0).
"""

import asyncio
import os
import tempfile
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from tests.properties.audience_model import Entry, sees
from tests.properties.outlets_town import PEOPLE, SUBSCRIBE, name, new_town, number_of
from tests.properties.outlets_web import Onlooker
from xmpprelay.core.text import short_id

EXAMPLES: Final = int(os.environ.get("XMPPRELAY_EXAMPLES", "30"))
STEPS: Final = int(os.environ.get("XMPPRELAY_STEPS", "20"))

MOST_HOURS: Final = 20
"""A boost counts for a day, and so does the right to edit: all of a life lies in one."""

MOST_EDITS: Final = 5

WITHIN_S: Final = 60 + EXAMPLES * STEPS
"""It takes a tenth of that, and more on a machine that is busy with tests."""

person = st.sampled_from(PEOPLE)
pairs = st.tuples(person, person).filter(lambda pair: pair[0] != pair[1])
named = st.lists(person, max_size=2, unique=True).map(tuple)


class Outlets(RuleBasedStateMachine):
    """People type what they do, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self._ending = ExitStack()
        self._runner = self._ending.enter_context(asyncio.Runner())
        memory = Path("/dev/shm")  # its database is synced all the time
        folder = tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None)
        self.town = new_town(Path(self._ending.enter_context(folder)))
        self.world = self.town.world
        self.onlooker = Onlooker(self.town)
        self.waits: set[tuple[int, int]] = set()  # (who, whom): asked, and whom can see it
        self.tokens = 0
        self.hours = 0
        self.edits: dict[int, int] = {}
        self._do(self.town.starts())

    def _do(self, doing: Coroutine[Any, Any, Any]) -> Any:
        return self._runner.run(doing)

    def _says(self, who: int, line: str, changes: Callable[[str], None] | None = None) -> str:
        return str(self._do(self.town.says(who, line, changes)))

    def _cut(self, pair: tuple[int, int]) -> bool:
        return bool({pair, pair[::-1]} & self.world.blocks)

    @initialize(not_these=st.sets(pairs, max_size=10), away=st.sets(person, max_size=2))
    def most_follow_most_and_are_there(
        self, not_these: set[tuple[int, int]], away: set[int]
    ) -> None:
        self._do(self.town.come(*sorted(set(PEOPLE) - away)))
        for pair in sorted(not_these):
            self.unfollow(pair)

    # Who follows whom, and who is kept out

    @rule(pair=pairs)
    def follow(self, pair: tuple[int, int]) -> None:
        who, whom = pair

        def changes(answer: str) -> None:
            if (who, whom) in self.world.blocks:
                assert answer.startswith("You block"), answer
            elif pair in self.world.follows:
                assert answer == f"You follow @{name(whom)} already."
            elif self._cut(pair) or whom in self.world.protected:
                assert answer.startswith(f"You have asked to follow @{name(whom)}."), answer
                if not self._cut(pair):
                    self.waits.add(pair)
            else:
                assert answer.startswith(f"You follow @{name(whom)} now"), answer
                self._follows(pair)

        self._says(who, f"follow @{name(whom)}", changes)

    @rule(pair=pairs)
    def subscribe(self, pair: tuple[int, int]) -> None:
        who, whom = pair

        def changes(answer: str) -> None:
            if pair in self.world.blocks:
                assert answer.startswith("You block"), answer
            elif pair in self.world.follows:
                assert answer == "subscribed"
            elif self._cut(pair) or whom in self.world.protected:
                assert answer == "pending" or answer.startswith("You have asked already"), answer
                if not self._cut(pair):
                    self.waits.add(pair)
            else:
                assert answer == "subscribed", answer
                self._follows(pair)

        self._says(who, f"{SUBSCRIBE}{name(whom)}", changes)

    def _follows(self, pair: tuple[int, int]) -> None:
        self.waits.discard(pair)
        self.world.follows[pair] = self.town.next_number

    @rule(pair=pairs)
    def unfollow(self, pair: tuple[int, int]) -> None:
        self._says(
            pair[0],
            f"unfollow @{name(pair[1])}",
            lambda _: self._ends(pair),
        )

    def _ends(self, pair: tuple[int, int]) -> None:
        self.world.follows.pop(pair, None)
        self.waits.discard(pair)

    @rule(pair=pairs)
    def approve(self, pair: tuple[int, int]) -> None:
        follower, author = pair

        def changes(answer: str) -> None:
            if "follows you now" in answer:
                assert not self._cut(pair), answer
                self._follows(pair)
            else:
                assert pair not in self.waits, answer

        self._says(author, f"approve @{name(follower)}", changes)

    @rule(author=person, on=st.booleans())
    def protect(self, author: int, on: bool) -> None:
        def changes(_: str) -> None:
            (self.world.protected.add if on else self.world.protected.discard)(author)
            for pair in () if on else sorted(self.waits):
                if pair[1] == author:
                    self._follows(pair)

        self._says(author, f"protect {'on' if on else 'off'}", changes)

    @rule(pair=pairs)
    def block(self, pair: tuple[int, int]) -> None:
        self._says(pair[0], f"block @{name(pair[1])}", lambda _: self._blocks(pair))

    def _blocks(self, pair: tuple[int, int]) -> None:
        self.world.blocks.add(pair)
        for each in (pair, pair[::-1]):
            self._ends(each)

    @rule(pair=pairs)
    def unblock(self, pair: tuple[int, int]) -> None:
        self._says(pair[0], f"unblock @{name(pair[1])}", lambda _: self.world.blocks.discard(pair))

    @rule(pair=pairs, scope=st.sampled_from(["", "all", "boosts"]))
    def mute(self, pair: tuple[int, int], scope: str) -> None:
        def changes(_: str) -> None:
            self.world.mutes[pair] = scope

        self._says(pair[0], f"mute @{name(pair[1])} {scope}".rstrip(), changes)

    @rule(pair=pairs)
    def unmute(self, pair: tuple[int, int]) -> None:
        self._says(pair[0], f"unmute @{name(pair[1])}", lambda _: self.world.mutes.pop(pair, None))

    @rule(who=person, whose=st.sampled_from(["all", "following", "none"]))
    def choose(self, who: int, whose: str) -> None:
        def changes(_: str) -> None:
            self.world.replies[who] = whose

        self._says(who, f"replies {whose}", changes)

    @rule(pair=pairs, how=st.sampled_from(["1h", "off"]))
    def digest(self, pair: tuple[int, int], how: str) -> None:
        self._says(pair[0], f"digest @{name(pair[1])} {how}")

    @rule(author=person, on=st.booleans())
    def be_on_the_web(self, author: int, on: bool) -> None:
        def changes(_: str) -> None:
            (self.town.private.discard if on else self.town.private.add)(author)

        self._says(author, f"feed {'public' if on else 'private'}", changes)

    # What people write

    @rule(author=person, leading=named, mentions=named)
    def post(self, author: int, leading: tuple[int, ...], mentions: tuple[int, ...]) -> None:
        self._do(self.town.say(self._posting(author, leading, mentions)))

    @rule(author=person, leading=named, mentions=named, pair=pairs)
    def post_while_somebody_blocks(
        self,
        author: int,
        leading: tuple[int, ...],
        mentions: tuple[int, ...],
        pair: tuple[int, int],
    ) -> None:
        posting = self._posting(author, leading, mentions)
        block = (pair[0], f"block @{name(pair[1])}", lambda _: self._blocks(pair))
        self._do(self.town.say(posting, block))

    def _posting(
        self, author: int, leading: tuple[int, ...], mentions: tuple[int, ...]
    ) -> tuple[int, str, Callable[[str], None]]:
        token = self._token()
        text = " ".join(
            [*(f"@{name(t)}" for t in leading), token, *(f"@{name(m)}" for m in mentions)]
        )
        others = tuple(sorted(set(mentions) - {author, *leading}))

        def changes(answer: str) -> None:
            self.town.adds(Entry(number_of(answer), author, "post", leading, others), token)

        return author, text, changes

    def _token(self) -> str:
        self.tokens += 1
        return f"zq1_{self.tokens}q"

    @rule(pair=pairs)
    def write_to_one(self, pair: tuple[int, int]) -> None:
        author, target = pair
        token = self._token()

        def changes(answer: str) -> None:
            wrote = any(
                e.kind == "direct" and e.author == target and author in e.targets
                for e in self.town.entries.values()
            )
            may = pair[::-1] in self.world.follows or wrote
            assert answer.startswith("sent") is (may and not self._cut(pair)), answer
            if answer.startswith("sent"):
                number = self.town.next_number - 1
                self.town.adds(Entry(number, author, "direct", (target,)), token)

        self._says(author, f"d @{name(target)} {token}", changes)

    @precondition(lambda self: self.town.entries)
    @rule(author=person, data=st.data())
    def reply(self, author: int, data: st.DataObject) -> None:
        entry = self._chosen(data)
        token = self._token()

        def changes(answer: str) -> None:
            shown = entry.shown or entry
            if self._refers_to(author, entry, answer):
                number = number_of(answer)
                targets = (shown.author,)
                self.town.adds(Entry(number, author, "post", targets, answers=True), token)

        if entry.kind != "direct":
            self._says(author, f"re #{short_id(entry.number)} {token}", changes)

    def _refers_to(self, who: int, entry: Entry, answer: str) -> bool:
        """Whether he may refer to it; the answer is a refusal exactly where he may not."""
        shown = entry.shown or entry
        there = sees(self.world, entry, who) and sees(self.world, shown, who)
        assert answer.startswith("There is no post") is not there, answer
        return there

    @precondition(lambda self: self.town.entries)
    @rule(booster=person, data=st.data())
    def boost(self, booster: int, data: st.DataObject) -> None:
        entry = self._chosen(data)
        shown = entry.shown or entry

        def changes(answer: str) -> None:
            if not self._refers_to(booster, entry, answer):
                return
            boosts = [e for e in self.town.entries.values() if e.shown is shown]
            before = sorted({each.author for each in boosts})
            if shown.kind == "direct" or shown.author in self.world.protected:
                assert "stays" in answer, answer
            elif booster in before:
                assert "already" in answer, answer
            else:
                made = Entry(self.town.next_number - 1, booster, "boost", shown=shown)
                made.before = tuple(before)
                self.town.adds(made, None)

        self._says(booster, f"boost #{short_id(entry.number)}", changes)

    @precondition(lambda self: self.town.entries)
    @rule(data=st.data(), who=person)
    def delete(self, data: st.DataObject, who: int) -> None:
        entry = self._chosen(data)

        def changes(answer: str) -> None:
            mine = who == entry.author and not entry.deleted
            assert answer.endswith("is deleted.") is mine, answer
            if mine:
                entry.deleted = True

        if entry.kind != "boost":
            self._says(who, f"del #{short_id(entry.number)}", changes)

    @precondition(lambda self: self.town.entries)
    @rule(data=st.data())
    def edit(self, data: st.DataObject) -> None:
        entry = self._chosen(data)
        edits = self.edits.get(entry.number, 0)
        if entry.kind != "post" or entry.deleted or edits == MOST_EDITS:
            return
        words = [f"@{name(t)}" for t in entry.targets]
        words += [token for token, each in self.town.texts.items() if each is entry]
        words += [f"@{name(m)}" for m in entry.mentions]

        def changes(answer: str) -> None:
            assert answer.endswith("edited"), answer
            self.edits[entry.number] = edits + 1

        line = f"edit #{short_id(entry.number)} {' '.join(words)} {'again ' * (edits + 1)}"
        self._says(entry.author, line.rstrip(), changes)

    def _chosen(self, data: st.DataObject) -> Entry:
        return self.town.entries[data.draw(st.sampled_from(sorted(self.town.entries)))]

    # Who is there, and what goes wrong

    @rule(who=person)
    def come(self, who: int) -> None:
        self._do(self.town.come(who))

    @rule(who=person)
    def go(self, who: int) -> None:
        self._do(self.town.go(who))

    @rule(who=person, newest=st.integers(0, 2), author=person, count=st.integers(1, 4))
    def be_away_for_long(self, who: int, newest: int, author: int, count: int) -> None:
        self._says(who, f"catchup {newest}")
        self.go(who)
        for n in range(count):
            self.post(author, (who,) if author != who and n % 2 else (), ())
        self.town.clock.passes(minutes=11)
        self.come(who)

    @rule(who=person, what=st.sampled_from(["more", "skip"]))
    def have_the_rest(self, who: int, what: str) -> None:
        self._says(who, what)

    @rule()
    def lose_answers(self) -> None:
        self._do(self.town.answer(False))

    @rule()
    def answer(self) -> None:
        self._do(self.town.answer(True))

    @precondition(lambda self: self.hours < MOST_HOURS)
    @rule()
    def an_hour_passes(self) -> None:
        self.hours += 1
        self.town.clock.passes(minutes=61)
        self._do(self._digests())

    async def _digests(self) -> None:
        await self.town.wire.service.digests.tick()
        await self.town.settles()

    @rule()
    def restart(self) -> None:
        self._do(self.town.restarts())

    # What people ask for

    @rule(pair=pairs)
    def ask_for_one(self, pair: tuple[int, int]) -> None:
        self._do(self.town.reads_last(*pair))

    @rule(who=person)
    def ask_for_all(self, who: int) -> None:
        self._do(self.town.reads_timeline(who))
        self._do(self.town.finds(who))

    @precondition(lambda self: self.town.entries)
    @rule(who=person, data=st.data())
    def ask_for_a_post(self, who: int, data: st.DataObject) -> None:
        self._do(self.town.shows(who, self._chosen(data)))

    @rule(pair=pairs)
    def look_at_the_web(self, pair: tuple[int, int]) -> None:
        self._do(self.onlooker.reads_own(pair[0]))
        self._do(self.onlooker.reads_author(pair[1]))

    def teardown(self) -> None:
        with self._ending:
            try:
                self._do(self._ends_well())
            finally:
                self._do(self.town.stops())

    async def _ends_well(self) -> None:
        """Everybody is there, has what was left to him, and asks for everything."""
        town = self.town
        await town.answer(True)
        await town.come(*PEOPLE)
        for who in PEOPLE:
            while not (await town.says(who, "more")).startswith("There is nothing more"):
                pass
        town.clock.passes(minutes=61)
        await self._digests()
        unmet = town.claims.unmet(lambda who, number: (who, number) in town.had, town.left)
        assert not unmet, f"(number, person) not had: {unmet}"
        for who in PEOPLE:
            await town.reads_all(who)
        await self.onlooker.reads_all()
        boosted = {e.shown.author for e in town.entries.values() if e.shown} - town.private
        for author in sorted(boosted)[:1]:  # nor are his posts where others boost them
            await town.says(author, "feed private", lambda _, who=author: town.private.add(who))
            await self.onlooker.reads_all()


TestOutlets = pytest.mark.timeout(WITHIN_S)(Outlets.TestCase)
TestOutlets.settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=STEPS,
    deadline=None,
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)
