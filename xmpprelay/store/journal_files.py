"""Posts out of the journal and into another one, as files have them (docs/operations.md).

What is taken over gets numbers of this journal, and keeps the id by which every relay and reader
knows it (`atom_id`). It is history: it has no fan-out, and the audience function lets it come to
nobody as new. Whoever asks for it may read it.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, func, insert, select

from xmpprelay.core.atom import atom_id, name_in
from xmpprelay.core.insertion import Act, State
from xmpprelay.core.model import Kind, Post, Queued
from xmpprelay.core.primary import Visibility
from xmpprelay.core.text import message_id, parse_message_id
from xmpprelay.errors import Refused
from xmpprelay.store.dedupe import insert_posts
from xmpprelay.store.gate import PROTECT
from xmpprelay.store.identity import read_epoch
from xmpprelay.store.insertion import queue_posts
from xmpprelay.store.queue import people_called
from xmpprelay.store.rows import POST, posts_of
from xmpprelay.store.schema import addressed, handle, imported, insertion, person, post, setting
from xmpprelay.store.writer import Transaction, operation

CHUNK: Final = 500
"""Posts a row: holds up what is posted meanwhile for some hundredths of a second."""


@dataclass(frozen=True, slots=True)
class FiledPost:
    """A post as a file has it: people by their bare JIDs, other posts by their ids."""

    atom_id: str
    author: str
    handle: str | None
    text: str  # as it is now; a deleted post has none
    lang: str | None
    created: datetime  # aware, UTC
    kind: Kind = Kind.POST  # or DIRECT
    in_reply_to: str | None = None
    targets: tuple[str, ...] = ()
    mentions: tuple[str, ...] = ()
    protected: bool = False  # its author's posts are for approved followers
    edits: int = 0
    deleted: bool = False
    relay_only: bool = False
    attachments: tuple[str, ...] = ()
    inserted: tuple[str, ...] = ()  # what it is called at the primary; of several parts several


# --- out -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which posts a file is to have: never edits and deletions, which are in the posts, nor boosts.

    Nor what the relay's own accounts say.
    """

    domain: str  # the relay's own
    since: datetime | None = None
    author: int | None = None
    letters: bool = False  # direct messages as well

    def condition(self) -> ColumnElement[bool]:
        """The same for a query over posts joined with their authors."""
        kinds = [Kind.POST.value] + [Kind.DIRECT.value] * self.letters
        fits = post.c.kind.in_(kinds) & ~person.c.jid.endswith(f"@{self.domain}", autoescape=True)
        if self.since is not None:
            fits &= post.c.created >= self.since
        if self.author is not None:
            fits &= post.c.author == self.author
        return fits


def count_wanted(conn: Connection, wanted: Wanted) -> int:
    """How many posts a file will have."""
    asked = select(func.count()).select_from(post).join(person, person.c.id == post.c.author)
    return conn.scalar(asked.where(wanted.condition())) or 0


def filed_posts(conn: Connection, wanted: Wanted) -> Iterator[FiledPost]:
    """The posts for a file, in the public order; read in portions."""
    epoch = read_epoch(conn) or ""
    shielded = set(conn.scalars(_protected()))
    last = 0
    while True:
        asked = (
            select(*POST)
            .join_from(post, person, person.c.id == post.c.author)
            .where(wanted.condition(), post.c.number > last)
            .order_by(post.c.number)
            .limit(CHUNK)
        )
        found = posts_of(conn, conn.execute(asked))
        if not found:
            return
        last = found[-1].number
        yield from _filed(
            conn, found, lambda n: atom_id(wanted.domain, message_id(n, epoch)), shielded
        )


def _filed(
    conn: Connection,
    found: Sequence[Post],
    id_of: Callable[[int], str],
    shielded: Collection[int],
) -> Iterator[FiledPost]:
    people = people_called(
        conn, sorted({who for each in found for who in (each.author, *each.addressed)})
    )
    parents = [each.parent for each in found if each.parent is not None]
    taken_over = select(post.c.number, post.c.atom_id).where(post.c.number.in_(parents))
    ids = {row.number: row.atom_id or id_of(row.number) for row in conn.execute(taken_over)}
    there: dict[int, list[str]] = {}
    for row in conn.execute(_inserted(each.number for each in found)):
        there.setdefault(row.post, []).append(row.remote_id)
    for each in found:
        author = people[each.author]
        yield FiledPost(
            atom_id=each.atom_id or id_of(each.number),
            author=author.jid,
            handle=author.handle,
            text=each.text,
            lang=each.lang,
            created=each.created,
            kind=each.kind,
            in_reply_to=None if each.parent is None else ids.get(each.parent),
            targets=tuple(people[who].jid for who in each.targets),
            mentions=tuple(people[who].jid for who in each.mentions),
            protected=each.author in shielded,
            edits=each.edits,
            deleted=each.deleted,
            relay_only=each.relay_only,
            attachments=each.attachments,
            inserted=tuple(there.get(each.number, ())),
        )


def _protected() -> Any:
    return select(setting.c.person).where(setting.c.name == PROTECT, setting.c.value == "on")


def _inserted(numbers: Iterable[int]) -> Any:
    return (
        select(insertion.c.post, insertion.c.remote_id)
        .where(
            insertion.c.post.in_(list(numbers)),
            insertion.c.act == Act.INSERT.value,
            insertion.c.state == State.INSERTED.value,
            insertion.c.remote_id.is_not(None),
        )
        .order_by(insertion.c.post, insertion.c.part)
    )


# --- in ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Present:
    """Who is here already."""

    handles: dict[str, str]  # JID -> handle; without one empty
    taken: dict[str, str | None]  # handle -> JID; None: retired
    protected: frozenset[str]  # JIDs of those whose posts are for approved followers


