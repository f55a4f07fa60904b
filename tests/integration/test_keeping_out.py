"""What goes over the wire about blocks, requests, refusals; above all what does not (S5, S6)."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.integration.clients import Stanza
from tests.integration.wire import HOME, RELAY, Wire, wired
from tests.integration.world import Clock, World
from xmpprelay import control
from xmpprelay.core.model import Mode
from xmpprelay.store.keeping_out import list_audit
from xmpprelay.store.queries import load_follows, load_settings
from xmpprelay.xmpp.stanzas import QUICK_RESPONSE

ALICE, BOB, CAROL = "alice@example.test", "bob@example.test", "carol@a.far.test"
AUTHOR, NOBODY = f"alice@{RELAY}", f"nobody@{RELAY}"
QUESTIONS = (
    "<query xmlns='http://jabber.org/protocol/disco#info'/>",
    "<query xmlns='http://jabber.org/protocol/disco#items'/>",
    "<vCard xmlns='vcard-temp'/>",
    "<query xmlns='jabber:iq:version'/>",
    "<ping xmlns='urn:xmpp:ping'/>",
    "<query xmlns='jabber:iq:register'/>",
    "<query xmlns='nobody:knows'/>",
)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def wire(tmp_path: Path, clock: Clock) -> AsyncIterator[Wire]:
    """Alice posts; bob and carol have her on their contact lists, and are there."""
    async with wired(tmp_path, clock) as wire:
        await says(wire, ALICE, "join alice")
        for who in (BOB, CAROL):
            await feeds(wire, f"<presence from='{who}' to='{AUTHOR}' type='subscribe'/>")
            await feeds(wire, f"<presence from='{who}' to='{HOME}' type='subscribed'/>")
            await feeds(wire, f"<presence from='{who}/x' to='{HOME}'/>")
        wire.taken()
        yield wire


async def feeds(wire: Wire, xml: str) -> list[Stanza]:
    """Lets the relay receive it, and gives all that it sends then."""
    wire.feeds(xml)
    await wire.quiet()
    return wire.taken()


async def says(wire: Wire, who: str, text: str, to: str = HOME) -> list[Stanza]:
    wire.says(who, text, to)
    await wire.quiet()
    return wire.taken()


def for_(sent: list[Stanza], who: str) -> list[Stanza]:
    return [each for each in sent if each.to.partition("/")[0] == who]


def as_nobody(sent: list[Stanza]) -> list[str]:
    """What was sent, as bytes, with nobody's address in the place of alice's."""
    return [repr(each).replace(AUTHOR, NOBODY) for each in sent]


def follows_alice(wire: Wire, who: str) -> bool:
    graph = wire.service.graph
    person, alice = graph.by_jid(who), graph.by_handle("alice")
    return (
        person is not None and alice is not None and graph.follow(person.id, alice.id) is not None
    )


# --- what the blocked side sees ------------------------------------------------------------------


async def test_a_block_sends_nothing_to_who_is_blocked(wire: Wire) -> None:
    sent = await says(wire, ALICE, f"block {BOB}")
    assert for_(sent, BOB) == []
    assert not follows_alice(wire, BOB)
    sent = await says(wire, ALICE, "hello")
    assert (len(for_(sent, BOB)), len(for_(sent, CAROL))) == (0, 1)


async def test_a_probe_after_a_block_gets_the_bytes_of_an_unknown_author(wire: Wire) -> None:
    probe = f"<presence from='{BOB}' to='{{}}' type='probe'/>"
    assert [each.type for each in await feeds(wire, probe.format(AUTHOR))] == ["subscribed", None]
    await says(wire, ALICE, f"block {BOB}")
    unknown = await feeds(wire, probe.format(NOBODY))
    assert [each.type for each in unknown] == ["unsubscribed"]
    assert as_nobody(await feeds(wire, probe.format(AUTHOR))) == as_nobody(unknown)


async def test_asked_by_a_subscription_a_blocked_author_sends_no_presence_at_all(
    wire: Wire,
) -> None:
    await says(wire, ALICE, f"block {BOB}")
    sent = await feeds(wire, f"<presence from='{BOB}' to='{AUTHOR}' type='subscribe'/>")
    assert [(each.kind, each.to) for each in sent] == [("message", BOB)]
    told = sent[0].body
    sent = await says(wire, BOB, "follow alice")
    assert [each.body for each in sent] == [told], "the same words by each door"
    await feeds(wire, f"<presence from='{BOB}' to='{AUTHOR}' type='unsubscribe'/>")
    assert not follows_alice(wire, BOB)


async def test_a_protected_author_is_asked_by_the_same_bytes(wire: Wire) -> None:
    await says(wire, "dave@example.test", "join nobody_else")
    await says(wire, "dave@example.test", "protect on")
    await says(wire, ALICE, f"block {BOB}")
    for kind in ("subscribe", "probe", "unsubscribe", "subscribe"):
        blocked, protected = [
            for_(await feeds(wire, f"<presence from='{BOB}' to='{to}' type='{kind}'/>"), BOB)
            for to in (AUTHOR, f"nobody_else@{RELAY}")
        ]
        for each in (*blocked, *protected):
            each.xml.attrib.pop("id", None)
        assert [repr(each).replace("alice", "nobody_else") for each in blocked] == [
            repr(each) for each in protected
        ], kind


async def test_all_questions_about_a_blocking_author_are_answered_as_about_nobody(
    wire: Wire,
) -> None:
    await says(wire, ALICE, f"block {BOB}")
    for payload in QUESTIONS:
        for kind in ("get", "set"):
            iq = f"<iq from='{BOB}/x' to='{{}}' id='q' type='{kind}'>{payload}</iq>"
            unknown = as_nobody(await feeds(wire, iq.format(NOBODY)))
            assert unknown
            assert as_nobody(await feeds(wire, iq.format(AUTHOR))) == unknown, payload
    iq = f"<iq from='{CAROL}/x' to='{AUTHOR}' id='q' type='get'>{QUESTIONS[0]}</iq>"
    assert (await feeds(wire, iq))[0].type == "result", "she exists for everybody else"
    iq = f"<iq from='{ALICE}/x' to='{AUTHOR}' id='q' type='get'>{QUESTIONS[0]}</iq>"
    assert (await feeds(wire, iq))[0].type == "result", "and for herself"


async def test_who_blocks_is_told_by_his_contact_list_that_he_follows_no_more(wire: Wire) -> None:
    sent = await says(wire, BOB, "block alice")
    assert [each.type for each in for_(sent, BOB) if each.kind == "presence"] == [
        "unavailable",
        "unsubscribed",
    ]
    assert for_(sent, ALICE) == []
    sent = await says(wire, BOB, "follow alice")
    assert [each.condition for each in sent] == ["not-allowed"]


# --- domains -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "covered"), [("a.far.test", True), ("*.far.test", True), ("far.test", False)]
)
async def test_a_domain_is_kept_out_in_both_directions(
    wire: Wire, target: str, covered: bool
) -> None:
    await says(wire, CAROL, "join carol")
    await says(wire, ALICE, "follow carol")
    await says(wire, ALICE, f"block {target}")
    assert for_(await says(wire, ALICE, "to the domain"), CAROL) == [] or not covered
    sent = await says(wire, CAROL, "from the domain")
    assert (for_(sent, ALICE) == []) is covered
    assert follows_alice(wire, CAROL) is not covered
    sent = await says(wire, "erin@a.far.test", "follow alice")
    asked = "You have asked" in (for_(sent, "erin@a.far.test")[-1].body or "")
    assert asked is covered, "also who was not known before"


async def test_a_block_in_mid_fan_out_holds_from_its_answer_on(wire: Wire) -> None:
    people = [(f"f{n}@example.test", None, ("alice",)) for n in range(400)]
    await wire.service.people.add_all(people, lambda _: None)
    for jid, _, _ in people:
        wire.feeds(f"<presence from='{jid}' to='{HOME}' type='subscribed'/>")
        wire.feeds(f"<presence from='{jid}/x' to='{HOME}'/>")
    await wire.quiet()
    wire.taken()
    wire.answers = False
    sent = await says(wire, ALICE, "on its way")
    had = {each.to for each in sent if each.post_id is not None}
    last = next(jid for jid, _, _ in reversed(people) if jid not in had)
    sent = await says(wire, ALICE, f"block {last}")
    assert "Nothing passes" in (for_(sent, ALICE)[-1].body or "")
    wire.answers = True
    wire.answers_now()
    await wire.quiet()
    had |= {each.to for each in wire.taken() if each.post_id is not None}
    assert {jid for jid, _, _ in people} - had == {last}


# --- requests ------------------------------------------------------------------------------------


async def test_an_author_is_asked_with_buttons_that_type_for_him(wire: Wire, clock: Clock) -> None:
    await says(wire, ALICE, "protect on")
    clock.passes(seconds=10)  # since alice was told who follows her
    dave = "dave@example.test"
    [asked] = for_(await says(wire, dave, "follow alice"), ALICE)
    assert asked.body == f"{dave} wants to follow you: `approve {dave}` / `deny {dave}`"
    buttons = [each for each in asked.xml if each.tag == f"{{{QUICK_RESPONSE}}}response"]
    assert [(each.get("value"), each.get("label")) for each in buttons] == [
        (f"approve {dave}", "Approve"),
        (f"deny {dave}", "Deny"),
    ]
    sent = await says(wire, ALICE, buttons[0].get("value", ""))
    assert for_(sent, ALICE)[-1].body == f"{dave} follows you now. `lose {dave}` ends it."
    assert follows_alice(wire, dave)


async def test_who_asked_by_the_contact_list_gets_presence_when_he_is_approved(wire: Wire) -> None:
    await says(wire, ALICE, "protect on")
    dave = "dave@example.test"
    sent = await feeds(wire, f"<presence from='{dave}' to='{AUTHOR}' type='subscribe'/>")
    assert [each.kind for each in for_(sent, dave)] == ["message"]
    sent = for_(await says(wire, ALICE, f"approve {dave}"), dave)
    assert [(each.type, each.sender) for each in sent if each.kind == "presence"] == [
        ("subscribe", HOME),
        ("subscribed", AUTHOR),
        (None, AUTHOR),
    ]
    graph = wire.service.graph
    follower, author = graph.by_jid(dave), graph.by_jid(ALICE)
    assert follower is not None
    assert author is not None
    follow = graph.follow(follower.id, author.id)
    assert follow is not None
    assert follow.mode is Mode.AUTHOR


async def test_of_many_requests_the_author_is_told_together(wire: Wire, clock: Clock) -> None:
    service = wire.service
    await says(wire, ALICE, "protect on")
    clock.passes(seconds=10)  # since alice was told who follows her
    for number in range(4):
        sent = await says(wire, f"p{number}@example.test", "follow alice")
        assert len(for_(sent, ALICE)) == (number == 0)
    await says(wire, ALICE, "block p1@example.test")
    clock.passes(minutes=9)
    service.approval.tick()
    assert wire.taken() == []
    clock.passes(minutes=1)
    service.approval.tick()
    assert [each.body for each in wire.taken()] == [
        "2 people want to follow you: `requests` lists them."
    ]
    service.approval.tick()
    assert wire.taken() == []


# --- what is learned from refusals (S6.6) --------------------------------------------------------


async def refuses(wire: Wire, clock: Clock, text: str) -> None:
    """Alice posts, and bob's one device, which was there all the time, sends it back."""
    [post] = for_(await says(wire, ALICE, text), BOB)
    wire.answers = False
    wire.feeds(
        f"<message from='{BOB}' to='{post.sender}' id='{post.id}' type='error'>"
        "<error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>"
        "</error></message>"
    )
    await wire.quiet()
    stamp = (clock.now() - timedelta(hours=1)).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    wire.feeds(
        f"<presence from='{BOB}/x' to='{HOME}'><delay xmlns='urn:xmpp:delay' stamp='{stamp}'/>"
        "</presence>"
    )
    await wire.quiet()
    wire.answers = True
    wire.answers_now()
    await wire.quiet()
    wire.taken()


