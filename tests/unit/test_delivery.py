"""The fan-out, step by step: small worlds driven by hand. The big one is in `tests/properties/`."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import pytest

from xmpprelay.core.delivery import Delivery, Sizes, without
from xmpprelay.core.graph import Graph
from xmpprelay.core.model import OWN_LANE, Follow, Grant, Mode, Person, Post, Rest, Standing
from xmpprelay.core.recipients import BLIND_PER_DAY, State, day_of
from xmpprelay.core.work import (
    AllowanceUsed,
    Ask,
    AskLater,
    Canary,
    Held,
    Probe,
    ProbeBounce,
    Read,
    RefusedBy,
    Store,
    Summary,
    Work,
    Write,
)

FAR = "far.example"
ALICE, ERIN = 1, 2  # they post
BOB, CAROL, DAVE = 17, 18, 19
NAMES = {ALICE: "alice", ERIN: "erin", BOB: "bob", CAROL: "carol", DAVE: "dave"}
START = datetime(2030, 1, 1, 12, tzinfo=UTC)
SECOND, MINUTE, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(days=1)


class Relay:
    """A fan-out whose shell does what the test says, when it says so."""

    def __init__(
        self,
        followers: Iterable[int] = (BOB,),
        *,
        lane: str = OWN_LANE,
        grant: Grant = Grant.GRANTED,
        sizes: Sizes | None = None,
        next_number: int = 40,
    ) -> None:
        self.now = START
        self.graph = Graph(["own.example"])
        self.delivery = Delivery(self.graph, sizes or Sizes())
        self.posts: dict[int, Post] = {}
        self.standings: dict[int, Standing] = {}  # as they are stored
        self.fanout: dict[tuple[int, str], int] = {}  # as it is stored
        self.written: list[tuple[int, int]] = []
        self.held: list[tuple[int, int]] = []  # those of `written` that came by a return
        self.asked: list[Ask] = []
        self.stores: list[Store] = []
        self.work: list[Work] = []  # all else, until a test looks at it
        for author in (ALICE, ERIN):
            self.graph.add_person(Person(author, f"{NAMES[author]}@own.example", NAMES[author]))
        for person in followers:
            self.add(person, lane)
            self.follow(person, ALICE, since=1)
            self.standings[person] = Standing(person, next_number, self.now, grant=grant)
        self.delivery.load(self.standings.values(), (), next_number)
        self.delivery.stream_up(self.now)

    # The world acts

    def add(self, person: int, lane: str = OWN_LANE) -> None:
        name = NAMES.get(person, f"p{person}")
        self.graph.add_person(Person(person, f"{name}@{lane or 'own.example'}", None))

    def follow(self, person: int, author: int, since: int | None = None) -> None:
        self.graph.add_follow(
            Follow(person, author, Mode.AUTHOR, since or self.delivery.next_number)
        )

    def post(self, author: int = ALICE) -> int:
        """Commit a post, and do what follows at once."""
        number = self.commit(author)
        self.turn()
        return number

    def commit(self, author: int = ALICE) -> int:
        number = self.delivery.next_number
        lanes = self.graph.lanes(author)
        self.fanout.update({(number, lane): 0 for lane in lanes})
        post = self.posts[number] = Post(number, author, "", None, self.now)
        self.delivery.post_committed(post, lanes)
        return number

    def comes(self, *people: int, resource: str = "phone", priority: int = 0) -> None:
        for person in people:
            self.delivery.available(person, resource, priority, None, self.now)
        self.turn()

    def goes(self, person: int, resource: str | None = "phone") -> None:
        self.delivery.unavailable(person, resource, self.now)
        self.turn()

    def bounce(self, person: int, *numbers: int) -> None:
        for number in numbers:
            self.delivery.bounced(person, number, self.now)
        self.turn()

    def answer_probe(
        self, person: int, *resources: str, since: datetime | None = None, priority: int = 0
    ) -> None:
        """The answers to a probe after a bounce, and the ping behind it."""
        for resource in resources:
            self.delivery.available(person, resource, priority, since, self.now)
        self.delivery.probe_ended(person, self.now)
        self.turn()

    def later(self, span: timedelta) -> None:
        self.now += span
        self.delivery.tick(self.now)
        self.turn()

    # The shell

    def turn(self, room: int = 2000) -> None:
        for work in self.delivery.take(self.now, room):
            match work:
                case Write():
                    for person, post in (*work.live, *work.held):
                        self.written.append((person, post.number))
                    self.held += [(person, post.number) for person, post in work.held]
                case Ask():
                    self.asked.append(work)
                case Store():
                    self.stores.append(work)
                case _:
                    self.work.append(work)

    def answer(self) -> None:
        """The barriers that were asked for are answered; nothing is stored yet."""
        asked, self.asked = self.asked, []
        for ask in asked:
            self.delivery.barrier_answered(ask.window, ask.lane, self.now)
        self.turn()

    def store(self) -> None:
        """What is to be stored is committed, in order."""
        stores, self.stores = self.stores, []
        for store in stores:
            for standing in store.rows.standings:
                self.standings[standing.person] = standing
            for cursor in store.rows.cursors:
                if cursor.position is None:
                    self.fanout.pop((cursor.number, cursor.lane), None)
                else:
                    self.fanout[cursor.number, cursor.lane] = cursor.position
            self.delivery.stored(store.token)
        self.turn()

    def settle(self) -> None:
        """Everything is answered and stored until nothing is under way."""
        self._collected()
        while self.asked or self.stores:
            self.answer()
            self.store()
            self._collected()

    def _collected(self) -> None:
        """The second is over in which windows to remote domains still take more."""
        self.turn()
        for work in self.of(AskLater):
            assert isinstance(work, AskLater)
            self.delivery.window_due(work.window)
        self.turn()

    def take_written(self) -> list[tuple[int, int]]:
        written, self.written = self.written, []
        return written

    def of(self, kind: type[Work]) -> list[Work]:
        """The work of one kind that has come up since this was last asked."""
        found = [work for work in self.work if isinstance(work, kind)]
        self.work = [work for work in self.work if not isinstance(work, kind)]
        return found

    def read_for(self, read: Read) -> Held:
        """What the journal would answer."""
        numbers = {*read.missed, *range(read.away_from, read.upto + 1)}
        posts = [self.posts[n] for n in sorted(numbers) if n in self.posts and n <= read.upto]
        if read.newest:
            keep = max(0, len(posts) - read.limit)
            older = tuple((post.number, post.author) for post in posts[:keep])
            return Held(tuple(posts[keep:]), read.upto, older)
        if len(posts) > read.limit:
            return Held(tuple(posts[: read.limit]), posts[read.limit - 1].number)
        return Held(tuple(posts), read.upto)

    def standing(self, person: int = BOB) -> tuple[int | None, tuple[int, ...]]:
        """His stored standing: (away from, missed)."""
        standing = self.standings[person]
        return standing.away_from, standing.missed

    def state(self, person: int = BOB) -> State | None:
        return self.delivery.state_of(person)

    def restart(self) -> None:
        """Kill it, and start it again from what is stored (move 7)."""
        next_number = max(self.posts) + 1
        for person, standing in self.standings.items():
            if standing.away_from is None:
                lane = self.graph.lane(person)
                open_ = (n for (n, name), at in self.fanout.items() if name == lane and at < person)
                self.standings[person] = Standing(
                    person, next_number, self.now, tuple(sorted(open_)), grant=standing.grant
                )
        self.fanout.clear()
        self.asked, self.stores, self.work = [], [], []
        self.delivery = Delivery(self.graph)
        self.delivery.load(self.standings.values(), self.posts.values(), next_number)
        self.delivery.stream_up(self.now)
        self.turn()


def live(*people: int, **options: object) -> Relay:
    """A relay whose followers are online and live."""
    relay = Relay(people or (BOB,), **options)  # type: ignore[arg-type]
    relay.comes(*(people or (BOB,)))
    relay.settle()
    assert all(relay.state(person) is State.LIVE for person in people)
    relay.work.clear()
    return relay


# A day of bob, as docs/flow.md tells it


def test_a_day_of_bob() -> None:
    relay = Relay()
    assert relay.standing() == (40, ())

    relay.comes(BOB)  # the look finds nothing
    relay.store()
    assert relay.standing() == (None, ())

    assert relay.post() == 40
    assert relay.take_written() == [(BOB, 40)]

    relay.goes(BOB)  # before that window is settled
    relay.store()
    assert relay.standing() == (41, (40,))

    relay.answer()
    relay.store()
    assert relay.standing() == (41, ())

    relay.post()
    relay.post()  # 41 and 42 pass him
    relay.settle()
    assert relay.standing() == (41, ())
    assert relay.take_written() == []

    relay.comes(BOB)
    assert relay.take_written() == relay.held == [(BOB, 41), (BOB, 42)]
    relay.store()
    assert relay.standing() == (41, ())

    relay.post()  # 43 passes him while that window is under way
    assert relay.take_written() == []

    relay.answer()  # the window is confirmed
    relay.store()
    assert relay.standing() == (43, ())
    assert relay.take_written() == [(BOB, 43)]  # by the next look

    relay.settle()  # the one after it finds nothing
    assert relay.standing() == (None, ())

    relay.post()
    assert relay.take_written() == [(BOB, 44)]
    relay.restart()  # killed before the barrier; his cursor is below 17
    assert relay.standing() == (45, (44,))
    relay.comes(BOB)
    assert relay.take_written() == [(BOB, 44)]  # once more, the same id
    relay.settle()

    relay.post()
    assert relay.take_written() == [(BOB, 45)]
    relay.settle()
    relay.later(MINUTE)
    relay.bounce(BOB, 45)  # his only device hibernated, and has timed out
    relay.answer_probe(BOB)  # the probe finds nobody
    relay.settle()
    assert relay.standing() == (46, (45,))
    relay.comes(BOB)
    assert relay.take_written() == [(BOB, 45)]
    relay.settle()
    assert relay.standing() == (None, ())


def test_a_new_follower_has_a_row_before_he_is_seen() -> None:
    relay = Relay(())
    relay.add(BOB)
    relay.follow(BOB, ALICE)
    standing = Standing(BOB, 40, relay.now, grant=Grant.GRANTED)
    relay.delivery.standing_made(standing, relay.now)
    relay.post()
    relay.comes(BOB)
    assert relay.take_written() == [(BOB, 40)]


def test_another_follow_leaves_a_standing_as_it_is() -> None:
    relay = live(BOB)
    relay.delivery.standing_made(Standing(BOB, 40, relay.now), relay.now)
    assert relay.state() is State.LIVE
    assert relay.delivery.grant_of(BOB) is Grant.GRANTED


# Filling (move 2)


def test_a_post_to_few_does_not_wait_for_one_to_many() -> None:
    many = tuple(range(100, 400))
    relay = live(*many)
    for person in many[:3]:
        relay.follow(person, ERIN)
    relay.commit(ALICE)
    erins = relay.commit(ERIN)
    relay.turn()
    first = relay.written[:100]  # the first window
    assert [item for item in first if item[1] == erins] == [(person, erins) for person in many[:3]]


def test_two_posts_of_one_author_never_overtake_each_other() -> None:
    people = tuple(range(100, 130))
    relay = live(*people, sizes=Sizes(window=7))
    for _ in range(5):
        relay.commit()
    relay.settle()
    for person in people:
        assert [n for p, n in relay.written if p == person] == [40, 41, 42, 43, 44]


def test_nothing_is_written_beyond_the_room_of_the_stream() -> None:
    people = tuple(range(100, 120))
    relay = live(*people)
    relay.commit()
    relay.turn(room=0)
    relay.turn(room=-5)
    assert relay.take_written() == []
    relay.turn(room=3)
    assert relay.take_written() == [(person, 40) for person in people[:3]]
    relay.turn()
    assert relay.take_written() == [(person, 40) for person in people[3:]]


def test_room_counts_for_those_who_return_as_well() -> None:
    relay = live(BOB)
    relay.goes(BOB)
    for _ in range(5):
        relay.post()
    relay.settle()
    relay.delivery.available(BOB, "phone", 0, None, relay.now)
    relay.turn(room=2)
    assert relay.take_written() == [(BOB, 40), (BOB, 41)]


def test_the_stanzas_under_way_over_all_lanes_are_limited() -> None:
    relay = live(BOB, CAROL, sizes=Sizes(in_flight=3))
    for _ in range(4):
        relay.commit()
    relay.turn()
    assert len(relay.take_written()) == relay.delivery.in_flight() == 3
    relay.settle()
    assert len(relay.take_written()) == 5


def test_who_has_unfollowed_gets_nothing_of_what_is_open() -> None:
    people = tuple(range(100, 104))
    relay = live(*people, sizes=Sizes(window=1))
    relay.post()
    relay.graph.end_follow(103, ALICE)
    relay.settle()
    assert relay.written == [(100, 40), (101, 40), (102, 40)]


def test_half_of_a_window_is_for_those_who_return() -> None:
    relay = live(BOB, CAROL, sizes=Sizes(window=4))
    relay.goes(CAROL)
    for _ in range(8):
        relay.post()
    relay.settle()
    relay.take_written()
    for _ in range(8):
        relay.commit()
    relay.comes(CAROL)
    first = relay.written[:4]
    assert sorted(person for person, _ in first) == [BOB, BOB, CAROL, CAROL]


# Settling (move 3)


def test_two_windows_of_a_lane_are_under_way_and_no_more() -> None:
    people = tuple(range(100, 110))
    relay = live(*people, sizes=Sizes(window=3))
    relay.post()
    assert len(relay.take_written()) == 6
    assert len(relay.asked) == 2


def test_a_slot_is_free_at_the_commit_not_at_the_barrier() -> None:
    people = tuple(range(100, 110))
    relay = live(*people, sizes=Sizes(window=3))
    relay.post()
    relay.take_written()
    relay.answer()
    assert relay.take_written() == []
    relay.store()
    assert len(relay.take_written()) == 4


def test_no_cursor_passes_an_older_window() -> None:
    people = tuple(range(100, 104))
    relay = live(*people, sizes=Sizes(window=2))
    relay.post()
    younger = relay.asked.pop()
    relay.delivery.barrier_answered(younger.window, younger.lane, relay.now)
    relay.turn()
    relay.store()
    assert relay.fanout == {(40, OWN_LANE): 0}
    relay.answer()
    relay.store()
    assert relay.fanout == {}


def test_the_cursor_is_where_the_confirmed_window_ends() -> None:
    people = tuple(range(100, 110))
    relay = live(*people, sizes=Sizes(window=3))
    relay.post()
    first = relay.asked.pop(0)
    relay.delivery.barrier_answered(first.window, first.lane, relay.now)
    relay.turn()
    relay.store()
    assert relay.fanout == {(40, OWN_LANE): 102}


def test_a_barrier_names_those_to_whom_something_was_written() -> None:
    relay = live(BOB, CAROL, DAVE)
    relay.goes(CAROL)
    relay.post()
    assert [ask.people for ask in relay.asked] == [(BOB, DAVE)]


def test_where_nobody_is_live_a_fan_out_is_done_without_a_barrier() -> None:
    relay = Relay((BOB,))
    relay.post()
    relay.store()
    assert relay.asked == []
    assert relay.fanout == {}


def test_a_lane_whose_last_follower_has_gone_meanwhile_is_done() -> None:
    relay = live(BOB)
    relay.fanout[40, OWN_LANE] = 0
    relay.graph.end_follow(BOB, ALICE)
    relay.delivery.post_committed(Post(40, ALICE, "", None, relay.now), (OWN_LANE,))
    relay.turn()
    relay.store()
    assert relay.fanout == {}


# Leaving (move 4)


def test_the_last_resource_that_takes_messages_counts() -> None:
    relay = live(BOB)
    relay.comes(BOB, resource="laptop", priority=-1)
    relay.comes(BOB, resource="desk", priority=5)
    relay.goes(BOB)
    assert relay.state() is State.LIVE
    relay.goes(BOB, "desk")
    assert relay.state() is State.AWAY


def test_a_priority_below_zero_is_as_good_as_gone() -> None:
    relay = live(BOB)
    relay.comes(BOB, priority=-1)
    assert relay.state() is State.AWAY
    relay.comes(BOB, priority=0)
    assert relay.state() is State.LIVE


def test_who_leaves_lacks_what_is_open_and_what_is_under_way() -> None:
    people = tuple(range(100, 110))
    relay = live(*people, sizes=Sizes(window=3))
    relay.commit()
    relay.commit()
    relay.turn()  # 100 has both under way, 109 none
    relay.goes(109)
    relay.goes(100)
    relay.store()
    assert relay.standing(109) == relay.standing(100) == (42, (40, 41))
    relay.settle()
    assert relay.standing(100) == (42, ())
    assert relay.standing(109) == (42, (40, 41))


def test_who_leaves_while_he_catches_up_keeps_his_row() -> None:
    relay = live(BOB)
    relay.goes(BOB)
    relay.settle()
    for _ in range(3):
        relay.post()
    relay.settle()
    relay.comes(BOB)
    assert relay.state() is State.CATCHING
    relay.goes(BOB)
    relay.store()
    assert relay.standing() == (40, ())
    relay.settle()
    assert relay.standing() == (43, ())


def test_a_lost_stream_leaves_nobody_live_and_no_fan_out_open() -> None:
    people = tuple(range(100, 110))
    relay = live(*people, sizes=Sizes(window=3))
    relay.post()
    relay.delivery.stream_lost(relay.now)
    relay.turn()
    relay.store()
    assert relay.fanout == {}
    assert {relay.standing(person) for person in people} == {(41, (40,))}
    assert relay.delivery.in_flight() == 0


def test_a_window_that_was_through_ends_its_fan_out_when_the_stream_is_lost() -> None:
    relay = live(BOB)
    relay.post()  # it has passed everybody, and its only window is under way
    relay.delivery.stream_lost(relay.now)
    relay.turn()
    relay.store()
    assert relay.fanout == {}


def test_nothing_is_filled_after_a_lost_stream_until_that_is_stored() -> None:
    relay = live(BOB)
    relay.post()
    relay.take_written()
    relay.delivery.stream_lost(relay.now)
    relay.turn()
    relay.delivery.stream_up(relay.now)
    relay.comes(BOB)
    assert relay.take_written() == []
    relay.store()
    assert relay.take_written() == [(BOB, 40)]


def test_after_a_reconnect_everybody_is_asked_first_those_for_whom_something_waits() -> None:
    relay = live(BOB, CAROL)
    relay.goes(CAROL)
    relay.post()
    relay.settle()
    relay.goes(BOB)
    relay.delivery.stream_lost(relay.now)
    relay.delivery.stream_up(relay.now)
    relay.turn()
    assert relay.of(Probe) == [Probe((CAROL, BOB))]


# Bounces (move 5)


def written_and_settled(*devices: str, before: timedelta = MINUTE) -> Relay:
    """Bob's devices are there since `before`; 40 was written to him, and a minute has passed."""
    relay = live(BOB)
    for device in devices:
        relay.comes(BOB, resource=device)
    if "phone" not in devices:
        relay.goes(BOB)
    relay.later(before)
    relay.post()
    relay.settle()
    relay.later(MINUTE)
    relay.take_written()
    relay.work.clear()
    return relay


