"""The audience function: each rule by its number, and which one decides where two apply."""

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from pathlib import Path

import pytest

from xmpprelay.core import routing
from xmpprelay.core.blocks import OPERATOR
from xmpprelay.core.graph import Graph
from xmpprelay.core.model import OWN_LANE, Follow, Kind, Mode, Person, Post
from xmpprelay.core.routing import Audience, Decision, Outlet, Why, decide
from xmpprelay.core.wishes import Cap, Digest, Mute, Scope, Sort, Span, Whose, Wishes

ALICE, BOB, CAROL, DAVE, ERIN = 1, 2, 3, 4, 5
NAMES = {ALICE: "alice", BOB: "bob", CAROL: "carol", DAVE: "dave", ERIN: "erin"}
NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
FOR_GOOD = Span(NOW - HOUR)
OVER = Span(NOW - 2 * HOUR, NOW - HOUR)


def post(number: int = 50, author: int = ALICE, text: str = "hello", **more: object) -> Post:
    return replace(Post(number, author, text, None, NOW), **more)  # type: ignore[arg-type]


def jid(person: int) -> str:
    return f"{NAMES[person]}@example.org"


@pytest.fixture
def graph() -> Graph:
    """Bob follows Alice and Dave; Carol follows nobody."""
    graph = Graph(["example.org"])
    for person, name in NAMES.items():
        graph.add_person(Person(person, jid(person), name))
    graph.add_follow(Follow(BOB, ALICE, Mode.AUTHOR, since=40))
    graph.add_follow(Follow(BOB, DAVE, Mode.HOME, since=40))
    return graph


def wish(graph: Graph, person: int, **wishes: object) -> None:
    graph.set_wishes(person, replace(graph.wishes(person), **wishes))  # type: ignore[arg-type]


def mute(value: object, sort: Sort = Sort.PERSON, **more: object) -> Mute:
    return replace(Mute(sort, str(value), FOR_GOOD), **more)  # type: ignore[arg-type]


# Follows (S1, S2.2, S5)


@pytest.mark.parametrize(
    ("number", "person", "decision"),
    [
        (40, BOB, routing.FOLLOWS),
        (99, BOB, routing.FOLLOWS),
        (39, BOB, routing.FOLLOWED_LATER),
        (40, CAROL, routing.NO_FOLLOWER),
        (40, ALICE, routing.OWN_POST),
    ],
)
def test_each_rule_of_follows(graph: Graph, number: int, person: int, decision: Decision) -> None:
    assert decide(graph, post(number), person) is decision


def test_who_follows_himself_gets_nothing_of_his_own(graph: Graph) -> None:  # S1.7
    graph.add_follow(Follow(ALICE, ALICE, Mode.HOME, since=1))
    assert decide(graph, post(), ALICE) is routing.OWN_POST
    assert decide(graph, post(), ALICE, Outlet.ASKED).yes


def test_the_end_of_a_follow_counts_at_once(graph: Graph) -> None:
    graph.end_follow(BOB, ALICE)
    assert decide(graph, post(), BOB) is routing.NO_FOLLOWER


# Replies and mentions (S2)


@pytest.mark.parametrize(
    ("whose", "target", "decision"),
    [
        (Whose.FOLLOWING, DAVE, routing.FOLLOWS),
        (Whose.FOLLOWING, CAROL, routing.OTHERS_REPLIES),
        (Whose.FOLLOWING, ALICE, routing.FOLLOWS),  # a thread with oneself
        (Whose.ALL, CAROL, routing.FOLLOWS),
        (Whose.NONE, DAVE, routing.NO_REPLIES),
        (Whose.NONE, BOB, routing.TO_YOU),
    ],
)
def test_the_filter_of_replies(graph: Graph, whose: Whose, target: int, decision: Decision) -> None:
    wish(graph, BOB, replies=whose)
    assert decide(graph, post(targets=(target,)), BOB) is decision


def test_the_first_target_decides_and_all_in_the_run_get_it(graph: Graph) -> None:  # S2.1, S2.2
    assert decide(graph, post(targets=(CAROL, DAVE)), BOB) is routing.OTHERS_REPLIES
    assert decide(graph, post(targets=(DAVE, CAROL)), BOB) is routing.FOLLOWS
    for named in (CAROL, DAVE):
        assert decide(graph, post(targets=(CAROL, DAVE)), named) is routing.TO_YOU


