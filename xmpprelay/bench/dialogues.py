"""What a light client says, and how it knows what came: steps, found by patterns, not by parsing.

    Step("<iq …>", until=rb"…")     says that, and waits for this
    login(Tls.CHECKED)              the steps of a login; at their end somebody is there

`heard` decides what a step makes of what has come since it began. Who does the talking
(`crowd.py`, `author.py`) does what it says.
"""

import base64
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final
from xml.sax.saxutils import escape, quoteattr, unescape

RESOURCE: Final = "xmpprelay-bench"


class Tls(StrEnum):
    """How a client is encrypted."""

    CHECKED = "checked"  # the server's certificate must be for its domain, from who is trusted
    UNCHECKED = "unchecked"
    NONE = "none"


class Trouble(StrEnum):
    """What a step fails at."""

    UNREACHABLE = "nobody is at that port"
    CLOSED = "closed"
    SILENT = "silent"
    CERTIFICATE = "certificate"
    NO_TLS = "no STARTTLS"
    NO_PLAIN = "no PLAIN"
    NO_PLAIN_IN_THE_CLEAR = "no PLAIN without TLS"
    PASSWORD = "password"  # noqa: S105 - that it is wrong
    NO_SESSION = "no session"
    NO_REGISTRATION = "no registration"
    OTHER = "other"


class Then(StrEnum):
    """What is done when a step has succeeded, besides going on."""

    NOTHING = ""
    ENCRYPT = "encrypt"
    THERE = "there"  # he is logged in
    GONE = "gone"  # his account is not there any more


@dataclass(frozen=True, slots=True)
class Login:
    """Somebody who can log in."""

    jid: str  # bare
    password: str

    @property
    def domain(self) -> str:
        """Of his server."""
        return self.jid.partition("@")[2]


@dataclass(frozen=True, slots=True)
class Where:
    """Where clients connect to, and how they are encrypted there."""

    host: str
    port: int
    tls: Tls = Tls.CHECKED
    ca_file: str | None = None  # a file of authorities, PEM; None: the system's


@dataclass(frozen=True, slots=True)
class Step:
    """What a client says, a pattern of what it waits for then, and what it says to that.

    What is said may name {domain}, {name}, {jid}, {password} and {login}, escaped for a text or an
    attribute. `makes`: from here on there may be an account that was not there before.
    """

    says: str
    until: bytes
    answer: str = ""
    fails: bytes = rb"<stream:error.*</stream:error>|<failure.*</failure>|<error.*</error>"
    trouble: Trouble = Trouble.OTHER
    then: Then = Then.NOTHING
    makes: bool = False


_STREAM: Final = (
    "<?xml version='1.0'?><stream:stream xmlns='jabber:client' to='{domain}' version='1.0' "
    "xmlns:stream='http://etherx.jabber.org/streams'>"
)
_NOT_OFFERED: Final = rb"<stream:error.*</stream:error>|</stream:features>"

_ENCRYPT: Final = (
    Step(_STREAM, rb"<starttls.*</stream:features>", fails=_NOT_OFFERED, trouble=Trouble.NO_TLS),
    Step(
        "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>",
        until=rb"<proceed[^>]*>",
        trouble=Trouble.NO_TLS,
        then=Then.ENCRYPT,
    ),
)
_OPEN: Final = Step(
    _STREAM,
    until=rb"<mechanism>PLAIN</mechanism>.*</stream:features>",
    fails=_NOT_OFFERED,
    trouble=Trouble.NO_PLAIN,
)
_OPEN_IN_THE_CLEAR: Final = replace(_OPEN, trouble=Trouble.NO_PLAIN_IN_THE_CLEAR)
_REGISTER: Final = Step(  # XEP-0077 §3.1
    "<iq type='set' id='register' to='{domain}'><query xmlns='jabber:iq:register'>"
    "<username>{name}</username><password>{password}</password></query></iq>",
    until=rb"<iq (?=[^>]*type=['\"]result)(?=[^>]*id=['\"]register)[^>]*>",
    trouble=Trouble.NO_REGISTRATION,
    makes=True,
)
_AUTHENTICATE: Final = (
    Step(
        "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{login}</auth>",
        until=rb"<success[^>]*>",
        trouble=Trouble.PASSWORD,
    ),
    Step(_STREAM, until=rb"</stream:features>"),
    Step(
        "<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>"
        f"<resource>{RESOURCE}</resource></bind></iq>",
        until=rb"</jid>",
        trouble=Trouble.NO_SESSION,
    ),
    Step(
        "<presence/><iq type='get' id='there' to='{domain}'><ping xmlns='urn:xmpp:ping'/></iq>",
        until=rb"id=['\"]there['\"]",
        then=Then.THERE,
    ),
)

