"""Where the stories are played: a relay on real servers, and people with clients on them."""

from collections.abc import Callable
from dataclasses import dataclass, field

from tests.integration.clients import Person, Stanza, new_id
from tests.integration.neighbours import Neighbours
from tests.integration.world import World
from tests.scenarios.story import STEPS, Story
from xmpprelay.core.recipients import State


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
    elsewhere: str = ""  # the second server's domain

    async def enters(self, story: Story) -> None:
        here = [name for name in story.people if name not in story.elsewhere]
        self.people = dict(zip(here, await self.world.people(*here), strict=True))
        if story.elsewhere:
            assert isinstance(self.world, Neighbours), "who lives elsewhere needs a second server"
            far = sorted(story.elsewhere)
            self.people |= dict(zip(far, await self.world.abroad(*far), strict=True))
            self.elsewhere = self.world.both.second.domain
        self.expected = {name: [] for name in story.people}

    async def plays(self, line: str) -> None:
        line = line.replace("{relay}", self.world.config.xmpp.domain)
        line = line.replace("{elsewhere}", self.elsewhere)
        for name, person in self.people.items():
            line = line.replace(f"{{{name}}}", person.jid)
        for name, pattern in STEPS.items():
            found = pattern.fullmatch(line)
            if found is not None:
                await getattr(self, f"_{name}")(**found.groupdict())
                return
        raise AssertionError("no such step")

    async def _says(self, who: str, whom: str | None, text: str, inside: str = "") -> None:
        person = self.people[who]
        to = person.author(whom) if whom is not None and "." not in whom else whom
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
        assert (got.sender, got.body) == (person.author(whom), text), got
        self.expected[who].append(text)
        return got

    async def _told(self, who: str, text: str) -> None:
        said = await self.people[who].hears()
        assert fits(text, said), said

    async def _was_told(self, who: str, text: str) -> None:
        said = [each.body or "" for each in self.people[who].mail.ledger if each.post_id is None]
        assert any(fits(text, each) for each in said), said

    async def _presence(self, who: str, what: str) -> None:
        """Log out or in; what it means is of interest here, and not who is quicker.

        Whoever has a standing was asked for his presence, and lets it be seen.
        """
        person, delivery = self.people[who], self.world.service.delivery
        known = self.world.service.graph.by_jid(person.jid)
        if known is None or not delivery.knows(known.id):
            await getattr(person, what)()
        elif what == "comes":
            await person.comes()
            await self.world.until(lambda: delivery.sees(known.id))
        else:
            await self.world.until(lambda: delivery.sees(known.id))
            await person.leaves()
            await self.world.away(person)

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
        await self.world.until(self._all_is_out)
        for name, person in self.people.items():
            if person.connected:
                await person.fence()
            bodies = [each.body for each in person.mail.ledger if each.post_id is not None]
            assert bodies == self.expected[name], f"what {name} got in all"

    def _all_is_out(self) -> bool:
        """Whether nothing is on its way to anybody who is there."""
        delivery, everybody = self.world.service.delivery, self.world.service.graph.people()
        return not (
            delivery.in_flight()
            or any(load.waiting for load in delivery.lane_loads())
            or any(delivery.state_of(each.id) is State.CATCHING for each in everybody)
        )


def fits(written: str, said: str) -> bool:
    written = written.replace(r"\n", "\n")
    if written.endswith("…"):
        return said.startswith(written[:-1])
    return said == written
