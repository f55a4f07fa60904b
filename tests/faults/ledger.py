"""Who has had what: the books that the crash tests keep.

L is what was receipted and did not arrive, D what arrived twice. Each post has a text of its own.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

from tests.integration.clients import RECEIPTS, Person, said

IN_FLIGHT: Final = 200
"""Two windows of a hundred: what one fault may repeat in a lane."""


class Poster:
    """An author who keeps count of his receipts, and sends again what has none."""

    def __init__(self, person: Person, texts: Sequence[str]) -> None:
        self.person = person
        self.texts = tuple(texts)
        self._seen = 0
        self._receipted: set[str] = set()
        self._asked: set[str] = set()

    def sends_rest(self) -> None:
        """Send what has no receipt, in order, with the same origin-id each time."""
        rest = self.rest()
        self._asked = {_id(text) for text in rest}
        for text in rest:
            request = f"<request xmlns='{RECEIPTS}'/>"
            self.person.sends(text, id=_id(text), inside=request)

    def rest(self) -> list[str]:
        """What has no receipt yet."""
        self._count()
        return [text for text in self.texts if _id(text) not in self._receipted]

    def receipts(self) -> int:
        self._count()
        return len(self._receipted)

    async def answered(self) -> None:
        """Return when all that was sent last has a receipt or was refused."""

        def so() -> bool:
            self._count()
            return not self._asked

        await self.person.mail.until(so)

    def _count(self) -> None:
        for stanza in self.person.mail.ledger[self._seen :]:
            receipt = stanza.child("received", RECEIPTS)
            if receipt is not None:
                self._receipted.add(receipt.get("id", ""))
                self._asked.discard(receipt.get("id", ""))
            elif stanza.type == "error":
                self._asked.discard(stanza.id or "")
        self._seen = len(self.person.mail.ledger)


def _id(text: str) -> str:
    return text.replace(" ", "-")


def lost(follower: Person, texts: Iterable[str]) -> set[str]:
    """L: what has not arrived."""
    return set(texts) - set(follower.posts())


def ids_by_text(follower: Person) -> dict[str, set[str]]:
    """The ids under which each text has arrived; more than one would be D after deduplication."""
    ids: dict[str, set[str]] = {}
    for stanza in follower.mail.ledger:
        if stanza.post_id is not None:
            ids.setdefault(said(stanza), set()).add(stanza.post_id)
    return ids


def repeats(followers: Iterable[Person]) -> int:
    """D: how many stanzas brought what had been there."""
    return sum(times - 1 for follower in followers for times in Counter(follower.posts()).values())


def in_order(follower: Person, texts: Sequence[str]) -> bool:
    """Whether the posts of one author arrived, for the first time each, in his order."""
    first = [text for text in dict.fromkeys(follower.posts()) if text in set(texts)]
    return first == [text for text in texts if text in set(first)]
