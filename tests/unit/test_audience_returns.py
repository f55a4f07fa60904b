"""Returns and the audience: what somebody who comes back may have, and what comes in any case."""

from dataclasses import replace
from datetime import timedelta

from tests.unit.by_hand import ALICE, BOB, CAROL, Relay, live
from xmpprelay.core.model import Kind, Post
from xmpprelay.core.work import Summary

LONG = timedelta(minutes=6)


def add(relay: Relay, **more: object) -> int:
    number = relay.delivery.next_number
    post = replace(Post(number, ALICE, "", None, relay.now), **more)  # type: ignore[arg-type]
    relay.posts[number] = post
    lanes = relay.graph.lanes(post)
    relay.fanout.update({(number, lane): 0 for lane in lanes})
    relay.delivery.post_committed(post, lanes)
    relay.turn()
    relay.settle()
    return number


def returns(relay: Relay, person: int = BOB) -> list[int]:
    relay.written.clear()
    relay.comes(person)
    relay.settle()
    return [number for who, number in relay.written if who == person]


def test_a_block_made_while_he_was_away_holds_for_what_waited() -> None:  # S6.2
    relay = live(BOB, CAROL)
    relay.goes(BOB)
    add(relay)
    relay.graph.block(ALICE, relay.graph.person(BOB).jid)
    assert returns(relay) == []


def test_a_deleted_post_comes_to_nobody_for_whom_it_waited_nor_does_its_deletion() -> None:  # S9.2
    relay = live(BOB, CAROL)
    relay.goes(BOB)
    number = add(relay)
    gone = replace(relay.posts[number], text="", deleted=True)
    deletion = add(relay, kind=Kind.DELETE, original=gone)
    assert (CAROL, deletion) in relay.written
    assert returns(relay) == []


def test_an_edited_post_comes_as_it_is_now_and_without_the_edit() -> None:  # S9.1
    relay = live(BOB)
    before = add(relay)
    relay.goes(BOB)
    number = add(relay)
    add(relay, kind=Kind.EDIT, original=replace(relay.posts[number], text="new", edits=1))
    of_before = add(relay, kind=Kind.EDIT, original=replace(relay.posts[before], edits=1))
    assert returns(relay) == [number, of_before], "of the post that he had the edit comes"
    kept = relay.delivery.post(number)
    assert kept is not None
    assert kept.text == "new"


def test_what_is_personal_comes_whatever_the_return_leaves_to_more() -> None:  # S11.2
    relay = live(BOB)
    relay.delivery.set_catchup(BOB, 1)
    relay.goes(BOB)
    letter = add(relay, kind=Kind.DIRECT, targets=(BOB,))
    plain = [add(relay) for _ in range(3)]
    reply = add(relay, targets=(BOB,))
    mention = add(relay, mentions=(BOB,))
    newest = add(relay)
    relay.later(LONG)
    assert returns(relay) == [letter, reply, mention, newest]
    assert relay.of(Summary) == [Summary(BOB, {ALICE: len(plain)})]


def test_somebody_who_is_named_gets_it_without_following() -> None:  # S2.3
    relay = live(BOB, CAROL)
    relay.graph.end_follow(CAROL, ALICE)
    plain, named = add(relay), add(relay, mentions=(CAROL,))
    assert [n for who, n in relay.written if who == CAROL] == [named]
    assert [n for who, n in relay.written if who == BOB] == [plain, named]