async def test_what_a_device_refuses_is_not_sent_from_that_author_until_he_is_asked_for(
    wire: Wire, clock: Clock
) -> None:
    await refuses(wire, clock, "blocked by his client")
    assert follows_alice(wire, BOB), "no follow ends"
    sent = await says(wire, ALICE, "not for bob")
    assert (len(for_(sent, BOB)), len(for_(sent, CAROL))) == (0, 1)
    sent = await says(wire, BOB, "mode alice home")
    sent = await says(wire, ALICE, "from home it is another address")
    assert len(for_(sent, BOB)) == 1
    await says(wire, BOB, "mode alice author")
    assert for_(await says(wire, ALICE, "still not"), BOB) == []
    await feeds(wire, f"<presence from='{BOB}' to='{AUTHOR}' type='probe'/>")
    assert len(for_(await says(wire, ALICE, "again"), BOB)) == 1


async def test_what_is_refused_is_tried_again_after_a_day(wire: Wire, clock: Clock) -> None:
    await refuses(wire, clock, "blocked by his client")
    clock.passes(hours=23)
    wire.service.tick()
    assert for_(await says(wire, ALICE, "not yet"), BOB) == []
    clock.passes(hours=1)
    wire.service.tick()
    await wire.quiet()
    assert len(for_(await says(wire, ALICE, "a day later"), BOB)) == 1


