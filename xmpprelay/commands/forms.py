"""Commands as forms: the fields of a verb, and a form that came back as the command it means.

Both are made from the table of verbs. What somebody fills in is read by the kinds of the slots, as
a typed line is; a form is always meant as a command, so it is read as if forced by `:`. A form that
is half filled, or with something in it that does not fit, gives one sentence and no command.

Nothing here knows XMPP; `xmpp/adhoc.py` writes the fields down as XEP-0004 wants them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Final, TypeGuard

from xmpprelay.commands.arguments import (
    Cause,
    Choice,
    Either,
    GroupName,
    Id,
    Kind,
    Miss,
    Names,
    Reading,
)
from xmpprelay.commands.grammar import Command
from xmpprelay.commands.values import Member, Value
from xmpprelay.commands.verbs import Form, Here, Rest, Slot, Verb
from xmpprelay.commands.words import phrase, split
from xmpprelay.errors import BadCommand

TEXT: Final = "text"
"""The field of the rest of the message."""


class Sort(StrEnum):
    """The types of fields that are used (XEP-0004 §3.3)."""

    SWITCH = "boolean"
    CHOICE = "list-single"
    LINE = "text-single"
    LINES = "text-multi"


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a form."""

    name: str
    sort: Sort
    label: str
    required: bool = False
    options: tuple[str, ...] = ()
    value: str = ""


_LABELS: Final[Mapping[str, str]] = {
    "who": "Who: bob, @bob or carol@example.org",
    "target": 'Whom or what: bob, spam.org, #tag or "words"',
    "what": "What",
    "id": "The post: its id, such as #k3f",
    "n": "How many",
    "span": "For how long: 30m, 2h or 3d; empty: for good",
    "rate": "At most: 4/h or 10/d",
    "at": "Time of day, such as 08:00",
    "members": "People; - in front takes one out",
    "handle": "The handle: 2 to 20 of a-z, 0-9 and _",
    "language": "Language, such as en or pt-BR",
    "zone": "Time zone, such as Europe/Berlin",
    "verb": "A command",
    TEXT: "Text",
}

_ON_OFF: Final = ("on", "off")
_PERSON: Final = frozenset({"who", "target", "what"})


def about_a_person(verb: Verb) -> bool:
    """Whether a command makes sense at the address of one author."""
    first = next((form.slots[0] for form in verb.forms if form.slots), None)
    return verb.here is not Here.NOTHING or (first is not None and first.name == "who")


def fields_of(verb: Verb, here: str | None = None, groups: Sequence[str] = ()) -> list[Field]:
    """The fields of a verb's form; none: it runs at once.

    `here` is the handle of the author at whose address it is asked for; `groups` are the asker's.
    """
    fields = [_field(verb, slot, here, groups) for slot in _slots(verb).values()]
    if verb.takes_text:
        required = any(form.rest is Rest.REQUIRED for form in verb.forms)
        fields.append(Field(TEXT, Sort.LINES, _LABELS[TEXT], required))
    return fields


def _slots(verb: Verb) -> dict[str, Slot]:
    """The slots of all forms of a verb, by name."""
    slots: dict[str, Slot] = {}
    for form in verb.forms:
        for slot in form.slots:
            slots[slot.name] = _both(slots.get(slot.name, slot), slot)
    return slots


def _both(one: Slot, other: Slot) -> Slot:
    """One field for two slots of a name: of two choices, whatever can be chosen in either."""
    if not isinstance(one.kind, Choice) or not isinstance(other.kind, Choice):
        return one
    return replace(one, kind=Choice(*dict.fromkeys((*one.kind.words, *other.kind.words))))


def _field(verb: Verb, slot: Slot, here: str | None, groups: Sequence[str]) -> Field:
    every = all(any(each.name == slot.name for each in row) for _, row in verb.patterns)
    required = every and not slot.many
    if here is not None and verb.here is Here.LAST_POST:
        required = False
    return field_of(slot, required=required, value=_author(slot, here), groups=groups)


def _author(slot: Slot, here: str | None) -> str:
    return f"@{here}" if here is not None and slot.name in _PERSON else ""


def field_of(slot: Slot, *, required: bool, value: str = "", groups: Sequence[str] = ()) -> Field:
    """The field of one argument, filled with a value."""
    label, kind = _LABELS.get(slot.name, slot.name.capitalize()), slot.kind
    if isinstance(kind, Choice) and kind.words == _ON_OFF and required:
        return Field(slot.name, Sort.SWITCH, label, required, value=value)
    if isinstance(kind, Choice):
        return Field(slot.name, Sort.CHOICE, label, required, kind.words, value)
    if isinstance(kind, GroupName) and not kind.new:
        return Field(slot.name, Sort.CHOICE, label, required, tuple(groups), value)
    return Field(slot.name, Sort.LINES if slot.many else Sort.LINE, label, required, value=value)