def test_a_mention_goes_to_followers_and_to_who_is_named(graph: Graph) -> None:  # S2.3
    named = post(mentions=(CAROL,))
    assert decide(graph, named, BOB) is routing.FOLLOWS
    assert decide(graph, named, CAROL) is routing.NAMES_YOU
    assert decide(graph, named, ERIN) is routing.NO_FOLLOWER


@pytest.mark.parametrize("how", [{"mentions": (BOB,)}, {"targets": (BOB,)}])
@pytest.mark.parametrize(
    ("whose", "new", "follows", "comes"),
    [
        (None, False, False, True),
        (None, True, False, False),
        (None, True, True, True),
        (Whose.ALL, True, False, True),
        (Whose.FOLLOWING, False, False, False),
        (Whose.FOLLOWING, False, True, True),
        (Whose.NONE, False, False, False),
    ],
)
def test_who_may_mention(
    graph: Graph, how: dict[str, object], whose: Whose | None, new: bool, follows: bool, comes: bool
) -> None:
    wish(graph, BOB, mentions=whose)
    if not follows:
        graph.end_follow(BOB, ALICE)
    decision = decide(graph, post(new_author=new, **how), BOB)
    assert decision.yes is comes
    assert not comes or decision.why in (Why.MENTION, Why.TARGET)


def test_a_reply_to_my_own_post_always_comes(graph: Graph) -> None:  # S2.5
    wish(graph, CAROL, mentions=Whose.NONE)
    assert decide(graph, post(targets=(CAROL,), parent=3), CAROL) is routing.TO_YOUR_POST
    assert decide(graph, post(targets=(DAVE, CAROL), parent=3), CAROL) is routing.NO_FOLLOWER


def test_who_qualifies_twice_gets_it_by_the_first_reason(graph: Graph) -> None:  # S2.4
    assert decide(graph, post(targets=(BOB,), mentions=(BOB,)), BOB).why is Why.TARGET
    assert decide(graph, post(mentions=(BOB,)), BOB).why is Why.MENTION


# Blocks (S6, S2.5)


@pytest.mark.parametrize("outlet", Outlet)
@pytest.mark.parametrize(("owner", "other"), [(ALICE, BOB), (BOB, ALICE)])
@pytest.mark.parametrize("target", ["jid", "example.org", "*.org"])
def test_a_block_cuts_off_both_ways_in_every_outlet(
    graph: Graph, outlet: Outlet, owner: int, other: int, target: str
) -> None:
    graph.block(owner, jid(other) if target == "jid" else target)
    for entry in (post(), post(targets=(BOB,)), post(mentions=(BOB,))):
        decision = decide(graph, entry, BOB, outlet)
        assert decision is routing.CUT_OFF
        assert decision.hidden


def test_a_domain_block_covers_the_domain_and_a_starred_one_what_is_below(graph: Graph) -> None:
    graph.add_person(Person(9, "x@sub.spam.org", None))
    graph.add_person(Person(10, "y@spam.org", None))
    for target, cut in (("spam.org", {10}), ("*.spam.org", {9}), ("pam.org", set())):
        graph.block(ALICE, target)
        assert {p for p in (9, 10) if graph.cut(p, ALICE)} == cut
        graph.unblock(ALICE, target)


@pytest.mark.parametrize("barred", [ALICE, BOB])
@pytest.mark.parametrize("outlet", Outlet)
def test_the_operators_block_wins(graph: Graph, barred: int, outlet: Outlet) -> None:  # S6.4
    graph.block(OPERATOR, jid(barred))
    assert decide(graph, post(), BOB, outlet) is routing.BARRED


@pytest.mark.parametrize("how", [{"targets": (CAROL,)}, {"mentions": (CAROL,)}])
def test_who_blocks_somebody_named_does_not_get_it(graph: Graph, how: dict[str, object]) -> None:
    wish(graph, BOB, replies=Whose.ALL)
    assert decide(graph, post(**how), BOB).yes
    graph.block(BOB, jid(CAROL))
    assert decide(graph, post(**how), BOB) is routing.CUT_OFF_NAMED


