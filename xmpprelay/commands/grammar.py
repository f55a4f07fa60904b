"""Reads what a person sent to the relay: a command, a post, a question back, or a refusal (S15).

A line is a command only if all of it fits one pattern of one verb; otherwise it is a post. Nothing
is guessed: where a short line looks like a command and is none, the sender is asked, since a
command that is posted by mistake ("blok bob") cannot be unread. `parse` is total: it has an answer
for every text and never raises. It expects text that has been through `core.text.clean`.

The first character decides first: `\\` or white space make the message a post, `:` before a word
a command (`:)` is text), `~` a post for the relay only. `/` means nothing: clients take it for
themselves.

A message whose first word is `d`, `dm` or `pm` is never a post (S4.3), not even behind white space,
which is easily typed by accident, or behind `~`. Only `\\` in front makes it one.

The guards ask, and never run or post:
* (i) one or two words that have a verb's shape but do not resolve ("last night"), or lack an
  argument ("follow"), or whose first word is one letter away from a verb that would take the second
  ("blok bob"). A verb of three letters is meant only if the second word resolves ("gte bob"), a
  shorter one never: every short word is near to `on` ("ok bob", "in bed").
* (ii) in a message of any length, a first word within one letter of `dm`, `pm` or `msg`, and a
  second that is the handle of somebody ("em bob my password is").
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from xmpprelay.commands.arguments import WHO, Cause, Miss, Names, NewHandle, Reading
from xmpprelay.commands.values import Handle, Jid, Member, Value, show
from xmpprelay.commands.verbs import BY_WORD, Form, Here, Rest, Slot, Verb
from xmpprelay.commands.words import Word, phrase, plain, split
from xmpprelay.core.handles import COMMAND_WORDS, RESERVED_WORDS, as_handle

# --- What a line can be --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Command:
    """A line that is a command, with arguments of the right types."""

    verb: str  # the verb's name, never an alias
    arguments: Mapping[str, Value] = field(default_factory=dict)  # by slot; read-only
    text: str = ""  # the rest of the message, for verbs that take one (`d`, `re`, ...)
    forced: bool = False  # began with `:`; then names in it need not resolve


@dataclass(frozen=True, slots=True)
class Text:
    """A message to be posted; in the window of one person, to be sent to that person (S3.1)."""

    text: str  # without white space at its ends; may be empty, which `check_length` refuses
    forced: bool = False  # began with `\\` or white space: never a reply, whatever it looks like
    relay_only: bool = False  # began with `~`: never inserted into the primary


@dataclass(frozen=True, slots=True)
class Ask:
    """Neither run nor posted: the sender is asked what he meant."""

    sentence: str


@dataclass(frozen=True, slots=True)
class Problem:
    """A command that cannot be run as it is, and is no post either."""

    sentence: str
    usage: str  # how the command is typed; empty if there is no such command


Line = Command | Text | Ask | Problem
"""What one message is."""


# --- Reading a message ---------------------------------------------------------------------------

_DIRECT: Final = frozenset({"d", "dm", "pm"})
_UNSEEN: Final = re.compile(r"[\s\u200e\u200f\u061c]*")
"""White space and direction marks: what may stand unseen in front of the first word."""


def parse(text: str, names: Names, here: str | None = None) -> Line:
    """What the message is. `here` is the handle of the person in whose window it was typed.

    Names are resolved by `names`. Commands that work on one person may leave the name away in that
    person's window (S3.3). S15
    """
    message = text.strip()
    bare = _from_first_word(message)
    if any(char.isspace() for char in text[: len(text.rstrip()) - len(bare)]):
        return _after_space(message, bare)
    if bare.startswith("\\"):
        return Text(bare[1:].strip(), forced=True)
    if bare.startswith("~"):
        return _relay_only(_from_first_word(bare[1:]), names)
    if bare.startswith((":", "：")):  # the second is what a Chinese or Japanese keyboard gives
        forced = _from_first_word(bare[1:])
        if not forced or forced[0].isalpha() or forced[0] in ":：":
            return _forced(forced, names, here)
        return Text(message)  # a face
    word, _ = _first_word(bare)
    if word in _DIRECT:
        return _direct(bare, Reading(names))
    return _unforced(word, bare, Reading(names), here) or Text(message)


def render(command: Command) -> str:
    """A line that reads as this command, typed by somebody for whom its names resolve.

    Members of a group, and handles, are written with their mark. What was typed in the window of
    one person without naming a post (`like`) stays without.
    """
    words = [f":{command.verb}" if command.forced else command.verb]
    for _, slots in BY_WORD[command.verb].patterns:
        if {slot.name for slot in slots} == set(command.arguments):
            words += [_written(slot, command.arguments[slot.name]) for slot in slots]
            break
    return " ".join(word for word in [*words, command.text] if word)


def _written(slot: Slot, value: Value) -> str:
    return f"@{value}" if isinstance(slot.kind, NewHandle) else show(value)


def _from_first_word(message: str) -> str:
    found = _UNSEEN.match(message)
    return message[found.end() :] if found else message


def _first_word(message: str) -> tuple[str, str]:
    """The first word in lower case, and what follows it."""
    words = message.split(None, 1)
    return (plain(words[0]).lower() if words else ""), (words[1] if len(words) > 1 else "")


def _after_space(message: str, bare: str) -> Text | Problem:
    word, _ = _first_word(bare)
    if word not in _DIRECT:
        return Text(message, forced=True)
    return Problem(
        f"nothing was sent: `{word}` writes to one person, but has a space before it; leave the "
        f"space away, or put `\\` in its place to post it",
        _USAGE_OF_D,
    )


def _relay_only(body: str, names: Names) -> Text | Ask | Problem:
    if body.startswith("\\"):
        return Text(body[1:].strip(), forced=True, relay_only=True)
    word, _ = _first_word(body)
    if word in _DIRECT:
        return Problem(
            f"nothing was sent: `{word}` writes to one person, and `~` is for posts; leave the `~` "
            f"away, or begin with `~\\` to post it",
            _USAGE_OF_D,
        )
    return _near_direct(body, names, "~\\") or Text(body, relay_only=True)


def _forced(body: str, names: Names, here: str | None) -> Command | Problem:
    """A line that is a command, or an error."""
    word, tail = _first_word(body)
    reading = Reading(names, forced=True)
    if word in _DIRECT:
        return _direct(body, reading)
    verb = BY_WORD.get(word)
    if verb is None:
        near = next((other for other in _LONG_ENOUGH if _is_near(word, other)), None)
        meant = f"did you mean `{near}`? " if near else ""
        return Problem(
            f"`:` begins a command, and there is no `{_cut(word)}`: {meant}`help` lists the "
            f"commands, and `\\` in front posts any line",
            "",
        )
    found = _read(verb, body, reading, here)
    if not isinstance(found, Command) and verb.unquoted and tail and "\n" not in body:
        found = _fit(verb, [phrase(tail)], reading)
    if isinstance(found, Command):
        return found
    if found is None:
        return Problem(f"`{verb.name}` is typed otherwise: `{verb.usage}`", verb.usage)
    return Problem(found.sentence, verb.usage)


_USAGE_OF_D: Final = BY_WORD["d"].usage


def _direct(body: str, reading: Reading) -> Command | Problem:
    """`d`, `dm` or `pm` with whatever follows: sent to one person or refused (S4.3)."""
    word, who, text = [*body.split(None, 2), "", ""][:3]
    if not who:
        said = f"`{word}` writes to one person alone: name the person, then the text"
        return Problem(said, _USAGE_OF_D)
    found = WHO.fit(Word(plain(who)), reading)
    if isinstance(found, Handle | Jid):
        if text:
            return Command("d", MappingProxyType({"who": found}), text.rstrip(), reading.forced)
        return Problem(f"nothing was sent: there is no text for {show(found)}", _USAGE_OF_D)
    reason = found.sentence if found else f"{_cut(who)} is no name"
    return Problem(
        f"nothing was sent, since `{word}` writes to one person: {reason}; put `\\` in front to "
        f"post it",
        _USAGE_OF_D,
    )


def _unforced(
    word: str, message: str, reading: Reading, here: str | None
) -> Command | Ask | Problem | None:
    """The command that the message is, or what to say instead of posting it; None: a post."""
    verb = BY_WORD.get(word)
    found = None if verb is None else _read(verb, message, reading, here)
    if isinstance(found, Command):
        return found
    if verb is not None and found is not None and found.cause is Cause.RANGE:
        return Problem(found.sentence, verb.usage)
    if near := _near_direct(message, reading.names):
        return near
    words = message.split(None, 2)
    if "\n" in message or len(words) > 2:
        return None
    otherwise = _otherwise(message, here)
    if found is not None:
        return Ask(f"{found.sentence}; {otherwise}")
    meant = _near_verb(word, message, reading) if len(words) == 2 else None
    if meant is None:
        return None
    return Ask(f"there is no `{_cut(word)}`: did you mean `{meant} {_cut(words[1])}`? {otherwise}")


def _otherwise(message: str, here: str | None) -> str:
    """How the message can be sent as text all the same."""
    aim = "post it" if here is None else f"write it to @{here}"
    if len(message) > _REPEATED_CHARS:
        return f"put `\\` in front to {aim}"
    return f"send `\\{message}` to {aim}"


_REPEATED_CHARS: Final = 60
"""A longer line is not repeated in an answer."""


def _cut(word: str) -> str:
    return word if len(word) <= 20 else f"{word[:19]}…"


# --- Fitting a line to a verb --------------------------------------------------------------------


def _read(verb: Verb, message: str, reading: Reading, here: str | None) -> Command | Miss | None:
    """What the verb, as the first word, makes of the rest of the message."""
    _, tail = _first_word(message)
    if verb.takes_text:
        return _fit_with_text(verb, tail, reading)
    if "\n" in message:
        return None
    # One word too many is enough to know that the line does not fit, however long it is.
    words = split(tail, None if verb.most_words is None else verb.most_words + 1)
    if here is not None and verb.here is Here.LAST_POST and not words:
        return Command(verb.name, MappingProxyType({}), forced=reading.forced)
    if here is not None and verb.here is Here.PERSON:
        found = _fit(verb, [Word(f"@{here}"), *words], reading)
        if isinstance(found, Command):
            return found
    return _fit(verb, words, reading)


def _fit(verb: Verb, words: Sequence[Word], reading: Reading) -> Command | Miss | None:
    """The command, if one pattern takes all words; else the surest Miss; else None."""
    best = None
    for form, slots in verb.patterns:
        found = _match(verb, form, slots, words, reading)
        if isinstance(found, dict):
            return Command(verb.name, MappingProxyType(found), forced=reading.forced)
        if found is not None and (best is None or found.cause > best.cause):
            best = found
    return best


def _fit_with_text(verb: Verb, tail: str, reading: Reading) -> Command | Miss | None:
    """The same for a verb whose last argument is the rest of the message; it has one form."""
    form, slots = verb.patterns[0]
    parts = tail.split(None, len(slots))
    words, text = [Word(plain(part)) for part in parts[: len(slots)]], "".join(parts[len(slots) :])
    found = _match(verb, form, slots, words, reading)
    if not isinstance(found, dict):
        return found
    if form.rest is Rest.REQUIRED and not text:
        return _incomplete(verb)
    return Command(verb.name, MappingProxyType(found), text.rstrip(), reading.forced)


def _match(
    verb: Verb, form: Form, slots: tuple[Slot, ...], words: Sequence[Word], reading: Reading
) -> dict[str, Value] | Miss | None:
    """The arguments, if each word fits its slot; a Miss, if each has at least the shape."""
    many = slots[-1:] if slots and slots[-1].many else ()
    single = len(slots) - len(many)
    row = slots[:single] + many * (len(words) - single)
    if len(words) > len(row):
        return None
    arguments: dict[str, Value] = {}
    members: tuple[Member, ...] = ()
    misses: list[Miss] = []
    for slot, word in zip(row, words, strict=False):
        found = slot.kind.fit(word, reading)
        if found is None:
            return None
        if isinstance(found, Miss):
            misses.append(found)
        elif isinstance(found, tuple):
            members += found
        else:
            arguments[slot.name] = found
    if len(words) < single:
        return None if misses else _incomplete(verb)
    if misses:
        return min(misses, key=lambda miss: miss.cause)  # the weakest word decides
    if many:
        arguments[many[0].name] = members
    return form.check(arguments, reading) or arguments


def _incomplete(verb: Verb) -> Miss:
    return Miss(Cause.INCOMPLETE, f"`{verb.name}` needs more: `{verb.usage}`")


# --- The guards ----------------------------------------------------------------------------------


_LONG_ENOUGH: Final = tuple(word for word in BY_WORD if len(word) > 2)
_NOBODY: Final = RESERVED_WORDS | COMMAND_WORDS
"""What has the shape of a handle and is surely none: "love you" does not mean `lose you`."""


def _near_verb(word: str, message: str, reading: Reading) -> str | None:
    """The verb that was probably meant: one edit away, and the other word would do (guard i)."""
    for other in _LONG_ENOUGH:
        if not _is_near(word, other):
            continue
        found = _read(BY_WORD[other], message, reading, None)
        if isinstance(found, Command):
            return other
        named = found is not None and found.cause is Cause.NAME
        if named and len(other) > 3 and _first_word(message)[1].lower() not in _NOBODY:
            return other
    return None


def _near_direct(message: str, names: Names, escape: str = "\\") -> Ask | None:
    """A question, if the message may have been meant for one person only (guard ii)."""
    words = message.split(None, 2)
    if len(words) < 2 or len(words[0]) > 8:
        return None
    # `/d`, as in other programs, and `d:` count too; the verb itself has been dealt with.
    word = plain(words[0]).lower().strip("/.!:,;")
    meant = word in _DIRECT or word == "msg"
    if not meant and len(word) > 1:
        meant = any(_is_near(word, other) for other in ("dm", "pm", "msg"))
    if not meant:
        return None
    handle = as_handle(plain(words[1]).removeprefix("@").rstrip(":,"))
    if handle is None or not names.has_handle(handle):
        return None
    return Ask(
        f"is this for @{handle} alone? nothing was sent: begin with `d {handle}`, or with "
        f"`{escape}` to post it"
    )


def _is_near(word: str, other: str) -> bool:
    """Whether one letter changed, added, left out or swapped with the next makes one the other."""
    if len(word) > len(other):
        word, other = other, word
    if len(other) - len(word) > 1 or word == other:
        return False
    at = next((i for i, char in enumerate(word) if char != other[i]), len(word))
    if len(word) < len(other):
        return word[at:] == other[at + 1 :]
    swapped = other[at + 1 : at + 2] + other[at : at + 1]
    return word[at + 1 :] == other[at + 1 :] or word[at:] == swapped + other[at + 2 :]
