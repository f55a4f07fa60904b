"""Ad-hoc commands (XEP-0050): every command of the grammar, as a form of one step.

The nodes are the verbs, and their forms are made from the same table (`commands/forms.py`); what a
filled form means goes the way of a typed line, behind whatever else its sender has written. At an
author's address are the commands about one person, with that author filled in. Two kinds of nodes
are no verbs: `settings`, all settings in one form, and the operator's, which only admins see.

No session is kept: a form that comes back says everything. A form with mistakes is refused with
<bad-payload/> and a sentence, and nothing is done; what a command itself refuses is a note of type
`error`. Whatever is done is checked when it is done, also whether somebody is an admin.
"""

import uuid
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final
from xml.etree.ElementTree import Element, SubElement

from xmpprelay.commands.arguments import Miss, Reading
from xmpprelay.commands.calls import Rooms
from xmpprelay.commands.forms import (
    Field,
    Sort,
    about_a_person,
    field_of,
    fields_of,
    read_field,
    read_form,
)
from xmpprelay.commands.run import Commands
from xmpprelay.commands.settings import FORM, present, set_all
from xmpprelay.commands.values import Value
from xmpprelay.commands.verbs import BY_WORD, VERBS, Slot
from xmpprelay.core.model import Draft, Person
from xmpprelay.core.text import clean, language_tag
from xmpprelay.errors import BadCommand, BadRequest, RelayError, TryLater
from xmpprelay.xmpp.addresses import Address, Author
from xmpprelay.xmpp.component import Unforeseen
from xmpprelay.xmpp.disco import COMMANDS, DATA, NoSuchNode, Questions
from xmpprelay.xmpp.stanzas import XML, parse_jid, tag

SETTINGS: Final = "settings"

WHOM: Final = "Whom: a bare JID, a domain, or *.domain"

_OPTIONAL: Final = frozenset({"lang", "tz", "mentions"})
"""Settings that may be empty: then they are as if nothing had been chosen."""


class BadPayload(BadRequest):
    """The form is missing, half filled, or has something in it that does not fit."""

    specific = tag("bad-payload", COMMANDS)


class BadAction(BadRequest):
    """There is no such step."""

    specific = tag("bad-action", COMMANDS)


class MalformedAction(BadRequest):
    """No action of the protocol."""

    specific = tag("malformed-action", COMMANDS)


Do = Callable[[str, str], Awaitable[str]]
"""Does an admin's command: what was filled in, and who asks; gives the answer."""


@dataclass(frozen=True, slots=True)
class AdminCommand:
    """A command for admins alone."""

    name: str  # of the node
    label: str
    do: Do
    field: str = ""  # the label of its only field; none: it runs at once


