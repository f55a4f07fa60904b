"""More, and worse, than a real server lets through: the relay without a server."""

import asyncio
import io
import logging
import sys
import threading
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, fromstring, tostring

import pytest
import structlog

from tests.integration.clients import COMPONENT, RECEIPTS, SID, count
from tests.integration.holding import held
from tests.integration.wire import HOME, RELAY, Wire, wired
from xmpprelay import log
from xmpprelay.xmpp.intake import IN_ALL, OF_STRANGERS, PER_SENDER
from xmpprelay.xmpp.stanzas import parse_jid

ALICE, BOB = "alice@example.test", "bob@example.test"


@pytest.fixture
async def wire(tmp_path: Path) -> AsyncIterator[Wire]:
    async with wired(tmp_path) as wire:
        wire.says(ALICE, "join alice")
        await wire.quiet()
        wire.says(BOB, "follow alice")
        await wire.quiet()
        wire.feeds(f"<presence from='{BOB}' to='{HOME}' type='subscribed'/>")
        wire.feeds(f"<presence from='{BOB}/x' to='{HOME}'/>")
        await wire.quiet()
        wire.taken()
        yield wire


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    """What the relay logs, as it would without a terminal."""
    root = logging.getLogger()
    before = root.handlers, root.level
    hooks = sys.excepthook, threading.excepthook, sys.unraisablehook
    out = io.StringIO()
    log.configure("debug", "json", out)
    yield out
    logging.captureWarnings(False)
    root.handlers, root.level = before
    sys.excepthook, threading.excepthook, sys.unraisablehook = hooks
    structlog.reset_defaults()


def fails(_: Element) -> None:
    raise RecursionError("as deep as it gets")


# --- nothing that fails answers an error, or ends the stream ---------------------------------


async def test_a_door_that_fails_answers_no_error_and_ends_nothing(wire: Wire) -> None:
    component = wire.service.component
    component.take_message = component.take_presence = component.take_iq = fails
    for kind in ("message", "presence", "iq"):
        wire.feeds(f"<{kind} from='{BOB}' to='{HOME}' id='e' type='error'><error/></{kind}>")
    wire.feeds(f"<message from='{BOB}' to='{HOME}'><body>x</body></message>")
    wire.feeds(f"<presence from='{BOB}' to='{HOME}'/>")
    assert not wire.taken()
    for to in (HOME, RELAY, "somebody@else.test", "", "@", f"x@{RELAY}.test"):
        wire.feeds(f"<iq from='{BOB}' to='{to}' id='q' type='set'><query xmlns='y'/></iq>")
    answers = wire.taken()
    assert [(each.sender, each.condition) for each in answers] == [
        (HOME, "internal-server-error"),
        (RELAY, "internal-server-error"),
    ]
    assert component.up
    assert not wire.closed


async def test_what_was_sent_to_somebody_else_or_by_nobody_is_dropped(wire: Wire) -> None:
    for kind, sort in (("message", "chat"), ("presence", "subscribe"), ("iq", "get")):
        for sender, to in (
            (BOB, "elsewhere.test"),
            (BOB, f"alice@{RELAY}.elsewhere.test"),
            (BOB, ""),
            (BOB, f"a@b@{RELAY}"),
            ("", HOME),
            ("@", HOME),
        ):
            wire.feeds(
                f"<{kind} from='{sender}' to='{to}' type='{sort}' id='x'>"
                f"<body>hello</body></{kind}>"
            )
    await wire.quiet()
    assert not wire.taken()
    assert not wire.service.component.failures
    assert wire.service.db.next_number == 1


async def test_a_fault_of_ours_is_told_and_leaves_nobody_in_silence(wire: Wire) -> None:
    async def broken(*_: object) -> None:
        raise RecursionError

    service = wire.service
    service.relay.accept = service.people.join = broken  # type: ignore[method-assign,assignment]
    text = wire.says(ALICE, "hello?")
    wire.feeds(
        f"<iq from='{BOB}' to='{HOME}' type='set' id='r'><query xmlns='jabber:iq:register'>"
        "<username>bob</username></query></iq>"
    )
    await wire.quiet()
    told = {each.id: (each.condition, each.error_type) for each in wire.taken()}
    assert told == dict.fromkeys((text, "r"), ("internal-server-error", "wait"))
    assert service.intake.failures == 2, "and is logged"