def present(conn: Connection) -> Present:
    """Who is here, for the checks of a file."""
    everybody = select(person.c.jid, handle.c.handle).outerjoin(
        handle, handle.c.person == person.c.id
    )
    shielded = select(person.c.jid).where(person.c.id.in_(_protected()))
    owners = select(handle.c.handle, person.c.jid).outerjoin(person, person.c.id == handle.c.person)
    return Present(
        handles={row.jid: row.handle or "" for row in conn.execute(everybody)},
        taken={row.handle: row.jid for row in conn.execute(owners)},
        protected=frozenset(conn.scalars(shielded)),
    )


@dataclass(frozen=True, slots=True)
class ImportRow:
    """Posts to be taken over, in the order of their file."""

    posts: tuple[FiledPost, ...]
    account_of: Callable[[int], int | None] | None = None
    # In whose name an author's posts are inserted into the primary, by his id; None: they are not


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of them."""

    new: int
    there: int  # were here before
    queued: tuple[Queued, ...]


@dataclass(frozen=True, slots=True)
class _Known:
    """A post that is here."""

    number: int
    root: int | None


@operation(grows=True)
def import_posts(tx: Transaction, rows: Sequence[ImportRow]) -> list[Imported]:
    """Take posts over, each once. What they answer must be here before them, else it is left out.

    Refused: an author is not known here; nothing of the row is kept then.
    """
    return [_import(tx, row) for row in rows]


def _import(tx: Transaction, row: ImportRow) -> Imported:
    names = {each.atom_id for each in row.posts}
    names.update(each.in_reply_to for each in row.posts if each.in_reply_to is not None)
    known = _known_by(tx.conn, names)
    people = _people(tx.conn, row.posts)
    made: list[Post] = []
    queue: list[tuple[Post, int, Visibility]] = []
    for each in row.posts:
        if each.atom_id in known:
            continue
        new = _post(tx, each, people, known)
        known[each.atom_id] = _Known(new.number, new.root)
        made.append(new)
        account = None if row.account_of is None else row.account_of(new.author)
        if account is not None and _is_for_the_primary(each):
            most = Visibility.PRIVATE if each.protected else Visibility.PUBLIC
            queue.append((replace(new, created=tx.now), account, most))  # it is asked for now
    if made:
        insert_posts(tx.conn, ((each, None, None) for each in made))
        named = [{"person": w, "number": e.number} for e in made for w in set(e.addressed)]
        if named:
            tx.conn.execute(insert(addressed), named)
        queue_posts(tx, queue)
    queued = tuple(Queued(account, 1) for _, account, _ in queue)
    return Imported(len(made), len(row.posts) - len(made), queued)


def _post(
    tx: Transaction, filed: FiledPost, people: dict[str, int], known: dict[str, _Known]
) -> Post:
    author = people.get(filed.author)
    if author is None:
        raise Refused(f"{filed.author} is not known here; nothing of that part was imported.")
    parent = None if filed.in_reply_to is None else known.get(filed.in_reply_to)
    return Post(
        number=tx.numbers.take(1),
        author=author,
        text=filed.text,
        lang=filed.lang,
        created=filed.created,
        kind=filed.kind,
        targets=tuple(people[each] for each in filed.targets if each in people),
        mentions=tuple(sorted(people[each] for each in filed.mentions if each in people)),
        parent=None if parent is None else parent.number,
        root=None if parent is None else parent.root or parent.number,
        edits=filed.edits,
        deleted=filed.deleted,
        relay_only=filed.relay_only,
        attachments=filed.attachments,
        atom_id=filed.atom_id,
    )


def _is_for_the_primary(filed: FiledPost) -> bool:
    never = filed.deleted or filed.relay_only or filed.inserted
    return filed.kind is Kind.POST and not never


def _known_by(conn: Connection, names: Collection[str]) -> dict[str, _Known]:
    """Those of these posts that are here: taken over before, or made here."""
    asked = select(post.c.atom_id, post.c.number, post.c.root)
    found = conn.execute(asked.where(post.c.atom_id.in_(names)))
    known = {row.atom_id: _Known(row.number, row.root) for row in found}
    epoch = read_epoch(conn)
    own: dict[int, str] = {}
    for each in names:
        name = parse_message_id(name_in(each) or "")
        if name is not None and name[1] == epoch:
            own[name[0]] = each
    mine = select(post.c.number, post.c.root).where(
        post.c.number.in_(own), post.c.kind.in_([Kind.POST.value, Kind.DIRECT.value])
    )
    for row in conn.execute(mine):
        known[own[row.number]] = _Known(row.number, row.root)
    return known


def _people(conn: Connection, posts: Iterable[FiledPost]) -> dict[str, int]:
    jids = {jid for each in posts for jid in (each.author, *each.targets, *each.mentions)}
    asked = select(person.c.jid, person.c.id).where(person.c.jid.in_(jids))
    return {row.jid: row.id for row in conn.execute(asked)}


# --- which files have been here ------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FileRow:
    """A file that was taken over as a whole."""

    digest: str  # SHA-256 of its bytes, in hexadecimal
    posts: int


def imported_at(conn: Connection, digest: str) -> datetime | None:
    """When a file was taken over; None: it was not."""
    return conn.scalar(select(imported.c.at).where(imported.c.digest == digest))


@operation(grows=True)
def note_file(tx: Transaction, rows: Sequence[FileRow]) -> list[None]:
    """Remember that files were taken over, the first time that each was."""
    for row in rows:
        if imported_at(tx.conn, row.digest) is None:
            values = {"digest": row.digest, "at": tx.now, "posts": row.posts}
            tx.conn.execute(insert(imported).values(values))
    return [None] * len(rows)
