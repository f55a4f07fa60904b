"""Reads feeds as others do: checked by the schema of RFC 4287, and by an independent reader.

The schema is that of the RFC (`atom.rnc`). What it says in Schematron is looked at here.
"""

import warnings
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import rnc2rng
from lxml import etree

with warnings.catch_warnings():  # it warns of Python's own modules that it uses
    warnings.simplefilter("ignore")
    import feedparser

ATOM: Final = "{http://www.w3.org/2005/Atom}"
THREAD: Final = "{http://purl.org/syndication/thread/1.0}"
CREATOR: Final = "{http://purl.org/dc/elements/1.1/}creator"


@lru_cache(maxsize=1)
def schema() -> etree.RelaxNG:
    """The schema of Atom. Its prefix for no namespace at all is one that XML does not know."""
    compact = rnc2rng.load(str(Path(__file__).with_name("atom.rnc")))
    written = rnc2rng.dumps(compact).replace(' xmlns:local=""', "")
    return etree.RelaxNG(etree.fromstring(written.encode()))


def checked_atom(body: bytes) -> etree._Element:
    """An Atom feed, which is valid."""
    root = etree.fromstring(body, etree.XMLParser(resolve_entities=False, no_network=True))
    assert schema().validate(root), schema().error_log.last_error
    assert root.tag == f"{ATOM}feed"
    whole = root.find(f"{ATOM}author") is not None
    for entry in root.iter(f"{ATOM}entry"):
        assert whole or entry.find(f"{ATOM}author") is not None
        links = [each.get("rel", "alternate") for each in entry.findall(f"{ATOM}link")]
        assert links.count("alternate") <= 1, "RFC 4287 §4.1.2: one of each type"
        assert "alternate" in links or entry.find(f"{ATOM}content") is not None
    ids = [each.text for each in root.iterfind(f"{ATOM}entry/{ATOM}id")]
    assert len(set(ids)) == len(ids)
    return root


def checked_rss(body: bytes) -> etree._Element:
    """An RSS feed with all that RSS 2.0 asks for, each element as often as it allows."""
    root = etree.fromstring(body, etree.XMLParser(resolve_entities=False, no_network=True))
    assert (root.tag, root.get("version")) == ("rss", "2.0")
    [channel] = root
    for name in ("title", "link", "description", "lastBuildDate"):
        assert len(channel.findall(name)) == 1, name
    for item in channel.iter("item"):
        assert item.findtext("title") or item.findtext("description")
        for name in ("title", "link", "description", "guid", "pubDate", "enclosure"):
            assert len(item.findall(name)) <= 1, name
        for enclosure in item.findall("enclosure"):
            assert {"url", "length", "type"} == set(enclosure.keys())
    return root


def read(body: bytes) -> Any:
    """A feed as feedparser has it, which has found nothing to mend; texts are left as they are."""
    found = feedparser.parse(body, sanitize_html=False, resolve_relative_uris=False)
    assert not found.bozo, found.get("bozo_exception")
    return found
