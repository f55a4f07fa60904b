"""What text may be: cleaning, limits, short ids, language tags, and noise that is no text at all.

`clean` is applied to everything that comes in, and again at the one choke point before the stream:
one character that XML does not allow closes the stream to the server. It takes away what people
cannot see but are deceived by, and nothing that a script needs:

* Direction. Overrides, embeddings and isolates (U+202A-202E, U+2066-2069) reach beyond their own
  word and can turn round the relay's words beside it, so they go. The marks U+200E, U+200F and
  U+061C reach no further than their neighbours, and Hebrew and Arabic writers need them beside
  punctuation. They stay in a text, and go from a name (`clean_line`): there, only the eye judges.
* Zero width. U+200B, U+2060, U+FEFF, the soft hyphen and their like only hide something: a word
  from a mute, or one text in another. They go. The joiners U+200C and U+200D carry meaning in
  Persian, Kurdish, the Indic scripts, and in emoji such as a family; they stay, one at a time,
  after a character of a script that may need them, and go elsewhere: after Latin, a space, nothing.
* Tag characters (U+E0000-E007F) can carry a whole hidden sentence. They stay only as the flags
  that they are made for: a black flag, a region, the end.
* Line breaks. Whatever some client shows as a new line (CR, VT, FF, U+0085, U+2028, U+2029) becomes
  a line feed, so that nobody sees two lines where the relay saw one.

Nothing here normalises (NFC) or folds: a post stays as it was typed. S1.6, S12.3
"""

import re
from enum import StrEnum
from typing import Final

from xmpprelay.errors import BadRequest, TooLong

# --- Short ids (S1.6) ----------------------------------------------------------------------------

_DIGITS: Final = "0123456789abcdefghjkmnpqrstvwxyz"
_VALUES: Final = (
    {digit: value for value, digit in enumerate(_DIGITS)}
    | {digit.upper(): value for value, digit in enumerate(_DIGITS)}
    | {"o": 0, "O": 0, "i": 1, "I": 1, "l": 1, "L": 1}
)
_MAX_NUMBER: Final = 2**63 - 1
"""The largest integer of SQLite and PostgreSQL; a longer id names no post."""

_MESSAGE_ID: Final = re.compile(r"([0-9a-hjkmnp-tv-z]{1,13})\.([0-9a-z]{1,32})")


def short_id(number: int) -> str:
    """The post's number in Crockford base32, lower case, without padding and without the `#`.

    S1.6
    """
    if number < 0:
        raise ValueError("a post's number is not negative")
    digits = _DIGITS[number & 31]
    while number := number >> 5:
        digits = _DIGITS[number & 31] + digits
    return digits


def parse_short_id(text: str) -> int | None:
    """The number that a typed id stands for, or None if it is none.

    A leading `#`, upper case, and o for 0, i and l for 1 are accepted. S1.6
    """
    digits = text.removeprefix("#")
    if not 0 < len(digits) <= 13:
        return None
    number = 0
    for digit in digits:
        value = _VALUES.get(digit)
        if value is None:
            return None
        number = number << 5 | value
    return number if number <= _MAX_NUMBER else None


def message_id(number: int, epoch: str) -> str:
    """The id of the post's message and of its pubsub item: `k3f.<epoch>`. S1.6"""
    return f"{short_id(number)}.{epoch}"


def parse_message_id(text: str) -> tuple[int, str] | None:
    """The number and the epoch of a message id of ours, or None if it is none.

    Strict, since only we make these ids. The caller compares the epoch with his own.
    """
    found = _MESSAGE_ID.fullmatch(text)
    if found is None:
        return None
    number = parse_short_id(found[1])
    if number is None or short_id(number) != found[1]:
        return None
    return number, found[2]


def number_in(name: str, epoch: str) -> int | None:
    """The number in a message id of this epoch; None: the name is another one's."""
    ours = parse_message_id(name)
    return ours[0] if ours is not None and ours[1] == epoch else None


_CHANGE: Final = re.compile(r"(?:\.e([1-9][0-9]{0,3})|\.d)")


def change_id(number: int, epoch: str, edit: int | None) -> str:
    """The message id of a post's edit, from 1, or of its deletion (None). S9.1"""
    return message_id(number, epoch) + (".d" if edit is None else f".e{edit}")


def parse_change_id(text: str) -> tuple[int, str, int | None] | None:
    """The post's number, the epoch and which edit it is (None: the deletion), or None.

    As strict as `parse_message_id`.
    """
    name, dot, _ = text.rpartition(".")
    found = _CHANGE.fullmatch(text[len(name) :]) if dot else None
    post = None if found is None else parse_message_id(name)
    if found is None or post is None:
        return None
    return *post, None if found[1] is None else int(found[1])


