"""How much an answer has room for, by its bytes as they are written.

A server closes the stream of a component whose stanza is too long for it, and with it goes
everybody's traffic. What is in an answer others have chosen: texts, ids, addresses. So nothing is
estimated; each part is written once more than it would have to be.
"""

from collections.abc import Iterable
from typing import Final
from xml.etree.ElementTree import Element

from xmpprelay.xmpp.stanzas import serialise

MAX_ANSWER_BYTES: Final = 240_000
"""Of all the parts of an answer. Prosody takes 512 KiB from a component and from another server;
the lowest bound in use is 256 KiB, for clients, and around the parts there is some kilobytes."""


def fitting(parts: Iterable[Element]) -> list[Element]:
    """The first of these parts that an answer has room for; one at least."""
    room, kept = MAX_ANSWER_BYTES, list[Element]()
    for part in parts:
        room -= len(serialise(part))
        if room < 0 and kept:
            break
        kept.append(part)
    return kept
