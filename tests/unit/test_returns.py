"""What comes to somebody who was away, in which order, and what is left to `more` (S11.2)."""

from dataclasses import replace
from datetime import timedelta

import pytest

from tests.unit.by_hand import ALICE, BOB, DAY, ERIN, MINUTE, START, Relay, live
from xmpprelay.core.delivery import Sizes, without
from xmpprelay.core.lanes import Lane
from xmpprelay.core.model import OWN_LANE, Grant, Kind, Post, Rest, Standing
from xmpprelay.core.recent import Recent
from xmpprelay.core.recipients import Catch, Recipient, State
from xmpprelay.core.returns import Found, Nothing, look
from xmpprelay.core.work import Read, Summary


def away(posts: int, *, span: timedelta, sizes: Sizes | None = None) -> Relay:
    """Bob was away for a span in which Alice and Erin have posted, three to one."""
    relay = live(BOB, sizes=sizes)
    relay.follow(BOB, ERIN)
    relay.goes(BOB)
    for at in range(posts):
        relay.post(ERIN if at % 4 == 3 else ALICE)
        relay.settle()
    relay.later(span)
    relay.work.clear()
    return relay


def test_a_short_absence_brings_everything_plainly() -> None:
    relay = away(60, span=timedelta(minutes=4))
    relay.comes(BOB)
    relay.settle()
    assert relay.take_written() == [(BOB, number) for number in range(40, 100)]
    assert relay.of(Summary) == []


def test_a_longer_absence_brings_the_newest_twenty_and_a_line() -> None:
    relay = away(60, span=timedelta(minutes=6))
    relay.comes(BOB)
    relay.settle()
    assert relay.take_written() == [(BOB, number) for number in range(80, 100)]
    assert relay.of(Summary) == [Summary(BOB, {ALICE: 30, ERIN: 10})]
    assert relay.delivery.rest_of(BOB) == relay.standings[BOB].rest == Rest(40, 79)
    assert relay.standing() == (None, ())


def test_up_to_twenty_nothing_is_left_and_no_line_is_said() -> None:
    relay = away(20, span=DAY)
    relay.comes(BOB)
    relay.settle()
    assert len(relay.take_written()) == 20
    assert relay.of(Summary) == []
    assert relay.delivery.rest_of(BOB) is None


@pytest.mark.parametrize("newest", [0, 5, 100])
def test_how_many_come_by_themselves_is_his_choice(newest: int) -> None:
    relay = away(30, span=DAY)
    relay.delivery.set_catchup(BOB, newest)
    relay.comes(BOB)
    relay.settle()
    assert [n for _, n in relay.take_written()] == list(range(70 - min(newest, 30), 70))
    assert len(relay.of(Summary)) == (newest < 30)
    assert relay.state() is State.LIVE


def test_a_summary_comes_at_most_once_in_ten_minutes() -> None:
    relay = away(60, span=DAY)
    relay.comes(BOB)
    relay.settle()
    assert len(relay.of(Summary)) == 1
    relay.goes(BOB)
    for _ in range(30):
        relay.post()
    relay.settle()
    relay.later(timedelta(minutes=6))
    relay.take_written()
    relay.comes(BOB)
    relay.settle()
    assert len(relay.take_written()) == 30
    assert relay.of(Summary) == []
    assert relay.delivery.rest_of(BOB) == Rest(40, 79)


def test_a_return_that_a_bounce_breaks_off_goes_on_and_the_line_is_said() -> None:
    relay = away(60, span=DAY)
    relay.comes(BOB)
    relay.bounce(BOB, 85)
    relay.answer_probe(BOB, "phone", since=START)
    relay.settle()
    assert relay.of(Summary) == [Summary(BOB, {ALICE: 30, ERIN: 10})]
    assert relay.delivery.rest_of(BOB) == Rest(40, 79)


def test_a_return_that_goes_on_soon_brings_all_that_is_left_of_it() -> None:
    relay = away(60, span=DAY, sizes=Sizes(window=4))
    relay.comes(BOB)
    relay.goes(BOB)
    for _ in range(10):
        relay.post()
    relay.settle()
    relay.later(timedelta(minutes=4))
    relay.comes(BOB)
    relay.settle()
    assert relay.take_written() == [(BOB, number) for number in range(80, 110)]
    assert relay.of(Summary) == [Summary(BOB, {ALICE: 30, ERIN: 10})]


