"""The forms of XEP-0060: what a node is like, what a subscriber has chosen (XEP-0004, XEP-0068).

A node's settings follow from what its author has chosen here otherwise, so most fields say what is
and cannot be set: sent back as they came they change nothing, and anything else is refused. Which
field is different it says, since a client shows forms as they come.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from xml.etree.ElementTree import Element, SubElement

from xmpprelay.core.text import clean
from xmpprelay.xmpp.disco import DATA
from xmpprelay.xmpp.pubsub.names import NODE_CONFIG, PubsubError
from xmpprelay.xmpp.stanzas import tag

OPEN: Final = "open"
AUTHORIZE: Final = "authorize"

INCLUDE_BODY: Final = "pubsub#include_body"
DELIVER: Final = "pubsub#deliver"
ACCESS_MODEL: Final = "pubsub#access_model"

_TRUE: Final = frozenset({"1", "true"})
_FALSE: Final = frozenset({"0", "false"})

_MAX_FIELDS: Final = 100


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a form."""

    name: str
    value: str
    type: str = "text-single"
    label: str = ""
    options: tuple[str, ...] = ()


def write_form(kind: str, form_type: str, fields: Sequence[Field]) -> Element:
    """A form of that kind (form, result) and FORM_TYPE."""
    form = Element(tag("x", DATA), type=kind)
    hidden = Field("FORM_TYPE", form_type, "hidden")
    for each in (hidden, *fields):
        element = SubElement(form, tag("field", DATA), {"var": each.name, "type": each.type})
        if each.label and kind == "form":
            element.set("label", each.label)
        SubElement(element, tag("value", DATA)).text = each.value
        for word in each.options if kind == "form" else ():
            SubElement(SubElement(element, tag("option", DATA)), tag("value", DATA)).text = word
    return form


def read_form(parent: Element, form_type: str) -> Mapping[str, str] | None:
    """The fields that were filled in, but FORM_TYPE; None: the form was cancelled.

    A boolean is `1` or `0`. Raises PubsubError: there is no form, it is another one, or is none
    that was filled in.
    """
    form = parent.find(tag("x", DATA))
    if form is None:
        raise PubsubError("bad-request", "", "The form is missing: fill it in and send it.")
    if form.get("type") == "cancel":
        return None
    fields = form.findall(tag("field", DATA))
    if form.get("type") != "submit" or len(fields) > _MAX_FIELDS:
        raise PubsubError("bad-request", "", "A form that was filled in is of the type submit.")
    values = {each.get("var", ""): _value(each) for each in fields}
    if values.pop("FORM_TYPE", form_type) != form_type:
        raise PubsubError("bad-request", "", f"This is another form than {form_type}.")
    return values


def _value(field: Element) -> str:
    text = clean(field.findtext(tag("value", DATA), "")).strip()
    if field.get("type") == "boolean" or text in _TRUE | _FALSE:
        return "1" if text in _TRUE else "0"
    return text


# --- What a node is like -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """What there is to say of a node."""

    title: str
    description: str
    type: str  # the namespace that says what is in it
    protected: bool  # who subscribes needs its owner's approval
    max_payload_bytes: int

    def fields(self) -> list[Field]:
        """The form of its settings (XEP-0060 §16.4.4; XEP-0472 §5.1)."""
        access = AUTHORIZE if self.protected else OPEN
        return [
            Field("pubsub#title", self.title, label="Title"),
            Field("pubsub#description", self.description, label="Description"),
            Field("pubsub#type", self.type, label="What is in it"),
            Field(
                ACCESS_MODEL,
                access,
                "list-single",
                "Who may subscribe and read: everybody, or whom the author approves",
                (OPEN, AUTHORIZE),
            ),
            Field("pubsub#publish_model", "publishers", "list-single", "Who may publish"),
            Field("pubsub#persist_items", "1", "boolean", "Items are kept"),
            Field("pubsub#max_items", "max", label="Items that are kept"),
            Field("pubsub#item_expire", "max", label="How long items are kept"),
            Field("pubsub#deliver_notifications", "1", "boolean", "Events are sent"),
            Field("pubsub#deliver_payloads", "1", "boolean", "Events have the entry in them"),
            Field("pubsub#notify_retract", "1", "boolean", "Events tell of deletions"),
            Field("pubsub#notify_config", "0", "boolean", "Events tell of settings"),
            Field("pubsub#notify_delete", "0", "boolean", "Events tell of the node's end"),
            Field("pubsub#send_last_published_item", "never", "list-single", "The last item comes"),
            Field("pubsub#notification_type", "headline", "list-single", "How events are sent"),
            Field("pubsub#presence_based_delivery", "1", "boolean", "To who is there"),
            Field("pubsub#subscribe", "1", "boolean", "One can subscribe"),
            Field("pubsub#purge_offline", "0", "boolean", "Items end with their author's stay"),
            Field("pubsub#node_type", "leaf", label="Node type"),
            Field("pubsub#max_payload_size", str(self.max_payload_bytes), label="Bytes of an item"),
        ]

    def form(self, kind: str = "form") -> Element:
        """The form itself."""
        return write_form(kind, NODE_CONFIG, self.fields())

    def differing(self, wanted: Mapping[str, str], settable: frozenset[str]) -> str | None:
        """The first field that is wanted otherwise, or is not known; None: there is none.

        `settable` are those that may be different.
        """
        own = {field.name: field.value for field in self.fields()}
        for name, value in wanted.items():
            if name in settable and name in own:
                continue
            if name not in own or (value != own[name] and name not in _INDIFFERENT):
                return name
        return None


_INDIFFERENT: Final = frozenset(
    {
        "pubsub#deliver_payloads",
        "pubsub#item_expire",
        "pubsub#max_items",
        "pubsub#notification_type",
        "pubsub#send_last_published_item",
    }
)
"""Whatever a client wants of these, what it gets is no less: all items are kept, events have their
payloads, and nobody is sent what he has not asked for."""


def access_wanted(values: Mapping[str, str], config: NodeConfig) -> bool:
    """Whether the node is to be protected; PubsubError: by a model that there is not here."""
    wanted = values.get(ACCESS_MODEL)
    if wanted is None:
        return config.protected
    if wanted not in (OPEN, AUTHORIZE):
        raise PubsubError(
            "not-acceptable", "", "The access model is open or authorize; nothing was changed."
        )
    return wanted == AUTHORIZE


# --- What a subscriber has chosen ----------------------------------------------------------------


def options_form(*, body: bool) -> Element:
    """The options of a subscription (XEP-0060 §6.3)."""
    from_now = "Events come"
    with_body = "A message body comes with each event, for clients that show no events"
    return write_form(
        "form",
        "http://jabber.org/protocol/pubsub#subscribe_options",
        [
            Field(DELIVER, "1", "boolean", from_now),
            Field(INCLUDE_BODY, "1" if body else "0", "boolean", with_body),
        ],
    )


def body_wanted(values: Mapping[str, str], *, now: bool) -> bool:
    """Whether a subscriber wants a body with each event; `now`: whether he has one.

    PubsubError: he wants what there is not (XEP-0060 §6.3.4.5).
    """
    for name, value in values.items():
        if name not in (DELIVER, INCLUDE_BODY) or (name == DELIVER and value != "1"):
            raise PubsubError(
                "bad-request",
                "invalid-options",
                f"{name} cannot be chosen here, but {INCLUDE_BODY} can; nothing was changed.",
            )
    return values.get(INCLUDE_BODY, "1" if now else "0") == "1"
