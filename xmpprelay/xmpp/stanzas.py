"""Stanzas as XML elements: reading what came in, building what goes out.

Incoming stanzas are read once, here and at the door's functions, into the relay's own types;
outgoing ones are always built anew and never copied from what came in.
"""

import re
from collections.abc import Callable
from datetime import MAXYEAR, UTC, datetime
from functools import lru_cache
from typing import Final
from xml.etree.ElementTree import Element, SubElement

from slixmpp import JID
from slixmpp.jid import InvalidJID

from xmpprelay.errors import RelayError

COMPONENT: Final = "jabber:component:accept"
STANZA_ERRORS: Final = "urn:ietf:params:xml:ns:xmpp-stanzas"
XML: Final = "http://www.w3.org/XML/1998/namespace"
DELAY: Final = "urn:xmpp:delay"
ORIGIN: Final = "urn:xmpp:sid:0"
RECEIPTS: Final = "urn:xmpp:receipts"
HINTS: Final = "urn:xmpp:hints"
PING: Final = "urn:xmpp:ping"
QUICK_RESPONSE: Final = "urn:xmpp:tmp:quick-response"
VERSION: Final = "jabber:iq:version"

UNREACHABLE: Final = frozenset({"remote-server-not-found", "remote-server-timeout"})
"""What our own server says of a domain that it cannot reach."""

MAX_DEPTH: Final = 64
"""Deeper than any honest stanza, and far above where nesting exhausts the interpreter's stack."""

MAX_STANZA_BYTES: Final = 500_000
"""Of what is written. Prosody closes the stream of a component for more than 512 KiB."""

MAX_ID_CHARS: Final = 1_024
"""Of the id of a stanza that is answered; clients' have less than a hundred. A quotation mark in
one takes six bytes."""

_MAX_SENTENCE_CHARS: Final = 4_000
"""Of what an error says: some sentences name what was sent."""

TO: Final = "to.is.spliced.in"
"""Stands for the address in what is written once for many people (`escaped`)."""

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@lru_cache(maxsize=20_000)
def parse_jid(text: str) -> tuple[str, str]:
    """The bare JID and the resource of an address, prepared (RFC 7622); ValueError: it is none."""
    try:
        jid = JID(text)
    except (InvalidJID, UnicodeError) as error:
        raise ValueError("not a JID") from error
    if not jid.domain:
        raise ValueError("not a JID")
    return str(jid.bare), str(jid.resource)


def domain_of(jid: str) -> str:
    """The domain of a bare JID."""
    return jid.rpartition("@")[2]


def tag(name: str, namespace: str = COMPONENT) -> str:
    """The qualified tag of an element, as ElementTree writes it."""
    return f"{{{namespace}}}{name}"


def depth_exceeds(element: Element, limit: int) -> bool:
    """Whether elements are nested deeper than `limit`; walks level by level, never recursing."""
    if limit > 1 and not any(map(len, element)):  # of nearly all that come in
        return False
    level = [element]
    for _ in range(limit):
        level = [child for parent in level for child in parent]
        if not level:
            return False
    return True


def size_at_least(stanza: Element) -> int:
    """Bytes that a stanza took on the wire, and not more: namespaces and marks are left out."""
    size = 0
    for element in stanza.iter():
        size += len(element.tag.rpartition("}")[2]) + 3  # <a/>
        size += len((element.text or "").encode()) + len((element.tail or "").encode())
        for name, value in element.attrib.items():
            size += len(name.rpartition("}")[2]) + len(value.encode()) + 4  # a=''
    return size


def body_of(message: Element) -> str | None:
    """The text of the first <body/> without another language, or of the first one; None: none."""
    bodies = message.findall(tag("body"))
    if not bodies:
        return None
    plain = next((body for body in bodies if body.get(f"{{{XML}}}lang") is None), bodies[0])
    return plain.text or ""


def stamp_of(stanza: Element) -> datetime | None:
    """The time in the stanza's <delay/> (XEP-0203), or None where there is none to be read."""
    delay = stanza.find(tag("delay", DELAY))
    if delay is None:
        return None
    return parse_time(delay.get("stamp", ""))


