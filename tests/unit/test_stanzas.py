"""Reading and building stanzas."""

from datetime import UTC, datetime, timedelta, timezone
from xml.etree.ElementTree import Element, SubElement, fromstring

import pytest

from xmpprelay.errors import TooLong, TryLater
from xmpprelay.xmpp.stanzas import (
    COMPONENT,
    MAX_DEPTH,
    STANZA_ERRORS,
    XML,
    body_of,
    chat,
    clean_xml,
    depth_exceeds,
    domain_of,
    error_condition,
    error_reply,
    format_time,
    parse_jid,
    parse_time,
    presence,
    reply,
    serialise,
    stamp_of,
    tag,
)


def stanza(xml: str, kind: str = "message") -> Element:
    return fromstring(f"<{kind} xmlns='{COMPONENT}'>{xml}</{kind}>")


# --- addresses -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "bare", "resource"),
    [
        ("alice@example.test", "alice@example.test", ""),
        ("alice@example.test/phone", "alice@example.test", "phone"),
        ("ALICE@Example.TEST/Phone", "alice@example.test", "Phone"),
        ("example.test", "example.test", ""),
        ("example.test/x", "example.test", "x"),
        ("groß@example.test", "gross@example.test", ""),  # nodeprep, not PRECIS
        ("a@b.test/c@d/e", "a@b.test", "c@d/e"),
    ],
)
def test_an_address_is_prepared(text: str, bare: str, resource: str) -> None:
    assert parse_jid(text) == (bare, resource)


@pytest.mark.parametrize(
    "text",
    ["", "@", "@x.test", "a@", "a b@x.test", "a@b@c.test", "a" * 1024 + "@x.test", "\ud800@x"],
)
def test_what_is_no_address_says_so(text: str) -> None:
    with pytest.raises(ValueError, match="not a JID"):
        parse_jid(text)


def test_the_domain_of_an_address() -> None:
    assert domain_of("alice@example.test") == domain_of("example.test") == "example.test"


# --- depth ----------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [1, 2, MAX_DEPTH - 1, MAX_DEPTH, MAX_DEPTH + 1, 30_000])
def test_depth_is_counted_with_the_stanza_itself_and_without_recursion(depth: int) -> None:
    top = innermost = Element("message")
    for _ in range(depth - 1):
        SubElement(innermost, "shallow")
        innermost = SubElement(innermost, "a")
    assert depth_exceeds(top, MAX_DEPTH) is (depth > MAX_DEPTH)


def test_width_is_no_depth() -> None:
    top = Element("message")
    for _ in range(1000):
        SubElement(top, "a")
    assert not depth_exceeds(top, 2)
    assert depth_exceeds(top, 1)


# --- reading -------------------------------------------------------------------------------------


def test_the_body_without_a_language_is_the_text() -> None:
    assert body_of(stanza("")) is None
    assert body_of(stanza("<body/>")) == ""
    assert body_of(stanza("<body>a</body><body>b</body>")) == "a"
    assert body_of(stanza("<body xml:lang='de'>d</body><body>e</body>")) == "e"
    assert body_of(stanza("<body xml:lang='de'>d</body>")) == "d"
    assert body_of(stanza("<body xmlns='other'>x</body>")) is None
    assert body_of(stanza("<x><body>inner</body></x>")) is None


@pytest.mark.parametrize(
    ("stamp", "time"),
    [
        ("2026-03-01T12:00:00Z", datetime(2026, 3, 1, 12, tzinfo=UTC)),
        ("2026-03-01T12:00:00.123Z", datetime(2026, 3, 1, 12, 0, 0, 123_000, tzinfo=UTC)),
        ("2026-03-01T14:00:00+02:00", datetime(2026, 3, 1, 12, tzinfo=UTC)),
        ("2026-03-01T12:00:00", None),
        ("20260301T12:00:00", None),
        ("yesterday", None),
        ("", None),
        ("0001-01-01T00:00:00+23:59", None),
        ("9999-12-31T23:59:59-23:59", None),
        ("9999-12-31T23:59:59Z", None),
    ],
)
def test_a_stamp_is_a_time_or_nothing(stamp: str, time: datetime | None) -> None:
    assert parse_time(stamp) == time
    assert stamp_of(stanza(f"<delay xmlns='urn:xmpp:delay' stamp='{stamp}'/>")) == time


def test_no_delay_no_stamp() -> None:
    assert stamp_of(stanza("")) is None
    assert stamp_of(stanza("<delay xmlns='urn:xmpp:delay'/>")) is None
    assert stamp_of(stanza("<delay xmlns='other' stamp='2026-03-01T12:00:00Z'/>")) is None


