"""Whatever comes in: nothing raises, nothing is answered twice, and what goes out is XML.

The relay is the real one, without a server (`tests/integration/wire.py` is its other end, and
parses what it writes as a server would).
"""

import asyncio
from collections import Counter
from collections.abc import Coroutine, Iterator
from contextlib import AsyncExitStack
from typing import Any, Final
from xml.etree.ElementTree import Element, fromstring
from xml.sax.saxutils import escape, quoteattr

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from slixmpp.xmlstream.tostring import tostring

from tests.integration.clients import COMPONENT, STANZAS, Stanza, said
from tests.integration.wire import HOME, RELAY, Wire, wired
from xmpprelay.core.text import clean, message_id
from xmpprelay.xmpp.stanzas import (
    XML,
    body_of,
    clean_xml,
    depth_exceeds,
    error_condition,
    parse_jid,
    parse_time,
    serialise,
    stamp_of,
)

ALICE, BOB, EVE = "alice@example.test", "bob@example.test", "eve@strangers.test"

TO: Final = (HOME, RELAY, f"alice@{RELAY}", f"bob@{RELAY}", f"nobody@{RELAY}", f"{HOME}/x")
CONDITIONS: Final = (
    "bad-request", "conflict", "forbidden", "gone", "item-not-found", "recipient-unavailable",
    "remote-server-not-found", "remote-server-timeout", "resource-constraint",
    "service-unavailable", "undefined-condition", "no-such-condition",
)  # fmt: skip


class Bench:
    """A relay with alice, whom bob follows, and an event loop to run it in."""

    def __init__(self, wire: Wire, runner: asyncio.Runner) -> None:
        self.wire = wire
        self._runner = runner

    def runs(self, coroutine: Coroutine[Any, Any, None]) -> None:
        self._runner.run(coroutine)

    def feeds(self, *stanzas: str) -> list[Stanza]:
        """Let these come in, and give what goes out."""

        async def feed() -> None:
            self.wire.feeds("".join(stanzas))
            await self.wire.quiet()

        self.runs(feed())
        service = self.wire.service
        raised = service.component.failures + service.intake.failures
        service.component.failures = service.intake.failures = 0
        assert service.component.up
        assert not raised
        return self.wire.taken()


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with asyncio.Runner() as runner:
        ending = AsyncExitStack()
        relay = wired(tmp_path_factory.mktemp("wire"))
        bench = Bench(runner.run(ending.enter_async_context(relay)), runner)
        bench.feeds(text_of(ALICE, "join alice"))
        yield bench
        runner.run(ending.aclose())


@pytest.fixture(autouse=True)
def _bob_is_there(bench: Bench) -> None:
    """bob follows alice, whatever another test has let him do."""
    bench.feeds(text_of(BOB, "follow alice"))
    bench.feeds(
        f"<presence from='{BOB}' to='{HOME}' type='subscribed'/>",
        f"<presence from='{BOB}/x' to='{HOME}'/>",
    )


def text_of(sender: str, text: str) -> str:
    return f"<message from='{sender}' to='{HOME}' type='chat'><body>{escape(text)}</body></message>"


# --- strategies ----------------------------------------------------------------------------------

xml_text = st.text(
    st.characters(
        codec="utf-8", exclude_characters="\r\ufffe\uffff",
        exclude_categories=["Cs"], min_codepoint=0x20,
    )
    | st.sampled_from("\t\n"),
    max_size=40,
)  # fmt: skip
"""What the body of a stanza can hold."""

any_text = st.text(st.characters() | st.integers(0xD800, 0xDFFF).map(chr), max_size=40)
"""What Python can hold: lone surrogates and control characters as well."""

names = st.sampled_from(
    ("body", "origin-id", "x", "error", "replace", "encrypted", "delay", "request", "priority",
     "query", "ping", "vCard", "username", "subject", "forwarded", "item-not-found", "text")
)  # fmt: skip
namespaces = st.sampled_from(
    (COMPONENT, STANZAS, "urn:xmpp:sid:0", "urn:xmpp:receipts", "urn:xmpp:delay", "urn:xmpp:ping",
     "jabber:iq:register", "http://jabber.org/protocol/disco#info", "vcard-temp", "other",
     "urn:xmpp:message-correct:0", "eu.siacs.conversations.axolotl", "urn:xmpp:forward:0")
)  # fmt: skip
attributes = st.dictionaries(
    st.sampled_from(("id", "type", "from", "to", "stamp", "node", "by", "var", "xml:lang")),
    xml_text,
    max_size=3,
)