# --- accounts that are gone (S5.7) ---------------------------------------------------------------


async def errors(wire: Wire, condition: str) -> None:
    epoch = wire.service.db.epoch
    await feeds(
        wire,
        f"<message from='{BOB}' to='{AUTHOR}' id='1.{epoch}' type='error'><error type='cancel'>"
        f"<{condition} xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>",
    )
    await wire.service.keeping_out.note("a test", "wait", "for what is written before")


@pytest.mark.parametrize(
    ("condition", "days", "there"),
    [
        ("item-not-found", (0, 3, 7), False),
        ("gone", (0, 6, 8), False),
        ("item-not-found", (0, 0, 0, 0), True),
        ("item-not-found", (0, 7), True),
        ("item-not-found", (0, 1, 2, 3, 4, 5, 6), True),
        ("item-not-found", (0, 31, 62, 93), True),
        ("service-unavailable", tuple(range(20)), True),
        ("remote-server-not-found", tuple(range(20)), True),
    ],
)
async def test_only_a_week_of_definite_errors_ends_a_follow(
    wire: Wire, clock: Clock, condition: str, days: tuple[int, ...], there: bool
) -> None:
    today = 0
    for day in days:
        clock.passes(days=day - today)
        today = day
        await errors(wire, condition)
        await errors(wire, condition)
    assert follows_alice(wire, BOB) is there
    rows = await wire.service.db.read(lambda conn: len(list(load_follows(conn))))
    assert rows == (2 if there else 1), "carol's stays"
    assert follows_alice(wire, CAROL)