def test_a_return_that_goes_on_late_is_planned_anew() -> None:
    relay = away(60, span=DAY, sizes=Sizes(window=4))
    relay.comes(BOB)
    relay.goes(BOB)
    for _ in range(10):
        relay.post()
    relay.settle()
    relay.later(timedelta(minutes=6))
    relay.comes(BOB)
    relay.settle()
    assert relay.take_written() == [(BOB, n) for n in (*range(80, 84), *range(90, 110))]
    assert relay.delivery.rest_of(BOB) == Rest(84, 89)


def test_what_is_left_to_more_is_not_missed_any_more() -> None:
    relay = live(BOB, sizes=Sizes(window=1))
    relay.post()
    relay.goes(BOB)
    relay.bounce(BOB, 40)
    relay.answer_probe(BOB)
    for _ in range(20):
        relay.post()
    relay.settle()
    assert relay.standing() == (41, (40,))
    relay.later(DAY)
    relay.comes(BOB)
    relay.store()
    assert relay.standing() == (41, (40,))
    relay.answer()  # the first of the newest is there
    relay.store()
    assert relay.standing() == (42, ())
    assert relay.delivery.rest_of(BOB) == Rest(40, 40, whole_from=41, listed=(40,))


@pytest.mark.parametrize("in_memory", [1000, 5])
def test_what_more_was_to_bring_is_left_without_what_he_has_had_since(in_memory: int) -> None:
    """He goes before it is sent, and comes after long."""
    relay = away(60, span=DAY, sizes=Sizes(recent=in_memory))
    relay.comes(BOB)
    _read_on(relay)
    relay.goes(BOB)
    relay.delivery.fetch(BOB, range(50, 80), Rest(40, 49), relay.now)
    for _ in range(30):
        relay.post()
    relay.settle()
    relay.take_written()
    relay.later(DAY)
    relay.comes(BOB)
    _read_on(relay)
    assert relay.take_written() == [(BOB, n) for n in range(110, 130)]
    rest = relay.delivery.rest_of(BOB)
    assert rest == relay.standings[BOB].rest
    assert rest is not None
    assert [n for n in range(130) if rest.holds(n)] == [*range(50, 80), *range(100, 110)]


def test_what_was_planned_is_planned_anew_when_its_batch_is_lost() -> None:
    relay = away(60, span=DAY)
    relay.comes(BOB)
    relay.delivery.stream_lost(relay.now)
    relay.turn()
    relay.store()
    assert relay.standing() == (40, ())
    relay.take_written()
    relay.delivery.stream_up(relay.now)
    relay.comes(BOB)
    relay.settle()
    assert relay.take_written() == [(BOB, number) for number in range(80, 100)]
    assert len(relay.of(Summary)) == 1


def test_more_brings_what_was_left_by_the_way_of_a_return() -> None:
    relay = away(60, span=DAY)
    relay.comes(BOB)
    relay.settle()
    relay.take_written()
    relay.delivery.fetch(BOB, range(60, 80), Rest(40, 59), relay.now)
    relay.turn()
    live_post = relay.post()
    relay.settle()
    assert relay.take_written() == [*((BOB, n) for n in range(60, 80)), (BOB, live_post)]
    assert relay.delivery.rest_of(BOB) == Rest(40, 59)
    assert relay.state() is State.LIVE


def test_more_is_kept_for_somebody_who_goes_at_once() -> None:
    relay = away(60, span=DAY)
    relay.comes(BOB)
    relay.settle()
    relay.take_written()
    relay.goes(BOB)
    relay.delivery.fetch(BOB, (77, 78, 79), None, relay.now)
    relay.turn()
    relay.store()
    assert relay.take_written() == []
    assert relay.standing() == (100, (77, 78, 79))
    relay.comes(BOB)
    relay.settle()
    assert relay.take_written() == [(BOB, 77), (BOB, 78), (BOB, 79)]


def test_skip_drops_it() -> None:
    relay = away(60, span=DAY)
    relay.comes(BOB)
    relay.settle()
    relay.delivery.drop_rest(BOB)
    relay.turn()
    relay.store()
    assert relay.standings[BOB].rest is relay.delivery.rest_of(BOB) is None