def test_whom_the_target_blocks_does_not_get_it(graph: Graph) -> None:  # S2.5
    wish(graph, BOB, replies=Whose.ALL)
    graph.block(CAROL, jid(BOB))
    assert decide(graph, post(targets=(CAROL,)), BOB) is routing.CUT_OFF_NAMED
    assert decide(graph, post(targets=(DAVE, CAROL)), BOB) is routing.FOLLOWS
    assert decide(graph, post(mentions=(CAROL,)), BOB) is routing.FOLLOWS


def test_a_boost_shows_nothing_past_a_block_with_anyone_in_the_chain(graph: Graph) -> None:
    shown = post(10, CAROL, targets=(ERIN,))
    boost = post(51, ALICE, "", kind=Kind.BOOST, original=shown)
    assert decide(graph, boost, BOB) is routing.BOOSTED
    for owner, other in ((BOB, CAROL), (CAROL, BOB), (BOB, ERIN), (ERIN, BOB), (BOB, ALICE)):
        graph.block(owner, jid(other))
        assert decide(graph, boost, BOB).hidden
        graph.unblock(owner, jid(other))
    assert decide(graph, boost, BOB).yes


def test_a_booster_sees_what_he_has_boosted_no_more_past_a_block(graph: Graph) -> None:
    boost = post(51, BOB, "", kind=Kind.BOOST, original=post(10, CAROL))
    assert decide(graph, boost, BOB, Outlet.ASKED).yes
    for owner, other in ((BOB, CAROL), (CAROL, BOB)):
        graph.block(owner, jid(other))
        assert decide(graph, boost, BOB, Outlet.ASKED).hidden
        graph.unblock(owner, jid(other))


# Direct messages (S4)


@pytest.mark.parametrize("outlet", Outlet)
def test_a_direct_message_is_for_its_target_alone(graph: Graph, outlet: Outlet) -> None:
    letter = post(kind=Kind.DIRECT, targets=(CAROL,))
    assert decide(graph, letter, BOB, outlet) is routing.OTHERS_LETTER
    came = decide(graph, letter, CAROL, outlet).yes
    assert came is (outlet in (Outlet.LIVE, Outlet.ASKED))  # S4.2: in no other outlet


# Protected authors (S2.9)


@pytest.mark.parametrize("outlet", Outlet)
def test_a_protected_author_is_for_followers_only(graph: Graph, outlet: Outlet) -> None:
    graph.protect(ALICE, True)
    for entry in (post(targets=(CAROL,)), post(mentions=(CAROL,)), post()):
        assert decide(graph, entry, CAROL, outlet) is routing.PROTECTED
    if outlet is not Outlet.DIGEST:
        assert decide(graph, post(), BOB, outlet).yes


def test_a_protected_authors_post_is_not_shown_by_an_old_boost(graph: Graph) -> None:
    boost = post(51, ALICE, "", kind=Kind.BOOST, original=post(10, CAROL))
    assert decide(graph, boost, BOB).yes
    graph.protect(CAROL, True)
    assert decide(graph, boost, BOB) is routing.PROTECTED


# Boosts (S8.1)


def test_a_boost_does_not_come_to_who_gets_the_post(graph: Graph) -> None:
    boost = post(51, ALICE, "", kind=Kind.BOOST, original=post(45, DAVE))
    assert decide(graph, boost, BOB) is routing.HAVE_ORIGINAL
    old = post(51, ALICE, "", kind=Kind.BOOST, original=post(39, DAVE))  # before he followed
    assert decide(graph, old, BOB) is routing.BOOSTED
    assert decide(graph, old, DAVE) is routing.OWN_POST


def test_a_second_boost_within_a_day_does_not_come(graph: Graph) -> None:
    boost = post(51, ALICE, "", kind=Kind.BOOST, original=post(10, CAROL), boosted_before=(DAVE,))
    assert decide(graph, boost, BOB) is routing.BOOSTED_BEFORE
    graph.end_follow(BOB, DAVE)
    assert decide(graph, boost, BOB) is routing.BOOSTED