def test_a_bounce_forgets_his_presence_and_asks_for_it() -> None:
    relay = written_and_settled("phone")
    relay.bounce(BOB, 40)
    assert relay.state() is State.AWAY
    assert relay.of(ProbeBounce) == [ProbeBounce(BOB)]
    relay.store()
    assert relay.standing() == (41, (40,))


def test_nothing_is_sent_until_the_answers_are_in() -> None:
    relay = written_and_settled("phone", "laptop")
    relay.bounce(BOB, 40)
    relay.delivery.available(BOB, "laptop", 0, START, relay.now)
    relay.post()
    assert relay.take_written() == []
    relay.delivery.probe_ended(BOB, relay.now)
    relay.turn()
    assert relay.take_written() == [(BOB, 41)]


def test_another_device_had_it() -> None:
    relay = written_and_settled("phone", "laptop")
    relay.bounce(BOB, 40)
    relay.answer_probe(BOB, "laptop", since=START)
    relay.settle()
    assert relay.take_written() == []
    assert relay.of(RefusedBy) == []
    assert relay.standing() == (None, ())


def test_all_his_devices_are_there_and_none_took_it() -> None:  # S6.6
    relay = written_and_settled("phone", "laptop")
    relay.bounce(BOB, 40)
    relay.answer_probe(BOB, "laptop", "phone", since=START)
    relay.settle()
    assert relay.of(RefusedBy) == [RefusedBy(BOB, ALICE)]
    assert relay.take_written() == []
    assert relay.state() is State.LIVE