def test_what_of_one_author_was_fetched_is_noted() -> None:
    rest = without(Rest(40, 79), ERIN, 60)
    assert rest == Rest(40, 79, ((ERIN, 60),))
    assert without(without(rest, ERIN, 70), ALICE, 50) == Rest(40, 79, ((ALICE, 50), (ERIN, 60)))


def test_live_posts_wait_behind_the_catch_up() -> None:  # S11.3
    relay = away(30, span=MINUTE, sizes=Sizes(window=4))
    relay.comes(BOB)
    for _ in range(3):
        relay.post()
    relay.settle()
    assert relay.take_written() == [(BOB, number) for number in range(40, 73)]


def test_a_lower_number_that_passes_him_during_a_batch_comes_with_the_next() -> None:
    """Alice's 40 stands below bob when he looks; Erin's 41 has passed him."""
    relay = Relay((*range(3, 9), BOB), sizes=Sizes(window=2))
    relay.follow(BOB, ERIN)
    relay.comes(*range(3, 9))
    relay.settle()
    relay.commit(ALICE)
    relay.commit(ERIN)
    relay.turn()
    assert relay.take_written() == [(3, 40), (4, 40), (5, 40), (6, 40)]
    relay.comes(BOB)
    relay.answer_first()
    relay.store()
    assert relay.take_written() == [(7, 40), (BOB, 41)]
    relay.answer_first()  # not yet that of bob's batch
    relay.store()
    assert relay.take_written() == [(8, 40)]  # and 40 passes bob, who is not live
    relay.settle()
    assert relay.take_written() == [(BOB, 40)]
    assert relay.standing() == (None, ())


def test_what_is_still_to_pass_him_is_not_left_to_more() -> None:
    """Between what Erin has posted to bob alone is Alice's 41, which stands below him."""
    relay = Relay((*range(3, 9), BOB), sizes=Sizes(window=2))
    relay.follow(BOB, ERIN)
    relay.delivery.set_catchup(BOB, 0)
    relay.comes(*range(3, 9))
    relay.settle()
    for author in (ERIN, ALICE, ERIN):
        relay.commit(author)
    relay.later(DAY)
    relay.turn()
    relay.comes(BOB)
    relay.answer_first()
    relay.store()
    assert relay.delivery.rest_of(BOB) == Rest(40, 42, to_come=(41,))
    relay.settle()
    assert [n for person, n in relay.take_written() if person == BOB] == [41]


def test_a_look_waits_for_what_is_under_way_to_him() -> None:
    relay = live(BOB)
    relay.post()
    relay.goes(BOB)
    relay.comes(BOB)
    relay.settle()
    assert relay.take_written() == [(BOB, 40)]


# Changes of what he had, or had not (S9.1, S9.2)


CHANGES = pytest.mark.parametrize("change", ["edit", "delete"])


@CHANGES
def test_what_was_under_way_when_he_left_and_came_again_is_had(change: str) -> None:
    """It is settled after his return began; that it was lacked then says nothing any more."""
    relay = live(BOB)
    post = relay.post()
    relay.goes(BOB)
    changed = getattr(relay, change)(post)
    relay.comes(BOB)
    relay.settle()
    assert relay.take_written() == [(BOB, post), (BOB, changed)]


@CHANGES
def test_what_a_return_has_brought_is_had(change: str) -> None:
    relay = away(9, span=MINUTE, sizes=Sizes(window=3))
    before = relay.edit(41)
    relay.comes(BOB)
    assert relay.take_written() == [(BOB, n) for n in (40, 41, 42)]
    between = getattr(relay, change)(41)
    relay.edit(45)  # it has not come yet
    relay.settle()
    assert between > before
    assert relay.take_written() == [(BOB, n) for n in (*range(43, 49), between)]


@CHANGES
def test_a_change_of_what_is_still_lacked_does_not_come(change: str) -> None:
    relay = away(2, span=MINUTE)
    getattr(relay, change)(41)
    relay.comes(BOB)
    relay.settle()
    assert relay.take_written() == [(BOB, 40), (BOB, 41)][: 2 if change == "edit" else 1]


def test_what_was_lost_with_the_stream_may_have_been_had() -> None:
    """A deletion comes in any case; an edit not, since the post itself comes once more."""
    relay = live(BOB)
    deleted, edited = relay.post(), relay.post()
    relay.delivery.stream_lost(relay.now)
    relay.turn()
    deletion = relay.delete(deleted)
    relay.edit(edited)
    relay.store()
    relay.take_written()
    relay.delivery.stream_up(relay.now)
    relay.comes(BOB)
    relay.settle()
    assert relay.take_written() == [(BOB, edited), (BOB, deletion)]


