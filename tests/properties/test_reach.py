"""The audience by sets is the audience by the table of rules, whatever people have chosen.

`Graph.reach` says about whom a rule may have something to say. It is compared with asking `decide`
about each, in worlds full of blocks, by people and by the operator, of people and of domains, and
of all that can be muted, capped, collected and switched off.
"""

import os
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from hypothesis import given, settings
from hypothesis import strategies as st

from xmpprelay.core.blocks import OPERATOR
from xmpprelay.core.graph import Graph
from xmpprelay.core.model import OWN_LANE, Follow, Mode, Person, Post
from xmpprelay.core.routing import Audience, decide
from xmpprelay.core.wishes import EVERYTHING, Cap, Digest, Mute, Sort, Span, Whose, Wishes

PEOPLE: Final = range(1, 9)
DOMAINS: Final = ("own.example", "far.example", "sub.far.example")
NOW: Final = datetime(2030, 1, 1, 12, tzinfo=UTC)
EXAMPLES: Final = int(os.environ.get("XMPPRELAY_EXAMPLES", "200"))

person = st.sampled_from(PEOPLE)
spans = st.sampled_from([Span(NOW - timedelta(hours=1)), Span(NOW - timedelta(hours=2), NOW)])
subjects = st.sampled_from([EVERYTHING, "*news", *map(str, PEOPLE)])
mutes = st.one_of(
    st.builds(Mute, st.just(Sort.PERSON), person.map(str), spans),
    st.builds(Mute, st.just(Sort.TAG), st.just("tea"), spans),
)
wishes = st.builds(
    Wishes,
    replies=st.sampled_from(Whose),
    mentions=st.sampled_from([None, *Whose]),
    mutes=st.lists(mutes, max_size=2).map(tuple),
    groups=st.dictionaries(st.just("news"), st.frozensets(person, min_size=1, max_size=2)),
    offs=st.dictionaries(subjects, st.tuples(spans), max_size=1),
    caps=st.dictionaries(
        person, st.builds(Cap, st.integers(0, 1), daily=st.booleans()), max_size=1
    ),
    digests=st.dictionaries(
        subjects.filter(bool),
        st.builds(Digest, st.integers(1, 20), st.sampled_from([None, timedelta(hours=1)])),
        max_size=1,
    ),
)
targets = st.one_of(
    person.map(lambda who: jid(who)),
    st.sampled_from(["own.example", "far.example", "*.far.example", "*.example"]),
)


def jid(who: int) -> str:
    return f"p{who}@{DOMAINS[who % 3]}"


@st.composite
def graphs(draw: Any) -> Graph:
    graph = Graph(["own.example"])
    for each in PEOPLE:
        graph.add_person(Person(each, jid(each), f"p{each}"))
    for who, whom in draw(st.sets(st.tuples(person, person), min_size=4, max_size=40)):
        mode = draw(st.sampled_from(Mode))
        graph.add_follow(Follow(who, whom, mode, draw(st.sampled_from([1, 1, 1, 15]))))
    for _ in range(2):  # the second time some change what they chose, and end what they blocked
        for who, chosen in draw(st.dictionaries(person, wishes, max_size=4)).items():
            graph.set_wishes(who, chosen)
        owners = st.sampled_from([OPERATOR, *PEOPLE])
        for owner, target in draw(st.sets(st.tuples(owners, targets), max_size=3)):
            if not graph.unblock(owner, target):
                graph.block(owner, target)
        for who, author in draw(st.sets(st.tuples(person, person), max_size=2)):
            if not graph.accept_again(who, author):
                graph.refuse(who, author)
    for author in draw(st.sets(person, max_size=2)):
        graph.protect(author, True)
    return graph


@st.composite
def posts(draw: Any) -> Post:
    author = draw(person)
    others = st.lists(person.filter(lambda who: who != author), max_size=2, unique=True).map(tuple)
    to = draw(others)
    return Post(
        number=draw(st.sampled_from([10, 10, 15])),
        author=author,
        text="time for #tea",
        lang=None,
        created=NOW - timedelta(minutes=1),
        targets=to,
        mentions=tuple(sorted(set(draw(others)) - set(to))),
        new_author=draw(st.booleans()),
        surplus=draw(st.booleans()),
        nth_hour=draw(st.integers(0, 1)),
    )


@settings(max_examples=EXAMPLES * 2, deadline=None)
@given(graphs(), posts())
def test_the_quick_way_gives_what_the_table_says(graph: Graph, post: Post) -> None:
    for lane in (OWN_LANE, *DOMAINS[1:]):
        audience = Audience(graph, post, lane)
        asked = tuple(who for who in audience.people if decide(graph, post, who).yes)
        assert audience.allowed() == asked


@settings(max_examples=EXAMPLES * 2, deadline=None)
@given(graphs(), posts())
def test_nobody_is_simple_about_whom_a_rule_says_no(graph: Graph, post: Post) -> None:
    found = graph.reach(post)
    if found is None or post.surplus:
        return
    reached, asked = found
    assert asked <= reached
    for who in set(PEOPLE) - asked - set(post.addressed) - {post.author}:
        assert decide(graph, post, who).yes is (who in reached)