def test_a_device_that_has_left_since_may_have_sent_it_back() -> None:
    relay = written_and_settled("phone", "laptop")
    relay.goes(BOB, "laptop")
    relay.bounce(BOB, 40)
    relay.answer_probe(BOB, "phone", since=START)
    assert relay.of(RefusedBy) == []


def test_a_device_that_was_never_seen_and_leaves_may_have_sent_it_back() -> None:
    relay = written_and_settled("phone")
    relay.goes(BOB, "laptop")
    relay.bounce(BOB, 40)
    relay.answer_probe(BOB, "phone", since=START)
    assert relay.of(RefusedBy) == []


def test_a_device_that_answers_and_was_never_seen_makes_it_no_refusal() -> None:
    relay = written_and_settled("phone")
    relay.bounce(BOB, 40)
    relay.answer_probe(BOB, "phone", "laptop", since=START)
    assert relay.of(RefusedBy) == []
    assert relay.take_written() == []


@pytest.mark.parametrize(
    "since",
    [
        pytest.param(None, id="no delay: a new one"),
        pytest.param(START + MINUTE, id="in the second of the writing"),
        pytest.param(START + 2 * MINUTE, id="younger than the writing"),
    ],
)
def test_a_device_that_may_have_come_after_the_writing_gets_it(since: datetime | None) -> None:
    relay = written_and_settled("phone")
    relay.bounce(BOB, 40)
    relay.answer_probe(BOB, "laptop", since=since)
    assert relay.take_written() == [(BOB, 40)]