def test_what_came_back_was_not_had() -> None:
    relay = live(BOB)
    post = relay.post()
    relay.bounce(BOB, post)
    relay.answer_probe(BOB)
    relay.comes(BOB)  # before it is known what became of the rest of the window
    relay.delete(post)
    relay.take_written()
    relay.settle()
    assert relay.take_written() == []


def test_what_has_passed_him_during_a_batch_has_not_come_with_it() -> None:
    """40 stood below bob when he was sent 41; by now it is deleted, which has passed him too."""
    relay = Relay()
    recent = Recent(lambda _: False)
    posts = [Post(number, ALICE, "", None, START) for number in (40, 41)]
    deleted = replace(posts[0], deleted=True)
    deletion = Post(42, ALICE, "", None, START, kind=Kind.DELETE, original=deleted)
    recent.load([deleted, posts[1], deletion], 43)
    bob = Recipient.of(Standing(BOB, 42, START, (40,), grant=Grant.GRANTED), Lane(OWN_LANE))
    catch = Catch(planned=True, away_from=40, missed=frozenset(), parts=[(41, 42)])
    assert look(relay.graph, recent, bob, catch, 9, START) == Nothing()
    bob.missed.clear()
    found = look(relay.graph, recent, bob, catch, 9, START)
    assert isinstance(found, Found)
    assert found.posts == (deletion,)


def test_a_return_that_is_broken_off_has_brought_what_was_under_way() -> None:
    relay = away(2, span=MINUTE)
    relay.comes(BOB)
    relay.goes(BOB)
    deletion = relay.delete(40)
    relay.comes(BOB)
    relay.settle()
    assert relay.take_written() == [(BOB, 40), (BOB, 41), (BOB, deletion)]


def test_what_is_read_is_sent_as_it_is_by_then() -> None:
    """A post is deleted, or edited, while it is read, or waits for a window after that."""
    relay = long_away(30)
    relay.comes(BOB)
    [read] = relay.of(Read)
    assert isinstance(read, Read)
    held = relay.read_for(read)
    relay.delete(41)  # the answer says nothing of it
    relay.delivery.looked_up(BOB, held)
    relay.delete(43)
    relay.turn()
    assert relay.take_written() == [(BOB, 40), (BOB, 42)]


# Reading the journal


def _read_on(relay: Relay) -> None:
    """Answer everything, what is asked of the journal too, until he is live."""
    while relay.state() is State.CATCHING:
        for read in relay.of(Read):
            assert isinstance(read, Read)
            relay.delivery.looked_up(BOB, relay.read_for(read))
        relay.settle()


def long_away(posts: int) -> Relay:
    return away(posts, span=MINUTE, sizes=Sizes(recent=5, window=4))


def test_what_is_not_in_memory_is_read_and_comes_in_order() -> None:
    relay = long_away(30)
    relay.comes(BOB)
    got = []
    while relay.state() is State.CATCHING:
        for read in relay.of(Read):
            assert isinstance(read, Read)
            assert (read.newest, read.limit, read.upto) == (False, 4, 69)
            relay.delivery.looked_up(BOB, relay.read_for(read))
            relay.turn()
        relay.settle()
        got += relay.take_written()
    assert got == [(BOB, number) for number in range(40, 70)]


def test_for_the_newest_the_older_are_only_counted() -> None:
    relay = away(30, span=DAY, sizes=Sizes(recent=5))
    relay.comes(BOB)
    (read,) = relay.of(Read)
    assert read == Read(BOB, 40, (), 69, 20, newest=True)
    relay.delivery.looked_up(BOB, relay.read_for(read))
    relay.turn()
    relay.settle()
    assert relay.take_written() == [(BOB, number) for number in range(50, 70)]
    assert relay.of(Summary) == [Summary(BOB, {ALICE: 8, ERIN: 2})]