def test_the_filter_of_replies_does_not_hold_for_a_boost(graph: Graph) -> None:
    boost = post(51, ALICE, "", kind=Kind.BOOST, original=post(10, CAROL, targets=(ERIN,)))
    wish(graph, BOB, replies=Whose.NONE)
    assert decide(graph, boost, BOB) is routing.BOOSTED


# Mutes (S7)


def test_a_mute_of_an_author_lets_replies_and_letters_through_unless_all(graph: Graph) -> None:
    wish(graph, BOB, mutes=(mute(ALICE),))
    assert decide(graph, post(), BOB) is routing.MUTED
    assert decide(graph, post(mentions=(BOB,)), BOB) is routing.MUTED
    assert decide(graph, post(targets=(BOB,)), BOB) is routing.TO_YOU
    assert decide(graph, post(kind=Kind.DIRECT, targets=(BOB,)), BOB) is routing.DIRECT
    wish(graph, BOB, mutes=(mute(ALICE, scope=Scope.ALL),))
    assert decide(graph, post(targets=(BOB,)), BOB) is routing.MUTED
    assert decide(graph, post(kind=Kind.DIRECT, targets=(BOB,)), BOB) is routing.MUTED


def test_a_mute_hides_nothing_that_he_asks_for(graph: Graph) -> None:
    wish(graph, BOB, mutes=(mute(ALICE, scope=Scope.ALL),))
    for muted in (post(), post(targets=(BOB,)), post(mentions=(BOB,))):
        assert decide(graph, muted, BOB) is routing.MUTED
        assert decide(graph, muted, BOB, Outlet.ASKED).yes


def test_a_mute_of_boosts_is_of_boosts_alone(graph: Graph) -> None:
    wish(graph, BOB, mutes=(mute(ALICE, scope=Scope.BOOSTS),))
    boost = post(51, ALICE, "", kind=Kind.BOOST, original=post(10, CAROL))
    assert decide(graph, boost, BOB) is routing.MUTED_BOOSTS
    assert decide(graph, post(), BOB) is routing.FOLLOWS


@pytest.mark.parametrize("how", [{"targets": (DAVE,)}, {"mentions": (CAROL,)}])
def test_a_mute_of_somebody_named(graph: Graph, how: dict[str, object]) -> None:  # S2.5
    wish(graph, BOB, mutes=(mute(CAROL), mute(DAVE)))
    assert decide(graph, post(**how), BOB) is routing.MUTED_NAMED
    addressed = {"targets": (BOB,), "mentions": (CAROL,)}
    assert decide(graph, post(**addressed), BOB) is routing.TO_YOU


@pytest.mark.parametrize(
    ("sort", "value", "text", "muted"),
    [
        (Sort.TAG, "news", "some #News here", True),
        (Sort.TAG, "news", "some #newsy here", False),
        (Sort.TAG, "news", "some news here", False),
        (Sort.WORD, "foot ball", "no Foot ball, please", True),
        (Sort.WORD, "ball", "no football", False),
        (Sort.WORD, "c++", "in c++ again", True),
        (Sort.WORD, "1", "1", True),
    ],
)
def test_a_mute_of_words(graph: Graph, sort: Sort, value: str, text: str, muted: bool) -> None:
    wish(graph, BOB, mutes=(mute(value, sort),))
    decision = decide(graph, post(text=text), BOB)
    assert decision is (routing.MUTED_WORDS if muted else routing.FOLLOWS)
    assert decide(graph, post(text=text, targets=(BOB,)), BOB) is routing.TO_YOU


def test_a_span_covers_what_was_posted_in_it_and_nothing_else(graph: Graph) -> None:
    wish(graph, BOB, mutes=(mute(ALICE, span=OVER),), offs={"": (OVER,)})
    assert decide(graph, post(), BOB) is routing.FOLLOWS
    within = post(created=NOW - 1.5 * HOUR)
    assert decide(graph, within, BOB) is routing.MUTED
    assert decide(graph, post(created=OVER.until), BOB) is routing.FOLLOWS


# Less of it (S10)


