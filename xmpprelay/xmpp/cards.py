"""Profiles as XML: vCards of both kinds, pictures, nicknames; made, and read from what came in.

The name that an author has chosen stands where clients look for what to call him (NICKNAME, FN,
<nick/>); without one his handle does. Pictures are always in the stanza itself: an address of one
(EXTVAL, `url`) is never fetched, since whoever gives it would learn where the relay is, and could
make it ask anybody for anything.
"""

import base64
import binascii
from typing import Final
from xml.etree.ElementTree import Element, SubElement

from xmpprelay.core.nodes import AVATAR_DATA, AVATAR_METADATA, NICK
from xmpprelay.core.profile import Part, Picture, Profile, Shown
from xmpprelay.errors import BadRequest
from xmpprelay.pictures import MOST_BYTES, PictureTooBig
from xmpprelay.xmpp.stanzas import tag

VCARD: Final = "vcard-temp"
VCARD_UPDATE: Final = "vcard-temp:x:update"
VCARD4: Final = "urn:ietf:params:xml:ns:vcard-4.0"

PNG: Final = "image/png"

_BASE64_CHARS: Final = MOST_BYTES // 3 * 4 * 78 // 76 + 100
"""A picture with the most bytes, in lines of 76 characters."""


# --- made ----------------------------------------------------------------------------------------


def vcard(handle: str, address: str, profile: Profile, picture: Picture | None) -> Element:
    """The card of an author (XEP-0054 §3.1), with his picture in it (XEP-0153 §3.1)."""
    card = Element(tag("vCard", VCARD))
    name = profile.name or handle
    for field, text in (("FN", name), ("NICKNAME", name)):
        SubElement(card, tag(field, VCARD)).text = text
    if picture is not None:
        photo = SubElement(card, tag("PHOTO", VCARD))
        SubElement(photo, tag("TYPE", VCARD)).text = PNG
        SubElement(photo, tag("BINVAL", VCARD)).text = base64.b64encode(picture.data).decode()
    for field, text in (("URL", profile.url), ("JABBERID", address), ("DESC", profile.about)):
        if text:
            SubElement(card, tag(field, VCARD)).text = text
    return card


def vcard4(handle: str, address: str, profile: Profile) -> Element:
    """The card of an author as XEP-0292 has it; his picture has nodes of its own (XEP-0084)."""
    card = Element(tag("vcard", VCARD4))
    name = profile.name or handle
    for field, kind, text in (
        ("fn", "text", name),
        ("nickname", "text", name),
        ("url", "uri", profile.url),
        ("impp", "uri", f"xmpp:{address}"),
        ("note", "text", profile.about),
    ):
        if text:
            SubElement(SubElement(card, tag(field, VCARD4)), tag(kind, VCARD4)).text = text
    return card


def nick(handle: str, profile: Profile) -> Element:
    """What to call an author (XEP-0172)."""
    element = Element(tag("nick", NICK))
    element.text = profile.name or handle
    return element


def avatar_data(picture: Picture) -> Element:
    """A picture (XEP-0084 §4.1)."""
    element = Element(tag("data", AVATAR_DATA))
    element.text = base64.b64encode(picture.data).decode()
    return element


def avatar_metadata(shown: Shown | None) -> Element:
    """What there is to know of a picture (XEP-0084 §4.2); without one: that there is none."""
    element = Element(tag("metadata", AVATAR_METADATA))
    if shown is not None:
        about = {"bytes": shown.size_bytes, "id": shown.sha1, "type": PNG}
        about |= {"width": shown.width, "height": shown.height}
        named = {name: str(value) for name, value in about.items()}
        SubElement(element, tag("info", AVATAR_METADATA), named)
    return element


def photo_update(shown: Shown | None) -> Element:
    """Which picture an address has, for its presence (XEP-0153 §4.1)."""
    update = Element(tag("x", VCARD_UPDATE))
    SubElement(update, tag("photo", VCARD_UPDATE)).text = None if shown is None else shown.sha1
    return update


# --- read ----------------------------------------------------------------------------------------


def photo_hash(presence: Element) -> str | None:
    """The hash of the picture of who sent a presence; "": he has none; None: it does not say."""
    update = presence.find(tag("x", VCARD_UPDATE))
    photo = None if update is None else update.find(tag("photo", VCARD_UPDATE))
    if photo is None:
        return None
    return (photo.text or "").strip().lower()[:40]


def texts_in(card: Element, known_as: str = "") -> dict[Part, str]:
    """What a vcard-temp says.

    `known_as` is what the person was called so far. A card has two names; it is the one that is
    another than before that was meant to be changed.
    """
    return {
        Part.NAME: _name([_text(card, "NICKNAME"), _text(card, "FN")], known_as),
        Part.ABOUT: _text(card, "DESC") or _text(card, "NOTE"),  # as Prosody gives a DESC back
        Part.URL: _text(card, "URL"),
    }


def picture_in(card: Element) -> bytes | None:
    """The picture in a vcard-temp; None: there is none. Raises BadRequest, PictureTooBig."""
    binary = card.findtext(f"{tag('PHOTO', VCARD)}/{tag('BINVAL', VCARD)}")
    return read_base64(binary) if binary and binary.strip() else None


def read_vcard4(card: Element, known_as: str = "") -> tuple[dict[Part, str], bytes | None]:
    """What a vCard4 says, and its picture if that is in the card itself (RFC 6350 §6.2.4)."""

    def text(field: str, kind: str) -> str:
        return card.findtext(f"{tag(field, VCARD4)}/{tag(kind, VCARD4)}") or ""

    texts = {
        Part.NAME: _name([text("nickname", "text"), text("fn", "text")], known_as),
        Part.ABOUT: text("note", "text"),
        Part.URL: text("url", "uri"),
    }
    scheme, _, data = text("photo", "uri").strip().partition(";base64,")
    inside = scheme.lower().startswith("data:image/") and data != ""
    return texts, read_base64(data) if inside else None


def _text(card: Element, field: str) -> str:
    return card.findtext(tag(field, VCARD)) or ""


def _name(names: list[str], known_as: str) -> str:
    given = [name.strip() for name in names if name.strip()]
    return next((name for name in given if name != known_as), given[0] if given else "")


def read_base64(text: str) -> bytes:
    """The bytes of a picture; white space is left aside (XEP-0153 §4.6).

    Raises BadRequest if it is no Base64, PictureTooBig before it is even looked at.
    """
    if len(text) > _BASE64_CHARS:
        raise PictureTooBig(
            f"The picture has more than {MOST_BYTES:,} bytes, the most there can be: make it "
            "smaller."
        )
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadRequest("The picture's data is no Base64.") from error