# --- Cleaning ------------------------------------------------------------------------------------

_LINE_BREAKS: Final = re.compile("\r\n|[\r\v\f\x85\u2028\u2029]")
_NOT_XML: Final = re.compile("[\ud800-\udfff\ufffe\uffff]")  # XML 1.0 §2.2; C0 is in _DROPPED
_DROPPED: Final = re.compile(
    "["
    "\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f"  # C0 and C1, but \t, \n and the line breaks above
    "\xad\u200b\u2060-\u2064\ufeff"  # soft hyphen, zero width space, word joiner and operators
    "\u202a-\u202e\u2066-\u2069"  # bidi embeddings, overrides, isolates
    "\u206a-\u206f\ufff9-\ufffb"  # deprecated format characters, interlinear annotation
    "]"
)
_TAGS: Final = re.compile(
    "(\U0001f3f4[\U000e0030-\U000e0039\U000e0061-\U000e007a]{1,6}\U000e007f)|[\U000e0000-\U000e007f]"
)
# A joiner has a meaning only after a letter, mark or sign of a script from Hebrew on, or an emoji.
_STRAY_JOINER: Final = re.compile(
    "(?<![^\\s\x00-\u058f\u061c\u2000-\u20ff\u3000\ufffd])[\u200c\u200d]"
)
_DIRECTION_MARKS: Final = re.compile("[\u200e\u200f\u061c]")

# Characters that show nothing, besides white space: they do not make a text.
_INVISIBLE: Final = re.compile(
    "[\\s\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2060-\u206f\u2800\u3164"
    "\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]*"
)


def clean(text: str) -> str:
    """The text as it may be stored and sent: only characters that XML 1.0 allows, nothing hidden.

    Cleaning twice changes nothing. White space at both ends is kept: a leading space has a meaning
    (S15). The head of this module says what goes and what stays.
    """
    if text.isascii() and text.isprintable():
        return text
    text = _LINE_BREAKS.sub("\n", text)
    text = _NOT_XML.sub("\ufffd", text)
    text = _DROPPED.sub("", text)
    text = _TAGS.sub(r"\1", text)
    return _STRAY_JOINER.sub("", text)


def clean_line(text: str) -> str:
    """The same on one line, for names: every run of white space is one space, none at the ends."""
    return " ".join(clean(_DIRECTION_MARKS.sub("", text)).split())


def is_blank(text: str) -> bool:
    """Whether nobody would see anything: white space, fillers, variation selectors only."""
    return _INVISIBLE.fullmatch(text) is not None


# --- Limits --------------------------------------------------------------------------------------

MAX_CHARS: Final = 2_000
"""Characters (code points) of a post, unless the operator says otherwise."""

MAX_XML_BYTES: Final = 8_000
"""Bytes of a post in UTF-8, escaped as in a stanza: 2,000 characters of four bytes each."""


def check_length(text: str, max_chars: int = MAX_CHARS) -> None:
    """Pass if the text may be a post.

    Raises BadRequest if there is nothing to see in it, TooLong if it has more than `max_chars`
    characters or more than MAX_XML_BYTES bytes; the sentence gives both numbers.
    """
    if is_blank(text):
        raise BadRequest("There is no text in this: type something.")
    if len(text) > max_chars:
        raise TooLong(
            f"This has {len(text):,} characters; a post may have {max_chars:,}: "
            "shorten it, or send it in parts."
        )
    size_bytes = xml_bytes(text)
    if size_bytes > MAX_XML_BYTES:
        raise TooLong(
            f"This takes {size_bytes:,} bytes as XML; a post may take {MAX_XML_BYTES:,}: "
            "shorten it, or send it in parts."
        )


def xml_bytes(text: str) -> int:
    """Bytes of a text in a stanza: as our XML library writes it, which escapes quotation marks."""
    return (
        len(text.encode("utf-8", "surrogatepass"))
        + 4 * text.count("&")
        + 3 * (text.count("<") + text.count(">"))
        + 5 * (text.count('"') + text.count("'"))
    )


# --- Language tags -------------------------------------------------------------------------------

# RFC 5646 §2.1, without the grandfathered tags, and with languages of two or three letters only:
# longer ones are reserved, and none is registered.
_LANGUAGE_TAG: Final = re.compile(
    r"""
    [a-z]{2,3} (?:-[a-z]{3}){0,3}                 # language, extended language
    (?:-[a-z]{4})?                                # script
    (?:-(?:[a-z]{2}|[0-9]{3}))?                   # region
    (?:-(?:[a-z0-9]{5,8}|[0-9][a-z0-9]{3}))*      # variants
    (?:-[0-9a-wy-z](?:-[a-z0-9]{2,8})+)*          # extensions
    (?:-x(?:-[a-z0-9]{1,8})+)?                    # private use
    """,
    re.VERBOSE,
)
_MAX_TAG_CHARS: Final = 35
"""RFC 5646 §4.4.1: what every tag in use fits into."""