@pytest.mark.parametrize("subject", ["", str(ALICE), "*news"])
def test_off_keeps_back_what_is_not_addressed_to_him(graph: Graph, subject: str) -> None:
    wish(graph, BOB, groups={"news": frozenset({ALICE})}, offs={subject: (FOR_GOOD,)})
    assert decide(graph, post(), BOB) is routing.OFF
    assert decide(graph, post(targets=(BOB,)), BOB) is routing.TO_YOU
    assert decide(graph, post(mentions=(BOB,)), BOB) is routing.NAMES_YOU
    assert decide(graph, post(), BOB, Outlet.TIMELINE) is routing.FOLLOWS
    other = decide(graph, post(author=DAVE), BOB)
    assert other is (routing.OFF if subject == "" else routing.FOLLOWS)


@pytest.mark.parametrize(("daily", "nth"), [(False, "nth_hour"), (True, "nth_day")])
def test_a_cap_lets_the_first_ones_through(graph: Graph, daily: bool, nth: str) -> None:
    wish(graph, BOB, caps={ALICE: Cap(4, daily)})
    assert decide(graph, post(**{nth: 3}), BOB) is routing.FOLLOWS
    assert decide(graph, post(**{nth: 4}), BOB) is routing.OVER_THE_CAP
    assert decide(graph, post(**{nth: 4}), BOB, Outlet.ASKED).yes


def test_what_is_for_the_digest_comes_there_and_nowhere_else(graph: Graph) -> None:
    hourly = Digest(since=45, every=HOUR)
    wish(graph, BOB, digests={str(ALICE): hourly})
    for number, digested in ((44, False), (45, True)):
        live = decide(graph, post(number), BOB)
        assert live is (routing.FOR_THE_DIGEST if digested else routing.FOLLOWS)
        assert decide(graph, post(number), BOB, Outlet.DIGEST).yes is digested
    assert not decide(graph, post(targets=(BOB,)), BOB, Outlet.DIGEST).yes  # it came by itself


def test_surplus_is_for_the_digest_unless_he_wants_none(graph: Graph) -> None:
    assert decide(graph, post(surplus=True), BOB) is routing.FOR_THE_DIGEST
    assert decide(graph, post(surplus=True), BOB, Outlet.DIGEST) is routing.FOLLOWS
    wish(graph, BOB, digests={str(ALICE): Digest(since=45)})
    assert decide(graph, post(surplus=True), BOB) is routing.FOLLOWS


def test_the_digest_of_an_author_counts_before_that_of_his_group(graph: Graph) -> None:
    daily = Digest(since=1, at=time(8))
    wishes = Wishes(groups={"news": frozenset({ALICE})}, digests={"*news": daily})
    assert wishes.digest_for(ALICE, 50, surplus=False) == "*news"
    wishes = replace(wishes, digests={"*news": daily, str(ALICE): Digest(since=1)})
    assert wishes.digest_for(ALICE, 50, surplus=True) is None


# Changes (S9)


def test_an_edit_goes_where_the_post_went_and_to_who_is_newly_named(graph: Graph) -> None:
    edit = post(60, kind=Kind.EDIT, original=post(), mentions=(CAROL,))
    assert decide(graph, edit, BOB) is routing.CHANGED
    assert decide(graph, edit, CAROL) is routing.NAMES_YOU
    assert decide(graph, edit, ERIN) is routing.NO_FOLLOWER
    assert decide(graph, edit, ALICE) is routing.OWN_POST


@pytest.mark.parametrize("outlet", Outlet)
def test_a_deleted_post_is_shown_nowhere(graph: Graph, outlet: Outlet) -> None:
    gone = post(deleted=True)
    boost = post(51, DAVE, "", kind=Kind.BOOST, original=gone)
    edit = post(60, kind=Kind.EDIT, original=gone)
    for entry in (gone, boost, edit):
        assert not decide(graph, entry, BOB, outlet).yes
        assert outlet is Outlet.DIGEST or decide(graph, entry, BOB, outlet) is routing.DELETED