def test_a_device_with_a_negative_priority_has_had_nothing() -> None:
    relay = written_and_settled("phone")
    relay.bounce(BOB, 40)
    relay.answer_probe(BOB, "laptop", since=START, priority=-1)
    relay.settle()
    assert relay.standing() == (41, (40,))


def test_a_device_with_a_negative_priority_may_be_the_one_that_sends_back() -> None:
    relay = live(BOB)
    relay.comes(BOB, resource="laptop", priority=-1)
    relay.later(MINUTE)
    relay.post()
    relay.settle()
    relay.later(MINUTE)
    relay.bounce(BOB, 40)
    relay.answer_probe(BOB, "phone", since=START)
    assert relay.of(RefusedBy) == []


def test_a_device_that_answers_and_then_goes_has_not_had_it() -> None:
    relay = written_and_settled("phone", "laptop")
    relay.bounce(BOB, 40)
    relay.delivery.available(BOB, "laptop", 0, START, relay.now)
    relay.goes(BOB, "laptop")
    relay.delivery.probe_ended(BOB, relay.now)
    relay.settle()
    assert relay.standing() == (41, (40,))


def test_what_answered_before_a_further_bounce_is_asked_again() -> None:
    """Phone and laptop both time out; the laptop answers in between, and its bounce comes then."""
    relay = written_and_settled("phone", "laptop")
    relay.bounce(BOB, 40)
    relay.delivery.available(BOB, "laptop", 0, START, relay.now)
    relay.bounce(BOB, 40)
    assert relay.of(ProbeBounce) == [ProbeBounce(BOB), ProbeBounce(BOB)]
    relay.delivery.probe_ended(BOB, relay.now)  # of the first question
    relay.turn()
    relay.answer_probe(BOB)  # nobody is left
    relay.settle()
    assert relay.standing() == (41, (40,))


