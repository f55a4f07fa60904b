"""What an author is told of a post that does not go as he meant it, and how often."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from xmpprelay.core.insertion import (
    CANNOT_TELL,
    DROPPED,
    PARENT,
    PARENT_GONE,
    PARENT_NOT_THERE,
    TOO_OLD,
    Act,
    Head,
    Insertion,
    Rules,
    State,
)
from xmpprelay.core.model import Post
from xmpprelay.core.primary import MENTIONS_OTHERS, Status
from xmpprelay.store.insertion import Listed
from xmpprelay.trickle.wishes import TELL_EVERY_S, Wishes, line_of

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
ALICE, BOB = 1, 2
STATUS = Status("9.ab", "xmpp:9", "alice@example.test", "alice", "me", NOW)


class Town:
    """Alice, whose posts an engine inserts; `becomes` says what has become of one of them."""

    def __init__(self, **rules: Any) -> None:
        self.passed_s = 0.0
        self.said: list[tuple[str, str]] = []
        self.first: set[tuple[int, str]] = set()  # what somebody was told once
        self.engine: Any = SimpleNamespace(rules=Rules(**rules))
        graph: Any = SimpleNamespace(person=lambda who: SimpleNamespace(jid=f"{who}@example.test"))
        none: Any = None
        self.wishes = Wishes(
            none,
            graph,
            self.engine,
            lambda jid, text: self.said.append((jid, text)),
            self._first_time,
            now=lambda: NOW,
            monotonic=lambda: self.passed_s,
        )

    def _first_time(self, person: int, what: str) -> bool:
        new = (person, what) not in self.first
        self.first.add((person, what))
        return new

    def becomes(
        self, state: State, reason: str = "", *, number: int = 9, parent: int | None = 8,
        there: State = State.QUEUED, before: Insertion | None = None, **more: Any,
    ) -> None:  # fmt: skip
        """A post of alice's, an answer to one that is `there`, is this now; else it was sent."""
        row = Insertion(number, ALICE, number, Act.INSERT, NOW, due=NOW)
        before = before or replace(row, state=State.SENDING, status=STATUS)
        post = Post(number, ALICE, "me", None, NOW, parent=parent)
        parents = replace(row, post=parent or 0, state=there)
        head = Head(row, post, parent_row=None if parent is None else parents)
        self.engine.news(head, before, replace(row, state=state, reason=reason, **more))

    def waits(self, number: int = 9) -> None:
        before = Insertion(number, ALICE, number, Act.INSERT, NOW, due=NOW)
        self.becomes(State.QUEUED, PARENT, number=number, before=before)

    def passes(self, seconds: float = TELL_EVERY_S) -> None:
        self.passed_s += seconds
        self.wishes.tick()

    def heard(self) -> list[str]:
        said, self.said = self.said, []
        assert {jid for jid, _ in said} <= {"1@example.test"}
        return [text for _, text in said]


# --- answers -------------------------------------------------------------------------------------


def test_a_reply_that_waits_says_for_what_and_until_when() -> None:
    town = Town()
    town.waits()
    assert town.heard() == [
        "#9 waits until #8, which it answers, is inserted: for 1 h at most, then it goes alone. "
        "What you post later waits behind it; `drop #9` takes it out."
    ]
    asks = Town(refused_parent="hold", reply_wait=timedelta(minutes=20))
    asks.waits()
    assert "for 20 min at most, then you are asked. " in asks.heard()[0]


def test_what_waits_no_more_when_it_could_be_told_is_not_told() -> None:
    town = Town()
    town.waits(9)
    town.waits(10)
    town.waits(11)
    assert len(town.heard()) == 1
    town.becomes(State.INSERTED, number=10, before=Insertion(10, ALICE, 10, Act.INSERT, NOW))
    town.passes()
    [text] = town.heard()
    assert text.startswith("#b waits until #8, ")
    town.waits(12)
    town.becomes(State.CANCELLED, DROPPED, number=12)
    town.passes()
    assert town.heard() == []
    town.waits(13)
    assert len(town.heard()) == 1, "who was told of nothing is told at once"


def test_a_reply_is_lost_with_what_it_answers() -> None:
    town = Town()
    town.becomes(State.CANCELLED, PARENT_GONE)
    assert town.heard() == [
        "#9 is not inserted, since #8, which it answers, was deleted or taken out. Your followers "
        "have it; to have it there, post it anew, not as an answer."
    ]
    for number in (10, 11):
        town.becomes(State.CANCELLED, PARENT_GONE, number=number)
    town.passes()
    assert town.heard() == [
        "2 answers of yours are not inserted, since what they answer is not (#a, #b). Your "
        "followers have them; to have one there, post it anew, not as an answer."
    ]


def test_that_answers_to_what_is_not_inserted_are_not_either_is_told_once_in_a_life() -> None:
    town = Town()
    town.becomes(State.CANCELLED, PARENT_NOT_THERE)
    assert town.heard() == [
        "#9 is not inserted, since #8, which it answers, is not for the service behind this relay; "
        "so it is with all such answers. Your followers have it; to have it there, post it anew, "
        "not as an answer."
    ]
    town.becomes(State.CANCELLED, PARENT_NOT_THERE, number=10)
    town.passes()
    assert town.heard() == []