async def test_a_sign_of_life_ends_the_count(wire: Wire, clock: Clock) -> None:
    for _ in range(2):
        for day in (0, 4):
            clock.passes(days=day)
            await errors(wire, "item-not-found")
        await feeds(wire, f"<presence from='{BOB}/y' to='{HOME}'/>")
    assert follows_alice(wire, BOB)


async def test_who_is_gone_and_there_again_all_the_time_is_not_written_down_each_time(
    wire: Wire, clock: Clock
) -> None:
    async def rows() -> list[tuple[int, str, str]]:
        return await wire.service.db.read(lambda conn: list(load_settings(conn)))

    before = await rows()
    commits = wire.service.db.commits
    for _ in range(50):
        await errors(wire, "gone")  # and one entry of its own
        await feeds(wire, f"<presence from='{BOB}/y' to='{HOME}'/>")
    assert wire.service.db.commits - commits < 2 * 50
    await errors(wire, "gone")
    assert await rows() == before
    wire.service.tick()
    await errors(wire, "gone")
    assert len(await rows()) == len(before) + 1, "once a minute"
    await feeds(wire, f"<presence from='{BOB}/y' to='{HOME}'/>")
    await wire.service.keeping_out.note("a test", "wait", "for what is written before")
    assert await rows() == before, "that somebody is there is written at once"