def test_bounces_that_come_together_are_one_question() -> None:
    relay = written_and_settled("phone")
    relay.post()
    relay.settle()
    relay.bounce(BOB, 40, 41)
    assert relay.of(ProbeBounce) == [ProbeBounce(BOB)]
    relay.answer_probe(BOB)
    relay.settle()
    assert relay.standing() == (42, (40, 41))


def test_after_a_quarter_of_an_hour_the_time_of_writing_is_forgotten() -> None:
    relay = written_and_settled("phone", "laptop")
    relay.later(16 * MINUTE)
    relay.bounce(BOB, 40)
    relay.answer_probe(BOB, "laptop", since=START)
    assert relay.take_written() == [(BOB, 40)]


def test_what_a_return_wrote_counts_from_then() -> None:
    relay = live(BOB)
    relay.goes(BOB)
    relay.post()
    relay.settle()
    relay.later(MINUTE)
    relay.comes(BOB, resource="laptop")
    relay.later(MINUTE)
    relay.goes(BOB, "laptop")
    relay.comes(BOB, resource="laptop")
    relay.settle()
    assert relay.take_written() == [(BOB, 40)]
    relay.bounce(BOB, 40)
    relay.answer_probe(BOB, "laptop", since=START + MINUTE + 2 * SECOND)
    assert relay.take_written() == [(BOB, 40)]  # the laptop came after it was written to him


def test_a_bounce_stays_missed_whatever_the_barrier_says() -> None:
    relay = live(BOB)
    relay.later(MINUTE)
    relay.post()
    relay.bounce(BOB, 40)  # before the barrier
    relay.answer_probe(BOB)
    relay.settle()
    assert relay.standing() == (41, (40,))


