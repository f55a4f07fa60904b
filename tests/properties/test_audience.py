"""The audience: against an oracle that shares no code with it, and through the fan-out.

The machine lets people follow, block, mute, protect, post, answer, boost, edit and delete, come and
go, and lets the relay be killed, in any order. Nobody is ever written what the oracle forbids at
that moment; and who was entitled to a post from its making to the end has had it in the end.
"""

import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.properties.audience_model import Entry, Plain, gets
from tests.properties.claims import Claims
from tests.unit.by_hand import Relay as Fanout
from xmpprelay.core.delivery import Delivery, Sizes
from xmpprelay.core.graph import Graph
from xmpprelay.core.model import OWN_LANE, Follow, Grant, Kind, Mode, Person, Post, Standing
from xmpprelay.core.routing import Audience, decide
from xmpprelay.core.wishes import Mute, Scope, Sort, Span, Whose
from xmpprelay.core.work import Read

PEOPLE: Final = range(1, 9)
NOW: Final = datetime(2030, 1, 1, 12, tzinfo=UTC)
ALWAYS: Final = Span(NOW - timedelta(days=9))

EXAMPLES: Final = int(os.environ.get("XMPPRELAY_EXAMPLES", "200"))
STEPS: Final = int(os.environ.get("XMPPRELAY_STEPS", "40"))

person = st.sampled_from(PEOPLE)
pairs = st.tuples(person, person).filter(lambda pair: pair[0] != pair[1])
named = st.lists(person, max_size=2, unique=True).map(tuple)


def graph_of(world: Plain) -> Graph:
    graph = Graph(["own.example"])
    for each in PEOPLE:
        graph.add_person(Person(each, jid(each), f"p{each}"))
    for (who, whom), since in world.follows.items():
        graph.add_follow(Follow(who, whom, Mode.AUTHOR, since))
    for who, whom in world.blocks:
        graph.block(who, jid(whom))
    for author in world.protected:
        graph.protect(author, True)
    for who in PEOPLE:
        set_wishes(graph, world, who)
    return graph


def jid(who: int) -> str:
    return f"p{who}@{'own' if who % 2 else 'far'}.example"


def set_wishes(graph: Graph, world: Plain, who: int) -> None:
    mutes = tuple(
        Mute(Sort.PERSON, str(whom), ALWAYS, Scope(scope))
        for (owner, whom), scope in world.mutes.items()
        if owner == who
    )
    mentions = world.mentions.get(who)
    wishes = replace(
        graph.wishes(who),
        mutes=mutes,
        replies=Whose(world.replies.get(who, "following")),
        mentions=None if mentions is None else Whose(mentions),
    )
    graph.set_wishes(who, wishes)


def post_of(entry: Entry) -> Post:
    return Post(
        number=entry.number,
        author=entry.author,
        text="",
        lang=None,
        created=NOW,
        kind=Kind(entry.kind),
        targets=entry.targets,
        mentions=entry.mentions,
        parent=1 if entry.answers else None,
        original=None if entry.shown is None else post_of(entry.shown),
        boosted_before=entry.before,
        deleted=entry.deleted,
    )


@st.composite
def worlds(draw: Any) -> Plain:
    scopes = st.sampled_from(["", "all", "boosts"])
    whose = st.sampled_from(["all", "following", "none"])
    return Plain(
        follows=draw(st.dictionaries(pairs, st.integers(1, 60), max_size=20)),
        blocks=draw(st.sets(pairs, max_size=3)),
        mutes=draw(st.dictionaries(pairs, scopes, max_size=4)),
        protected=draw(st.sets(person, max_size=2)),
        replies=draw(st.dictionaries(person, whose, max_size=6)),
        mentions=draw(st.dictionaries(person, whose, max_size=6)),
    )


@st.composite
def entries(draw: Any) -> Entry:
    entry = _entry(
        draw, draw(st.integers(1, 60)), draw(st.sampled_from(["post", "post", "direct"]))
    )
    if entry.kind == "direct" or not draw(st.booleans()):
        return entry
    before = draw(st.sets(person, max_size=3))
    booster = draw(person)
    return Entry(61, booster, "boost", shown=entry, before=tuple(sorted(before - {booster})))


def _entry(draw: Any, number: int, kind: str) -> Entry:
    author = draw(person)
    if kind == "direct":
        target = draw(person.filter(lambda who: who != author))
        return Entry(number, author, kind, targets=(target,))
    targets = draw(named)
    mentions = tuple(sorted(set(draw(named)) - {author, *targets}))
    answers = bool(targets) and draw(st.booleans())
    return Entry(
        number, author, kind, targets, mentions, answers, deleted=draw(st.integers(0, 9)) == 0
    )


