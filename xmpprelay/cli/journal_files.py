"""`journal export` and `journal import`: posts as a file, out of one relay and into another."""

import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from xmpprelay.cli.queue import span_of
from xmpprelay.cli.shared import (
    Progress,
    call_or_alone,
    config_option,
    load_config,
    now,
    progress,
    read_database,
)
from xmpprelay.errors import XmppRelayError

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from xmpprelay.config import Config
    from xmpprelay.post_files import PostFile
    from xmpprelay.store.journal_files import Wanted

STANDARD = "-"
"""As FILE: standard output, or standard input."""


# --- export --------------------------------------------------------------------------------------


@click.command(epilog="Example: xmpprelay journal export posts.ndjson --since 2026-01-01")
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True))
@click.option("--since", metavar="DATE", help="Only what was posted since; or a span, as in 30d.")
@click.option("--author", metavar="WHO", help="Only one person's posts, by JID or handle.")
@click.option("--with-letters", is_flag=True, help="Direct messages as well.")
@config_option
def export(
    file: Path, since: str | None, author: str | None, with_letters: bool, config_path: Path
) -> None:
    """Write posts to FILE, one JSON object a line.

    `journal import` reads it. FILE must not be there yet; - is standard output. It holds protected
    authors' posts too: keep it as safe as the database. The relay may run meanwhile.
    """
    config = load_config(config_path)
    from xmpprelay.store.journal_files import Wanted

    start = None if since is None else _moment(since)
    who = None if author is None else _person(config, author)
    wanted = Wanted(config.xmpp.domain, start, who, letters=with_letters)
    if str(file) == STANDARD:
        _write(config, wanted, sys.stdout.buffer)
        return
    try:
        output = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise XmppRelayError(f"{file} is there already: name another file.") from None
    with os.fdopen(output, "wb") as opened:
        count = _write(config, wanted, opened)
    click.echo(f"{count} posts are in {file}.", err=True)


def _write(config: "Config", wanted: "Wanted", output: BinaryIO) -> int:
    from xmpprelay.post_files import header_line, post_line
    from xmpprelay.store.identity import read_epoch
    from xmpprelay.store.journal_files import count_wanted, filed_posts

    with progress("Exporting") as tell:

        def write(conn: "Connection") -> int:
            count = count_wanted(conn, wanted)
            epoch = read_epoch(conn) or ""
            output.write(header_line(epoch, config.xmpp.domain, count).encode())
            for done, each in enumerate(filed_posts(conn, wanted), 1):
                output.write(post_line(each).encode())
                tell(done, count)
            return count

        return read_database(config, write)


def _moment(typed: str) -> datetime:
    """The time that somebody means by 2026-01-31, 2026-01-31T12:00:00+00:00 or 30d."""
    if typed[-1:] in ("m", "h", "d"):
        return now() - span_of(typed)
    try:
        found = datetime.fromisoformat(typed)
    except ValueError:
        raise click.UsageError(
            f'"{typed}" is no time: give a date such as 2026-01-31, or a span such as 30d.'
        ) from None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def _person(config: "Config", typed: str) -> int:
    """The id of the person with that JID or handle."""
    from xmpprelay.store.keeping_out import jid_of_handle
    from xmpprelay.store.queries import find_person

    name = typed.strip().lower()

    def ask(conn: "Connection") -> int | None:
        is_jid = "@" in name.removeprefix("@")
        jid = name if is_jid else jid_of_handle(conn, name.removeprefix("@"))
        found = None if jid is None else find_person(conn, jid)
        return None if found is None else found.id

    found = read_database(config, ask)
    if found is None:
        raise XmppRelayError(f"{typed} is not known: `xmpprelay people list` shows who is.")
    return found


# --- import --------------------------------------------------------------------------------------


