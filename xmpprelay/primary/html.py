"""HTML that others wrote, as plain text.

libxml2 reads it as a stream, gives up below 256 levels and resolves no entity of a document. (nh3
takes minutes for a mebibyte of `<div>`, the standard library's parser for one of `<!--`.)
"""

from typing import Final

from lxml import etree

_LINES: Final = frozenset(("p", "div", "li", "blockquote", "tr", "h1", "h2", "h3", "pre"))
_UNSEEN: Final = frozenset(("script", "style", "title"))
_MOST_CHARS: Final = 1 << 16  # what is longer is no status, and many links in it take long to read


def html_to_text(html: str) -> str:
    """What a browser would show of it: lines where it has lines, entities resolved, no scripts."""
    parser = etree.HTMLParser(target=_Text(), no_network=True, huge_tree=False, encoding="utf-8")
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

    def start(self, tag: str, _attributes: object) -> None:
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
