"""One person's posts as an Atom feed (RFC 4287), for who wants his data in a form that others read.

It is made of what `store/account.py` gives of him: public posts alone, as plain text, the newest
first. The feeds that the relay serves are another matter.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from xmpprelay.core.atom import atom_id

ATOM: Final = "http://www.w3.org/2005/Atom"


def feed_of(jid: str, domain: str, data: Iterable[Mapping[str, Any]]) -> str:
    """The feed of the person whose data these are."""
    objects = list(data)
    posts = [each for each in objects if each["type"] == "post" and not each["deleted"]]
    person = next(each for each in objects if each["type"] == "person")
    names = [each["handle"] for each in objects if each["type"] == "handle" and not each["until"]]
    name = names[0] if names else jid
    feed = Element("feed", xmlns=ATOM)
    _text(feed, "id", f"xmpp:{name}@{domain}" if names else f"xmpp:{jid}")
    _text(feed, "title", f"Posts of {name}")
    _text(feed, "updated", max((each["published"] for each in posts), default=person["created"]))
    _text(SubElement(feed, "author"), "name", name)
    for each in reversed(posts):
        _entry(feed, each, domain)
    indent(feed)
    return tostring(feed, encoding="unicode")


def _entry(feed: Element, post: Mapping[str, Any], domain: str) -> None:
    entry = SubElement(feed, "entry")
    if post["lang"]:
        entry.set("xml:lang", post["lang"])
    _text(entry, "id", atom_id(domain, post["id"]))
    _text(entry, "title", post["text"].partition("\n")[0][:80])
    _text(entry, "published", post["published"])
    _text(entry, "updated", post["published"])
    _text(entry, "content", post["text"]).set("type", "text")


def _text(parent: Element, name: str, text: str) -> Element:
    element = SubElement(parent, name)
    element.text = text
    return element