async def test_an_affair_that_fails_takes_no_other_with_it(wire: Wire) -> None:
    async def failing() -> None:
        raise RecursionError

    wire.service.intake.put(ALICE, failing)
    wire.says(ALICE, "after it")
    await wire.quiet()
    assert wire.service.intake.failures == 1
    assert count(wire.taken(), to=ALICE, body="ok #1: 1 person") == 1


# --- the journal is the only queue ---------------------------------------------------------------


async def many_follow(wire: Wire, number: int) -> None:
    """So many more follow alice, and are there."""
    people = [(f"f{n}@example.test", None, ("alice",)) for n in range(number)]
    await wire.service.people.add_all(people, lambda _: None)
    for jid, _, _ in people:
        wire.feeds(f"<presence from='{jid}' to='{HOME}' type='subscribed'/>")
        wire.feeds(f"<presence from='{jid}/x' to='{HOME}'/>")
    await wire.quiet()
    wire.taken()


async def test_no_more_than_two_windows_are_under_way(wire: Wire) -> None:
    await many_follow(wire, 499)
    wire.answers = False
    for n in range(3):
        wire.says(ALICE, f"post {n}")
    sent: list[int] = []
    for _ in range(20):
        await wire.quiet()
        sent.append(len([each for each in wire.taken() if each.post_id is not None]))
        wire.answers_now()
        await wire.quiet()
    assert sent[0] == 200
    assert max(sent) == 200, "whoever does not answer is sent nothing more"
    assert sum(sent) + len([each for each in wire.taken() if each.post_id]) == 3 * 500


async def test_a_transport_that_asks_for_a_pause_is_given_nothing_more(wire: Wire) -> None:
    await many_follow(wire, 10)
    component = wire.service.component
    component.pause_writing()
    wire.says(ALICE, "not yet")
    await wire.quiet()
    assert not [each for each in wire.taken() if each.post_id is not None]
    component.resume_writing()
    await wire.quiet()
    assert len([each for each in wire.taken() if each.post_id is not None]) == 11


# --- outstanding questions cost nothing -----------------------------------------------------


def calls_of(wire: Wire, stanza: str) -> int:
    """How many functions it takes to take a stanza in."""
    calls = 0

    def called(_frame: Any, event: str, _argument: Any) -> None:
        nonlocal calls
        calls += event == "call"

    sys.setprofile(called)
    try:
        wire.feeds(stanza)
    finally:
        sys.setprofile(None)
    return calls


async def test_outstanding_questions_do_not_slow_the_intake_down(wire: Wire) -> None:
    stanzas = [
        f"<message from='{ALICE}' to='{HOME}'><active xmlns='chatstates'/></message>",
        f"<iq from='{ALICE}' to='{HOME}' type='result' id='never asked'/>",
        f"<presence from='{BOB}/x' to='{HOME}'/>",
    ]
    for stanza in stanzas:
        wire.feeds(stanza)
    await wire.quiet()
    before = [calls_of(wire, stanza) for stanza in stanzas]
    await wire.quiet()
    wire.answers = False
    questions = [wire.service.component.ping("slow.test") for _ in range(5000)]
    after = [calls_of(wire, stanza) for stanza in stanzas]
    for question in questions:
        question.cancel()
    # A call more or less is the interpreter's own; a look at each question would be thousands.
    assert all(late < early + 50 for late, early in zip(after, before, strict=True)), after


# --- strangers ------------------------------------------------------------------------------