def language_tag(text: str) -> str | None:
    """The tag as given if it is a well-formed language tag of at most 35 characters, else None.

    RFC 5646
    """
    if len(text) > _MAX_TAG_CHARS or not text.isascii():
        return None
    return text if _LANGUAGE_TAG.fullmatch(text.lower()) else None


# --- Tags ----------------------------------------------------------------------------------------

_TAG: Final = re.compile(r"(?<![\w&#/])#(\w{1,50})(?!\w)")


def tags_in(text: str) -> list[str]:
    """The hashtags of a text, without the `#`, in order, each once; digits alone are none."""
    found: dict[str, str] = {}
    for tag in _TAG.findall(text) if "#" in text else ():
        if not tag.isdigit():
            found.setdefault(tag.casefold(), tag)
    return list(found.values())


# --- Time zones (S10.3) --------------------------------------------------------------------------

_OFFSET: Final = re.compile(r"([+-])([01][0-9]):([0-5][0-9])")

_FURTHEST: Final = (14, 0)
"""No clock on earth is further from UTC, in hours and minutes."""


def offset_in(text: str) -> str | None:
    """The offset from UTC that a client tells, as +HH:MM, or None: it is none (XEP-0202, XEP-0082).

    It is `Z`, or as in `-05:30`, and nothing else.
    """
    if text == "Z":
        return "+00:00"
    offset = _OFFSET.fullmatch(text)
    if offset is None or (int(offset[2]), int(offset[3])) > _FURTHEST:
        return None
    return text


# --- Noise (S12.3) -------------------------------------------------------------------------------


class Noise(StrEnum):
    """A body that a program wrote: it is never posted."""

    OTR = "otr"  # an Off-the-Record query, key exchange, message or error
    ENCRYPTED = "encrypted"  # the fallback text of an encrypted message, or an armoured one
    AUTOMATIC = "automatic"  # an automatic reply that says so at its beginning


_OTR: Final = re.compile(r"\?OTR(?:[:,|]|\?|v[0-9x]+\?| Error)")
_KINDS: Final = "(?:omemo|openpgp|legacy\\ openpgp|pgp|ox|otr)"
# What Conversations and its kin, Converse, Dino, Gajim, Monal, Miranda, Profanity, Psi, Siskin and
# slixmpp's plugins put into the body beside the encrypted payload. Whole texts only: a person may
# well post "This message is encrypted with love".
_FALLBACK: Final = re.compile(
    rf"""
    \[?this\ message\ is\ (?:an?\ )?\*?(?:{_KINDS}\ )?encrypted\*?
        (?:\ with\ {_KINDS})?(?:\ \([\w:.`\ -]{{1,60}}\)?)?\.?\]?
  | i\ sent\ you\ an?\ {_KINDS}[ -]encrypted\ message,?\ but\ your\ client\ doesn't\ .{{1,150}}
  | you\ received\ a\ message\ encrypted\ with\ {_KINDS},?\ but\ your\ client\ doesn't\ .{{1,150}}
  | this\ is\ an?\ {_KINDS}[ -]encrypted\ message,?\ which\ your\ client\ doesn't\ .{{1,150}}
  | .{{1,200}}\*encrypted\*\ \(see\ :[xj]ep:.{{1,20}}     # Gajim, with its own language in front
    """,
    re.VERBOSE,
)
_AUTOMATIC: Final = re.compile(
    r"[\[(<]\s*auto(?:matic)?[ -]?(?:reply|response)\s*[\])>]"
    r"|auto(?:matic)?[ -]?(?:reply|response)\s*:",
    re.IGNORECASE,
)
_MAX_FALLBACK_CHARS: Final = 400


def noise(text: str) -> Noise | None:
    """What kind of noise the text is, or None: an ordinary text.

    By the text alone. Encrypted messages are known surely by their elements, and most automatic
    replies carry no sign in their text: both are for the door that reads the stanza. S12.3
    """
    body = text.strip()
    if _OTR.match(body):
        return Noise.OTR
    if body.startswith(("-----BEGIN PGP MESSAGE-----", "-----BEGIN PGP PUBLIC KEY BLOCK-----")):
        return Noise.ENCRYPTED
    if len(body) <= _MAX_FALLBACK_CHARS and "ncrypted" in body:
        flat = " ".join(body.lower().replace("’", "'").split())
        if _FALLBACK.fullmatch(flat):
            return Noise.ENCRYPTED
    if _AUTOMATIC.match(body):
        return Noise.AUTOMATIC
    return None
