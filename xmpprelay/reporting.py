"""Reports: somebody shows a post to the operator.

A report is kept in the audit, with the post as it reads at that moment, since its author may delete
it; and the operator's admins are told. Whoever reports must be able to see the post; its author is
told nothing.
"""

from collections.abc import Callable, Sequence
from typing import Final

from xmpprelay.core.graph import Graph
from xmpprelay.core.model import Person, Post
from xmpprelay.core.pacing import Buckets, Rate
from xmpprelay.core.text import short_id
from xmpprelay.errors import Refused, StoreError, TooFast, TryLater
from xmpprelay.store.database import Database
from xmpprelay.store.keeping_out import AuditRow, add_audit

PER_HOUR: Final = 10
"""Reports of one person."""

MOST_REPORTERS: Final = 10_000

SHOWN_CHARS: Final = 500
"""So much of the post and of the reason is kept."""


class Reporting:
    """`tell` says something to a bare JID; `admins` are told of each report."""

    def __init__(
        self,
        db: Database,
        graph: Graph,
        tell: Callable[[str, str], None],
        admins: Sequence[str],
        monotonic: Callable[[], float],
    ) -> None:
        self._db = db
        self._graph = graph
        self._tell = tell
        self._admins = tuple(admins)
        self._monotonic = monotonic
        self._pace = Buckets(Rate(PER_HOUR / 3600, PER_HOUR), MOST_REPORTERS)

    async def report(self, reporter: Person, post: Post, why: str) -> None:
        """Keep a report, and tell the admins. Raises Refused (one's own), TooFast, TryLater."""
        shown = post.content
        if shown.author == reporter.id:
            raise Refused("That is your own post: `del` takes it back.")
        wait_s = self._pace.take(reporter.id, self._monotonic())
        if wait_s:
            raise TooFast(
                f"You may report {PER_HOUR} posts an hour; this was not reported. Report it again "
                f"in {round(wait_s / 60) + 1} minutes.",
                wait_s,
            )
        author = self._graph.person(shown.author)
        text = _short(shown.text)
        subject = f"#{short_id(shown.number)} of {author.jid}: {text}"
        if why:
            subject += f" | {_short(why)}"
        try:
            await self._db.write(add_audit, AuditRow(reporter.jid, "report", subject))
        except StoreError as error:
            raise TryLater(
                "The relay cannot store this at the moment; nothing was reported. Try later."
            ) from error
        for admin in self._admins:
            self._tell(admin, f"{reporter.jid} reports {subject}")


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= SHOWN_CHARS else f"{line[: SHOWN_CHARS - 1]}…"
