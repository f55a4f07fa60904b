"""People as a CSV file: what `people import` reads and `people export` writes.

    jid,handle,follows
    alice@example.org,alice,bob carol
    dave@other.org,,alice

A row is a person. `handle` may be empty (he follows, and cannot post); `follows` are handles
separated by spaces, of people in the file or known to the relay already. Whoever is known already
stays as he is, so a file may be imported again.

The whole file is checked before anything is done with it, and all that is wrong is told at once,
with its line. This file knows text only: it neither reads nor writes files or the database.
"""

import csv
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from xmpprelay.config.addresses import bare_jid
from xmpprelay.core.handles import check_handle, skeleton
from xmpprelay.errors import HandleRefused, XmppRelayError
from xmpprelay.log import one_line

HEADER: Final = ("jid", "handle", "follows")
_MOST_PROBLEMS: Final = 50  # that are told; who has more has most likely taken the wrong file
_MAX_CELL_CHARS: Final = 4 << 20  # a list of follows may be long; csv's own limit is 128 KiB
_SHOWN_CHARS: Final = 60


class PeopleFileError(XmppRelayError):
    """A file of people that cannot be imported; `problems` has one sentence each, with its line."""

    def __init__(self, problems: list[str]) -> None:
        count = "a mistake" if len(problems) == 1 else f"{len(problems)} mistakes"
        super().__init__(f"Nothing was imported, since the file has {count}; correct what follows:")
        if len(problems) > _MOST_PROBLEMS:
            more = f"and {len(problems) - _MOST_PROBLEMS} more"
            problems = [*problems[:_MOST_PROBLEMS], more]
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True)
class PersonRow:
    """A person of the file."""

    jid: str  # bare, prepared
    handle: str | None  # lower case, well-formed; None: follows, but cannot post
    follows: tuple[str, ...]  # handles, each once, in the order of the file


@dataclass(frozen=True, slots=True)
class Known:
    """Who is in the database already; empty for a new one."""

    handles: Mapping[str, str | None] = field(default_factory=dict)  # handle -> JID; None: retired
    people: Mapping[str, str | None] = field(default_factory=dict)  # JID -> handle, if he has one


def parse_csv(
    lines: Iterable[str],
    known: Known | None = None,
    own_domain: str = "",
    reserved: Iterable[str] = (),
) -> list[PersonRow]:
    """The people of a CSV file, in its order, or PeopleFileError with all that is wrong with it.

    `lines` are the file's lines with their ends, LF or CRLF; a byte order mark is skipped. Nobody
    can be of the relay's `own_domain`. `reserved` are handles that are refused besides the ones
    that always are; the operator's own patterns are not asked, since it is he who imports.
    """
    reader = _Reader(known or Known(), own_domain, tuple(reserved))
    try:
        for line, cells in _cells(lines):
            reader.read(line, cells)
    except csv.Error as error:
        reader.problems.append((reader.line + 1, f"this is not CSV ({error})"))
    except UnicodeDecodeError:
        reader.problems.append((reader.line + 1, "there is something that is no UTF-8 text"))
    reader.check_follows()
    if reader.problems:
        reader.problems.sort(key=lambda problem: problem[0])
        raise PeopleFileError([f"line {line}: {one_line(what)}" for line, what in reader.problems])
    return reader.rows


def format_csv(rows: Iterable[PersonRow]) -> Iterator[str]:
    """The lines of a CSV file with these people, the header first, each with its end."""
    yield ",".join(HEADER) + "\n"
    for row in rows:
        # A JID may have a comma in it, nothing here can have a quote.
        jid = f'"{row.jid}"' if "," in row.jid else row.jid
        yield f"{jid},{row.handle or ''},{' '.join(row.follows)}\n"


def _cells(lines: Iterable[str]) -> Iterator[tuple[int, list[str]]]:
    """The rows of a CSV file as cells without space around them, each with its line's number."""
    csv.field_size_limit(_MAX_CELL_CHARS)
    reader = csv.reader(_without_mark(lines), strict=True)
    end = 0
    for cells in reader:
        begin, end = end + 1, reader.line_num
        if any(cells):
            yield begin, [cell.strip() for cell in cells]


