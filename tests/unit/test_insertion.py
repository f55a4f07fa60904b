"""What is done about a post at the primary: each state, each change of state (docs/flow.md)."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from xmpprelay.core.insertion import (
    ALIKE,
    ALIKE_ALONE,
    CANNOT_TELL,
    DROPPED,
    EXPIRED,
    HELD_FOR,
    PARENT,
    PARENT_GONE,
    PARENT_NOT_THERE,
    PATIENCE,
    RESENT,
    Act,
    End,
    Head,
    Insertion,
    LookNow,
    Rules,
    Send,
    State,
    Wait,
    Where,
    afresh,
    ended,
    looked,
    next_step,
    outdated,
    resent,
    restarted,
    sending,
    sent,
)
from xmpprelay.core.model import Post
from xmpprelay.core.primary import (
    MENTIONS_OTHERS,
    Absent,
    Candidate,
    CannotTell,
    Caps,
    Dedupe,
    Found,
    Look,
    LookFailed,
    Outcome,
    Result,
    Scope,
    Status,
    Visibility,
)

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
RULES = Rules()
CAPS = Caps("a server")
NATURAL = Caps("a table", dedupe=Dedupe.NATURAL)
ALICE, BOB = 1, 2


def later(**span: float) -> datetime:
    return NOW + timedelta(**span)


def row_of(number: int = 7, act: Act = Act.INSERT, **more: Any) -> Insertion:
    return Insertion(number * 10, ALICE, number, act, NOW, **({"due": NOW} | more))


def post_of(number: int = 7, author: int = ALICE, **more: Any) -> Post:
    return Post(number, author, f"post {number}", None, NOW, **more)


def head_of(row: Insertion | None = None, **more: Any) -> Head:
    return Head(row or row_of(), more.pop("post", post_of()), **more)


STATUS = Status("7.ab", "xmpp:7", "alice@example.test", "alice", "post 7", NOW)

HERE, OTHER = Where("mastodon https://a.example", "a1"), Where("sql a table")
FORMER = replace(HERE, account="a0")

SENT = row_of(state=State.SENDING, key="k1", tries=1, first_sent=NOW, last_sent=NOW, status=STATUS)
UNCLEAR = replace(SENT, state=State.UNKNOWN, unclear=True, reason="timeout", alike=1)

TIMEOUT = Result(Outcome.UNKNOWN, scope=Scope.DRIVER, reason="timeout")
REFUSED = Result(Outcome.REJECTED, reason="http_422", detail="too rude")
DONE = Result(Outcome.INSERTED, remote_id="r1", remote_url="https://social.example/1")


def after(
    row: Insertion, result: Result, now: datetime = NOW, *, others_fine: bool = False
) -> Insertion:
    return sent(row, result, RULES, now, others_fine=others_fine)


def after_look(
    row: Insertion,
    look: Look,
    *claimed: str,
    rules: Rules = RULES,
    caps: Caps = CAPS,
    others_fine: bool = False,
) -> Insertion:
    return looked(row, look, frozenset(claimed), caps, rules, NOW, others_fine=others_fine)


def found(*remote_ids: str) -> Found:
    return Found(tuple(Candidate(each, f"https://social.example/{each}") for each in remote_ids))


# --- what is done next ---------------------------------------------------------------------------


def test_a_post_is_sent() -> None:
    assert next_step(head_of(), CAPS, RULES, NOW) == Send(most=Visibility.PUBLIC)


@pytest.mark.parametrize("state", [State.QUEUED, State.UNKNOWN, State.HELD])
def test_nothing_is_done_before_its_time(state: State) -> None:
    row = row_of(state=state, due=later(seconds=1), reason="timeout")
    assert next_step(head_of(row), CAPS, RULES, NOW) == Wait(row.due, "timeout")  # type: ignore[arg-type]
    assert next_step(head_of(row), CAPS, RULES, later(seconds=1)) != Wait(row.due, "timeout")  # type: ignore[arg-type]


def test_what_is_unclear_is_looked_for_and_not_sent() -> None:
    gone = post_of(deleted=True)
    assert next_step(head_of(UNCLEAR), CAPS, RULES, NOW) == LookNow()
    assert next_step(head_of(UNCLEAR, post=gone), CAPS, RULES, NOW) == LookNow()
    held = replace(UNCLEAR, state=State.HELD, reason=CANNOT_TELL)
    assert next_step(head_of(held), CAPS, RULES, NOW) == LookNow()


def test_what_was_sent_and_never_settled_is_looked_for_as_well() -> None:
    assert next_step(head_of(SENT), CAPS, RULES, NOW) == Wait(later(seconds=60), "")
    assert next_step(head_of(SENT), CAPS, RULES, later(seconds=60)) == LookNow()


@pytest.mark.parametrize(
    ("more", "state", "reason"),
    [
        ({"post": post_of(deleted=True)}, State.CANCELLED, "deleted"),
        ({"protected": True}, State.CANCELLED, "protected"),
        ({"expire": timedelta(minutes=59)}, State.CANCELLED, EXPIRED),
    ],
)
def test_what_is_not_for_the_primary_any_more_is_cancelled(
    more: dict[str, Any], state: State, reason: str
) -> None:
    head = head_of(**more)
    assert next_step(head, CAPS, RULES, later(hours=1)) == End(state, reason)


def test_an_author_s_span_counts_from_when_it_was_queued() -> None:
    head = head_of(expire=timedelta(hours=1))
    assert isinstance(next_step(head, CAPS, RULES, later(hours=1)), Send)
    assert isinstance(next_step(head, CAPS, RULES, later(hours=1, seconds=1)), End)


def test_what_is_too_old_is_parked() -> None:
    assert isinstance(next_step(head_of(), CAPS, RULES, later(days=7)), Send)
    assert next_step(head_of(), CAPS, RULES, later(days=7, seconds=1)) == End(
        State.PARKED, "too_old"
    )


def test_a_protected_author_s_posts_go_to_his_followers_there_if_he_wants() -> None:
    step = next_step(head_of(protected=True, private=True), CAPS, RULES, NOW)
    assert step == Send(most=Visibility.PRIVATE)
    assert next_step(head_of(private=True), CAPS, RULES, NOW) == Send(most=Visibility.PUBLIC)


# --- parts ---------------------------------------------------------------------------------------


def test_a_second_part_answers_the_first_and_is_no_more_visible() -> None:
    first = row_of(
        part=1, state=State.INSERTED, due=None, remote_id="r1", visibility=Visibility.UNLISTED
    )
    head = head_of(row_of(part=2), before=first)
    assert next_step(head, CAPS, RULES, NOW) == Send("r1", most=Visibility.UNLISTED)
    old = replace(head, expire=timedelta(0))
    assert isinstance(next_step(old, CAPS, RULES, later(days=30)), Send), "half a post is none"


@pytest.mark.parametrize("state", [State.CANCELLED, State.REFUSED, State.PARKED])
def test_a_second_part_ends_as_the_first_did(state: State) -> None:
    head = head_of(row_of(part=2), before=row_of(part=1, state=state, due=None))
    assert next_step(head, CAPS, RULES, NOW) == End(state, "part_before")


# --- replies -------------------------------------------------------------------------------------


def reply_to(there: Insertion | None, **more: Any) -> Head:
    """The head of a reply of alice to a post of bob."""
    parent = more.pop("parent", post_of(3, BOB))
    return head_of(post=post_of(parent=3), parent=parent, parent_row=there, **more)


def bobs(state: State, **more: Any) -> Insertion:
    return replace(row_of(3, state=state, **more), account=BOB)


THERE = bobs(State.INSERTED, due=None, remote_id="r3", visibility=Visibility.PUBLIC)


def test_a_reply_answers_what_is_there_and_is_no_more_visible() -> None:
    assert next_step(reply_to(THERE), CAPS, RULES, NOW) == Send("r3", most=Visibility.PUBLIC)
    private = replace(THERE, visibility=Visibility.PRIVATE)
    assert next_step(reply_to(private), CAPS, RULES, NOW) == Send("r3", most=Visibility.PRIVATE)
    shy = reply_to(THERE, protected=True, private=True)
    assert next_step(shy, CAPS, RULES, NOW) == Send("r3", most=Visibility.PRIVATE)


def test_an_id_of_another_instance_is_not_answered() -> None:
    elsewhere = reply_to(replace(THERE, where=OTHER), here=HERE)
    assert next_step(elsewhere, CAPS, RULES, NOW) == Send(detached=True, most=Visibility.PUBLIC)
    shy = reply_to(replace(THERE, where=OTHER, visibility=Visibility.PRIVATE), here=HERE)
    assert next_step(shy, CAPS, RULES, NOW) == Send(detached=True, most=Visibility.PRIVATE)


def test_another_account_of_the_same_instance_is_answered() -> None:
    head = reply_to(replace(THERE, where=replace(HERE, account="b1")), here=HERE)
    assert next_step(head, CAPS, RULES, NOW) == Send("r3", most=Visibility.PUBLIC)


@pytest.mark.parametrize("state", [State.QUEUED, State.SENDING, State.UNKNOWN, State.HELD])
def test_a_reply_waits_for_what_it_answers_but_not_for_ever(state: State) -> None:
    waits = reply_to(bobs(state), row=row_of(reason=PARENT), parent_since=NOW)
    for minutes in (0, 59):
        step = next_step(waits, CAPS, RULES, later(minutes=minutes))
        assert step == Wait(later(hours=1), PARENT, on=3)
    assert next_step(waits, CAPS, RULES, later(hours=1)) == Send(detached=True)
    hold = replace(RULES, refused_parent="hold")
    assert next_step(waits, CAPS, hold, later(hours=1)) == End(State.HELD, "parent_refused")


def test_who_waits_for_longer_than_an_unclear_sending_takes_is_told_once() -> None:
    head = reply_to(bobs(State.QUEUED))
    tells = NOW + RULES.settle + PATIENCE
    assert next_step(head, CAPS, RULES, NOW) == Wait(tells, PARENT, on=3)
    waits = replace(head, parent_since=NOW)
    assert next_step(waits, CAPS, RULES, later(seconds=119)) == Wait(tells, PARENT, on=3)
    told = Wait(later(hours=1), PARENT, on=3, tell=True)
    assert next_step(waits, CAPS, RULES, tells) == told
    for reason in (PARENT, RESENT):
        again = replace(waits, row=replace(waits.row, reason=reason))
        assert next_step(again, CAPS, RULES, tells) == replace(told, tell=False)
    brief = replace(RULES, reply_wait=timedelta(seconds=30))
    assert next_step(head, CAPS, brief, NOW) == Wait(later(seconds=30), PARENT, on=3)
    assert next_step(waits, CAPS, brief, later(seconds=30)) == Send(detached=True)


@pytest.mark.parametrize("state", [State.REFUSED, State.PARKED])
def test_a_reply_to_what_was_refused_goes_alone_or_is_held(state: State) -> None:
    head = reply_to(bobs(state, due=None))
    assert next_step(head, CAPS, RULES, NOW) == Send(detached=True)
    hold = replace(RULES, refused_parent="hold")
    assert next_step(head, CAPS, hold, NOW) == End(State.HELD, "parent_refused")
    again = replace(head, row=replace(head.row, reason=RESENT))
    assert next_step(again, CAPS, hold, NOW) == Send(detached=True), "its author wants it so"


@pytest.mark.parametrize(
    "head",
    [
        reply_to(None),  # a direct message, or `~text`, or somebody who has no account
        reply_to(bobs(State.CANCELLED, due=None, reason="protected")),
        reply_to(bobs(State.CANCELLED, due=None, reason=PARENT_NOT_THERE)),
    ],
)
def test_a_reply_to_what_is_not_for_the_primary_is_not_either(head: Head) -> None:
    assert next_step(head, CAPS, RULES, NOW) == End(State.CANCELLED, PARENT_NOT_THERE)


@pytest.mark.parametrize(
    "head",
    [
        reply_to(bobs(State.CANCELLED, due=None, reason=DROPPED)),
        reply_to(bobs(State.CANCELLED, due=None, reason=PARENT_GONE)),
        reply_to(THERE, parent=post_of(3, BOB, deleted=True)),
        reply_to(THERE, parent=None),
    ],
)
def test_a_reply_to_what_was_taken_out_is_not_inserted_either(head: Head) -> None:
    assert next_step(head, CAPS, RULES, NOW) == End(State.CANCELLED, PARENT_GONE)


# --- what is parked without a turn ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "parked"),
    [
        (row_of(), True),
        (row_of(part=1), True),
        (row_of(part=2), False),
        (row_of(state=State.UNKNOWN), False),
        (row_of(state=State.HELD), False),
        (row_of(act=Act.EDIT), False),
    ],
)
def test_what_is_too_old_is_parked_unless_it_may_be_there(row: Insertion, parked: bool) -> None:
    at = NOW + RULES.max_age
    assert outdated(row, at, rules=RULES) is None
    found = outdated(row, at + timedelta(seconds=1), rules=RULES)
    assert (found is not None) is parked
    if found is not None:
        assert (found.state, found.reason, found.due) == (State.PARKED, "too_old", None)


# --- edits and deletions -------------------------------------------------------------------------

OWN = row_of(state=State.INSERTED, due=None, remote_id="r7", visibility=Visibility.PUBLIC)


def change_of(act: Act, own: Insertion | None = OWN, **more: Any) -> Head:
    deleted = act is Act.DELETE or more.pop("deleted", False)
    return head_of(row_of(act=act), post=post_of(deleted=deleted), own_row=own, **more)


@pytest.mark.parametrize("act", [Act.EDIT, Act.DELETE])
def test_a_change_is_sent_only_of_what_is_there(act: Act) -> None:
    assert next_step(change_of(act), CAPS, RULES, NOW) == Send(most=Visibility.PUBLIC)
    for own in (
        None,
        replace(OWN, state=State.CANCELLED),
        replace(OWN, state=State.REFUSED),
        replace(OWN, remote_id=None),  # another row has what was found
    ):
        step = next_step(change_of(act, own), CAPS, RULES, NOW)
        assert step == End(State.CANCELLED, "not_there")


@pytest.mark.parametrize("where", [OTHER, FORMER])
def test_a_change_of_what_is_elsewhere_is_not_sent(where: Where) -> None:
    own = replace(OWN, where=where)
    for act in (Act.EDIT, Act.DELETE):
        step = next_step(change_of(act, own, here=HERE), CAPS, RULES, NOW)
        assert step == End(State.REFUSED, "elsewhere")
        here = change_of(act, replace(OWN, where=HERE), here=HERE)
        assert isinstance(next_step(here, CAPS, RULES, NOW), Send)
    gone = change_of(Act.EDIT, own, here=HERE, deleted=True)
    assert next_step(gone, CAPS, RULES, NOW) == End(State.CANCELLED, "deleted")


def test_what_the_primary_cannot_change_is_refused() -> None:
    no_deletes = replace(CAPS, deletes=False)
    step = next_step(change_of(Act.DELETE), no_deletes, RULES, NOW)
    assert step == End(State.REFUSED, "cannot_delete")
    public_only = replace(CAPS, edits=frozenset({Visibility.PUBLIC}))
    private = replace(OWN, visibility=Visibility.PRIVATE)
    for own, caps in ((private, public_only), (replace(OWN, part=1), CAPS)):
        step = next_step(change_of(Act.EDIT, own), caps, RULES, NOW)
        assert step == End(State.REFUSED, "cannot_edit")
    assert isinstance(next_step(change_of(Act.EDIT, private), CAPS, RULES, NOW), Send)


def test_an_edit_of_what_is_deleted_is_cancelled() -> None:
    head = change_of(Act.EDIT, deleted=True)
    assert next_step(head, CAPS, RULES, NOW) == End(State.CANCELLED, "deleted")


def test_what_a_protected_author_writes_now_does_not_go_into_a_public_post() -> None:
    step = next_step(change_of(Act.EDIT, protected=True, private=True), CAPS, RULES, NOW)
    assert step == End(State.REFUSED, "protected")
    private = replace(OWN, visibility=Visibility.PRIVATE)
    step = next_step(change_of(Act.EDIT, private, protected=True), CAPS, RULES, NOW)
    assert step == Send(most=Visibility.PRIVATE)
    step = next_step(change_of(Act.DELETE, protected=True), CAPS, RULES, NOW)
    assert isinstance(step, Send), "taking it back is always right"


def test_an_edit_is_sent_again_and_never_looked_for() -> None:
    unclear = row_of(act=Act.EDIT, state=State.SENDING, key="k", last_sent=NOW)
    assert isinstance(next_step(head_of(unclear, own_row=OWN), CAPS, RULES, NOW), Send)
    again = after(unclear, TIMEOUT)
    assert (again.state, again.key, again.due) == (State.QUEUED, "k", later(seconds=5))
    assert not again.unclear
    assert after(again, TIMEOUT).due == later(seconds=10)
    assert restarted(unclear, RULES, NOW).state is State.QUEUED


# --- what is, or may be, elsewhere ---------------------------------------------------------------


@pytest.mark.parametrize("where", [OTHER, FORMER])
@pytest.mark.parametrize("row", [UNCLEAR, SENT])
def test_what_may_be_elsewhere_is_not_looked_for_here(row: Insertion, where: Where) -> None:
    later_on = later(minutes=1)
    head = head_of(replace(row, where=where), here=HERE)
    assert next_step(head, CAPS, RULES, later_on) == End(State.HELD, "elsewhere")
    held = ended(head.row, State.HELD, "elsewhere", NOW)
    assert held.status is not None, "it can be looked for there yet"
    step = next_step(replace(head, row=held), CAPS, RULES, later(days=1))
    assert step == End(State.HELD, "elsewhere")
    back = replace(head, row=held, here=where)
    assert next_step(back, CAPS, RULES, later(days=1)) == LookNow()
    again = resent(held, NOW)
    assert isinstance(next_step(replace(head, row=again), CAPS, RULES, NOW), Send)


def test_what_waits_goes_where_posts_go_now() -> None:
    row = replace(SENT, state=State.QUEUED, where=OTHER)
    assert next_step(head_of(row, here=HERE), CAPS, RULES, NOW) == Send(most=Visibility.PUBLIC)


def test_nothing_of_what_was_sent_elsewhere_counts_here() -> None:
    used = {"high_water": "r1", "media": {"https://p.example/1.png": "m1"}, "alike": 4, "part": 1}
    row = replace(UNCLEAR, state=State.QUEUED, where=OTHER, refused=True, **used)
    assert afresh(row, OTHER) == row
    assert afresh(row_of(), HERE) == row_of()
    plain = row_of(tries=row.tries, reason=row.reason)
    assert afresh(row, HERE) == plain
    assert afresh(replace(row, part=2), HERE) == replace(plain, part=2)
    new = sending(head_of(afresh(row, HERE), newest="r9", here=HERE), "k2", *_PLAIN)
    assert (new.high_water, new.first_sent, new.key, new.where) == ("r9", NOW, "k2", HERE)


def test_the_rest_of_what_begins_elsewhere_is_not_sent() -> None:
    first = row_of(part=1, state=State.INSERTED, due=None, remote_id="r1", where=FORMER)
    head = head_of(row_of(part=2), before=first, here=HERE)
    assert next_step(head, CAPS, RULES, NOW) == End(State.PARKED, "elsewhere")
    head = replace(head, before=replace(first, where=HERE))
    assert next_step(head, CAPS, RULES, NOW) == Send("r1", most=Visibility.PUBLIC)


# --- before the first byte leaves ----------------------------------------------------------------


def test_what_is_sent_is_noted_before() -> None:
    row = sending(head_of(newest="r5"), "k1", Visibility.PUBLIC, STATUS, NOW)
    assert (row.state, row.key, row.tries, row.due) == (State.SENDING, "k1", 1, NOW)
    assert (row.first_sent, row.last_sent, row.high_water) == (NOW, NOW, "r5")
    assert (row.visibility, row.status) == (Visibility.PUBLIC, STATUS)


def test_the_second_time_the_first_sending_and_its_high_water_mark_stay() -> None:
    first = replace(UNCLEAR, state=State.QUEUED, high_water="r5")
    row = sending(head_of(first, newest="r9"), "k2", Visibility.PUBLIC, STATUS, later(minutes=2))
    assert (row.key, row.tries, row.high_water) == ("k1", 2, "r5")
    assert (row.first_sent, row.last_sent) == (NOW, later(minutes=2))
    never = sending(head_of(replace(first, high_water=None), newest="r9"), "k", *_PLAIN)
    assert never.high_water is None, "before the first sending nothing was there"


_PLAIN = (Visibility.PUBLIC, STATUS, NOW)


# --- after an answer -----------------------------------------------------------------------------


def test_that_it_names_others_there_is_kept() -> None:
    result = replace(DONE, reason=MENTIONS_OTHERS, detail="It mentions eve there.")
    row = after(SENT, result)
    assert (row.state, row.remote_id) == (State.INSERTED, "r1")
    assert (row.reason, row.detail) == (MENTIONS_OTHERS, "It mentions eve there.")
    assert after(SENT, replace(result, reason="slow")).reason == ""


@pytest.mark.parametrize("outcome", [Outcome.INSERTED, Outcome.DUPLICATE])
def test_what_is_done_is_done(outcome: Outcome) -> None:
    row = after(replace(SENT, unclear=True, reason="timeout"), replace(DONE, outcome=outcome))
    assert (row.state, row.due, row.remote_id) == (State.INSERTED, None, "r1")
    assert (row.remote_url, row.reason, row.status) == (DONE.remote_url, "", None)


def test_an_unclear_outcome_is_looked_for_after_the_settle_time() -> None:
    row = after(SENT, TIMEOUT, later(seconds=30))
    assert (row.state, row.unclear, row.due) == (State.UNKNOWN, True, later(seconds=60))
    assert (row.key, row.status, row.reason) == ("k1", STATUS, "timeout")


def test_a_clock_that_was_set_back_makes_the_settle_time_no_longer() -> None:
    row = after(SENT, TIMEOUT, later(days=-1))
    assert row.due == later(days=-1, seconds=60)


def test_a_refusal_is_the_end() -> None:
    row = after(SENT, REFUSED)
    assert (row.state, row.due, row.detail) == (State.REFUSED, None, "too rude")


def test_a_refusal_after_an_unclear_sending_proves_nothing() -> None:
    row = after(replace(SENT, unclear=True), REFUSED)
    assert (row.state, row.refused, row.due) == (State.UNKNOWN, True, later(seconds=60))
    assert after_look(row, found("r1")).state is State.INSERTED
    gone = after_look(row, Absent())
    assert (gone.state, gone.due) == (State.REFUSED, None)


def test_after_a_refusal_and_another_try_only_the_last_word_counts() -> None:
    row = after(replace(SENT, unclear=True, refused=True), TIMEOUT)
    assert not row.refused
    assert after_look(row, Absent()).state is State.QUEUED


@pytest.mark.parametrize("outcome", [Outcome.RETRY, Outcome.AUTH])
def test_what_is_certainly_not_done_is_sent_again_with_a_new_key(outcome: Outcome) -> None:
    row = after(SENT, Result(outcome, scope=Scope.ACCOUNT, reason="http_429", retry_after_s=90.0))
    assert (row.state, row.key, row.due) == (State.QUEUED, None, later(seconds=90))
    assert not row.unclear


def test_without_a_time_it_comes_again_later_each_time() -> None:
    row, waits = SENT, list[float]()
    for _ in range(8):
        row = after(row, Result(Outcome.RETRY, scope=Scope.ACCOUNT, reason="busy"))
        assert row.due is not None
        waits.append((row.due - NOW).total_seconds())
    assert waits == [5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 300.0, 300.0]


def test_what_the_whole_service_is_at_fault_for_waits_for_the_service_only() -> None:
    row = SENT
    for _ in range(30):
        row = after(row, Result(Outcome.RETRY, scope=Scope.DRIVER, reason="refused"))
    assert (row.state, row.due) == (State.QUEUED, later(seconds=5))


# --- after a look --------------------------------------------------------------------------------


def test_what_is_found_is_inserted() -> None:
    row = after_look(UNCLEAR, found("r1"))
    assert (row.state, row.remote_id, row.due) == (State.INSERTED, "r1", None)
    assert row.remote_url == "https://social.example/r1"


def test_equal_texts_are_counted() -> None:
    assert after_look(UNCLEAR, found("r1", "r2", "r3"), "r1").remote_id == "r2"
    taken = after_look(UNCLEAR, found("r1", "r2"), "r1", "r2")
    assert (taken.state, taken.remote_id) == (State.QUEUED, None), "both are other posts"


def test_what_is_absent_is_sent_at_once_with_the_same_key() -> None:
    row = after_look(UNCLEAR, Absent())
    assert (row.state, row.due, row.key) == (State.QUEUED, NOW, "k1")
    assert row.unclear, "the next refusal proves nothing either"


def test_a_key_that_failed_twice_is_not_used_again() -> None:
    """Some servers answer a key with the failure that it had the first time."""
    twice = after_look(replace(UNCLEAR, alike=2), Absent())
    assert (twice.state, twice.key) == (State.QUEUED, None)


def test_a_look_that_failed_is_done_again() -> None:
    row = after_look(UNCLEAR, LookFailed(Result(Outcome.UNKNOWN, reason="http_502", detail="no")))
    assert (row.state, row.due, row.detail) == (State.UNKNOWN, later(seconds=5), "no")
    assert row.reason == "timeout", "why it is looked for stays"
    patient = LookFailed(Result(Outcome.RETRY, retry_after_s=120.0))
    assert after_look(UNCLEAR, patient).due == later(seconds=120)


def test_where_nobody_can_see_it_is_held_or_sent_as_the_operator_wants() -> None:
    held = after_look(UNCLEAR, CannotTell("private ones are not shown"))
    assert (held.state, held.reason, held.due) == (State.HELD, CANNOT_TELL, NOW + HELD_FOR)
    assert held.detail == "private ones are not shown"
    again = after_look(UNCLEAR, CannotTell(), rules=replace(RULES, unsure="resend"))
    assert (again.state, again.key) == (State.QUEUED, "k1")


def test_where_the_id_is_known_there_sending_again_does_no_harm() -> None:
    row = after_look(UNCLEAR, CannotTell(), caps=NATURAL)
    assert (row.state, row.key, row.due) == (State.QUEUED, "k1", NOW)
    assert after_look(replace(UNCLEAR, refused=True), CannotTell(), caps=NATURAL).state is (
        State.REFUSED
    )


# --- what fails each time ------------------------------------------------------------------------


def tries_until_parked(result: Result, *, others_fine: bool) -> int:
    row = replace(SENT, reason="")
    for count in range(1, 50):
        row = after_look(
            after(row, result, others_fine=others_fine), Absent(), others_fine=others_fine
        )
        if row.state is State.PARKED:
            assert row.due is None
            return count
        assert row.state is State.QUEUED
    raise AssertionError("it is tried for ever")


def test_a_post_that_fails_while_others_do_not_is_parked_soon() -> None:
    storm = replace(TIMEOUT, reason="http_500")
    assert tries_until_parked(storm, others_fine=True) == ALIKE == 5
    assert tries_until_parked(storm, others_fine=False) == ALIKE_ALONE == 20


@pytest.mark.parametrize("reason", ["crash", "restart"])
def test_what_brings_the_relay_down_is_parked_without_comparing(reason: str) -> None:
    assert tries_until_parked(replace(TIMEOUT, reason=reason), others_fine=False) == ALIKE


def test_failures_count_only_while_they_are_alike() -> None:
    row = replace(SENT, reason="http_500", alike=4)
    row = after_look(after(row, TIMEOUT), Absent(), others_fine=True)
    assert (row.state, row.alike) == (State.QUEUED, 1)


def test_an_edit_that_fails_each_time_is_parked() -> None:
    row = row_of(act=Act.EDIT, state=State.SENDING, key="k")
    for _ in range(ALIKE - 1):
        row = after(row, TIMEOUT, others_fine=True)
        assert row.state is State.QUEUED
    assert after(row, TIMEOUT, others_fine=True).state is State.PARKED


# --- a restart -----------------------------------------------------------------------------------


def test_what_was_being_sent_at_the_end_is_unclear_at_the_start() -> None:
    row = restarted(SENT, RULES, later(seconds=20))
    assert (row.state, row.unclear, row.due) == (State.UNKNOWN, True, later(seconds=60))
    assert row.reason == "restart"
    late = restarted(SENT, RULES, later(hours=2))
    assert late.due is not None
    assert late.due <= later(hours=2)
    set_back = restarted(SENT, RULES, later(days=-1))
    assert set_back.due == later(days=-1, seconds=60)


def test_what_brings_the_relay_down_five_times_is_parked() -> None:
    row = SENT
    for count in range(1, 6):
        row = after_look(restarted(row, RULES, NOW), Absent())
        assert (row.state is State.PARKED) is (count == 5)
        row = replace(row, state=State.SENDING)


# --- what people do ------------------------------------------------------------------------------


def test_what_is_sent_again_by_wish_begins_anew_but_is_looked_for() -> None:
    parked = replace(UNCLEAR, state=State.PARKED, due=None, alike=5, refused=True, detail="why")
    row = resent(parked, later(days=8))
    assert (row.state, row.due, row.created) == (State.UNKNOWN, later(days=8), later(days=8))
    assert (row.alike, row.refused, row.key, row.reason, row.detail) == (0, False, None, RESENT, "")
    assert next_step(head_of(row), CAPS, RULES, later(days=8)) == LookNow()
    assert after_look(row, Absent()).state is State.QUEUED


def test_what_was_never_sent_is_sent_by_wish() -> None:
    too_old = row_of(state=State.PARKED, due=None, reason="too_old")
    row = resent(too_old, later(days=8))
    assert row.state is State.QUEUED
    assert isinstance(next_step(head_of(row), CAPS, RULES, later(days=8)), Send)


def test_what_is_held_is_sent_by_wish_without_a_look_that_cannot_tell() -> None:
    held = replace(UNCLEAR, state=State.HELD, reason=CANNOT_TELL)
    row = resent(held, NOW)
    assert row.state is State.QUEUED
    assert isinstance(next_step(head_of(row), CAPS, RULES, NOW), Send)


def test_an_edit_is_sent_by_wish() -> None:
    assert resent(row_of(act=Act.EDIT, state=State.REFUSED, unclear=True), NOW).state is (
        State.QUEUED
    )


def test_what_ends_keeps_its_text_only_as_long_as_it_may_be_of_use() -> None:
    held = ended(UNCLEAR, State.HELD, "parent_refused", NOW)
    assert (held.due, held.status) == (NOW + HELD_FOR, STATUS)
    parked = ended(UNCLEAR, State.PARKED, "too_old", NOW)
    assert (parked.due, parked.status) == (None, STATUS), "it may be looked for some day"
    cancelled = ended(UNCLEAR, State.CANCELLED, "deleted", NOW)
    assert (cancelled.due, cancelled.status, cancelled.reason) == (None, None, "deleted")