class AdHoc:
    """Answers ad-hoc commands. `queue` runs a person's affairs one after the other."""

    def __init__(
        self,
        questions: Questions,
        rooms: Rooms,
        commands: Commands,
        queue: Callable[[str, Callable[[], Coroutine[Any, Any, None]]], bool],
        admins: Collection[str],
        admin_commands: Sequence[AdminCommand] = (),
    ) -> None:
        self._questions = questions
        self._rooms = rooms
        self._commands = commands
        self._queue = queue
        self._admins = frozenset(admins)
        self._admin_commands = {each.name: each for each in admin_commands}
        questions.answer("set", tag("command", COMMANDS), self._asked)

    # Discovery (XEP-0050 §2)

    def items(self, asker: str, target: Address, node: str) -> Sequence[tuple[str, str]] | None:
        """The commands at an address, as (node, name), for somebody; None: there is no such node.

        It is the node of all commands that has any.
        """
        return list(self._nodes(asker, target).items()) if node == COMMANDS else None

    def about(self, asker: str, target: Address, node: str) -> tuple[str, str] | None:
        """The type and the name of a node, for somebody; None: there is no such node."""
        if node == COMMANDS:
            return "command-list", "Commands"
        name = self._nodes(asker, target).get(node)
        return None if name is None else ("command-node", name)

    def _nodes(self, asker: str, target: Address) -> dict[str, str]:
        at_author = isinstance(target, Author)
        verbs = (v for v in VERBS if not at_author or about_a_person(v))
        nodes = {verb.name: f"{verb.name}: {verb.help}" for verb in verbs}
        if not at_author:
            nodes[SETTINGS] = "settings: All your settings in one form."
            if asker in self._admins:
                nodes |= {each.name: each.label for each in self._admin_commands.values()}
        return nodes

    # Execution

    def _asked(self, iq: Element, target: Address, payload: Element) -> Element | None:
        sender, _ = parse_jid(iq.get("from", ""))
        node, action = payload.get("node", ""), payload.get("action", "execute")
        if node not in self._nodes(sender, target):
            raise NoSuchNode("There is no such command here.")
        if action not in ("execute", "complete", "next", "prev", "cancel"):
            raise MalformedAction(f"There is no action {action[:20]}: execute, complete or cancel.")
        form = payload.find(tag("x", DATA))
        if action == "cancel" or (form is not None and form.get("type") == "cancel"):
            return _command(payload, "canceled")
        if action in ("prev", "next"):
            raise BadAction("This command has one step: complete it, or cancel it.")
        here = target.person if isinstance(target, Author) else None
        fields = self._fields(sender, node, here)
        if fields and form is None:
            if action == "complete":
                raise BadPayload("The form is missing: fill it in and send it again.")
            return self._form(payload, node, fields)
        values = {} if form is None else _values(form)
        if not self._queue(sender, lambda: self._run(iq, payload, sender, here, values)):
            raise TryLater("That is more than can be taken at once. Try again in a minute.")
        return None

    async def _run(
        self,
        iq: Element,
        payload: Element,
        sender: str,
        here: Person | None,
        values: Mapping[str, str],
    ) -> None:
        node = payload.get("node", "")
        try:
            self._rooms.keeping_out.admit(sender)
            answer = _said(payload, await self._do(iq, node, sender, here, values))
        except (BadPayload, NoSuchNode) as error:
            self._questions.refused(iq, error)
        except RelayError as error:
            self._questions.done(iq, _said(payload, error.sentence, "error"))
        except Exception:
            self._questions.refused(iq, Unforeseen())  # every question is answered
            raise
        else:
            self._questions.done(iq, answer)

    async def _do(
        self, iq: Element, node: str, sender: str, here: Person | None, values: Mapping[str, str]
    ) -> str:
        if node == SETTINGS:
            return await set_all(self._rooms, sender, self._settings(sender, values))
        admin = self._admin_commands.get(node)
        if admin is not None:
            return await self._do_as_admin(admin, sender, values)
        handle = None if here is None else here.handle
        try:
            command = read_form(BY_WORD[node], values, self._commands.names(sender), handle)
        except BadCommand as error:
            raise BadPayload(error.sentence) from error
        lang = iq.get(f"{{{XML}}}lang")
        tagged = None if lang is None else language_tag(lang)
        draft = Draft(sender, command.text, tagged, origin=None, stanza_id=None)
        return await self._commands.run(draft, command, here)

    async def _do_as_admin(
        self, command: AdminCommand, sender: str, values: Mapping[str, str]
    ) -> str:
        if sender not in self._admins:
            raise NoSuchNode("There is no such command here.")
        target = values.get("target", "").strip()
        if command.field and not target:
            raise BadPayload("Fill in whom: a bare JID, a domain, or *.domain; nothing was done.")
        return await command.do(target, sender)

    # Forms

    def _fields(self, sender: str, node: str, here: Person | None) -> list[Field]:
        if node == SETTINGS:
            return self._fields_of_settings(sender)
        admin = self._admin_commands.get(node)
        if admin is not None:
            whom = Field("target", Sort.LINE, admin.field, required=True)
            return [whom] if admin.field else []
        person = self._rooms.graph.by_jid(sender)
        groups = () if person is None else self._rooms.graph.wishes(person.id).groups
        handle = None if here is None else here.handle
        return fields_of(BY_WORD[node], handle, sorted(groups))

    def _fields_of_settings(self, sender: str) -> list[Field]:
        person = self._rooms.graph.by_jid(sender)
        words = present(self._rooms, None if person is None else person.id)
        return [
            replace(
                field_of(_slot(name), required=name not in _OPTIONAL, value=words.get(name, "")),
                name=name,
                label=BY_WORD[name].help,
            )
            for name in FORM
        ]

    def _settings(self, sender: str, values: Mapping[str, str]) -> dict[str, Value | None]:
        """What a form of settings sets, each read as by its verb; BadPayload with the first fault.

        A field that is not in the form stays as it is.
        """
        reading = Reading(self._commands.names(sender), forced=True)
        chosen: dict[str, Value | None] = {}
        for name in FORM:
            text = values.get(name)
            if text is None or (not text.strip() and name not in _OPTIONAL):
                continue
            found = read_field(_slot(name), text.strip(), reading) if text.strip() else None
            if isinstance(found, Miss):
                raise BadPayload(f"{name}: {found.sentence}; nothing was changed.")
            chosen[name] = found
        return chosen

    def _form(self, payload: Element, node: str, fields: Sequence[Field]) -> Element:
        verb = BY_WORD.get(node)
        command = _command(payload, "executing")
        actions = SubElement(command, tag("actions", COMMANDS), execute="complete")
        SubElement(actions, tag("complete", COMMANDS))
        form = SubElement(command, tag("x", DATA), type="form")
        SubElement(form, tag("title", DATA)).text = node
        if verb is not None:
            SubElement(form, tag("instructions", DATA)).text = verb.help
        for each in fields:
            _write(form, each)
        return command


def _slot(name: str) -> Slot:
    """The only argument of the verb of a setting."""
    return BY_WORD[name].forms[0].slots[0]


def _command(payload: Element, status: str) -> Element:
    """The answer to a command: its node, its session, how far it is."""
    session = payload.get("sessionid") or uuid.uuid4().hex
    named = {"node": payload.get("node", ""), "sessionid": session, "status": status}
    return Element(tag("command", COMMANDS), named)


def _said(payload: Element, text: str, kind: str = "info") -> Element:
    """A command that is through: one line is a note, more are a form for reading."""
    command = _command(payload, "completed")
    if "\n" not in text:
        SubElement(command, tag("note", COMMANDS), type=kind).text = text
        return command
    form = SubElement(command, tag("x", DATA), type="result")
    _write(form, Field("result", Sort.LINES, "Answer", value=text))
    return command


def _write(form: Element, field: Field) -> None:
    """A field, as XEP-0004 has it."""
    named = {"var": field.name, "type": field.sort.value, "label": field.label}
    element = SubElement(form, tag("field", DATA), named)
    value = field.value
    if field.sort is Sort.SWITCH:
        value = "1" if value == "on" else "0"
    for line in value.split("\n") if value else ():
        SubElement(element, tag("value", DATA)).text = line
    if field.required:
        SubElement(element, tag("required", DATA))
    for word in field.options:
        option = SubElement(element, tag("option", DATA), label=word)
        SubElement(option, tag("value", DATA)).text = word


def _values(form: Element) -> dict[str, str]:
    """What was filled in, cleaned as typed text is; several values of a field are lines."""
    return {
        field.get("var", ""): clean(
            "\n".join(value.text or "" for value in field.findall(tag("value", DATA)))
        )
        for field in form.findall(tag("field", DATA))
    }