def test_a_reply_is_held_because_of_what_it_answers() -> None:
    town = Town()
    town.becomes(State.HELD, "parent_refused", there=State.REFUSED)
    assert town.heard() == [
        "#9 answers #8, which is not there. `resend #9` lets it go alone, `drop #9` ends it; what "
        "you post later waits for that."
    ]


@pytest.mark.parametrize("there", [State.QUEUED, State.REFUSED, State.PARKED])
def test_a_reply_that_went_alone(there: State) -> None:
    town = Town()
    town.becomes(State.INSERTED, there=there)
    assert town.heard() == [
        "#9 was inserted alone, with the address of #8, which it answers, since that is not there. "
        "`del #9` takes it back everywhere."
    ]


def test_that_answers_to_another_instance_go_alone_is_told_once_in_a_life() -> None:
    town = Town()
    town.becomes(State.INSERTED, there=State.INSERTED)
    assert town.heard() == [
        "#9 was inserted alone, with the address of #8, which it answers, since that is elsewhere; "
        "so it is with all such answers. `del #9` takes it back everywhere."
    ]
    town.becomes(State.INSERTED, there=State.INSERTED, number=10)
    town.passes()
    assert town.heard() == []


@pytest.mark.parametrize(
    "so",
    [
        {"parent": None},
        {"before": Insertion(9, ALICE, 9, Act.INSERT, NOW,
                             status=replace(STATUS, in_reply_to="r8"))},
        {"before": Insertion(9, ALICE, 9, Act.INSERT, NOW, part=2, status=STATUS)},
        {"act": Act.EDIT},
    ],
)  # fmt: skip
def test_what_went_as_it_was_meant_is_not_told(so: dict[str, Any]) -> None:
    town = Town()
    town.becomes(State.INSERTED, **so)
    assert town.heard() == []


@pytest.mark.parametrize("reason", ["deleted", "dropped", "expired", "protected", "unlinked"])
def test_what_its_author_has_ended_himself_is_not_told(reason: str) -> None:
    town = Town()
    town.becomes(State.CANCELLED, reason)
    assert town.heard() == []


# --- whom it names -------------------------------------------------------------------------------


def test_whom_a_post_names_besides_is_told_with_the_names() -> None:
    town = Town()
    more = {"reason": MENTIONS_OTHERS, "parent": None}
    town.becomes(State.INSERTED, detail="It mentions eve there.", **more)
    assert town.heard() == [
        "#9 is inserted, but names others than you meant. It mentions eve there. `del #9` takes it "
        "back everywhere."
    ]
    for number in range(10, 17):
        town.becomes(State.INSERTED, number=number, detail=f"It mentions e{number} there.", **more)
    town.passes()
    [text] = town.heard()
    lines = text.splitlines()
    assert [f"e{number} " in line for number, line in enumerate(lines[:5], 10)] == [True] * 5
    assert lines[5:] == ["So do #f, #g: look at them there; `del #ID` takes one back."]


# --- together ------------------------------------------------------------------------------------


def test_the_first_is_told_at_once_and_the_next_by_what_has_become_of_them() -> None:
    town = Town()
    town.becomes(State.REFUSED, "http_422", detail="too rude")
    assert town.heard() == [
        "The service behind this relay did not take #9 (too rude). `resend #9` tries again, "
        "`drop #9` ends it."
    ]
    for number in range(10, 17):
        town.becomes(State.PARKED, TOO_OLD, number=number)
    town.becomes(State.HELD, CANNOT_TELL, number=17)
    town.becomes(State.INSERTED, number=18, there=State.REFUSED)
    town.passes(TELL_EVERY_S - 1)
    assert town.heard() == []
    town.passes(1)
    assert town.heard() == [
        "8 posts of yours were not inserted (#a, #b, #c, #d, #e and 3 more): `pending` says why; "
        "`resend #ID` or `drop #ID`.\n"
        "#j was inserted alone, with the address of #8, which it answers, since that is not there. "
        "`del #j` takes it back everywhere."
    ]


def test_what_is_parked_without_a_turn_is_told_as_what_is_parked_in_its_turn() -> None:
    town = Town()
    row = Insertion(9, ALICE, 9, Act.INSERT, NOW, State.PARKED, reason=TOO_OLD)
    town.wishes.parked([row, replace(row, id=10, post=10)])
    assert town.heard() == [
        "#9 has waited for too long, and is not inserted. `resend #9` tries again, `drop #9` ends "
        "it."
    ]
    town.passes()
    assert len(town.heard()) == 1


def test_who_has_left_is_told_nothing() -> None:
    town = Town()
    town.waits(9)
    town.heard()
    town.waits(10)
    town.wishes.forget(ALICE)
    town.passes()
    assert town.heard() == []


def test_pending_says_that_a_reply_waits_for_what_it_answers() -> None:
    row = Insertion(9, ALICE, 9, Act.INSERT, NOW, due=NOW, reason=PARENT)
    post = Post(9, ALICE, "me", None, NOW, parent=8)
    assert line_of(Listed(row, post)) == "#9 waits (for what it answers): me"
    assert line_of(Listed(replace(row, state=State.SENDING), post)) == "#9 is being sent: me"