def test_a_bounce_during_a_return_is_not_taken_for_had() -> None:
    relay = live(BOB)
    relay.goes(BOB)
    for _ in range(3):
        relay.post()
    relay.settle()
    relay.comes(BOB)
    relay.bounce(BOB, 41)
    relay.answer_probe(BOB)
    relay.settle()
    assert relay.standing() == (43, (41,))


def test_a_post_that_goes_round_in_circles_is_given_up() -> None:
    """A server that never says since when a device is there: each answer counts as a new one."""
    relay = written_and_settled("phone")
    for _ in range(4):
        relay.bounce(BOB, 40)
        relay.answer_probe(BOB, "phone")
        relay.settle()
        assert relay.take_written() == [(BOB, 40)]
    relay.bounce(BOB, 40)
    relay.answer_probe(BOB, "phone")
    relay.settle()
    assert relay.take_written() == []
    assert relay.state() is State.LIVE


def test_bounces_far_apart_are_no_circle() -> None:
    relay = written_and_settled("phone")
    for _ in range(8):
        relay.bounce(BOB, 40)
        relay.answer_probe(BOB, "phone")
        relay.settle()
        assert relay.take_written() == [(BOB, 40)]
        relay.later(2 * MINUTE)


def test_bounces_of_strangers_and_of_numbers_that_are_none_change_nothing() -> None:
    relay = live(BOB)
    relay.post()
    relay.settle()
    relay.bounce(BOB, 0, -1, 41, 10**9)
    relay.bounce(DAVE, 40)
    assert relay.state() is State.LIVE
    assert relay.work == []


# The return (move 6, S11.2)


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


def test_a_lower_number_that_has_not_passed_him_comes_later() -> None:
    """Alice's 40 stands below bob when he looks; Erin's 41 has passed him."""
    others = tuple(range(3, 11))
    relay = Relay((*others, BOB), sizes=Sizes(window=2))
    relay.follow(BOB, ERIN)
    relay.comes(*others)
    relay.settle()
    relay.commit(ALICE)
    relay.commit(ERIN)
    relay.turn()
    relay.comes(BOB)
    relay.settle()
    assert [n for person, n in relay.written if person == BOB] == [41, 40]
    assert relay.standing() == (None, ())


def test_a_look_waits_for_what_is_under_way_to_him() -> None:
    relay = live(BOB)
    relay.post()
    relay.goes(BOB)
    relay.comes(BOB)
    relay.settle()
    assert relay.take_written() == [(BOB, 40)]


# Reading the journal


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


# People who hide their presence (S11.4)


def hiding(**options: object) -> Relay:
    relay = Relay((BOB,), grant=Grant.REFUSED, **options)  # type: ignore[arg-type]
    relay.settle()
    return relay


def test_who_hides_his_presence_is_live_for_twenty_posts_a_day() -> None:
    relay = hiding()
    assert relay.state() is State.LIVE
    for _ in range(BLIND_PER_DAY + 3):
        relay.post()
        relay.settle()
    assert relay.take_written() == [(BOB, number) for number in range(40, 60)]
    assert relay.of(AllowanceUsed) == [AllowanceUsed(BOB)]
    assert relay.state() is State.AWAY
    assert relay.standing() == (60, ())
    assert relay.standings[BOB].used == BLIND_PER_DAY


def test_what_exceeds_the_day_comes_with_the_next_the_newest_twenty_and_a_line() -> None:
    relay = hiding()
    for _ in range(BLIND_PER_DAY + 30):
        relay.post()
        relay.settle()
    relay.take_written()
    relay.later(DAY)
    relay.settle()
    assert relay.take_written() == [(BOB, number) for number in range(70, 90)]
    assert relay.of(Summary) == [Summary(BOB, {ALICE: 10})]
    assert relay.state() is State.AWAY  # the return has used it up
    relay.later(DAY)
    relay.settle()
    assert relay.state() is State.LIVE


def test_the_allowance_ends_in_the_middle_of_a_window() -> None:
    relay = hiding()
    for _ in range(BLIND_PER_DAY + 5):
        relay.commit()
    relay.turn()
    assert relay.take_written() == [(BOB, number) for number in range(40, 60)]
    relay.settle()
    assert relay.standing() == (65, (60, 61, 62, 63, 64))


def test_days_begin_at_an_hour_of_ones_own() -> None:
    hours = [
        next(hour for hour in range(24) if day_of(person, at(hour)) != day_of(person, at(hour - 1)))
        for person in range(24)
    ]
    assert sorted(hours) == list(range(24))


def at(hour: int) -> datetime:
    return datetime(2030, 1, 2, tzinfo=UTC) + timedelta(hours=hour)


def test_an_error_stops_sending_to_him_until_the_next_day() -> None:
    relay = hiding()
    relay.post()
    relay.settle()
    relay.bounce(BOB, 40)
    relay.post()
    relay.settle()
    assert relay.take_written() == [(BOB, 40)]
    relay.later(DAY)
    relay.settle()
    assert relay.take_written() == [(BOB, 40), (BOB, 41)]
    assert relay.of(ProbeBounce) == []


