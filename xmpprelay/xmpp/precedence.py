"""Who goes first when more comes in than can be dealt with at once.

All of it comes by one stream. What is behind a flood there, an author's post, would wait until all
of the flood is dealt with, though reading it takes a fifth of that time. So of each source only the
first few stanzas of a burst are dealt with as they are read; its others wait here until the stream
has been read as far as it goes. A source is somebody who is known here; strangers are one together
with all strangers of their domain, whose names cost nothing. The logins of all who are known are
one more: when a server has come up again, everybody logs in within seconds.

Each sender's stanzas keep their order, but for answers to our own questions, which never come here:
a bounce may be overtaken by the confirmation of its window, as one from a phone is that was out of
reach. Nothing is dropped: when this is full, nothing more is read.
"""

from collections import Counter, deque
from collections.abc import Callable
from typing import Final
from xml.etree.ElementTree import Element

from xmpprelay.xmpp.stanzas import domain_of

AT_ONCE: Final = 50
"""Stanzas of one source in a burst; above what an honest person or a small server sends."""

MAX_WAITING: Final = 25_000
MAX_WAITING_BYTES: Final = 4 << 20
"""Of stanzas that wait, as they came; ten thousand logins are less. As elements they take up to ten
times as much."""

_COMING: Final = ""
"""The source of logins; no JID."""


class Precedence:
    """Decides which stanza is dealt with now, and keeps those that wait, in their order.

    `is_stranger` says of a bare JID whether somebody has no handle and follows nobody.
    """

    def __init__(self, is_stranger: Callable[[str], bool] = lambda _: False) -> None:
        self.is_stranger = is_stranger
        self._waiting: deque[tuple[str, Element, int]] = deque()
        self._bytes = 0
        self._of_sender: Counter[str] = Counter()  # how many wait
        self._first: list[tuple[str, bool]] = []  # of a burst, as long as nobody counts
        self._in_burst: Counter[str] = Counter()  # by source: how many came, once that matters

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waiting)

    @property
    def full(self) -> bool:
        """Whether so much waits that nothing more should be read."""
        return len(self._waiting) >= MAX_WAITING or self._bytes >= MAX_WAITING_BYTES

    @property
    def has_room(self) -> bool:
        """Whether, after it was full, reading can go on."""
        return len(self._waiting) <= MAX_WAITING // 2 and self._bytes <= MAX_WAITING_BYTES // 2

    def turn(self) -> None:
        """Nothing waits, and more was read: another burst begins."""
        self._first.clear()
        self._in_burst.clear()

    def goes_first(self, sender: str, *, comes: bool = False) -> bool:
        """Whether a stanza of this bare JID is dealt with now; else it has to be `put`.

        `comes`: somebody says that he is there, or his server asks who is.
        """
        if not self._in_burst and len(self._first) < AT_ONCE:  # so many may come of one source
            self._first.append((sender, comes))
            return True
        if self._first:
            self._in_burst.update(self._source(*each) for each in self._first)
            self._first.clear()
        source = self._source(sender, comes)
        self._in_burst[source] += 1
        return self._in_burst[source] <= AT_ONCE and sender not in self._of_sender

    def _source(self, sender: str, comes: bool) -> str:
        if self.is_stranger(sender):
            return domain_of(sender)
        return _COMING if comes else sender

    def put(self, sender: str, stanza: Element, size: int) -> None:
        """Let a stanza wait; `size` is in bytes."""
        self._waiting.append((sender, stanza, size))
        self._bytes += size
        self._of_sender[sender] += 1

    def take(self) -> Element:
        """The stanza that has waited longest, which waits no more; IndexError: none waits."""
        sender, stanza, size = self._waiting.popleft()
        self._bytes -= size
        self._of_sender[sender] -= 1
        if not self._of_sender[sender]:
            del self._of_sender[sender]
        return stanza