async def test_twenty_thousand_strangers_leave_nothing_behind(wire: Wire) -> None:
    async def come(first: int, last: int) -> int:
        """Let them come; the bytes that Python holds afterwards."""
        wire.feeds(
            "".join(
                f"<presence from='u{n}@strangers.test/x' to='{HOME}'><show>away</show></presence>"
                for n in range(first, last)
            )
        )
        await wire.quiet()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    before = await come(0, 21_000)  # fills what has a bound
    after = await come(21_000, 42_000)
    tracemalloc.stop()
    assert after - before < 2_000_000, "bytes; new names take the places of old ones"
    service = wire.service
    assert {person.jid for person in service.graph.people()} == {ALICE, BOB}
    assert not service.delivery.knows(3)
    assert len(list(service.component.roster.keys())) <= 1, "slixmpp's own roster stays empty"
    cached = parse_jid.cache_info()
    assert cached.maxsize is not None
    assert cached.currsize <= cached.maxsize


# --- order, and a bound ---------------------------------------------------------------------


async def test_posts_keep_their_order_and_a_flood_is_told_to_wait(wire: Wire) -> None:
    ids = {}
    with held(wire.service.db.path):
        for n in range(3 * PER_SENDER):
            ids[wire.says(ALICE, f"post {n}")] = n
            await asyncio.sleep(0)
        refused = [ids[each.id or ""] for each in wire.taken() if each.condition]
        wire.says(BOB, "ping")
        for _ in range(3):
            await asyncio.sleep(0)
        assert count(wire.taken(), to=BOB, body="pong") == 1, "one sender's flood stops nobody"
    await wire.quiet()
    sent = wire.taken()
    posted = [each.body for each in sent if each.to == BOB and each.post_id]
    taken = [n for n in range(3 * PER_SENDER) if n not in refused]
    assert PER_SENDER <= len(taken) <= PER_SENDER + 2
    assert [body.split()[2] for body in posted if body] == [str(n) for n in taken]
    assert count(sent, to=ALICE, type="chat") == len(taken), "each is answered"


async def test_the_refusal_of_a_flood_is_a_wait(wire: Wire) -> None:
    with held(wire.service.db.path):
        for n in range(PER_SENDER + 2):
            wire.says(ALICE, f"post {n}")
        wire.feeds(f"<presence from='{ALICE}' to='bob@{RELAY}' type='subscribe'/>")
        wire.feeds(
            f"<iq from='{ALICE}' to='{HOME}' type='set' id='r'><query xmlns='jabber:iq:register'>"
            "<username>x</username></query></iq>"
        )
        refused = [(each.kind, each.condition, each.error_type) for each in wire.taken()]
    kinds = ("message", "message", "presence", "iq")
    assert refused == [(kind, "resource-constraint", "wait") for kind in kinds]
    await wire.quiet()


async def test_all_senders_together_have_a_bound(wire: Wire) -> None:
    await many_follow(wire, IN_ALL + 5)
    for n in range(IN_ALL + 5):
        wire.says(f"f{n}@example.test", "ping")
    assert count(wire.taken(), condition="resource-constraint", error_type="wait") == 5
    await wire.quiet()
    assert count(wire.taken(), body="pong") == IN_ALL
    wire.says(ALICE, "room again")
    await wire.quiet()
    assert count(wire.taken(), to=ALICE, type="chat") == 1


async def test_strangers_leave_room_for_those_who_post(wire: Wire) -> None:
    for n in range(2 * IN_ALL):
        wire.says(f"u{n}@example.test", "join us now please")
    refused = count(wire.taken(), condition="resource-constraint", error_type="wait")
    assert refused == 2 * IN_ALL - OF_STRANGERS
    wire.says(ALICE, "all the same")
    await wire.quiet()
    assert count(wire.taken(), to=ALICE, body="ok #1: 1 person") == 1


# --- the receipt comes after the commit -----------------------------------------------------


async def test_nothing_is_said_or_sent_before_the_commit(wire: Wire) -> None:
    with held(wire.service.db.path):
        wire.feeds(
            f"<message from='{ALICE}/x' to='{HOME}' type='chat' id='m'><body>safe?</body>"
            f"<request xmlns='{RECEIPTS}'/><origin-id xmlns='{SID}' id='m'/></message>"
        )
        wire.says(BOB, "ping")
        for _ in range(100):
            await asyncio.sleep(0)
        assert [each.body for each in wire.taken()] == ["pong"]
    await wire.quiet()
    to_alice = [each for each in wire.sent if each.to.startswith(ALICE)]
    assert [each.has("received", RECEIPTS) for each in to_alice] == [True, False]
    receipt = to_alice[0]
    assert (receipt.sender, receipt.to, receipt.type) == (HOME, f"{ALICE}/x", "chat")
    assert count(wire.sent, to=BOB, body="alice: safe?  #1") == 1