def written(name: str, namespace: str, given_: dict[str, str], content: str) -> str:
    inside = "".join(f" {key}={quoteattr(value)}" for key, value in given_.items())
    return f"<{name} xmlns='{namespace}'{inside}>{content}</{name}>"


elements = st.recursive(
    st.builds(written, names, namespaces, attributes, xml_text.map(escape)),
    lambda inner: st.builds(
        written, names, namespaces, attributes, st.lists(inner, max_size=3).map("".join)
    ),
    max_leaves=6,
)
post_ids = st.integers(1, 40) | st.integers(0, 2**70)


@st.composite
def errors(draw: st.DrawFn, bench_epoch: str = "") -> tuple[str, str]:
    """A stanza of type error, and the bare address it comes from."""
    sender = draw(st.sampled_from((ALICE, BOB, EVE, "example.test", RELAY, HOME)))
    kind = draw(st.sampled_from(("message", "message", "message", "presence", "iq")))
    name = draw(
        post_ids.map(lambda n: message_id(n, "EPOCH")) | xml_text | st.just("EPOCH") | st.none()
    )
    condition = draw(st.sampled_from(CONDITIONS))
    error = f"<error type='cancel'><{condition} xmlns='{STANZAS}'/></error>"
    body = draw(st.sampled_from(("hello", "join me", "follow alice", "ping", ":help", "")))
    parts = [f"<body>{body}</body>", draw(elements), error]
    inside = "".join(draw(st.permutations(parts))[: draw(st.integers(0, 3))])
    resource = draw(st.sampled_from(("", "/x")))
    mark = "" if name is None else f" id={quoteattr(name)}"
    to = draw(st.sampled_from(TO))
    return (
        f"<{kind} from='{sender}{resource}' to='{to}' type='error'{mark}>{inside}</{kind}>",
        sender,
    )


# --- errors ------------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(errors())
def test_an_error_is_never_answered_and_never_posted(bench: Bench, error: tuple[str, str]) -> None:
    stanza, sender = error
    service = bench.wire.service
    posts = service.db.next_number
    out = bench.feeds(stanza.replace("EPOCH", service.db.epoch))
    assert service.db.next_number == posts
    if sender == BOB:  # what he lacks may be sent again, after a look whether he is there
        out = [each for each in out if each.post_id is None and each.type != "probe"]
    assert out == []


def test_the_fuzz_above_reaches_bounces(bench: Bench) -> None:
    bench.feeds(text_of(ALICE, "one to come back"))
    number = bench.wire.service.db.next_number - 1
    name = message_id(number, bench.wire.service.db.epoch)
    out = bench.feeds(f"<message from='{BOB}' to='{HOME}' type='error' id='{name}'/>")
    assert [each.type for each in out] == ["probe"]


# --- everything else -----------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(("message", "presence", "iq")),
    st.sampled_from(
        ("", "chat", "normal", "groupchat", "headline", "get", "set", "result", "subscribe",
         "unsubscribe", "subscribed", "unsubscribed", "probe", "unavailable", "nonsense")
    ),
    st.sampled_from((ALICE, BOB, EVE, f"{EVE}/x", "strangers.test", "")),
    st.sampled_from((*TO, "", "@", "elsewhere.test", f"a@b@{RELAY}", f"{'x' * 2000}@{RELAY}")),
    st.lists(elements, max_size=3),
)  # fmt: skip
def test_no_stanza_raises_and_each_question_has_one_answer(
    bench: Bench, kind: str, sort: str, sender: str, to: str, inside: list[str]
) -> None:
    stanza = f"<{kind} from='{sender}' to='{to}' type='{sort}' id='q'>{''.join(inside)}</{kind}>"
    out = bench.feeds(stanza.replace(" type=''", ""))
    answers = [each for each in out if each.kind == "iq"]
    can_be_answered = bool(sender) and to in TO
    asked = kind == "iq" and sort not in ("result", "error") and can_be_answered
    assert len(answers) == asked
    assert all((each.sender, each.to, each.id) == (to, sender, "q") for each in answers)
    known = {sender, sender.partition("/")[0], ALICE, BOB}
    assert {each.to for each in out} <= known, "to nobody who has not asked"
    assert Counter(each.to for each in out if each.body is not None)[sender] <= 1, "quiet"