def test_what_is_refused_on_two_days_is_dropped_for_him() -> None:
    relay = hiding()
    relay.post()
    relay.settle()
    relay.bounce(BOB, 40)
    relay.later(DAY)
    relay.bounce(BOB, 40)
    relay.settle()
    assert relay.standing() == (41, ())
    relay.take_written()
    relay.later(DAY)
    relay.settle()
    assert relay.take_written() == []
    assert relay.state() is State.LIVE


def test_two_refusals_on_one_day_are_one() -> None:
    relay = hiding()
    relay.post()
    relay.settle()
    relay.bounce(BOB, 40, 40)
    relay.settle()
    assert relay.standing() == (41, (40,))


def test_presence_shown_directly_counts_until_it_is_taken_back() -> None:
    relay = hiding()
    relay.comes(BOB)
    for _ in range(BLIND_PER_DAY + 5):
        relay.post()
        relay.settle()
    assert len(relay.take_written()) == BLIND_PER_DAY + 5
    relay.goes(BOB)
    assert relay.state() is State.LIVE  # by his allowance, which is untouched
    relay.post()
    relay.settle()
    assert relay.standings[BOB].used == 1


def test_a_device_that_takes_no_messages_is_no_presence() -> None:
    relay = hiding()
    relay.comes(BOB, priority=-1)
    assert relay.state() is State.LIVE


def test_who_lets_his_presence_be_seen_is_away_until_it_is() -> None:
    relay = hiding()
    relay.work.clear()
    relay.delivery.set_grant(BOB, Grant.GRANTED, relay.now)
    relay.turn()
    assert relay.state() is State.AWAY
    assert relay.of(Probe) == [Probe((BOB,))]
    relay.settle()
    assert relay.standings[BOB].grant is Grant.GRANTED


def test_who_takes_his_permission_back_has_an_allowance() -> None:
    relay = live(BOB)
    relay.goes(BOB)
    relay.delivery.set_grant(BOB, Grant.REFUSED, relay.now)
    relay.turn()
    relay.settle()
    assert relay.state() is State.LIVE


# Remote lanes and their breaker


def remote(*people: int, window: int = 100) -> Relay:
    people = people or (BOB,)
    relay = Relay(people, lane=FAR, sizes=Sizes(window=window))
    relay.comes(*people)
    relay.settle()
    relay.work.clear()
    return relay


def test_a_remote_lane_opens_with_five_and_doubles() -> None:
    people = tuple(range(100, 400))
    relay = remote(*people)
    relay.post()
    sizes = []
    while relay.asked:
        before = len(relay.asked)
        sizes += [len(ask.people) for ask in relay.asked]
        relay.answer()
        relay.store()
        assert before <= 2
    assert sizes[:2] == [5, 5]
    assert sizes[2:6] == [20, 20, 80, 80]
    assert max(sizes) <= 100


def test_a_window_to_a_remote_domain_collects_for_a_second() -> None:
    relay = remote()
    relay.post()
    (later,) = relay.of(AskLater)
    assert isinstance(later, AskLater)
    relay.post()
    assert relay.asked == []
    assert relay.take_written() == [(BOB, 40), (BOB, 41)]
    relay.delivery.window_due(later.window)
    relay.turn()
    assert [ask.window for ask in relay.asked] == [later.window]


def test_a_full_window_is_asked_for_at_once() -> None:
    relay = remote(*range(100, 106))
    relay.post()
    assert [len(ask.people) for ask in relay.asked] == [5]
    assert len(relay.of(AskLater)) == 1


def test_silence_opens_the_breaker_for_that_lane_only() -> None:
    relay = Relay((BOB,))
    relay.add(DAVE, FAR)
    relay.follow(DAVE, ALICE, since=1)
    relay.delivery.standing_made(Standing(DAVE, 40, START, grant=Grant.GRANTED), START)
    relay.comes(BOB, DAVE)
    relay.settle()
    relay.work.clear()
    relay.post()
    (later,) = relay.of(AskLater)
    assert isinstance(later, AskLater)
    relay.delivery.window_due(later.window)
    relay.turn()
    relay.delivery.barrier_failed(later.window, FAR, relay.now)
    relay.turn()
    relay.store()
    assert (relay.state(BOB), relay.state(DAVE)) == (State.LIVE, State.AWAY)
    assert relay.standing(DAVE) == (41, (40,))
    assert relay.fanout == {(40, OWN_LANE): 0}
    assert relay.of(Canary) == [Canary(FAR, 60.0)]


def test_to_a_domain_that_is_down_nothing_is_sent_and_nothing_is_lost() -> None:
    relay = remote()
    relay.delivery.lane_failed(FAR, relay.now)
    relay.turn()
    for _ in range(3):
        relay.post()
        relay.settle()
    assert relay.take_written() == []
    relay.delivery.lane_restored(FAR, relay.now)
    relay.comes(BOB)
    relay.settle()
    assert relay.take_written() == [(BOB, 40), (BOB, 41), (BOB, 42)]


def test_the_canary_waits_twice_as_long_each_time_up_to_4000_seconds() -> None:
    relay = remote()
    relay.delivery.lane_failed(FAR, relay.now)
    for _ in range(2000):  # three months of it
        relay.delivery.canary_failed(FAR)
    relay.turn()
    waits = [canary.after_s for canary in relay.of(Canary) if isinstance(canary, Canary)]
    assert waits[:9] == [60, 120, 240, 480, 960, 1920, 3840, 4000, 4000]
    assert set(waits[8:]) == {4000}