REMOVE: Final = Step(  # XEP-0077 §3.2; the server ends the stream, some with the answer before it
    "<iq type='set' id='remove' to='{domain}'><query xmlns='jabber:iq:register'><remove/></query>"
    "</iq>",
    until=rb"<iq (?=[^>]*type=['\"]result)(?=[^>]*id=['\"]remove)[^>]*>|<stream:error",
    fails=rb"<error.*</error>",
    then=Then.GONE,
)
"""The account is gone."""


def login(tls: Tls, *, makes: bool = False) -> tuple[Step, ...]:
    """The steps at whose end somebody is there; `makes`: with an account that he makes himself."""
    encrypt = (_OPEN_IN_THE_CLEAR,) if tls is Tls.NONE else (*_ENCRYPT, _OPEN)
    return (*encrypt, *((_REGISTER,) if makes else ()), *_AUTHENTICATE)


def leaves_roster(jid: str) -> Step:
    """Somebody has no subscription with `jid`, in either direction (RFC 6121 §2.5)."""
    return Step(
        f"<presence to={quoteattr(jid)} type='unsubscribed'/>"
        f"<iq type='set' id='forget'><query xmlns='jabber:iq:roster'>"
        f"<item jid={quoteattr(jid)} subscription='remove'/></query></iq>",
        # He may not have had one: then that is an error, and well.
        until=rb"<iq (?=[^>]*type=['\"](?:result|error))(?=[^>]*id=['\"]forget)[^>]*>",
        fails=rb"<stream:error.*</stream:error>",
    )


def said(template: str, who: Login) -> str:
    """What a step of this one says."""
    name = who.jid.partition("@")[0]
    plain = base64.b64encode(f"\0{name}\0{who.password}".encode()).decode()
    quotes = {"'": "&apos;", '"': "&quot;"}
    fields = {"domain": who.domain, "name": name, "jid": who.jid, "password": who.password}
    return template.format(
        login=plain, **{key: escape(value, quotes) for key, value in fields.items()}
    )


@dataclass(frozen=True, slots=True)
class Failed:
    """A step that cannot come to its end."""

    trouble: Trouble
    said: str  # by the server


def heard(step: Step, read: bytes) -> bytes | Failed | None:
    """What was waited for, or that it will not come; None: not yet."""
    found = re.search(step.until, read, re.DOTALL)
    if found is not None:
        return found[0]
    failed = re.search(step.fails, read, re.DOTALL)
    if failed is None:
        return None
    if failed[0] == b"</stream:features>":
        return Failed(step.trouble, "it does not offer that")
    return Failed(step.trouble, failed[0].decode(errors="replace"))


_QUESTION: Final = re.compile(rb"<iq ([^>]*)>")
_ATTRIBUTE: Final = re.compile(rb"\b(from|id|type)=['\"]([^'\"]*)")


def answers(data: bytes) -> Iterator[str]:
    """To each question in what has come: that nothing is known here (RFC 6120 §8.2.3)."""
    for question in _QUESTION.finditer(data) if b"<iq " in data else ():
        asked = {name.decode(): value.decode() for name, value in _ATTRIBUTE.findall(question[1])}
        if asked.get("type") in ("get", "set") and "id" in asked:
            to = f" to='{asked['from']}'" if "from" in asked else ""
            yield (
                f"<iq type='error' id='{asked['id']}'{to}><error type='cancel'>"
                "<service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>"
                "</error></iq>"
            )


def condition(said: str) -> str:
    """The condition of an error that a server said, and its words, for people."""
    names = [
        name
        for name in re.findall(r"<([a-z][a-z-]+)[ />]", said)
        if name not in ("error", "failure", "text", "iq", "query")
    ]
    text = re.search(r"<text[^>]*>([^<]+)</text>", said)
    words = "" if text is None else unescape(text[1], {"&apos;": "'", "&quot;": '"'})
    found = names[0] if names else ("" if "<" in said else said)
    return ": ".join(each for each in (found, words.strip().rstrip(".")) if each)
