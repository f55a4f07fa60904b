"""Reads what is published on an author's own node: items, retractions, and who has published them.

Everything is bounded: how many items of one stanza are read, how big an entry and how long an id
may be. An item that somebody else has published there, on a node that lets others publish, is none
of the author's.
"""

from collections.abc import Iterator
from typing import Final
from xml.etree.ElementTree import Element

from xmpprelay.core.atom import MAX_ENTRY_BYTES, read_entry
from xmpprelay.core.sourced import OwnChange, OwnItem, Retracted
from xmpprelay.core.text import clean_line
from xmpprelay.errors import RelayError
from xmpprelay.xmpp.pubsub.names import EVENT
from xmpprelay.xmpp.stanzas import parse_jid, size_at_least, tag

ITEMS_READ: Final = 20
"""So many items of one stanza: the newest."""

_MAX_ID_CHARS: Final = 1023
"""Of an item's id: as long as a part of an address, which some services make of it."""

_ADDRESSES: Final = "http://jabber.org/protocol/address"


def changes_in(items: Element, author: str, language: str | None) -> Iterator[OwnChange]:
    """Give the items and retractions of an event's <items/> (XEP-0060 §7.1.2.1, §7.2.2.1)."""
    for element in items[-ITEMS_READ:]:
        if element.tag == tag("retract", EVENT):
            name = _id_of(element)
            if name is not None:
                yield Retracted(name)
        elif element.tag == tag("item", EVENT) and len(element):
            item = item_of(element, author, language)
            if item is not None:
                yield item


def item_of(element: Element, author: str, language: str | None) -> OwnItem | None:
    """An item; None: it has no id that can be kept, or is not the author's."""
    name = _id_of(element)
    if name is None or not _is(author, element.get("publisher", author)):
        return None
    if size_at_least(element) > MAX_ENTRY_BYTES:
        return OwnItem(name, None, f"An entry may have {MAX_ENTRY_BYTES // 1024} KiB: shorten it.")
    if len(element) != 1:
        return OwnItem(name, None, "An item has one entry.")
    try:
        return OwnItem(name, read_entry(element[0], language))
    except RelayError as error:
        return OwnItem(name, None, error.sentence)


def others_publish(stanza: Element, author: str) -> bool:
    """Whether an event says that somebody else has published (XEP-0033, as ejabberd does)."""
    addresses = stanza.findall(f"{tag('addresses', _ADDRESSES)}/{tag('address', _ADDRESSES)}")
    return any(
        each.get("type") == "replyto" and not _is(author, each.get("jid", author))
        for each in addresses
    )


def _is(author: str, address: str) -> bool:
    try:
        return parse_jid(address)[0] == author
    except ValueError:
        return False


def _id_of(element: Element) -> str | None:
    name = element.get("id", "")
    return name if 0 < len(name) <= _MAX_ID_CHARS and clean_line(name) == name else None