@click.command("import", epilog="Example: xmpprelay journal import posts.ndjson --make-people")
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True))
@click.option("--make-people", is_flag=True, help="Make authors known who are not, with handles.")
@click.option("--insert", is_flag=True, help="Insert into the primary what is not there yet.")
@config_option
def import_(file: Path, make_people: bool, insert: bool, config_path: Path) -> None:
    """Take over the posts of FILE.

    They get numbers of this relay, and keep their ids, threads and times. They are history: nobody
    is sent them, and whoever asks may read them. Posts that are here already are left out. FILE is
    what `journal export` writes; - is standard input. The relay may run, or not.
    """
    config = load_config(config_path)
    if insert and config.primary.driver == "none":
        raise XmppRelayError("There is no primary service to insert into: leave out --insert.")
    content = sys.stdin.buffer.read() if str(file) == STANDARD else file.read_bytes()
    digest = sha256(content).hexdigest()
    from xmpprelay.post_files import file_rows

    with progress("Reading") as tell:
        rows = file_rows(_parsed(config, content, digest, tell, make_people=make_people))
    with progress("Importing") as tell:
        done = call_or_alone(
            config,
            "journal.import",
            {"digest": digest, "insert": insert},
            lambda: _import_alone(config, rows, digest, tell, insert=insert),
            rows=rows,
            tell=tell,
        )
    click.echo(_sentence(done))


def _sentence(done: dict[str, int]) -> str:
    parts = [f"{done['new']} posts imported"]
    if done["there"]:
        parts.append(f"{done['there']} were here already")
    if done["queued"]:
        parts.append(f"{done['queued']} will be inserted into the primary")
    return f"{', '.join(parts)}."


def _parsed(
    config: "Config", content: bytes, digest: str, tell: Progress, *, make_people: bool
) -> "PostFile":
    """The file, checked against who is here; refused, if it was here before."""
    from xmpprelay.errors import Refused
    from xmpprelay.post_files import imported_before, parse_posts
    from xmpprelay.store.journal_files import Present, imported_at, present

    def ask(conn: "Connection") -> "tuple[Present, datetime | None]":
        return present(conn), imported_at(conn, digest)

    here, before = Present({}, {}, frozenset()), None
    if config.store.path.exists():
        here, before = read_database(config, ask)
    if before is not None:
        raise Refused(imported_before(before))
    lines = content.splitlines()
    return parse_posts(
        lines,
        here,
        domain=config.xmpp.domain,
        now=now(),
        reserved=[config.xmpp.home],
        make_people=make_people,
        progress=lambda done: tell(done, len(lines)),
    )


async def _import_alone(
    config: "Config", rows: list[dict[str, Any]], digest: str, tell: Progress, *, insert: bool
) -> dict[str, int]:
    """Do it without a relay; StoreLocked if one has come meanwhile."""
    from dataclasses import asdict

    from xmpprelay.post_files import refuse_again, take_over
    from xmpprelay.store.database import Database
    from xmpprelay.store.keeping_out import COMMAND_LINE, AuditRow, add_audit
    from xmpprelay.store.queue import linked_sites

    database = await Database.open(config.store.url, now=now)
    try:
        await refuse_again(database, digest)
        people = [row for row in rows if "person" in row]
        await _make_known(database, people)
        linked = await database.read(linked_sites)
        done = await take_over(
            database,
            rows[len(people) :],
            digest,
            account_of=_accounts(config, linked) if insert else None,
            queued=lambda _: None,
            progress=tell,
        )
        note = AuditRow(COMMAND_LINE, "journal import", f"{done.new} posts")
        await database.write(add_audit, note)
        return asdict(done)
    finally:
        await database.close()


async def _make_known(database: Any, people: list[dict[str, Any]]) -> None:
    from xmpprelay.core.handles import skeleton
    from xmpprelay.store.account import set_settings
    from xmpprelay.store.bulk import CHUNK, ImportedPerson, import_people
    from xmpprelay.store.gate import PROTECT
    from xmpprelay.store.operations import SettingRow

    for first in range(0, len(people), CHUNK):
        chunk = people[first : first + CHUNK]
        made = await database.write(
            import_people,
            [
                ImportedPerson(
                    row["person"], row["handle"], row["handle"] and skeleton(row["handle"])
                )
                for row in chunk
            ],
        )
        shielded = [
            SettingRow(who.id, PROTECT, "on")
            for who, row in zip(made, chunk, strict=True)
            if row["protected"]
        ]
        await database.write(set_settings, shielded)


def _accounts(config: "Config", linked: dict[int, str]) -> Callable[[int], int | None]:
    """In whose name each author's posts are inserted; see `trickle/accounts.py`."""
    from xmpprelay.core.primary import EVERYBODY

    if config.primary.instances:
        return lambda author: author if author in linked else None
    if config.primary.token.reveal():
        return lambda _author: EVERYBODY
    return lambda author: author