# --- A form that came back -----------------------------------------------------------------------


def read_form(
    verb: Verb, values: Mapping[str, str], names: Names, here: str | None = None
) -> Command:
    """The command that a filled form means; BadCommand with what is missing or does not fit.

    `values` has each field's text, several values as lines. Fields that the verb does not have
    are left aside.
    """
    known = _slots(verb)
    filled = {n: v.strip() for n, v in values.items() if n in known and v.strip()}
    text = values.get(TEXT, "").strip() if verb.takes_text else ""
    if not filled and here is not None and verb.here is Here.LAST_POST:
        return Command(verb.name, MappingProxyType({}), text, forced=True)
    sentence = ""
    for form, slots in verb.patterns:
        if {slot.name for slot in slots if not slot.many} != filled.keys() - _many(slots):
            continue
        found = _arguments(form, slots, filled, Reading(names, forced=True))
        if isinstance(found, str):
            chosen = (slot for slot in slots if isinstance(slot.kind, Choice))
            if not any(_is_another_form(known, slot, filled[slot.name]) for slot in chosen):
                sentence = sentence or found
        elif form.rest is Rest.REQUIRED and not text:
            raise BadCommand(f"`{verb.name}` needs a text; nothing was done.", verb.usage)
        else:
            return Command(verb.name, MappingProxyType(found), text, forced=True)
    if sentence:
        raise BadCommand(f"{sentence}; nothing was done.", verb.usage)
    raise BadCommand(f"Fill in the fields of one of these: `{verb.usage}`.", verb.usage)


def _many(slots: Sequence[Slot]) -> set[str]:
    return {slot.name for slot in slots if slot.many}


def _is_another_form(known: Mapping[str, Slot], slot: Slot, text: str) -> bool:
    """Whether what was chosen is the choice of another form: then this one was not meant."""
    kind, whole = slot.kind, known[slot.name].kind
    if not isinstance(kind, Choice) or not isinstance(whole, Choice):
        return False
    word = _switched(kind, text).lower()
    return word in whole.words and word not in kind.words


def _arguments(
    form: Form, slots: Sequence[Slot], filled: Mapping[str, str], reading: Reading
) -> dict[str, Value] | str:
    """The values of all slots, or what does not fit."""
    arguments: dict[str, Value] = {}
    for slot in slots:
        words = filled.get(slot.name, "")
        found = _every(slot, words, reading) if slot.many else read_field(slot, words, reading)
        if isinstance(found, Miss):
            return found.sentence
        arguments[slot.name] = found
    missed = form.check(arguments, reading)
    return arguments if missed is None else missed.sentence


def _every(slot: Slot, words: str, reading: Reading) -> Value | Miss:
    members: list[Member] = []
    for word in words.split():
        found = read_field(slot, word, reading)
        if isinstance(found, Miss):
            return found
        members += found if isinstance(found, tuple) else []
    return tuple(members)


def read_field(slot: Slot, text: str, reading: Reading) -> Value | Miss:
    """The value of one field, as its kind reads a word; a Miss says what does not fit.

    In a field the marks may be left away that tell words in a line apart: the quotation marks of a
    phrase, the `#` of an id.
    """
    text = _switched(slot.kind, text)
    words = split(text, 2)
    word = words[0] if len(words) == 1 else phrase(text)
    found = slot.kind.fit(word, reading)
    if _is_value(found):
        return found
    if _takes_ids(slot.kind) and not text.startswith("#"):
        marked = slot.kind.fit(split(f"#{text}", 1)[0], reading)
        if _is_value(marked):
            return marked
    if not isinstance(found, Miss) or found.cause is Cause.MARK:
        quoted = slot.kind.fit(phrase(text), reading)
        if _is_value(quoted):
            return quoted
        if isinstance(quoted, Miss) and not isinstance(found, Miss):
            found = quoted
    if isinstance(found, Miss):
        return found
    short = text if len(text) <= 40 else f"{text[:39]}…"
    return Miss(Cause.MARK, f"`{short}` does not fit: it takes {slot.kind.usage}")


def _is_value(found: Value | Miss | None) -> TypeGuard[Value]:
    return found is not None and not isinstance(found, Miss)


def _takes_ids(kind: Kind) -> bool:
    if isinstance(kind, Either):
        return any(_takes_ids(each) for each in kind.kinds)
    return isinstance(kind, Id)


def _switched(kind: Kind, text: str) -> str:
    """A boolean field's value as the word that is typed (XEP-0004 §3.3)."""
    if isinstance(kind, Choice) and kind.words == _ON_OFF:
        return {"1": "on", "true": "on", "0": "off", "false": "off"}.get(text.lower(), text)
    return text