def test_a_deletion_goes_where_the_post_went(graph: Graph) -> None:
    deletion = post(60, kind=Kind.DELETE, original=post(deleted=True))
    assert decide(graph, deletion, BOB) is routing.TAKEN_BACK
    assert not decide(graph, deletion, CAROL).yes
    graph.block(BOB, jid(ALICE))
    assert not decide(graph, deletion, BOB).yes


def test_the_deletion_of_a_boost_goes_to_who_had_the_boost(graph: Graph) -> None:  # S9.2
    def deletion_of(shown: Post) -> Post:
        boost = post(51, DAVE, "", kind=Kind.BOOST, original=replace(shown, deleted=True))
        return post(60, DAVE, "", kind=Kind.DELETE, original=replace(boost, deleted=True))

    assert decide(graph, deletion_of(post(49, CAROL)), BOB) is routing.TAKEN_BACK
    assert decide(graph, deletion_of(post(49, ALICE)), BOB) is routing.HAVE_ORIGINAL


# What a server refuses (S6.6)


def test_what_a_server_refuses_is_not_sent_from_that_author(graph: Graph) -> None:
    graph.refuse(BOB, ALICE)
    assert decide(graph, post(), BOB) is routing.REFUSED_LATELY
    assert decide(graph, post(), BOB, Outlet.TIMELINE).yes
    assert graph.accept_again(BOB, ALICE)
    assert decide(graph, post(), BOB).yes
    graph.refuse(BOB, DAVE)  # whose posts come from the relay's own address
    assert decide(graph, post(author=DAVE), BOB).yes


# The fan-out's list


def changes(graph: Graph) -> Sequence[object]:
    return (
        lambda: graph.block(BOB, jid(ALICE)),
        lambda: graph.unblock(BOB, jid(ALICE)),
        lambda: graph.block(ALICE, jid(BOB)),
        lambda: graph.unblock(ALICE, jid(BOB)),
        lambda: graph.block(OPERATOR, jid(CAROL)),
        lambda: graph.unblock(OPERATOR, jid(CAROL)),
        lambda: wish(graph, BOB, offs={"": (FOR_GOOD,)}),
        lambda: wish(graph, BOB, offs={}, replies=Whose.NONE),
        lambda: graph.refuse(BOB, ALICE),
        lambda: graph.accept_again(BOB, ALICE),
        lambda: graph.end_follow(BOB, ALICE),
        lambda: graph.protect(ALICE, True),
        lambda: graph.add_follow(Follow(BOB, ALICE, Mode.HOME, 70)),
        lambda: graph.end_follow(CAROL, DAVE),
        lambda: graph.add_follow(Follow(CAROL, DAVE, Mode.HOME, 1)),
    )


@pytest.mark.parametrize(
    "how", [{}, {"targets": (DAVE,)}, {"mentions": (ERIN,)}, {"surplus": True}]
)
def test_the_list_of_the_fan_out_is_what_is_decided_after_every_change(
    graph: Graph, how: dict[str, object]
) -> None:
    graph.add_follow(Follow(CAROL, ALICE, Mode.HOME, 1))
    graph.add_follow(Follow(CAROL, DAVE, Mode.HOME, 1))
    entry = post(**how)
    audience = Audience(graph, entry, OWN_LANE)
    for change in (lambda: None, *changes(graph)):
        change()  # type: ignore[operator]
        expected = tuple(p for p in audience.people if decide(graph, entry, p).yes)
        assert audience.allowed() == expected
        assert audience.allowed() is audience.allowed()


# The table


def rules_of_the_book() -> set[str]:
    book = (Path(__file__).parents[2] / "docs" / "semantics.md").read_text()
    rules: set[str] = set()
    for section in book.split("\n## ")[1:]:
        name = section.split(" ", 1)[0]
        rules.add(name)
        rules.update(f"{name}.{number}" for number in re.findall(r"^(\d+)\. ", section, re.M))
    return rules


def test_every_decision_names_a_rule_that_the_rule_book_has() -> None:
    rules = rules_of_the_book()
    decisions = [value for value in vars(routing).values() if isinstance(value, Decision)]
    assert len(decisions) > 30
    for decision in decisions:
        assert decision.rule in rules, decision.rule
        assert decision.reason
        assert not decision.yes or not decision.hidden