def test_a_time_is_written_in_utc_to_the_second() -> None:
    east = timezone(timedelta(hours=5, minutes=30))
    assert format_time(datetime(2026, 3, 1, 3, 0, 0, 999, tzinfo=east)) == "2026-02-28T21:30:00Z"


def test_the_condition_of_an_error_is_read_as_it_stands_there() -> None:
    """slixmpp takes `service-unavailable` for `feature-not-implemented` in a component."""
    for condition in ("service-unavailable", "feature-not-implemented", "remote-server-timeout"):
        inside = f"<text xmlns='{STANZA_ERRORS}'>why</text><{condition} xmlns='{STANZA_ERRORS}'/>"
        assert error_condition(stanza(f"<error type='cancel'>{inside}</error>")) == condition
    assert error_condition(stanza("")) is None
    assert error_condition(stanza("<error/>")) is None
    assert error_condition(stanza("<error><gone xmlns='other'/></error>")) is None


# --- building ------------------------------------------------------------------------------------


def test_an_answer_goes_back_with_the_id_and_nothing_else() -> None:
    asked = fromstring(
        f"<iq xmlns='{COMPONENT}' from='bob@example.test/x' to='HOME@Relay.test/R' id='7' "
        "type='get' xml:lang='de'><query xmlns='y'/></iq>"
    )
    answer = reply(asked, "iq", "result")
    assert answer.attrib == {
        "from": "home@relay.test/R", "to": "bob@example.test/x", "id": "7", "type": "result",
    }  # fmt: skip
    assert len(answer) == 0
    del asked.attrib["id"]
    assert "id" not in reply(asked, "iq", None).attrib


def test_an_answer_from_no_address_is_not_made() -> None:
    with pytest.raises(ValueError, match="not a JID"):
        reply(fromstring("<iq to='@' from='bob@example.test'/>"), "iq", "result")


def test_an_error_has_type_condition_and_a_sentence_and_quotes_nothing() -> None:
    sent = fromstring(
        f"<message xmlns='{COMPONENT}' from='bob@example.test/x' to='home@relay.test' id='7'>"
        "<body>secret</body></message>"
    )
    answer = error_reply(sent, TooLong("Shorten it."))
    assert answer.tag == tag("message")
    assert answer.get("type") == "error"
    [error] = answer
    assert error.attrib == {"type": "modify"}
    assert [child.tag for child in error] == [
        tag("policy-violation", STANZA_ERRORS), tag("text", STANZA_ERRORS),
    ]  # fmt: skip
    assert error[1].text == "Shorten it."
    assert error[1].get(f"{{{XML}}}lang") == "en"
    assert b"secret" not in serialise(answer)
    assert error_condition(error_reply(sent, TryLater("Later."))) == "resource-constraint"


def test_stanzas_of_the_relay_are_written_in_the_streams_namespace() -> None:
    written = serialise(chat("home@relay.test", "bob@example.test", "a < b & 'c'", "7")).decode()
    assert "xmlns" not in written
    message = fromstring(f"<s xmlns='{COMPONENT}'>{written}</s>")[0]
    assert message.tag == tag("message")
    assert message[0].text == "a < b & 'c'"
    assert message.attrib == {
        "from": "home@relay.test", "to": "bob@example.test", "type": "chat", "id": "7",
    }  # fmt: skip


def test_a_presence_without_a_type_is_available() -> None:
    assert "type" not in presence("a@relay.test", "bob@example.test").attrib
    assert presence("a@relay.test", "bob@example.test", "probe").get("type") == "probe"


# --- cleaning --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "allowed"),
    [
        (0x00, False), (0x08, False), (0x09, True), (0x0A, True), (0x0B, False), (0x0C, False),
        (0x0D, True), (0x0E, False), (0x1F, False), (0x20, True), (0x7F, True), (0x80, True),
        (0xD7FF, True), (0xD800, False), (0xDFFF, False), (0xE000, True), (0xFFFD, True),
        (0xFFFE, False), (0xFFFF, False), (0x10000, True), (0x10FFFF, True),
    ],
)  # fmt: skip
def test_what_xml_forbids_is_replaced_wherever_it_stands(code: int, allowed: bool) -> None:
    char = chr(code)
    expected = char if allowed else "\ufffd"
    assert clean_xml(f"a{char}b") == f"a{expected}b"
    element = Element("a", {"x": char})
    element.text = char
    SubElement(element, "b").tail = char
    read = fromstring(serialise(element))
    as_read = {"\r": "\n"}.get(expected, expected)  # XML 1.0 §2.11
    assert (read.text, read[0].tail) == (as_read, as_read)
    assert read.get("x") in (expected, " "), "white space in an attribute is a space (§3.3.3)"