def parse_time(text: str) -> datetime | None:
    """A time as XEP-0082 writes it, in UTC; None if it is not one.

    Nor is one in the last year that there is: nobody may be forced to calculate beyond it.
    """
    try:
        time = datetime.fromisoformat(text)
        if time.tzinfo is None or time.year == MAXYEAR:
            return None
        return time.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def format_time(time: datetime) -> str:
    """A time as XEP-0082 wants it: UTC, to the second."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def error_condition(stanza: Element) -> str | None:
    """The RFC 6120 §8.3.3 condition of an error stanza; None where it names none."""
    error = stanza.find(tag("error"))
    if error is None:
        return None
    for child in error:
        if child.tag.startswith(f"{{{STANZA_ERRORS}}}") and not child.tag.endswith("}text"):
            return child.tag.rpartition("}")[2]
    return None


def reply(stanza: Element, kind: str, type_: str | None) -> Element:
    """An answer to a stanza: from where it was sent to, to where it came from, with its id.

    It comes from the address as it is prepared: some servers pass on the case in which a client
    wrote it. An id that is too long to be said again is left out. ValueError: it is none.
    """
    bare, resource = parse_jid(stanza.get("to", ""))
    answer = Element(tag(kind))
    answer.set("from", f"{bare}/{resource}" if resource else bare)
    answer.set("to", stanza.get("from", ""))
    if stanza.get("id") is not None and len(stanza.get("id", "")) <= MAX_ID_CHARS:
        answer.set("id", stanza.get("id", ""))
    if type_ is not None:
        answer.set("type", type_)
    return answer


def error_reply(stanza: Element, error: RelayError, *, bare: bool = False) -> Element:
    """The error stanza that tells a person why his stanza was not taken (RFC 6120 §8.3).

    `bare`: without the sentence.
    """
    answer = reply(stanza, stanza.tag.rpartition("}")[2], "error")
    element = SubElement(answer, tag("error"), type=error.type)
    SubElement(element, tag(error.condition, STANZA_ERRORS))
    if error.specific is not None:
        named = {} if error.feature is None else {"feature": error.feature}
        SubElement(element, error.specific, named)
    if not bare:
        text = SubElement(element, tag("text", STANZA_ERRORS))
        text.set(f"{{{XML}}}lang", "en")
        text.text = error.sentence[:_MAX_SENTENCE_CHARS]
    return answer


def chat(sender: str, to: str, text: str, message_id: str) -> Element:
    """A chat message of the relay itself."""
    message = Element(tag("message"), {"from": sender, "to": to, "type": "chat", "id": message_id})
    SubElement(message, tag("body")).text = text
    return message


def presence(sender: str, to: str, type_: str | None = None) -> Element:
    """A presence; `type_` None: available."""
    stanza = Element(tag("presence"), {"from": sender, "to": to})
    if type_ is not None:
        stanza.set("type", type_)
    return stanza


def serialise(stanza: Element) -> bytes:
    """The bytes of an outgoing stanza, with nothing in them that XML 1.0 forbids.

    The namespace of the stream is the default one (XEP-0114), so it is not declared again; any
    other is declared as the default one where it begins, since some clients know no prefixes. It is
    what slixmpp writes, in a third of the time: a page of fifty items has two thousand texts.
    """
    parts: list[str] = []
    _write(stanza, COMPONENT, parts.append)
    written = "".join(parts).encode()
    if len(written) > MAX_STANZA_BYTES:
        raise AssertionError(f"a stanza of {len(written)} bytes, for which the stream is closed")
    return written


@lru_cache(maxsize=65_536)
def escaped(jid: str) -> bytes:
    """A bare JID as the value of an attribute, as the serialiser writes it."""
    probe = serialise(Element(tag("a"), to=jid))
    return probe[probe.index(b'"') + 1 : probe.rindex(b'"')]


def _write(element: Element, outer: str, put: Callable[[str], None]) -> None:
    """Write an element; `outer` is the namespace of what it is in."""
    name, namespace = element.tag, ""
    if name[0] == "{":
        namespace, _, name = name[1:].partition("}")
    put(f"<{name}" if namespace == outer else f'<{name} xmlns="{_escaped(namespace)}"')
    for key, value in element.items():
        if key[0] == "{":
            space, _, key = key[1:].partition("}")
            if space != XML:
                raise AssertionError("an attribute with a namespace of its own")
            key = f"xml:{key}"
        put(f' {key}="{_escaped(value)}"')
    text = element.text
    if text or len(element):
        put(f">{_escaped(text)}" if text else ">")
        for child in element:
            _write(child, namespace, put)
        put(f"</{name}>")
    else:
        put(" />")
    if element.tail:
        put(_escaped(element.tail))


_ESCAPES: Final = str.maketrans(
    {"&": "&amp;", "<": "&lt;", ">": "&gt;", "'": "&apos;", '"': "&quot;"}
)
_ODD: Final = re.compile("[^ !#$%()-;=?-~\t\n]")
"""What has to be escaped or replaced in a text, or looked at for that."""


def _escaped(text: str) -> str:
    if _ODD.search(text) is None:
        return text
    return clean_xml(text).translate(_ESCAPES)


def clean_xml(text: str) -> str:
    """The text with what XML 1.0 forbids replaced by U+FFFD; one such character ends a stream."""
    return _NOT_XML.sub("\ufffd", text)
