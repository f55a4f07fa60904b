"""HTML and XHTML that others wrote, as plain text.

libxml2 reads HTML as a stream, gives up below 256 levels and resolves no entity of a document. (nh3
takes minutes for a mebibyte of `<div>`, the standard library's parser for one of `<!--`.) XHTML is
part of a stanza, so it has been read already.
"""

import re
from collections.abc import Mapping
from typing import Final
from xml.etree.ElementTree import Element

from lxml import etree

XHTML: Final = "http://www.w3.org/1999/xhtml"

_LINES: Final = frozenset(
    ("p", "div", "li", "blockquote", "tr", "h1", "h2", "h3", "h4", "h5", "h6", "pre", "dt", "dd")
)
_UNSEEN: Final = frozenset(("script", "style", "title"))
_MOST_CHARS: Final = 1 << 16  # what is longer is no status, and many links in it take long to read

_SPACE: Final = re.compile(r"[ \t\n\r\f]+")
_ROUND_LINES: Final = re.compile(r" ?\n ?")  # more of them stand only in a <pre>
_MANY_LINES: Final = re.compile(r"\n{3,}")


def html_to_text(html: str) -> str:
    """What a browser would show of it: lines where it has lines, entities resolved, no scripts."""
    return _read(html, _Text())


def html_with_links(html: str) -> str:
    """The same, with the address of each link and picture, and white space as a browser has it."""
    return _read(html, _Flowing())


def xhtml_with_links(root: Element) -> str:
    """The same of what is in an element; what is not XHTML there counts by its text."""
    text = _Flowing()
    text.data(root.text or "")
    going = [(child, False) for child in reversed(root)]
    while going:  # not by recursion: it may be nested as deep as a stanza may be
        element, seen = going.pop()
        name = element.tag.rpartition("}")[2].lower()
        if seen:
            text.end(name)
            text.data(element.tail or "")
            continue
        text.start(name, element.attrib)
        text.data(element.text or "")
        going.append((element, True))
        going += [(child, False) for child in reversed(element)]
    return text.close()


def _read(html: str, text: "_Text") -> str:
    parser = etree.HTMLParser(target=text, no_network=True, huge_tree=False, encoding="utf-8")
    try:
        parser.feed(html[:_MOST_CHARS].encode("utf-8", "replace"))
        return str(parser.close())
    except etree.LxmlError:
        return ""  # there is nothing in it


class _Text:
    """Gathers the text of a stream of tags."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._unseen = 0

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        del attributes
        self._unseen += tag in _UNSEEN
        if tag == "br" or tag in _LINES:
            self._parts.append("\n")

    def end(self, tag: str) -> None:
        self._unseen -= tag in _UNSEEN
        if tag in _LINES:
            self._parts.append("\n")

    def data(self, text: str) -> None:
        if not self._unseen:
            self._parts.append(text)

    def close(self) -> str:
        return "".join(self._parts).strip()


class _Flowing(_Text):
    """Gathers text as it flows on a page, and where its links lead to."""

    def __init__(self) -> None:
        super().__init__()
        self._kept = 0  # inside of so many <pre>
        self._links: list[tuple[str, int]] = []  # of open <a>: (address, where its text begins)

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        super().start(tag, attributes)
        self._kept += tag == "pre"
        if tag == "a":
            self._links.append((_address(attributes.get("href")), len(self._parts)))
        elif tag == "img" and not self._unseen:
            alt, address = attributes.get("alt") or "", _address(attributes.get("src"))
            self._parts.append(f"{alt} {address}".strip())

    def end(self, tag: str) -> None:
        if tag == "a" and self._links:
            address, since = self._links.pop()
            shown = "".join(self._parts[since:])
            if address and address not in shown:
                self._parts.append(f" ({address})" if shown.strip() else address)
        self._kept -= tag == "pre"
        super().end(tag)

    def data(self, text: str) -> None:
        super().data(text if self._kept else _SPACE.sub(" ", text))

    def close(self) -> str:
        text = _ROUND_LINES.sub("\n", "".join(self._parts))
        return _MANY_LINES.sub("\n\n", text).strip()


def _address(url: str | None) -> str:
    """An address that may be shown, or nothing."""
    found = (url or "").strip()
    return found if found.startswith(("https://", "http://", "xmpp:", "mailto:")) else ""