def test_the_newest_may_be_read_in_portions() -> None:
    relay = away(60, span=DAY, sizes=Sizes(recent=5))
    relay.comes(BOB)
    (read,) = relay.of(Read)
    assert isinstance(read, Read)
    portion = Read(BOB, 40, (), 79, 20, newest=True)
    relay.delivery.looked_up(BOB, relay.read_for(portion))  # as if the journal gave no more
    relay.turn()
    (read,) = relay.of(Read)
    assert read == Read(BOB, 80, (), 99, 20, newest=True)
    relay.delivery.looked_up(BOB, relay.read_for(read))
    relay.turn()
    relay.settle()
    assert relay.take_written() == [(BOB, number) for number in range(80, 100)]
    assert relay.of(Summary) == [Summary(BOB, {ALICE: 30, ERIN: 10})]


def test_the_answer_to_an_older_return_is_no_answer_to_this_one() -> None:
    relay = long_away(30)
    relay.comes(BOB)
    (first,) = relay.of(Read)
    assert isinstance(first, Read)
    relay.goes(BOB)
    relay.bounce(BOB, 39)  # something older came back meanwhile
    relay.answer_probe(BOB)
    relay.posts[39] = Post(39, ALICE, "", None, START)
    relay.comes(BOB)
    assert relay.of(Read) == []  # one question at a time
    relay.delivery.looked_up(BOB, relay.read_for(first))
    relay.turn()
    assert relay.take_written() == []
    (second,) = relay.of(Read)
    assert isinstance(second, Read)
    assert second.missed == (39,)
    relay.delivery.looked_up(BOB, relay.read_for(second))
    relay.turn()
    assert relay.take_written()[0] == (BOB, 39)


def test_what_was_only_counted_for_an_earlier_return_is_not_taken_for_had() -> None:
    relay = away(30, span=DAY, sizes=Sizes(recent=5))
    relay.comes(BOB)
    (read,) = relay.of(Read)
    assert isinstance(read, Read)
    assert read.newest
    relay.delivery.fetch(BOB, (), None, relay.now)  # now all of it is to come
    relay.delivery.looked_up(BOB, relay.read_for(read))
    relay.settle()
    for read in relay.of(Read):
        assert isinstance(read, Read)
        relay.delivery.looked_up(BOB, relay.read_for(read))
        relay.settle()
    assert relay.take_written() == [(BOB, number) for number in range(40, 70)]


def test_more_old_posts_than_one_read_gives_all_come() -> None:
    """What `more` asks for may lie far back, and be more than a window."""
    relay = long_away(30)
    relay.delivery.fetch(BOB, range(40, 60), None, relay.now)
    relay.comes(BOB)
    got = []
    for _ in range(30):
        for read in relay.of(Read):
            assert isinstance(read, Read)
            relay.delivery.looked_up(BOB, relay.read_for(read))
            relay.turn()
        relay.settle()
        got += relay.take_written()
    assert got == [(BOB, number) for number in range(40, 70)]
    assert relay.state() is State.LIVE


def test_a_high_number_that_came_back_does_not_hide_what_is_unread_below_it() -> None:
    relay = long_away(30)
    relay.bounce(BOB, 69)
    relay.answer_probe(BOB)
    relay.comes(BOB)
    (read,) = relay.of(Read)
    assert isinstance(read, Read)
    relay.delivery.looked_up(BOB, relay.read_for(read))
    relay.turn()
    relay.settle()
    assert relay.standing()[0] == 44
    assert relay.take_written() == [(BOB, number) for number in range(40, 44)]


def test_a_look_forgets_no_post_that_leaves_the_memory_meanwhile() -> None:
    """Only the names of the older were read; of those in memory then, some leave it."""
    others = tuple(range(3, 7))
    relay = Relay((*others, BOB), sizes=Sizes(window=2, recent=2))
    relay.delivery.set_catchup(BOB, 0)
    relay.comes(*others)
    relay.settle()
    relay.settle()
    for _ in range(3):
        relay.commit()
    relay.turn()  # they stand below bob
    relay.later(DAY)
    relay.comes(BOB)
    for _ in range(8):
        relay.commit()
    for _ in range(20):
        for read in relay.of(Read):
            assert isinstance(read, Read)
            relay.delivery.looked_up(BOB, relay.read_for(read))
            relay.turn()
        relay.settle()
    rest = relay.delivery.rest_of(BOB)
    left = set() if rest is None else set(range(rest.first, rest.last + 1))
    assert left | {n for person, n in relay.written if person == BOB} == set(range(40, 51))
    assert relay.state() is State.LIVE
