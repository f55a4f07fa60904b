"""What a message says of other messages, and its text without the quotation of an answer."""

from xml.etree.ElementTree import Element, fromstring

import pytest

from xmpprelay.xmpp.incoming import (
    NOTHING,
    SAYING,
    About,
    about,
    draft_of,
    says_something,
    text_of,
)
from xmpprelay.xmpp.stanzas import COMPONENT

REPLY = "<reply xmlns='urn:xmpp:reply:0' id='x'/>"


def message(inside: str) -> Element:
    return fromstring(f"<message xmlns='{COMPONENT}' id='m'>{inside}</message>")


def fallback(inside: str, of: str = "urn:xmpp:reply:0", namespace: str = "fallback") -> str:
    return f"<fallback xmlns='urn:xmpp:{namespace}:0' for='{of}'>{inside}</fallback>"


@pytest.mark.parametrize(
    ("inside", "text"),
    [
        ("<body start='0' end='7'/>", "yes"),
        ("<body end='7'/>", "yes"),
        ("<body start='7'/>", "> tea?\n"),
        ("<body start='5' end='3'/>", "> tea?\nyes"),
        ("<body start='2' end='6'/>", "> \nyes"),
        ("<body start='0' end='99'/>", ""),
        ("<body start='x' end='-1'/>", ""),
        ("<body start='0' end='9999999999999'/>", ""),
        ("<body/>", ""),
        ("", ""),
    ],
)
def test_the_quotation_is_taken_off(inside: str, text: str) -> None:
    for namespace in ("fallback", "feature-fallback"):
        quoting = fallback(inside, namespace=namespace)
        assert text_of(message(f"<body>&gt; tea?\nyes</body>{REPLY}{quoting}")) == text


def test_characters_are_counted_as_people_see_them() -> None:
    quoting = fallback("<body start='0' end='8'/>")
    body = "<body>&gt; &amp;&lt;\U0001f600 \n\n yes</body>"
    assert text_of(message(f"{body}{REPLY}{quoting}")) == "yes"


def test_without_an_answer_nothing_is_taken_off() -> None:
    whole = "> tea?\nyes"
    body = "<body>&gt; tea?\nyes</body>"
    assert text_of(message(body + fallback("<body end='7'/>"))) == whole
    assert text_of(message(body + REPLY)) == whole
    assert text_of(message(body + REPLY + fallback("<body end='7'/>", of="else"))) == whole
    assert text_of(message(REPLY)) is None


@pytest.mark.parametrize(
    ("inside", "said"),
    [
        ("<replace xmlns='urn:xmpp:message-correct:0' id='x'/>", About(corrects="x")),
        ("<replace xmlns='urn:xmpp:message-correct:0'/>", None),
        (f"<replace xmlns='urn:xmpp:message-correct:0' id='{'x' * 201}'/>", None),
        ("<retract xmlns='urn:xmpp:message-retract:1' id='x'/>", About(retracts="x")),
        ("<retract xmlns='urn:xmpp:message-retract:1'/>", None),
        (
            "<apply-to xmlns='urn:xmpp:fasten:0' id='x'>"
            "<retract xmlns='urn:xmpp:message-retract:0'/></apply-to>",
            About(retracts="x"),
        ),
        ("<apply-to xmlns='urn:xmpp:fasten:0' id='x'><else/></apply-to>", NOTHING),
        (
            "<reactions xmlns='urn:xmpp:reactions:0' id='x'><reaction>+</reaction></reactions>",
            About(reacts_to="x", likes=True),
        ),
        ("<reactions xmlns='urn:xmpp:reactions:0' id='x'/>", About(reacts_to="x")),
        (
            "<reactions xmlns='urn:xmpp:reactions:0' id='x'><reaction> </reaction></reactions>",
            About(reacts_to="x"),
        ),
        ("<reactions xmlns='urn:xmpp:reactions:0'/>", None),
        ("<reply xmlns='urn:xmpp:reply:0' id='x'/>", NOTHING),
        ("<composing xmlns='http://jabber.org/protocol/chatstates'/>", NOTHING),
    ],
)
def test_what_a_message_is_to_another_one(inside: str, said: About | None) -> None:
    assert about(message(inside)) == said
    assert says_something(message(inside)) is (said != NOTHING)
    assert says_something(message(f"<body/>{inside}"))
    tags = {child.tag for child in message(inside)}
    assert said == NOTHING or not tags.isdisjoint(SAYING), "it would not be read"


def test_the_answered_message_is_in_the_draft() -> None:
    assert draft_of(message(f"<body>yes</body>{REPLY}"), "bob@a.example", "yes").replies_to == "x"
    assert draft_of(message("<body>yes</body>"), "bob@a.example", "yes").replies_to is None