@settings(max_examples=150, deadline=None)
@given(xml_text)
def test_whatever_is_typed_comes_out_clean_or_is_refused(bench: Bench, text: str) -> None:
    before = bench.wire.service.db.next_number
    out = bench.feeds(text_of(ALICE, "\\" + text))
    posted = [each for each in out if each.to == BOB and each.post_id is not None]
    if bench.wire.service.db.next_number == before:
        assert not posted
        assert [each.type for each in out if each.to == ALICE] == ["error"]
        return
    assert [said(each).strip() for each in posted] == [clean(text).strip()]


@settings(max_examples=150, deadline=None)
@given(any_text, any_text)
def test_no_text_of_the_relays_own_can_end_the_stream(bench: Bench, text: str, name: str) -> None:
    async def tell() -> None:
        bench.wire.service.voice.tell(BOB, text)

    bench.runs(tell())
    [told] = bench.wire.taken()
    # A carriage return comes out as the line feed that XML makes of it.
    assert told.body == clean_xml(text).replace("\r\n", "\n").replace("\r", "\n")
    element = Element("message", {"from": HOME, "to": BOB, "id": name})
    element.text = text
    fromstring(serialise(element))


# --- reading -------------------------------------------------------------------------------------


def depth(element: Element) -> int:
    return 1 + max((depth(child) for child in element), default=0)


@given(elements, st.integers(1, 8))
def test_depth_is_what_recursion_would_find(xml: str, limit: int) -> None:
    element = fromstring(xml)
    assert depth_exceeds(element, limit) == (depth(element) > limit)


@given(any_text)
def test_reading_an_address_or_a_time_gives_it_or_says_no(text: str) -> None:
    parse_time(text)
    try:
        bare, resource = parse_jid(text)
    except ValueError:
        return
    full = f"{bare}/{resource}" if resource else bare
    assert parse_jid(full) == (bare, resource), "prepared once is prepared"


@given(elements)
def test_reading_parts_of_a_stanza_never_raises(xml: str) -> None:
    stanza = fromstring(f"<message xmlns='{COMPONENT}'>{xml}</message>")
    assert body_of(stanza) is None or isinstance(body_of(stanza), str)
    stamp = stamp_of(stanza)
    assert stamp is None or stamp.tzinfo is not None
    assert error_condition(stanza) is None or isinstance(error_condition(stanza), str)


# --- Writing --------------------------------------------------------------------------------------

NAMESPACES = ("jabber:component:accept", "urn:a", "http://a.test/b", "")
WORDS = st.text(max_size=20) | st.sampled_from(("&<>'\"", "a\tb\nc", "\x00\ud800\uffff", "é😀"))


@st.composite
def trees(draw: st.DrawFn, depth: int = 3) -> Element:
    name = f"{{{draw(st.sampled_from(NAMESPACES))}}}{draw(st.sampled_from(('a', 'b-c', 'd.e')))}"
    element = Element(name.removeprefix("{}"))
    for key in draw(st.sets(st.sampled_from(("id", "to", f"{{{XML}}}lang")))):
        element.set(key, draw(WORDS))
    element.text = draw(st.none() | WORDS)
    if depth:
        for child in draw(st.lists(trees(depth=depth - 1), max_size=3)):
            child.tail = draw(st.none() | WORDS)
            element.append(child)
    return element


@given(trees())
def test_a_stanza_is_written_as_the_library_writes_it(stanza: Element) -> None:
    written = serialise(stanza)
    for element in stanza.iter():  # what XML forbids is ours to replace
        for part in ("text", "tail"):
            if (text := getattr(element, part)) is not None:
                setattr(element, part, clean_xml(text))
        for key, value in element.items():
            element.set(key, clean_xml(value))
    assert written == tostring(stanza, xmlns=COMPONENT).encode()


def test_an_attribute_of_another_namespace_is_a_mistake_of_ours() -> None:
    with pytest.raises(AssertionError):
        serialise(Element("a", {"{urn:b}c": "d"}))
