"""The operator's import: many people and follows, a chunk of them in each row of the queue.

The chunks take their turn between posts, and each is kept whole or not at all. Who is there already
stays as he is, so that an import that was cut short can simply be run again. No limit of what one
person may hold counts here unless the rows say so.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from xmpprelay.core.model import Person
from xmpprelay.store.operations import (
    Asked,
    Followed,
    FollowRow,
    HandleRow,
    add_follow,
    give_handles,
    people_by_jid,
)
from xmpprelay.store.writer import Transaction, operation

CHUNK: Final = 2000
"""People or follows a row: holds up the posts behind it for about a tenth of a second."""


@dataclass(frozen=True, slots=True)
class ImportedPerson:
    """One person of an import."""

    jid: str  # bare, prepared
    handle: str | None = None
    skeleton: str | None = None  # with the handle, and only then


@operation(grows=True)
def import_people(
    tx: Transaction, rows: Sequence[Sequence[ImportedPerson]]
) -> list[tuple[Person, ...]]:
    """Make people known and give them their handles; gives them in the order of the chunk.

    Raises HandleTaken and Refused as `take_handle` does; nothing of the chunk is kept then.
    """
    return [_import_chunk(tx, chunk) for chunk in rows]


def _import_chunk(tx: Transaction, chunk: Sequence[ImportedPerson]) -> tuple[Person, ...]:
    known = people_by_jid(tx, [each.jid for each in chunk])
    wanted = [
        HandleRow(known[each.jid].id, each.handle, each.skeleton)
        for each in chunk
        if each.handle is not None and each.skeleton is not None
    ]
    give_handles(tx, wanted)
    handles = {row.person: row.handle for row in wanted}
    people = (known[each.jid] for each in chunk)
    return tuple(replace(each, handle=handles.get(each.id, each.handle)) for each in people)


@operation(grows=True)
def import_follows(
    tx: Transaction, rows: Sequence[Sequence[FollowRow]]
) -> list[tuple[Followed | Asked, ...]]:
    """Do what `add_follow` does for all follows of a chunk."""
    return [tuple(add_follow(tx, chunk)) for chunk in rows]