async def test_what_was_cut_off_behind_a_commit_is_said_at_the_next_occasion(wire: Wire) -> None:
    """The follow is on the disk; its confirmation and the request for presence are not out."""
    subscribe = f"<presence from='carol@example.test' to='alice@{RELAY}' type='subscribe'/>"
    with held(wire.service.db.path):
        wire.feeds(subscribe)
        await asyncio.sleep(0)
        wire.abort()
        await wire.lost()
    await wire.service.intake.drained()
    wire.reopens()
    await wire.comes_up()
    await wire.quiet()
    assert not [each for each in wire.taken() if each.to == "carol@example.test"]
    for said in (["subscribe", "subscribed", None], ["subscribed", None]):
        wire.feeds(subscribe)  # her server says it again when she logs in
        await wire.quiet()
        assert [each.type for each in wire.taken() if each.to == "carol@example.test"] == said


# --- reading changes nothing ----------------------------------------------------------------


@pytest.mark.parametrize(
    "child",
    [
        "",
        "<replace xmlns='urn:xmpp:message-correct:0' id='x'/>",
        "<retract xmlns='urn:xmpp:message-retract:1' id='x'/>",
        "<encrypted xmlns='eu.siacs.conversations.axolotl'/>",
        f"<origin-id xmlns='{SID}'/>",
        f"<request xmlns='{RECEIPTS}'/>",
    ],
)
async def test_reading_a_stanza_adds_nothing_to_it(wire: Wire, child: str) -> None:
    for to in (HOME, f"alice@{RELAY}"):
        for kind in ("message", "presence", "iq"):
            xml = (
                f"<{kind} xmlns='{COMPONENT}' from='{ALICE}' to='{to}' id='i'>"
                f"<body>read me</body>{child}</{kind}>"
            )
            element = fromstring(xml)
            before = tostring(element)
            component = wire.service.component
            take = {"message": component.take_message, "presence": component.take_presence}
            take.get(kind, component.take_iq)(element)
            await wire.quiet()
            assert tostring(element) == before
    assert not any(each.child("replace", "urn:xmpp:message-correct:0") for each in wire.taken())


# --- what is not XML ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "broken",
    [
        "<message><body>the old mill</bod></message>",
        "<message><body>the old mill \x0b</body></message>",
        "<message to='the old mill' to='the old mill'/>",
        "&the-old-mill;",
        "</stream:stream>the old mill",
    ],
)
async def test_what_is_not_xml_is_not_logged_and_makes_a_new_stream(
    wire: Wire, logged: io.StringIO, broken: str
) -> None:
    wire.feeds(broken)
    await asyncio.wait_for(wire.lost(), 5)
    wire.reopens()
    await wire.comes_up()
    wire.says(ALICE, "on we go")
    await wire.quiet()
    assert count(wire.taken(), to=ALICE, body="ok #1: 1 person") == 1
    written = logged.getvalue()
    assert "old mill" not in written
    assert "old-mill" not in written
    assert "uncaught" not in written
    assert "asyncio" not in written, "the loop had nothing to complain of"


async def test_an_address_in_another_case_is_ours_all_the_same(wire: Wire) -> None:
    for to in ("HOME@RELAY.example.test", "home@Relay.Example.Test/x", "RELAY.EXAMPLE.TEST"):
        wire.feeds(
            f"<iq from='{BOB}' to='{to}' id='q' type='get'><ping xmlns='urn:xmpp:ping'/></iq>"
        )
        [answer] = wire.taken()
        assert (answer.sender, answer.type) == (to.lower(), "result")
    wire.says(ALICE, "loud", to="HOME@RELAY.EXAMPLE.TEST")
    await wire.quiet()
    assert count(wire.taken(), to=BOB, body="alice: loud  #1") == 1
