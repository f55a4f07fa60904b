"""A message stanza, read once into the relay's own types; nobody behind the door sees XML.

Besides its text a message may say something of another message, by that one's id: that it answers
it (XEP-0461), corrects it (XEP-0308), takes it back (XEP-0424) or reacts to it (XEP-0444). What a
client puts into the text of an answer for those that know no answers, the quotation, is taken off.
"""

from dataclasses import dataclass
from typing import Final
from xml.etree.ElementTree import Element

from xmpprelay.core.model import Draft
from xmpprelay.core.text import language_tag
from xmpprelay.xmpp.stanzas import HINTS, ORIGIN, XML, body_of, tag

REPLY: Final = "urn:xmpp:reply:0"
FALLBACK: Final = "urn:xmpp:fallback:0"
CORRECT: Final = "urn:xmpp:message-correct:0"
RETRACT: Final = "urn:xmpp:message-retract:1"
REACTIONS: Final = "urn:xmpp:reactions:0"

OOB: Final = "jabber:x:oob"

UNDERSTOOD: Final = frozenset({REPLY, FALLBACK, CORRECT, RETRACT, REACTIONS})
"""The features that the relay announces for these."""

_OLD_RETRACT: Final = "urn:xmpp:message-retract:0"
_FASTEN: Final = "urn:xmpp:fasten:0"
_FALLBACKS: Final = (FALLBACK, "urn:xmpp:feature-fallback:0")

_BODY: Final = tag("body")
_REPLY: Final = tag("reply", REPLY)
_REPLACE: Final = tag("replace", CORRECT)
_RETRACTS: Final = tag("retract", RETRACT)
_FASTENS: Final = tag("apply-to", _FASTEN)
_REACTS: Final = tag("reactions", REACTIONS)

SAYING: Final = frozenset({_BODY, _REPLACE, _RETRACTS, _FASTENS, _REACTS})
"""The elements by one of which a message `says_something`."""

_NOT_KEPT: Final = ("no-store", "no-permanent-store")
"""What its author wants nobody to keep goes live, and never into the primary."""

_MAX_ATTACHMENTS: Final = 4

_MAX_ID_CHARS: Final = 200
"""Longer ids of a client are not used to recognise anything; all real ones are far shorter."""


@dataclass(frozen=True, slots=True)
class About:
    """What a message is to another one; at most one of these is set."""

    corrects: str | None = None
    retracts: str | None = None
    reacts_to: str | None = None
    likes: bool = False  # of a reaction: there is one; an empty set takes it back


NOTHING: Final = About()


def text_of(message: Element) -> str | None:
    """The body without the quotation of an answer (XEP-0428); None: there is no body."""
    body = body_of(message)
    if body is None or reply_of(message) is None:
        return body
    for namespace in _FALLBACKS:
        for fallback in message.findall(tag("fallback", namespace)):
            if fallback.get("for") == REPLY:
                return _without(body, fallback.find(tag("body", namespace)))
    return body


def _without(body: str, part: Element | None) -> str:
    """The body without a part that is given in characters, and without what stays in front."""
    start = 0 if part is None else _position(part.get("start"), 0)
    end = len(body) if part is None else _position(part.get("end"), len(body))
    return (body[:start] + body[max(start, end) :]).lstrip()


def _position(text: str | None, otherwise: int) -> int:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 9 else otherwise


def reply_of(message: Element) -> str | None:
    """The id of the message that this one answers (XEP-0461), or None."""
    reply = message.find(_REPLY)
    return None if reply is None else usable_id(reply.get("id"))


def about(message: Element) -> About | None:
    """What a message is to another one; None: it says so in a way that cannot be read."""
    replace = message.find(_REPLACE)
    if replace is not None:
        name = usable_id(replace.get("id"))
        return None if name is None else About(corrects=name)
    retract = message.find(_RETRACTS)
    fastened = message.find(_FASTENS)
    if retract is None and fastened is not None:  # as clients had it until 2022
        retract = fastened if fastened.find(tag("retract", _OLD_RETRACT)) is not None else None
    if retract is not None:
        name = usable_id(retract.get("id"))
        return None if name is None else About(retracts=name)
    reactions = message.find(_REACTS)
    if reactions is not None:
        name = usable_id(reactions.get("id"))
        likes = any((each.text or "").strip() for each in reactions)
        return None if name is None else About(reacts_to=name, likes=likes)
    return NOTHING


def says_something(message: Element) -> bool:
    """Whether there is anything to be done for it, though it may have no body."""
    return message.find(_BODY) is not None or about(message) is not NOTHING


def draft_of(message: Element, sender: str, text: str) -> Draft:
    """What somebody wants to post, with all that the stanza says of it."""
    lang = message.get(f"{{{XML}}}lang")
    origin = message.find(tag("origin-id", ORIGIN))
    return Draft(
        author=sender,
        text=text,
        lang=None if lang is None else language_tag(lang),
        origin=None if origin is None else usable_id(origin.get("id")),
        stanza_id=usable_id(message.get("id")),
        replies_to=reply_of(message),
        relay_only=any(message.find(tag(hint, HINTS)) is not None for hint in _NOT_KEPT),
        attachments=_attachments(message, text),
    )


def _attachments(message: Element, text: str) -> tuple[str, ...]:
    """The addresses of what comes with it (XEP-0066), as far as they stand in the text too."""
    found = [each.findtext(tag("url", OOB)) for each in message.findall(tag("x", OOB))]
    shown = [url for url in found if url and url.startswith("https://") and url in text]
    return tuple(dict.fromkeys(shown))[:_MAX_ATTACHMENTS]


def usable_id(text: str | None) -> str | None:
    """An id that can be remembered, or None."""
    return text if text and len(text) <= _MAX_ID_CHARS else None