@settings(max_examples=EXAMPLES * 5, deadline=None)
@given(worlds(), entries())
def test_the_audience_is_what_the_oracle_says(world: Plain, entry: Entry) -> None:
    graph, post = graph_of(world), post_of(entry)
    for who in PEOPLE:
        expected = gets(world, entry, who)
        decision = decide(graph, post, who)
        assert decision.yes is expected, f"{who}: {decision}"
    for lane in (OWN_LANE, "far.example"):
        audience = Audience(graph, post, lane)
        expected_people = {p for p in PEOPLE if gets(world, entry, p) and graph.lane(p) == lane}
        assert set(audience.allowed()) == expected_people


class Town(Fanout):
    """A fan-out driven by hand, which checks each stanza as it is written."""

    def __init__(self, world: Plain) -> None:
        self.world = world
        self.entries: dict[int, Entry] = {}
        self.left: dict[int, set[int]] = {}  # person -> numbers that a return left to `more`
        small = Sizes(window=1, first_remote_window=1)  # so that much is half done
        super().__init__(followers=(), next_number=1, sizes=small)
        self.graph = graph_of(world)
        self.delivery = Delivery(self.graph, small)
        for who in PEOPLE:
            self.standings[who] = Standing(who, 1, self.now, grant=Grant.GRANTED)
        self.delivery.load(self.standings.values(), (), 1)
        self.delivery.stream_up(self.now)
        self.comes(*PEOPLE)
        self.settle()

    def turn(self, room: int = 2000) -> None:
        before = len(self.written)
        super().turn(room)
        for who, number in self.written[before:]:
            self.check(who, self.posts[number])
        for who in PEOPLE:
            rest = self.delivery.rest_of(who)
            if rest is not None:  # the next return replaces it
                span = range(rest.first, rest.last + 1)
                self.left.setdefault(who, set()).update(n for n in span if rest.holds(n))

    def check(self, who: int, post: Post) -> None:
        """X = 0: what is written is allowed now."""
        entry = self.entries.get(post.number)
        if entry is not None:
            assert gets(self.world, entry, who), f"#{post.number} is written to {who}"

    def adds(self, entry: Entry, post: Post) -> None:
        self.posts[post.number] = post
        if post.kind in (Kind.POST, Kind.DIRECT, Kind.BOOST):
            self.entries[post.number] = entry
        lanes = self.graph.lanes(post)
        self.fanout.update({(post.number, lane): 0 for lane in lanes})
        self.delivery.post_committed(post, lanes)
        self.turn()

    def reads(self) -> None:
        for read in self.of(Read):
            assert isinstance(read, Read)
            held = self.read_for(read)
            allowed = tuple(p for p in held.posts if decide(self.graph, p, read.person).yes)
            self.delivery.looked_up(read.person, replace(held, posts=allowed))
        self.turn()