def _without_mark(lines: Iterable[str]) -> Iterator[str]:
    rest = iter(lines)
    first = next(rest, None)
    if first is not None:
        yield first.removeprefix("\ufeff")
    yield from rest


class _Reader:
    """Checks one row after the other, and remembers what the later ones are checked against."""

    def __init__(self, known: Known, own_domain: str, reserved: tuple[str, ...]) -> None:
        self.rows: list[PersonRow] = []
        self.problems: list[tuple[int, str]] = []
        self.line = 0  # of the row read last
        self._known = known
        self._own_domain = own_domain
        self._reserved = reserved
        self._alike = {skeleton(handle): handle for handle in known.handles}
        self._header_seen = False
        self._line_of_jid: dict[str, int] = {}
        self._line_of_bones: dict[str, int] = {}
        self._handles = {handle for handle, jid in known.handles.items() if jid is not None}
        self._follow_lines: dict[str, int] = {}  # a followed handle -> the first line that does

    def read(self, line: int, cells: list[str]) -> None:
        """Take one row, or note what is wrong with it."""
        self.line = line
        if not self._header_seen:
            self._header_seen = True
            if tuple(cell.lower() for cell in cells) != HEADER:
                self._wrong(f"the first line must be {','.join(HEADER)}")
            return
        if len(cells) != len(HEADER):
            self._wrong(f"there are {len(cells)} cells; give three: {','.join(HEADER)}")
            return
        jid = self._jid(cells[0])
        handle = self._handle(cells[1], jid) if cells[1] else None
        follows = self._follows(cells[2])
        if jid is not None:
            self.rows.append(PersonRow(jid, handle, follows))

    def check_follows(self) -> None:
        """After the last row: note who follows somebody that nobody knows."""
        if not self._header_seen:
            self.line = 1
            self._wrong(f"the file is empty; its first line must be {','.join(HEADER)}")
        for handle, line in self._follow_lines.items():
            if handle not in self._handles:
                what = "which is neither in the file nor known to the relay"
                self.problems.append((line, f"follows {_shown(handle)}, {what}"))

    def _wrong(self, what: str) -> None:
        self.problems.append((self.line, what))

    def _jid(self, cell: str) -> str | None:
        try:
            jid = bare_jid(cell)
        except ValueError as error:
            self._wrong(f"{_shown(cell)} {error}" if cell else "the JID is missing")
            return None
        if jid.endswith(f"@{self._own_domain}"):
            self._wrong(f"{_shown(jid)} is an address of the relay itself")
        first = self._line_of_jid.setdefault(jid, self.line)
        if first != self.line:
            self._wrong(f"{_shown(jid)} is in line {first} already")
        return jid

    def _handle(self, cell: str, jid: str | None) -> str | None:
        try:
            handle = check_handle(cell, self._reserved)
        except HandleRefused as error:
            self._wrong(error.sentence)
            return None
        self._handles.add(handle)
        bones = skeleton(handle)
        first = self._line_of_bones.setdefault(bones, self.line)
        if first != self.line:
            self._wrong(f"{_shown(handle)}, or what looks like it, is in line {first} already")
        if jid is not None:
            self._check_known(jid, handle, bones)
        return handle

    def _check_known(self, jid: str, handle: str, bones: str) -> None:
        """Note what the relay knows otherwise: his handle, or the handle's owner."""
        own = self._known.people.get(jid)
        if own is not None and own != handle:
            self._wrong(f"{_shown(jid)} has the handle {own} already, and it cannot be changed")
            return
        alike = self._alike.get(bones)
        if alike is not None and self._known.handles[alike] != jid:
            other = "taken" if alike == handle else f"too much like {alike}, which is taken"
            self._wrong(f"{_shown(handle)} is {other}; choose another handle")

    def _follows(self, cell: str) -> tuple[str, ...]:
        handles = dict.fromkeys(name.removeprefix("@").lower() for name in cell.split())
        for handle in handles:
            self._follow_lines.setdefault(handle, self.line)
        return tuple(handles)


def _shown(text: str) -> str:
    return f'"{text}"' if len(text) <= _SHOWN_CHARS else f'"{text[: _SHOWN_CHARS - 1]}…"'