def test_a_canary_of_a_domain_that_is_back_has_no_successor() -> None:
    relay = remote()
    relay.delivery.lane_failed(FAR, relay.now)
    relay.delivery.lane_restored(FAR, relay.now)
    relay.turn()
    relay.work.clear()
    relay.delivery.canary_failed(FAR)
    relay.turn()
    assert relay.of(Canary) == []


@pytest.mark.parametrize("sign", ["available", "unavailable", "late answer"])
def test_any_sign_of_life_closes_the_breaker_and_asks_for_everybody(sign: str) -> None:
    relay = remote(BOB, DAVE)
    relay.post()
    (later,) = relay.of(AskLater)
    assert isinstance(later, AskLater)
    relay.delivery.lane_failed(FAR, relay.now)
    relay.turn()
    relay.work.clear()
    match sign:
        case "available":
            relay.delivery.available(BOB, "phone", 0, None, relay.now)
        case "unavailable":
            relay.delivery.unavailable(BOB, "phone", relay.now)
        case _:
            relay.delivery.barrier_answered(later.window, FAR, relay.now)
    relay.turn()
    assert relay.of(Probe) == [Probe((BOB, DAVE))]


def test_after_the_breaker_the_lane_opens_small_again() -> None:
    people = tuple(range(100, 130))
    relay = remote(*people)
    relay.post()
    relay.settle()
    relay.delivery.lane_failed(FAR, relay.now)
    relay.turn()
    relay.store()
    relay.delivery.lane_restored(FAR, relay.now)
    relay.comes(*people)
    relay.settle()
    relay.post()
    assert [len(ask.people) for ask in relay.asked] == [5, 5]


def test_the_own_lane_has_no_breaker() -> None:
    relay = live(BOB)
    relay.delivery.lane_failed(OWN_LANE, relay.now)
    relay.turn()
    assert relay.state() is State.LIVE
    assert relay.of(Canary) == []


def test_a_failed_barrier_of_a_window_that_is_forgotten_is_no_failure() -> None:
    relay = remote()
    relay.post()
    relay.settle()
    relay.delivery.barrier_failed(1, FAR, relay.now)
    relay.turn()
    assert relay.state() is State.LIVE


# Asking for presence


def test_a_sign_asks_for_the_presence_of_who_is_not_known_to_be_there() -> None:
    relay = Relay((BOB,))
    relay.turn()
    relay.work.clear()
    relay.delivery.sign_of(BOB)
    relay.delivery.sign_of(DAVE)
    relay.turn()
    assert relay.of(Probe) == [Probe((BOB,))]
    relay.comes(BOB)
    relay.delivery.sign_of(BOB)
    relay.turn()
    assert relay.of(Probe) == []


def test_once_a_day_those_are_asked_for_whom_something_waits() -> None:
    relay = Relay((BOB, CAROL, DAVE))
    relay.comes(CAROL)
    relay.graph.end_follow(DAVE, ALICE)
    relay.post()
    relay.settle()
    relay.work.clear()
    relay.delivery.probe_waiting(relay.now)
    relay.turn()
    assert relay.of(Probe) == [Probe((BOB, DAVE))]


def test_who_was_not_seen_for_ninety_days_sleeps_until_a_sign() -> None:  # S11.5
    relay = Relay((BOB,))
    relay.post()
    relay.settle()
    relay.now += 91 * DAY
    relay.work.clear()
    relay.delivery.stream_lost(relay.now)
    relay.delivery.stream_up(relay.now)
    relay.delivery.probe_waiting(relay.now)
    relay.turn()
    assert relay.of(Probe) == []
    relay.delivery.sign_of(BOB)
    relay.turn()
    assert relay.of(Probe) == [Probe((BOB,))]


# What is told


def test_an_author_is_told_how_many_have_it_now() -> None:  # S1.5
    relay = live(BOB, CAROL)
    relay.goes(CAROL)
    relay.add(DAVE, FAR)
    relay.follow(DAVE, ALICE)
    assert relay.delivery.audience_now(ALICE) == (1, 2)
    assert relay.delivery.audience_now(ERIN) == (0, 0)


def test_of_somebody_without_a_standing_nothing_is_known() -> None:
    relay = Relay(())
    relay.add(BOB)
    relay.comes(BOB)
    relay.goes(BOB)
    relay.delivery.set_grant(BOB, Grant.GRANTED, relay.now)
    relay.delivery.probe_ended(BOB, relay.now)
    relay.delivery.looked_up(BOB, Held((), 40))
    assert not relay.delivery.knows(BOB)
    assert relay.state() is relay.delivery.rest_of(BOB) is None
    assert relay.delivery.grant_of(BOB) is Grant.NEVER
    assert relay.work == []


def test_a_person_has_so_many_resources_and_no_more() -> None:
    relay = live(BOB)
    for at_ in range(100):
        relay.comes(BOB, resource=f"r{at_}")
    relay.goes(BOB)
    for at_ in range(31):
        relay.goes(BOB, f"r{at_}")
    assert relay.state() is State.AWAY