async def test_the_count_of_definite_errors_outlives_a_restart(
    tmp_path: Path, clock: Clock
) -> None:
    for day in (0, 4, 4):
        clock.passes(days=day)
        async with wired(tmp_path, clock) as wire:
            await says(wire, ALICE, "join alice")
            if not day:
                await says(wire, BOB, "follow alice")
            await errors(wire, "item-not-found")
            there = follows_alice(wire, BOB)
    assert not there


# --- the operator --------------------------------------------------------------------------------


async def test_under_the_operators_block_a_contact_stays_and_is_not_there(wire: Wire) -> None:
    await wire.service.keeping_out.operator_block("@alice", "a test")
    assert wire.taken() == []
    sent = await feeds(wire, f"<presence from='{BOB}' to='{AUTHOR}' type='probe'/>")
    assert [each.type for each in sent] == ["unavailable"], "else his server ended the contact"
    stranger = "dave@example.test"
    for kind in ("probe", "subscribe"):
        asked = f"<presence from='{stranger}' to='{{}}' type='{kind}'/>"
        unknown = as_nobody(await feeds(wire, asked.format(NOBODY)))
        assert as_nobody(await feeds(wire, asked.format(AUTHOR))) == unknown
    for text in ("hello", "help", "follow alice", "unblock bob"):
        [refusal] = await says(wire, ALICE, text)
        assert refusal.condition == "not-allowed"
        assert refusal.text.startswith("The operator of this relay has blocked you")
    await wire.service.keeping_out.operator_unblock(ALICE, "a test")
    assert len(for_(await says(wire, ALICE, "free"), BOB)) == 1


async def test_somebody_whom_the_operator_blocks_can_follow_by_no_door(wire: Wire) -> None:
    await wire.service.keeping_out.operator_block("*.spam.test", "a test")
    erin = "erin@x.spam.test"
    sent = await feeds(wire, f"<presence from='{erin}' to='{AUTHOR}' type='subscribe'/>")
    assert [each.type for each in sent if each.kind == "presence"] == ["unsubscribed"]
    assert [each.condition for each in await says(wire, erin, "follow alice")] == ["not-allowed"]
    assert wire.service.graph.by_jid(erin) is None, "nor does it make him known"


async def test_the_command_line_blocks_on_a_running_relay(world: World) -> None:
    [alice] = await world.authors("alice")
    [bob] = await world.people("bob")
    await bob.says("follow alice")
    socket = world.config.store.socket
    assert await control.call(socket, "block", {"target": "@alice"}) == [alice.jid, True]
    assert await control.call(socket, "block", {"target": alice.jid}) == [alice.jid, False]
    refusal = await alice.is_refused("hello")
    assert refusal.condition == "not-allowed"
    for target, reason in (
        ("@nobody", "Nobody here has the handle"),
        (world.config.xmpp.domain, "is this relay"),
    ):
        with pytest.raises(control.ControlError, match=reason):
            await control.call(socket, "block", {"target": target})
    await world.restarts()
    await alice.is_refused("still not")
    assert await control.call(socket, "unblock", {"target": alice.jid}) == [alice.jid, True]
    assert await control.call(socket, "unblock", {"target": alice.jid}) == [alice.jid, False]
    await alice.says("back")
    await bob.gets_post("back")
    noted = await world.service.db.read(lambda conn: list_audit(conn, 10))
    assert [(each.action, each.subject) for each in noted] == [
        ("unblock", alice.jid),
        ("block", alice.jid),
    ]
    assert all(isinstance(each.at, datetime) for each in noted)


async def test_blocks_and_protection_outlive_a_restart(world: World) -> None:
    alice, bob = await world.authors("alice", "bob")
    carol, dave = await world.people("carol", "dave")
    await alice.says("protect on")
    assert (await alice.says("for approved followers")).startswith("ok #1")
    await alice.says(f"block {carol.jid}")
    await world.restarts()
    assert (await bob.is_refused("show #1")).condition == "item-not-found"
    assert "You have asked" in await carol.says("follow alice")
    assert "You have asked" in await dave.says("follow alice")
    assert (await alice.hears()).startswith(dave.jid)
    await alice.fence()
    assert await alice.says("requests") == (
        f"1 want to follow you: {dave.jid}. `approve NAME` or `deny NAME`"
    )
    assert await alice.says("blocks") == f"You block 1: {carol.jid}"