class Audiences(RuleBasedStateMachine):
    """People do what they do, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.world = Plain()
        self.town = Town(self.world)
        self.claims = Claims(self.world, PEOPLE, self.town.entries)

    @initialize(not_these=st.sets(pairs, max_size=20))
    def most_follow_most(self, not_these: set[tuple[int, int]]) -> None:
        for pair in ((who, whom) for who in PEOPLE for whom in PEOPLE if who != whom):
            if pair not in not_these:
                self.follow(pair)

    @rule(pair=pairs)
    def follow(self, pair: tuple[int, int]) -> None:
        """Somebody follows, by any door."""
        if not {pair, pair[::-1]} & self.world.blocks and pair[1] not in self.world.protected:
            since = self.world.follows.setdefault(pair, self.town.delivery.next_number)
            self.town.graph.add_follow(Follow(*pair, Mode.AUTHOR, since))

    @rule(pair=pairs)
    def unfollow(self, pair: tuple[int, int]) -> None:
        self.world.follows.pop(pair, None)
        self.town.graph.end_follow(*pair)

    @rule(pair=pairs)
    def block(self, pair: tuple[int, int]) -> None:
        self.world.blocks.add(pair)
        self.town.graph.block(pair[0], jid(pair[1]))
        for each in (pair, pair[::-1]):
            self.world.follows.pop(each, None)
            self.town.graph.end_follow(*each)

    @rule(pair=pairs)
    def unblock(self, pair: tuple[int, int]) -> None:
        self.world.blocks.discard(pair)
        self.town.graph.unblock(pair[0], jid(pair[1]))

    @rule(pair=pairs, scope=st.sampled_from(["", "all", "boosts", None]))
    def mute(self, pair: tuple[int, int], scope: str | None) -> None:
        if scope is None:
            self.world.mutes.pop(pair, None)
        else:
            self.world.mutes[pair] = scope
        set_wishes(self.town.graph, self.world, pair[0])

    @rule(who=person, whose=st.sampled_from(["all", "following", "none"]), what=st.booleans())
    def choose(self, who: int, whose: str, what: bool) -> None:
        (self.world.replies if what else self.world.mentions)[who] = whose
        set_wishes(self.town.graph, self.world, who)

    @rule(author=person, on=st.booleans())
    def protect(self, author: int, on: bool) -> None:
        (self.world.protected.add if on else self.world.protected.discard)(author)
        self.town.graph.protect(author, on)

    @rule(data=st.data(), kind=st.sampled_from(["post", "post", "post", "direct"]))
    def post(self, data: st.DataObject, kind: str) -> None:
        entry = replace(_entry(data.draw, self.town.delivery.next_number, kind), deleted=False)
        self._adds(entry)

    @precondition(lambda self: self.town.entries)
    @rule(booster=person, data=st.data())
    def boost(self, booster: int, data: st.DataObject) -> None:
        shown = self._chosen(data)
        if shown.kind == "post" and not shown.deleted and shown.author not in self.world.protected:
            before = {e.author for e in self.town.entries.values() if e.shown is shown}
            number = self.town.delivery.next_number
            self._adds(Entry(number, booster, "boost", shown=shown, before=tuple(sorted(before))))

    @precondition(lambda self: self.town.entries)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        entry = self._chosen(data)
        if entry.kind != "boost" and not entry.deleted:
            entry.deleted = True
            self._change(entry, Kind.DELETE)

    @precondition(lambda self: self.town.entries)
    @rule(data=st.data())
    def edit(self, data: st.DataObject) -> None:
        entry = self._chosen(data)
        if entry.kind != "boost" and not entry.deleted:
            self._change(entry, Kind.EDIT)

    def _chosen(self, data: st.DataObject) -> Entry:
        return self.town.entries[data.draw(st.sampled_from(sorted(self.town.entries)))]

    def _adds(self, entry: Entry) -> None:
        self.town.adds(entry, post_of(entry))
        self.claims.made(entry)

    def _change(self, entry: Entry, kind: Kind) -> None:
        original = post_of(entry)
        for number, each in self.town.entries.items():
            if each is entry or each.shown is entry:
                self.town.posts[number] = post_of(each)
        change = Post(
            self.town.delivery.next_number, entry.author, "", None, NOW, kind, original=original
        )
        self.town.adds(entry, change)
        self.claims.changed()

    @rule(who=person)
    def come(self, who: int) -> None:
        self.town.comes(who)

    @rule(who=person)
    def go(self, who: int) -> None:
        self.town.goes(who)

    @rule(author=person, who=person, count=st.integers(2, 4))
    def posts_while_somebody_is_away(self, author: int, who: int, count: int) -> None:
        self.long_absence(who, 1)
        for n in range(count):
            to_him = (who,) if author != who and n % 2 == 0 else ()
            self._adds(Entry(self.town.delivery.next_number, author, "post", to_him))
        self.town.comes(who)

    @rule(who=person, newest=st.integers(0, 2))
    def long_absence(self, who: int, newest: int) -> None:
        self.town.delivery.set_catchup(who, newest)
        self.town.goes(who)
        self.town.later(timedelta(minutes=11))

    @rule()
    def answer(self) -> None:
        self.town.reads()
        self.town.answer()

    @rule()
    def store(self) -> None:
        self.town.store()

    @rule()
    def restart(self) -> None:
        self.town.now += timedelta(seconds=5)
        if self.town.posts:
            self.town.restart()

    @invariant()
    def entitled_is_who_was_so_all_along(self) -> None:
        self.claims.changed()

    def teardown(self) -> None:
        for who in PEOPLE:
            self.town.comes(who)
        for _ in range(50):
            self.town.reads()
            self.town.settle()
            if not any(isinstance(work, Read) for work in self.town.work):
                break
        had = set(self.town.written)
        unmet = self.claims.unmet(lambda who, number: (who, number) in had, self.town.left)
        assert not unmet, f"(number, person) not had: {unmet}"


TestAudiences = Audiences.TestCase
TestAudiences.settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=STEPS,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
