"""Posts as a file: what `journal export` writes and `journal import` reads.

One JSON object a line (NDJSON). The first line says what the file is, each of the others is a post:

    {"format": "xmpprelay posts", "version": 1, "epoch": "ab12cd", "domain": "…", "count": 2}
    {"atom_id": "xmpp:relay.example.org?;node=k3f.ab12cd", "author": "alice@example.org", …}

The fields are told in docs/operations.md. Another relay, or a program, may leave out all but
`atom_id`, `author`, `text` and `created`.

The whole file is checked before anything is done with it, and all that is wrong is told at once,
with its line. Reading and writing know text only; `take_over` is the import itself, for the running
relay and for the command line where none runs.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from xmpprelay.config.addresses import bare_jid
from xmpprelay.core.handles import check_handle, skeleton
from xmpprelay.core.model import Kind, Queued
from xmpprelay.core.text import check_length, clean, language_tag
from xmpprelay.errors import HandleRefused, Refused, XmppRelayError
from xmpprelay.log import one_line
from xmpprelay.store.database import Database
from xmpprelay.store.journal_files import (
    CHUNK,
    FiledPost,
    FileRow,
    ImportRow,
    Present,
    import_posts,
    imported_at,
    note_file,
)

FORMAT: Final = "xmpprelay posts"
VERSION: Final = 1

_MOST_PROBLEMS: Final = 50  # that are told; who has more has most likely taken the wrong file
_MAX_CHARS: Final = 8_000  # whatever the other relay allows; the limit in bytes is below that
_MAX_ADDRESS_CHARS: Final = 2_000
_MAX_PEOPLE: Final = 200  # whom one post names
_AHEAD: Final = timedelta(minutes=5)  # the other relay's clock may be a little wrong
_SHOWN_CHARS: Final = 60


class PostFileError(XmppRelayError):
    """A file of posts that cannot be imported; `problems` has one sentence each, with its line."""

    def __init__(self, problems: Sequence[str]) -> None:
        count = "a mistake" if len(problems) == 1 else f"{len(problems)} mistakes"
        super().__init__(f"Nothing was imported, since the file has {count}; correct what follows:")
        if len(problems) > _MOST_PROBLEMS:
            more = f"and {len(problems) - _MOST_PROBLEMS} more"
            problems = [*problems[:_MOST_PROBLEMS], more]
        self.problems = tuple(problems)


# --- writing -------------------------------------------------------------------------------------


def header_line(epoch: str, domain: str, count: int) -> str:
    """The first line, with its end."""
    header = {
        "format": FORMAT,
        "version": VERSION,
        "epoch": epoch,
        "domain": domain,
        "count": count,
    }
    return json.dumps(header, ensure_ascii=False) + "\n"


def post_line(post: FiledPost) -> str:
    """The line of a post, with its end."""
    return json.dumps(post_json(post), ensure_ascii=False) + "\n"


def post_json(post: FiledPost) -> dict[str, Any]:
    """A post as an object for JSON."""
    return {
        "atom_id": post.atom_id,
        "author": post.author,
        "handle": post.handle,
        "kind": post.kind.value,
        "created": post.created.astimezone(UTC).isoformat(),
        "text": post.text,
        "lang": post.lang,
        "in_reply_to": post.in_reply_to,
        "to": list(post.targets),
        "mentions": list(post.mentions),
        "protected": post.protected,
        "edits": post.edits,
        "deleted": post.deleted,
        "relay_only": post.relay_only,
        "attachments": list(post.attachments),
        "inserted": list(post.inserted),
    }


# --- reading -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PostFile:
    """A file that can be taken over."""

    posts: Sequence[FiledPost]
    people: Mapping[str, str | None] = field(default_factory=dict)
    # JID -> handle of those who are to be made known; their posts say whether they are protected


def parse_posts(
    lines: Iterable[bytes],
    here: Present,
    *,
    domain: str,
    now: datetime,
    reserved: Iterable[str] = (),
    make_people: bool = False,
    progress: Callable[[int], None] = lambda _: None,
) -> PostFile:
    """What a file has, in its order, or PostFileError with all that is wrong with it.

    `here` is who is known to this relay, at `domain`; `reserved` are handles that are refused
    besides those that always are. `progress` is told how many lines are through.
    """
    reader = _Reader(here, domain, now, tuple(reserved), make_people=make_people)
    for line in lines:
        reader.read(line)
        if reader.line % CHUNK == 0:
            progress(reader.line)
    reader.finish()
    if reader.problems:
        reader.problems.sort(key=lambda problem: problem[0])
        raise PostFileError([f"line {line}: {one_line(what)}" for line, what in reader.problems])
    return PostFile(reader.posts, reader.people)


def post_of(values: Mapping[str, Any]) -> FiledPost:
    """The post of an object that `post_json` made; its values are not looked at again."""
    return FiledPost(
        atom_id=values["atom_id"],
        author=values["author"],
        handle=values["handle"],
        text=values["text"],
        lang=values["lang"],
        created=datetime.fromisoformat(values["created"]),
        kind=Kind(values["kind"]),
        in_reply_to=values["in_reply_to"],
        targets=tuple(values["to"]),
        mentions=tuple(values["mentions"]),
        protected=values["protected"],
        edits=values["edits"],
        deleted=values["deleted"],
        relay_only=values["relay_only"],
        attachments=tuple(values["attachments"]),
        inserted=tuple(values["inserted"]),
    )


class _Reader:
    """Checks one line after the other, and remembers what the later ones are checked against."""

    def __init__(
        self,
        here: Present,
        domain: str,
        now: datetime,
        reserved: tuple[str, ...],
        *,
        make_people: bool,
    ) -> None:
        self.posts: list[FiledPost] = []
        self.people: dict[str, str | None] = {}
        self.problems: list[tuple[int, str]] = []
        self.line = 0
        self._here = here
        self._domain = domain
        self._latest = now + _AHEAD
        self._reserved = reserved
        self._make_people = make_people
        self._count: int | None = None
        self._line_of: dict[str, int] = {}  # atom id -> its line
        self._answers: list[tuple[int, str]] = []  # line, what it answers
        self._jids: dict[str, str | None] = {}  # as they are written -> prepared; None: none is
        self._alike = {skeleton(handle): jid for handle, jid in here.taken.items()}
        self._told: set[str] = set()  # authors of whom it is told already that they are not here

    def read(self, content: bytes) -> None:
        """Take one line, or note what is wrong with it."""
        self.line += 1
        try:
            values = json.loads(content)
        except (ValueError, RecursionError):
            self._wrong("this is no JSON in UTF-8")
            return
        if not isinstance(values, dict):
            self._wrong("this is no JSON object")
        elif self.line == 1:
            self._read_header(values)
        else:
            self._read_post(_Values(values, self._wrong))

    def finish(self) -> None:
        """After the last line: note what only the whole file shows."""
        if not self.line:
            self.problems.append((1, "the file is empty"))
        if self._count is not None and self._count != self.line - 1:
            what = f"the file is to have {self._count} posts, and has {self.line - 1}: it is cut"
            self.problems.append((self.line, what))
        for line, answered in self._answers:
            later = self._line_of.get(answered, 0)
            if later >= line:
                self.problems.append((line, f"it answers the post in line {later}, a later one"))

    def _wrong(self, what: str) -> None:
        self.problems.append((self.line, what))

    def _read_header(self, values: dict[str, Any]) -> None:
        if values.get("format") != FORMAT:
            self._wrong(f'the first line must have "format": "{FORMAT}"')
        elif values.get("version") != VERSION:
            self._wrong(f"this relay reads version {VERSION} of the format: take a newer relay")
        count = values.get("count")
        if isinstance(count, int):
            self._count = count
        else:
            self._wrong("the first line must have a count of posts")

    def _read_post(self, values: "_Values") -> None:
        before = len(self.problems)
        deleted = values.flag("deleted")
        post = FiledPost(
            atom_id=self._atom_id(values),
            author=self._author(values, deleted=deleted),
            handle=values.text_or_none("handle"),
            text=self._text(values, deleted=deleted),
            lang=self._lang(values),
            created=self._created(values),
            kind=self._kind(values),
            in_reply_to=self._in_reply_to(values),
            targets=self._named(values, "to"),
            mentions=self._named(values, "mentions"),
            protected=values.flag("protected"),
            edits=values.number("edits"),
            deleted=deleted,
            relay_only=values.flag("relay_only"),
            attachments=self._attachments(values),
            inserted=values.texts("inserted"),
        )
        if post.kind is Kind.DIRECT and len(post.targets) != 1:
            self._wrong("a direct message is to one person")
        if len(self.problems) == before:
            self.posts.append(post)

    def _atom_id(self, values: "_Values") -> str:
        name = values.text("atom_id")
        if not name:
            return ""
        if not _is_address(name):
            self._wrong("its atom_id is no address")
        if name in self._line_of:
            self._wrong(f"line {self._line_of[name]} has the same atom_id")
        self._line_of[name] = self.line
        return name

    def _in_reply_to(self, values: "_Values") -> str | None:
        name = values.text_or_none("in_reply_to")
        if name is not None and not _is_address(name):
            self._wrong("what it is in_reply_to is no address")
        elif name is not None:
            self._answers.append((self.line, name))
        return name

    def _author(self, values: "_Values", *, deleted: bool) -> str:
        written = values.text("author")
        if not written:
            return ""
        jid = self._jid(written)
        if jid is None:
            self._wrong(f"its author {_shown(written)} is no bare JID such as alice@example.org")
            return ""
        if jid.endswith(f"@{self._domain}"):
            self._wrong(f"its author {_shown(jid)} is an address of this relay itself")
        elif jid not in self._here.handles and not self._make_people:
            self._once(jid, "is not known here; --make-people makes its authors known")
        elif not self._here.handles.get(jid):
            self._make_known(jid, values, deleted=deleted)
        known = jid in self._here.handles
        if values.get("protected") is True and known and jid not in self._here.protected:
            self._once(jid, "is protected there and not here; let him say `protect on` first")
        return jid

    def _make_known(self, jid: str, values: "_Values", *, deleted: bool) -> None:
        """He is to have a handle here; whose posts are all deleted needs none."""
        wanted = values.get("handle")
        if self.people.get(jid) is not None:
            return
        if not isinstance(wanted, str) or not wanted:
            if not deleted:
                self._once(jid, "has no handle; give one in its field")
            elif self._make_people:
                self.people.setdefault(jid, None)
            return
        if not self._make_people:
            self._once(jid, "has no handle here; --make-people gives him the one of the file")
            return
        try:
            name = check_handle(wanted, self._reserved)
        except HandleRefused as error:
            self._once(jid, f"cannot be {_shown(wanted)}: {error.sentence}")
            return
        bones = skeleton(name)
        if self._alike.setdefault(bones, jid) != jid:
            self._once(jid, f"cannot be @{name} here, since somebody else is, or looks like that")
        self.people[jid] = name

    def _once(self, jid: str, what: str) -> None:
        """Tell something about an author at his first post only."""
        if jid not in self._told:
            self._told.add(jid)
            self._wrong(f"its author {jid} {what}")

    def _jid(self, written: str) -> str | None:
        if written not in self._jids:
            try:
                self._jids[written] = bare_jid(written)
            except ValueError:
                self._jids[written] = None
        return self._jids[written]

    def _named(self, values: "_Values", name: str) -> tuple[str, ...]:
        found = []
        for written in values.texts(name)[:_MAX_PEOPLE]:
            jid = self._jid(written)
            if jid is None:
                self._wrong(f"{_shown(written)} in {name} is no bare JID")
            else:
                found.append(jid)
        return tuple(dict.fromkeys(found))

    def _text(self, values: "_Values", *, deleted: bool) -> str:
        written = values.text("text", empty=deleted)
        if deleted or not written:
            return ""
        text = clean(written)
        try:
            check_length(text, _MAX_CHARS)
        except XmppRelayError as error:
            self._wrong(error.sentence)
        return text

    def _lang(self, values: "_Values") -> str | None:
        lang = values.text_or_none("lang")
        if lang is not None and language_tag(lang) is None:
            self._wrong(f"its lang {_shown(lang)} is no language tag such as en or pt-BR")
        return lang

    def _created(self, values: "_Values") -> datetime:
        written = values.text("created")
        try:
            created = datetime.fromisoformat(written) if written else self._latest
        except ValueError:
            created = self._latest.replace(tzinfo=None)
        if created.tzinfo is None:
            self._wrong(f"its time {_shown(written)} is none such as 2026-05-04T12:00:00+00:00")
            return self._latest
        if created > self._latest:
            self._wrong(f"its time {_shown(written)} is in the future")
        return created.astimezone(UTC)

    def _kind(self, values: "_Values") -> Kind:
        kind = values.get("kind", Kind.POST.value)
        if kind not in (Kind.POST.value, Kind.DIRECT.value):
            self._wrong(f"its kind {_shown(str(kind))} is neither post nor direct")
            return Kind.POST
        return Kind(kind)

    def _attachments(self, values: "_Values") -> tuple[str, ...]:
        found = values.texts("attachments")
        for each in found:
            if not each.startswith(("https://", "http://")) or not _is_address(each):
                self._wrong(f"the attachment {_shown(each)} is no address on the web")
        return found


class _Values:
    """The fields of a line; what is of another type than it must be is noted by `wrong`."""

    def __init__(self, values: Mapping[str, Any], wrong: Callable[[str], None]) -> None:
        self._values = values
        self._wrong = wrong

    def get(self, name: str, default: Any = None) -> Any:
        return self._values.get(name, default)

    def text(self, name: str, *, empty: bool = False) -> str:
        """Some text; it must be there, and not be empty but where that is allowed."""
        value = self._values.get(name, "" if empty else None)
        if not isinstance(value, str) or not (value or empty):
            self._wrong(f"{name} is missing, or no text")
            return ""
        return value

    def text_or_none(self, name: str) -> str | None:
        value = self._values.get(name)
        if value is None or isinstance(value, str):
            return value
        self._wrong(f"{name} is no text")
        return None

    def texts(self, name: str) -> tuple[str, ...]:
        value = self._values.get(name, [])
        if isinstance(value, list) and all(isinstance(each, str) for each in value):
            return tuple(value)
        self._wrong(f"{name} is no list of texts")
        return ()

    def flag(self, name: str) -> bool:
        value = self._values.get(name, False)
        if isinstance(value, bool):
            return value
        self._wrong(f"{name} is neither true nor false")
        return False

    def number(self, name: str) -> int:
        value = self._values.get(name, 0)
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31:
            return value
        self._wrong(f"{name} is no number from 0 on")
        return 0


def _is_address(text: str) -> bool:
    return 0 < len(text) <= _MAX_ADDRESS_CHARS and text.isprintable() and " " not in text


def _shown(text: str) -> str:
    """A value as a sentence shows it."""
    return f'"{text if len(text) <= _SHOWN_CHARS else text[:_SHOWN_CHARS] + "…"}"'


def file_rows(file: PostFile) -> list[dict[str, Any]]:
    """What is handed over for the import: first who is to be made known, then the posts."""
    shielded = {post.author for post in file.posts if post.protected}
    people = [
        {"person": jid, "handle": handle, "protected": jid in shielded}
        for jid, handle in file.people.items()
    ]
    return people + [post_json(post) for post in file.posts]


# --- the import ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TakenOver:
    """What became of a file."""

    new: int
    there: int  # posts that were here before
    queued: int  # that will be inserted into the primary


async def refuse_again(db: Database, digest: str) -> None:
    """Refused, if this very file was taken over before."""
    at = await db.read(lambda conn: imported_at(conn, digest))
    if at is not None:
        raise Refused(imported_before(at))


def imported_before(at: datetime) -> str:
    """What is said of a file that was taken over before."""
    return f"This file was imported on {at:%Y-%m-%d} already; nothing was done."


async def take_over(
    db: Database,
    posts: Sequence[Mapping[str, Any]],
    digest: str,
    *,
    account_of: Callable[[int], int | None] | None,
    queued: Callable[[Sequence[Queued]], None],
    progress: Callable[[int, int], None],
) -> TakenOver:
    """Take posts over, as objects that `post_json` made; their authors are known here.

    If it is cut short, the same file may be imported again: what is here is left out. `queued` is
    told what has come into the queue for the primary.
    """
    new = there = waiting = 0
    for first in range(0, len(posts), CHUNK):
        chunk = tuple(post_of(each) for each in posts[first : first + CHUNK])
        done = await db.write(import_posts, ImportRow(chunk, account_of))
        queued(done.queued)
        new, there, waiting = new + done.new, there + done.there, waiting + len(done.queued)
        progress(first + len(chunk), len(posts))
    await db.write(note_file, FileRow(digest, new))
    return TakenOver(new, there, waiting)
